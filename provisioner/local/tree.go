package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// WriteTree implements [appliance.TreeWriter].
func (m *place) WriteTree(ctx context.Context, dir string, files appliance.TreeFiles) error {
	if err := m.requireOwn(); err != nil {
		return err
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	return m.within(dir, func(base, rel string) error {
		return m.p.account.onFiles(i, func() error { return writeTree(ctx, base, rel, files) })
	})
}

// onFiles calls f on a thread with the account's rights to files. New files
// belong to the account, and a malicious link gives the account access to
// nothing new. The thread keeps the daemon's other identities, so that the
// account can't signal the daemon (setfsuid(2)). f must not start goroutines.
func (a account) onFiles(i ids, f func() error) error {
	if a.self {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			if err := takeFileIDs(i); err != nil {
				return fmt.Errorf("working as user %q: %w", a.name, err)
			}
			return f()
		}()
	}()
	return <-done
}

// takeFileIDs changes the file identities of the calling thread only; package
// syscall's Setgroups would change all threads.
func takeFileIDs(i ids) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, err := unix.SetfsgidRetGid(int(i.gid)); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(int(i.uid)); err != nil {
		return err
	}
	// setfsuid and setfsgid report no error. A call with -1 changes nothing and
	// returns the number in force.
	const none = -1
	uid, err := unix.SetfsuidRetUid(none)
	if err != nil {
		return err
	}
	gid, err := unix.SetfsgidRetGid(none)
	if err != nil {
		return err
	}
	if uid != int(i.uid) || gid != int(i.gid) {
		return unix.EPERM
	}
	return nil
}

func writeTree(ctx context.Context, base, rel string, files appliance.TreeFiles) (err error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return fmt.Errorf("opening %q: %w", base, err)
	}
	defer func() { _ = root.Close() }()
	if err := root.Mkdir(rel, privateMode); err != nil {
		return fmt.Errorf("making %q: %w", path.Join(base, rel), err)
	}
	top, err := root.OpenRoot(rel)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path.Join(base, rel), err)
	}
	defer func() { _ = top.Close() }()
	// Files of the same directory arrive in succession.
	at, dir := ".", top
	defer func() { closeBut(dir, top) }()
	buffer := make([]byte, 256<<10)
	for f, err := range files {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if parent := path.Dir(f.Name); parent != at {
			next, err := top.OpenRoot(parent)
			if err != nil {
				return fmt.Errorf("opening %q: %w", path.Join(base, rel, parent), err)
			}
			closeBut(dir, top)
			at, dir = parent, next
		}
		if err := writeTreeFile(dir, f, buffer); err != nil {
			return fmt.Errorf("writing %q: %w", path.Join(base, rel, f.Name), err)
		}
	}
	return nil
}

func closeBut(dir, but *os.Root) {
	if dir != but {
		_ = dir.Close()
	}
}

func writeTreeFile(dir *os.Root, f appliance.TreeFile, buffer []byte) error {
	name := path.Base(f.Name)
	if f.Dir {
		return dir.Mkdir(name, privateMode)
	}
	file, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{file}, struct{ io.Reader }{f.Content}, buffer) // the wrappers hide WriteTo and ReadFrom, which ignore buffer
	if err == nil && f.Size > n {
		err = reserve(file, f.Size)
	}
	return errors.Join(err, file.Close())
}

// reserve allocates size bytes for the file, so that later writes don't fail for
// lack of space. On a file system without allocation, reserve only sets the
// file's length.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	if err != nil {
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}
