package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"pgapp/appliance"
)

// makeRuntime creates the socket directory and the cgroup, which a reboot may
// remove. A repeat does nothing.
func (m *place) makeRuntime(i ids) error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return fmt.Errorf("opening %q: %w", m.dir, err)
	}
	defer func() { _ = root.Close() }()
	for _, rel := range []string{"conf", "log", "run"} {
		if err := makeDir(root, rel, i); err != nil {
			return err
		}
	}
	m.p.cgroups.ensure(m.tag()) // optional: a member runs without a cgroup too
	if m.socketDir() != m.shortSocketDir() {
		return nil
	}
	return makeShortSocketDir(m.shortSocketDir(), i)
}

// runtimeReady reports whether makeRuntime's work is complete.
func (m *place) runtimeReady(i ids) bool {
	dirs := []string{filepath.Join(m.dir, "conf"), filepath.Join(m.dir, "log"), filepath.Join(m.dir, "run"), m.socketDir()}
	for _, dir := range dirs {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() || ownerOf(st) != i.uid {
			return false
		}
	}
	return !m.p.cgroups.usable() || len(m.p.cgroups.existing(m.tag())) > 0
}

// makeShortSocketDir creates a directory in TempDir. Everyone may write there,
// so makeShortSocketDir refuses a directory that another user has created.
func makeShortSocketDir(dir string, i ids) error {
	if err := os.Mkdir(dir, privateMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the socket directory: %w", err)
	}
	if !ownSocketDir(dir, i.uid) {
		return appliance.NewProblem(appliance.ErrForeignObject, "%s exists and belongs to another user", dir).
			WithHint("remove it, or choose a home with a shorter path")
	}
	if err := os.Lchown(dir, int(i.uid), int(i.gid)); err != nil {
		return fmt.Errorf("giving the socket directory to the member's user: %w", err)
	}
	return nil
}

// ownSocketDir reports whether the directory is the member's, complete or left
// incomplete by an interrupted makeShortSocketDir.
func ownSocketDir(dir string, uid uint32) bool {
	st, err := os.Lstat(dir)
	if err != nil || !st.IsDir() || st.Mode().Perm() != privateMode {
		return false
	}
	owner := ownerOf(st)
	return owner == uid || owner == uint32(os.Geteuid())
}

func ownerOf(st fs.FileInfo) uint32 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Uid
	}
	return 0
}

// openLog opens the server's log for appending. openLog first renames a log
// larger than maxLogSize.
func (m *place) openLog(i ids) (*os.File, error) {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", m.dir, err)
	}
	defer func() { _ = root.Close() }()
	const name = "log/postgresql.log"
	if st, err := root.Lstat(name); err == nil && st.Size() > maxLogSize {
		if err := root.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("setting the server's log aside: %w", err)
		}
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	if err := f.Chown(int(i.uid), int(i.gid)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("giving the server's log to the member's user: %w", err)
	}
	return f, nil
}

// logSince returns the end of the log after offset from, at most logDetail bytes.
func (m *place) logSince(from int64) string {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return ""
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open("log/postgresql.log")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	data, err := io.ReadAll(io.NewSectionReader(f, max(from, st.Size()-logDetail), logDetail))
	if err != nil {
		return ""
	}
	return string(data)
}
