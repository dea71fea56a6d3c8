package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// Replace replaces the home's database by a copy of the one at from, for a
// restore. The caller holds the given lock, has closed the store and has checked
// from. The replaced database is kept; its path is returned, or "" if there was
// none.
//
// After a kill or an error, either the old or the new database is in place,
// complete. A repeat is safe and keeps another copy.
func Replace(ctx context.Context, dir string, lock *HomeLock, from string, now time.Time) (kept string, err error) {
	doing := fmt.Sprintf("replacing the state of %q", dir)
	if !lock.holds(dir) {
		return "", fmt.Errorf("%s: the home's lock isn't held", doing)
	}
	info, err := Peek(ctx, from)
	if err != nil {
		return "", err
	}
	temp, err := copyInto(ctx, dir, from)
	if err != nil {
		return "", explainReplace(doing, err)
	}
	defer func() { _ = os.Remove(temp) }()
	path := filepath.Join(dir, FileName)
	if kept, err = keepAside(path, now); err != nil {
		return "", explainReplace(doing, err)
	}
	ids, err := readSidecar(dir)
	if err != nil {
		return "", err
	}
	// Both instances are right until the rename is done; Open narrows it down.
	if !slices.Contains(ids, info.Instance) {
		if err := writeSidecar(dir, append(ids, info.Instance)...); err != nil {
			return "", err
		}
	}
	if err := publish(temp, path); err != nil {
		return "", explainReplace(doing, err)
	}
	return kept, writeSidecar(dir, info.Instance)
}

func explainReplace(doing string, err error) error {
	if isFull(err) {
		return appliance.NewProblem(appliance.ErrStoreFull, "%s: the disk is full, nothing was changed: %w", doing, err).
			WithHint("free disk space there, then run the same command again")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// copyInto copies the file to a temporary one in dir and syncs it.
func copyInto(ctx context.Context, dir, from string) (temp string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.CreateTemp(dir, temporaryPrefix)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(untilDone(ctx, out), in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// keepAside gives the file at path a second name, by a link, so that path always
// exists.
func keepAside(path string, now time.Time) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	base := path + ".replaced-" + now.UTC().Format("20060102T150405Z")
	for n := 0; ; n++ {
		kept := base
		if n > 0 {
			kept = fmt.Sprintf("%s-%d", base, n)
		}
		err := os.Link(path, kept)
		if err == nil {
			return kept, durable.SyncDir(filepath.Dir(path))
		}
		if !errors.Is(err, os.ErrExist) || n == 1000 {
			return "", err
		}
	}
}
