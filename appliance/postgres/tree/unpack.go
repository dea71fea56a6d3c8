// Package tree finds the PostgreSQL 17 programs that pgapp runs: those that the
// user named, those of the host, or those of the tree that is compiled into the
// program, which it unpacks.
//
// A tree is relocatable with two exceptions. Linux needs an absolute path to the
// loader in each program, so unpacking writes the path into the programs, and a
// moved tree is unpacked again. The C library knows only the host's locales: see
// [Binaries.Env].
//
// The unpacked tree isn't synced to disk, because it can be unpacked again at
// any time: damage by a crash is found by size and checksum.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockName   = ".lock"
	tempPrefix = ".unpacking-"
	// spareBytes is a tree's space beyond its files: directories, and the unused
	// ends of blocks.
	spareBytes = 8 << 20
)

// Unpack unpacks the tree whose archive is in fsys (embed/pgtree's FS or its
// folder tree) into a folder of dir named by version and hash, and returns the
// absolute path of the programs and the version of PostgreSQL. A complete tree is
// used as it is, a damaged one is replaced, and trees of other versions stay,
// since servers may still run from them. Any number of processes may run Unpack
// at once; a repeat is safe and quick.
//
// Directories get mode 0755 and files 0644 or 0755, so that another user can run
// the server. A missing dir is made with mode 0755; its parents must exist.
//
// The error is ErrAbsent if fsys has no archive, and wraps syscall.ENOSPC if the
// file system is too full. Then no partial tree remains.
func Unpack(ctx context.Context, fsys fs.FS, dir string) (binDir, version string, err error) {
	files, m, err := open(fsys)
	if err != nil {
		return "", "", err
	}
	dir, err = realDir(dir)
	if err != nil {
		return "", "", fmt.Errorf("unpacking PostgreSQL: %w", err)
	}
	final := filepath.Join(dir, m.folder())
	binDir = filepath.Join(final, filepath.FromSlash(binPath))
	if intact(final, m) == nil {
		return binDir, m.Version, nil
	}
	if err := replace(ctx, files, m, dir, final); err != nil {
		return "", "", fmt.Errorf("unpacking PostgreSQL %s into %q: %w", m.Version, dir, err)
	}
	return binDir, m.Version, nil
}

// realDir makes dir and returns its absolute path without symbolic links, which
// is written into the programs.
func realDir(dir string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755) // the umask may have removed others' bits
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

// replace unpacks the tree final again, in one process at a time.
func replace(ctx context.Context, fsys fs.FS, m Manifest, dir, final string) (err error) {
	lock := flock.New(filepath.Join(dir, lockName))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("waiting for another process that unpacks the tree: %w", err)
	}
	// The lock file stays: a lock on a removed file would exclude nobody.
	defer func() { err = errors.Join(err, lock.Close()) }()
	if intact(final, m) == nil {
		return nil // the other process made it
	}
	if err := removeLeftovers(dir); err != nil {
		return err
	}
	if err := checkSpace(dir, m.UnpackedSize+spareBytes); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	if err := fill(ctx, fsys, m, temp, final); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := swap(temp, final); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}

// fill unpacks the archive into temp, with final's path in the programs.
func fill(ctx context.Context, fsys fs.FS, m Manifest, temp, final string) (err error) {
	root, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	sums, err := extract(ctx, fsys, m, root, patcher{
		prefix:      []byte(m.PlaceholderPrefix),
		interpreter: filepath.Join(final, filepath.FromSlash(m.Interpreter)),
	})
	if err != nil {
		return err
	}
	if _, ok := sums[binPath+"/postgres"]; !ok {
		return errors.New("the archive holds no PostgreSQL")
	}
	if err := writeMarker(root, m, final, sums); err != nil {
		return err
	}
	return root.Chmod(".", 0o755)
}

// swap renames temp to final. A damaged tree is renamed away first, since a
// directory can't be renamed over one that isn't empty.
func swap(temp, final string) error {
	err := os.Rename(temp, final)
	if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	aside := temp + ".old"
	if err := os.Rename(final, aside); err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

// removeLeftovers removes the directories of killed processes. The caller holds
// the lock, so no process uses them.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), tempPrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// checkSpace fails early if the space can't suffice.
func checkSpace(dir string, need int64) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	// The fields' types differ between processors.
	free := int64(stat.Bavail) * int64(stat.Bsize) //nolint:unconvert // see above
	if free < need {
		return fmt.Errorf("the tree needs %d MB, and %d MB are free: %w", need>>20, free>>20, syscall.ENOSPC)
	}
	return nil
}
