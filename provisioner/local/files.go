package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// WriteFile replaces a file of the member atomically and durably, and gives the
// file to the member's user. WriteFile refuses paths outside the member's
// directories. A repeat is safe.
func (m *place) WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.requireOwn(); err != nil {
		return err
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	if m.p.account.self {
		return m.within(path, func(dir, rel string) error { return writeInDir(dir, rel, data, mode, nil) })
	}
	return m.within(path, func(dir, rel string) error { return writeInDir(dir, rel, data, mode, &i) })
}

// ReadFile reads a file. In the member's directory, ReadFile follows no link out
// of the directory: the member's user must not make root read other files.
func (m *place) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []byte
	err := m.within(path, func(dir, rel string) (err error) {
		out, err = readInDir(dir, rel)
		return err
	})
	return out, err
}

// within calls f with the member's directory that contains path, and the path
// relative to that directory.
func (m *place) within(path string, f func(dir, rel string) error) error {
	for _, dir := range []string{m.dir, m.shortSocketDir()} {
		rel, err := filepath.Rel(dir, filepath.Clean(path))
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return f(dir, rel)
		}
	}
	return appliance.NewProblem(appliance.ErrInternal, "file %s is outside of member %s", path, m.member)
}

func readInDir(dir, rel string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	data, err := root.ReadFile(rel)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", filepath.Join(dir, rel), err)
	}
	return data, nil
}

// writeInDir replaces dir/rel atomically and durably. The directory may belong
// to another user than the caller, so no link is followed out of the directory.
func writeInDir(dir, rel string, data []byte, mode fs.FileMode, owner *ids) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	parent, base := filepath.Split(rel)
	tmp := filepath.Join(parent, "."+base+".pgapp-new")
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing an old write of %q: %w", rel, err)
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing %q: %w", filepath.Join(dir, rel), err)
	}
	err = fill(f, data, mode, owner)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = root.Rename(tmp, rel)
	}
	if err != nil {
		_ = root.Remove(tmp)
		return fmt.Errorf("writing %q: %w", filepath.Join(dir, rel), err)
	}
	return durable.SyncDirIn(root, parent)
}

func fill(f *os.File, data []byte, mode fs.FileMode, owner *ids) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if owner != nil {
		if err := f.Chown(int(owner.uid), int(owner.gid)); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// makeDir creates a directory below the member's directory and gives it to the
// member's user. A repeat does nothing.
func makeDir(root *os.Root, rel string, i ids) error {
	if err := root.Mkdir(rel, privateMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making directory %q: %w", rel, err)
	}
	if err := root.Lchown(rel, int(i.uid), int(i.gid)); err != nil {
		return fmt.Errorf("giving directory %q to the member's user: %w", rel, err)
	}
	return nil
}
