// Package durable makes names survive a power cut: a file that was created,
// renamed or linked is on disk by its content's sync, its name only by its
// directory's.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SyncDir returns when the names in the directory are on disk. A repeat is
// safe.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	return synced(d, err, dir)
}

// SyncDirIn is SyncDir for a directory beneath root; an empty name is root's.
func SyncDirIn(root *os.Root, rel string) error {
	rel = filepath.Clean(rel)
	d, err := root.Open(rel)
	return synced(d, err, filepath.Join(root.Name(), rel))
}

func synced(d *os.File, err error, name string) error {
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("syncing directory %q: %w", name, err)
	}
	return nil
}
