package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pidFile is the content of postmaster.pid (PostgreSQL's miscadmin.h).
type pidFile struct {
	pid     int
	dataDir string
	// status is empty until the server has opened its sockets and loaded
	// pg_hba.conf.
	status string
}

const (
	pidLine     = 0
	dataDirLine = 1
	statusLine  = 7
)

func parsePidFile(data string) (pidFile, bool) {
	lines := strings.Split(data, "\n")
	line := func(n int) string {
		if n < len(lines) {
			return strings.TrimSpace(lines[n])
		}
		return ""
	}
	pid, err := strconv.Atoi(line(pidLine))
	if err != nil || pid == 0 {
		return pidFile{}, false
	}
	// A standalone backend writes its number negative.
	return pidFile{pid: max(pid, -pid), dataDir: line(dataDirLine), status: line(statusLine)}, true
}

// readPidFile returns ok false if the file is missing or incomplete.
func (m *machine) readPidFile() (f pidFile, ok bool, err error) {
	data, err := readInDir(m.dir, "data/postmaster.pid")
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, false, nil
	}
	if err != nil {
		return pidFile{}, false, err
	}
	f, ok = parsePidFile(string(data))
	return f, ok, nil
}

// clearStalePidFile removes the pid file of a dead server if PostgreSQL would
// take the server for a running one, because a process with that number exists:
// a zombie or, after a reboot, another member of the same user. The file stays
// if a scan finds a process in the data directory. A repeat is safe.
func (m *machine) clearStalePidFile() error {
	f, ok, err := m.readPidFile()
	if err != nil || !ok {
		return err
	}
	t, err := m.territory("data")
	if err != nil {
		return err
	}
	in, hidden, err := t.scan()
	if err != nil || len(in)+len(hidden) > 0 || errors.Is(syscall.Kill(f.pid, 0), syscall.ESRCH) {
		return err // PostgreSQL itself decides
	}
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return fmt.Errorf("opening %q: %w", m.dir, err)
	}
	defer func() { _ = root.Close() }()
	if err := root.Remove("data/postmaster.pid"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a dead server's pid file: %w", err)
	}
	return nil
}

// clearStaleSocketLocks removes the socket lock files of a dead server, for the
// reason given at clearStalePidFile and after the same scan. No other server
// uses the member's socket directory. A repeat is safe.
func (m *machine) clearStaleSocketLocks() error {
	t, err := m.territory("data")
	if err != nil {
		return err
	}
	in, hidden, err := t.scan()
	if err != nil || len(in)+len(hidden) > 0 {
		return err // PostgreSQL itself decides
	}
	root, err := os.OpenRoot(m.Layout().SocketDir)
	if err != nil {
		return fmt.Errorf("opening the socket directory of member %q: %w", m.member, err)
	}
	defer func() { _ = root.Close() }()
	locks, err := fs.Glob(root.FS(), ".s.PGSQL.*.lock")
	if err != nil {
		return fmt.Errorf("looking for a dead server's socket locks: %w", err)
	}
	for _, name := range locks {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a dead server's socket lock: %w", err)
		}
	}
	return nil
}

// postmaster finds the running postmaster. The pid file may be stale and its
// number may belong to another process, so only a process of the member's user
// that works in the data directory counts.
func (m *machine) postmaster() (proc, bool, error) {
	if p, ok, err := m.namedPostmaster(); ok || err != nil {
		return p, ok, err
	}
	t, err := m.territory("data")
	if err != nil {
		return proc{}, false, err
	}
	in, _, err := t.scan()
	if err != nil {
		return proc{}, false, err
	}
	for _, p := range in {
		if p.isPostmaster() {
			return p, true, nil
		}
	}
	return proc{}, false, nil
}

// namedPostmaster finds the running postmaster if the pid file names it.
func (m *machine) namedPostmaster() (proc, bool, error) {
	f, ok, err := m.readPidFile()
	if err != nil || !ok {
		return proc{}, false, err
	}
	t, err := m.territory("data")
	if err != nil {
		return proc{}, false, err
	}
	p := proc{f.pid}
	if t.holds(p) && p.isPostmaster() {
		return p, true, nil
	}
	return proc{}, false, nil
}
