package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"pgapp/appliance"
)

// HomeLock is the exclusive use of a home, held until released or until the
// process ends, however it ends.
type HomeLock struct {
	dir  string
	mu   sync.Mutex
	file *os.File // nil once released
}

// Lock takes the lock of the home dir, an existing directory, and never waits. If
// another process (or another Lock of this process) holds it, Lock returns a
// problem home-locked that names the process. The lock is a separate file that is
// never replaced, unlike the database.
func Lock(dir string) (*HomeLock, error) {
	if err := usableHome(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock %q: %w", path, err)
	}
	if err := tryLock(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := writePID(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &HomeLock{dir: dir, file: f}, nil
}

func tryLock(f *os.File, dir string) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return appliance.NewProblem(appliance.ErrHomeLocked, "the home %q is in use by %s", dir, holder(f)).
			WithHint("stop it with `pgapp shutdown`, or choose another home with --home")
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the file system of the home %q has no locks: %w", dir, err).
			WithHint("choose a home on a local file system with --home")
	}
	return fmt.Errorf("locking the home %q: %w", dir, err)
}

// holder reads who wrote the lock file.
func holder(f *os.File) string {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil && pid > 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// writePID names this process in the lock file, for people and for the
// message of the next one. A full disk must not keep the daemon from starting.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("emptying the lock %q: %w", f.Name(), err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil && !isFull(err) {
		return fmt.Errorf("writing the lock %q: %w", f.Name(), err)
	}
	return nil
}

// Release unlocks the home. A second call, or a call of a nil lock, does nothing.
// The file stays: if it were removed, two processes could lock two files of the
// same name.
func (l *HomeLock) Release() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	err := f.Truncate(0)
	// Closing alone is not enough: a child between fork and exec has the open
	// file too, and would keep the lock.
	err = errors.Join(err, syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
	if err != nil {
		return fmt.Errorf("releasing the lock: %w", err)
	}
	return nil
}

// Check returns a problem home-unusable where the lock is no longer that of what is at the
// home's path: the home was removed, moved or exchanged, and another process may serve what
// is there.
func (l *HomeLock) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil // given up by its holder
	}
	mine, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("looking at the lock of the home %q: %w", l.dir, err)
	}
	there, err := os.Lstat(filepath.Join(l.dir, LockName))
	switch {
	case err == nil && os.SameFile(mine, there):
		return nil
	case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the home %q was removed, moved or exchanged while it was in use", l.dir).
			WithHint("servers whose files are gone end by themselves within a minute; to remove a cluster use `pgapp down --volumes`")
	}
	return fmt.Errorf("looking at the lock of the home %q: %w", l.dir, err)
}

// holds tells whether this is the lock of dir, and still held.
func (l *HomeLock) holds(dir string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file != nil && filepath.Clean(l.dir) == filepath.Clean(dir)
}
