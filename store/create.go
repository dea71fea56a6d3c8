package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// pageSize is fixed, so that a state moves between machines.
const pageSize = 4096

// temporaryPrefix marks files that a killed process may have left.
const temporaryPrefix = ".state.tmp-"

// The keys of the bucket meta.
const (
	metaSchema   = "schema_version"
	metaInstance = "instance"
	metaCreated  = "created"
)

// create makes the first database of a home, complete or not at all, and before
// the sidecar. After a kill in between, the next Open writes the sidecar. The
// other order would refuse the home for ever.
func create(ctx context.Context, dir string, now time.Time) error {
	path := filepath.Join(dir, FileName)
	f, err := os.CreateTemp(dir, temporaryPrefix)
	if err != nil {
		return explainCreate(path, err)
	}
	temp := f.Name()
	defer func() { _ = os.Remove(temp) }()
	if err := f.Close(); err != nil {
		return explainCreate(path, err)
	}
	if err := fill(ctx, temp, uuid.NewString(), now); err != nil {
		return explainCreate(path, err)
	}
	if err := publish(temp, path); err != nil {
		return explainCreate(path, err)
	}
	return nil
}

func explainCreate(path string, err error) error {
	if isFull(err) {
		return appliance.NewProblem(appliance.ErrStoreFull, "creating the state %q: %w", path, err).
			WithHint("free disk space there, then run the same command again")
	}
	return fmt.Errorf("creating the state %q: %w", path, err)
}

// fill makes an empty database of the present schema in an empty file.
func fill(ctx context.Context, path, instance string, now time.Time) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout, PageSize: pageSize})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("making bucket %s: %w", name, err)
			}
		}
		return errors.Join(
			put(tx, bucketMeta, metaSchema, SchemaVersion),
			put(tx, bucketMeta, metaInstance, instance),
			put(tx, bucketMeta, metaCreated, now.UTC()),
		)
	})
}

// openBolt opens an inspected database. It refuses an empty file, which bbolt
// would fill, in case it was emptied since.
func openBolt(path string, readOnly bool) (db *bolt.DB, err error) {
	defer recoverDamage(path, &err)
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:      openTimeout,
		ReadOnly:     readOnly,
		NoStatistics: true,
		OpenFile:     openExisting,
	})
	var p *appliance.Problem
	switch {
	case err == nil:
		return db, nil
	case errors.As(err, &p), isHostError(err):
		return nil, fmt.Errorf("opening %q: %w", path, err)
	case errors.Is(err, berrors.ErrTimeout):
		return nil, appliance.NewProblem(appliance.ErrHomeLocked, "another program has %q open", path).
			WithHint("end that program (such as a check or a bbolt tool), then try again")
	}
	return nil, damaged(path, "%w", err)
}

// isHostError distinguishes an error of the operating system from damage.
func isHostError(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOMEM) || isFull(err)
}

// openExisting opens a file, which must exist and not be a link, and makes it
// unreadable for other users.
func openExisting(path string, flag int, _ os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag&^os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() == 0 {
		err = damaged(path, "it is empty")
	}
	if err == nil && flag&os.O_RDWR != 0 && fi.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// publish syncs the file and renames it to path, so that path has the old
// content or the new one after a power cut, never a part.
func publish(temp, path string) error {
	f, err := os.OpenFile(temp, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("syncing %q: %w", temp, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// removeTemporary removes the files of a killed process. The home's lock is held,
// so nobody uses them. A file that can't be removed does no harm.
func removeTemporary(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, temporaryPrefix+"*"))
	for _, path := range old {
		_ = os.Remove(path)
	}
}

// readSidecar returns the instances that the home's database may have: one,
// or two while a restore replaces it, or nil where there is no sidecar.
func readSidecar(dir string) ([]string, error) {
	path := filepath.Join(dir, SidecarName)
	if exists, err := fileExists(path); err != nil || !exists {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	ids := strings.Fields(string(b))
	if ids == nil {
		ids = []string{} // present, though empty: still not a new home
	}
	return ids, nil
}

// matchSidecar refuses a database of another instance, and writes the sidecar
// where it is missing or a restore didn't come to its end.
func matchSidecar(dir string, ids []string, instance string) error {
	switch {
	case len(ids) == 1 && ids[0] == instance:
		return nil
	case len(ids) == 0, slices.Contains(ids, instance):
		return writeSidecar(dir, instance)
	}
	return damaged(filepath.Join(dir, FileName), "it belongs to another instance: it says %s, %s says %s",
		instance, SidecarName, strings.Join(ids, " or "))
}

func writeSidecar(dir string, ids ...string) error {
	path := filepath.Join(dir, SidecarName)
	f, err := os.CreateTemp(dir, temporaryPrefix)
	if err != nil {
		return explainCreate(path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(strings.Join(ids, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return explainCreate(path, err)
	}
	if err := publish(f.Name(), path); err != nil {
		return explainCreate(path, err)
	}
	return nil
}
