package cli

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"pgapp/appliance"
	"pgapp/store"
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

// unprintable knows what could end a line of a configuration file.
func unprintable(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// checkHomeOwner refuses root in a home that another user keeps a cluster in:
// what root makes there and in the kernel, such as sockets and control groups,
// that user can't take away again.
func checkHomeOwner(dir string, euid int) error {
	if euid != 0 {
		return nil // the files' own permissions do
	}
	st, err := os.Lstat(filepath.Join(dir, store.LockName))
	if err != nil {
		return nil //nolint:nilerr // nobody's yet, or the lock says what is wrong
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid == 0 {
		return nil
	}
	who := fmt.Sprintf("#%d", sys.Uid)
	if u, err := user.LookupId(strconv.FormatUint(uint64(sys.Uid), 10)); err == nil {
		who = u.Username
	}
	return appliance.NewProblem(appliance.ErrHostPermission, "the home %s belongs to user %s, who couldn't use what root makes in it", dir, who).
		WithHint("run pgapp as that user: sudo -u '%s' pgapp --home '%s' …; or choose another home with --home", who, dir)
}

// maxSocketPath is what the kernel takes for the path of a socket, without the
// closing zero (unix(7)).
const maxSocketPath = 107

// checkHomePath refuses a home whose socket nobody could reach, and a new one
// in which PostgreSQL's programs can't find each other: they quote paths for
// the shell with double quotes only (find_other_exec).
func checkHomePath(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, store.LockName))
	if strings.ContainsAny(dir, "\"$`\\") && err != nil {
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the home's path holds one of the characters \" $ ` \\, which initdb can't work below: %s", dir).
			WithHint("choose another with --home DIR")
	}
	longest := maxSocketPath - len("/"+socketName)
	if len(dir) <= longest {
		return nil
	}
	return appliance.NewProblem(appliance.ErrHomeUnusable, "the home's path has %d bytes; with more than %d the kernel refuses its socket %s: %s", len(dir), longest, socketName, dir).
		WithHint("choose a shorter one with --home DIR; a symbolic link to the directory will do")
}

// makeHome creates the home: others may pass through it to the members' data,
// which as root belongs to another user, but can't list it.
func makeHome(dir string) error {
	if err := checkHomePath(dir); err != nil {
		return err
	}
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
