package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// migration takes a database from the schema before version to version. It
// depends on nothing but the transaction, and sees the schema before: it
// must not use the types of today's records.
type migration struct {
	version int
	apply   func(*bolt.Tx) error
}

// migrations lists every step from schema 1 on, in order.
func migrations() []migration { return []migration{{2, toSchema2}} }

// migrate takes the database from one schema version to another, each step in
// one transaction, which also stores the version. Before each step a copy is
// kept as state.db.pre-vN, N being the version that the step leads to.
func migrate(ctx context.Context, db *bolt.DB, dir string, from, to int, steps []migration) error {
	for _, m := range steps {
		if m.version <= from || m.version > to {
			continue
		}
		if err := migrateStep(ctx, db, dir, m); err != nil {
			return fmt.Errorf("migrating the state %q to schema version %d: %w", db.Path(), m.version, err)
		}
	}
	return nil
}

func migrateStep(ctx context.Context, db *bolt.DB, dir string, m migration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := keepCopy(db, filepath.Join(dir, fmt.Sprintf("%s.pre-v%d", FileName, m.version))); err != nil {
		return fmt.Errorf("keeping a copy: %w", err)
	}
	return db.Update(func(tx *bolt.Tx) error {
		if err := m.apply(tx); err != nil {
			return err
		}
		return put(tx, bucketMeta, metaSchema, m.version)
	})
}

// keepCopy writes a consistent copy to path, complete or not at all.
func keepCopy(db *bolt.DB, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return publish(f.Name(), path)
}
