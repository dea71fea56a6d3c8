package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"pgapp/appliance"
)

// Names within the home (DESIGN's contract).
const (
	socketName = "pgapp.sock"
	logName    = "pgapp.log"
	tokenName  = "token"
	// clientDir holds the password files that `url` and `psql` name.
	clientDir = "client"
	// binariesDir holds the unpacked PostgreSQL tree.
	binariesDir = "postgres"
)

// homeDir resolves --home or its default to an absolute path.
func homeDir(flag string) (string, error) {
	dir := flag
	switch {
	case dir != "":
	case os.Geteuid() == 0:
		dir = "/var/lib/pgapp"
	case os.Getenv("XDG_STATE_HOME") != "":
		dir = filepath.Join(os.Getenv("XDG_STATE_HOME"), "pgapp")
	default:
		user, err := os.UserHomeDir()
		if err != nil {
			return "", appliance.NewProblem(appliance.ErrHomeUnusable, "finding the home directory: %w", err).WithHint("name one with --home DIR")
		}
		dir = filepath.Join(user, ".local/state/pgapp")
	}
	if strings.ContainsFunc(dir, unicode.IsControl) {
		return "", appliance.NewProblem(appliance.ErrUsage, "--home holds a control character")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", appliance.NewProblem(appliance.ErrHomeUnusable, "resolving --home: %w", err)
	}
	return abs, nil
}

// makeHome creates the home: others may pass through it to the members' data,
// which as root belongs to another user, but can't list it.
func makeHome(dir string) error {
	err := os.MkdirAll(dir, 0o711)
	if err == nil {
		var st os.FileInfo
		if st, err = os.Stat(dir); err == nil && !st.IsDir() {
			err = errors.New("it is not a directory")
		}
	}
	if err != nil {
		p := appliance.AsProblem(err)
		id := p.ID
		if id == appliance.ErrInternal {
			id = appliance.ErrHomeUnusable
		}
		return appliance.NewProblem(id, "using the home %s: %w", dir, err).WithHint("choose another directory with --home DIR")
	}
	return nil
}
