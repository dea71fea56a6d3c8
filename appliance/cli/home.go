package cli

import (
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"pgapp/appliance"
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
		home, err := os.UserHomeDir()
		if err != nil {
			return "", appliance.NewProblem(appliance.ErrHomeUnusable, "finding the home directory: %w", err).WithHint("name one with --home DIR")
		}
		dir = filepath.Join(home, ".local/state/pgapp")
	}
	if strings.ContainsFunc(dir, unprintable) || !utf8.ValidString(dir) {
		return "", appliance.NewProblem(appliance.ErrUsage, "--home holds a control character, or is not UTF-8: %q", dir).
			WithHint("PostgreSQL's configuration files can't name such a path: choose another")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", appliance.NewProblem(appliance.ErrHomeUnusable, "resolving --home: %w", err)
	}
	return abs, nil
}

// unprintable tells whether r could end a line of a configuration file.
func unprintable(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
