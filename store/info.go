package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Info describes a database.
type Info struct {
	// Schema is its schema version.
	Schema int
	// Instance is the home's UUID, made with its first database.
	Instance string
	// Created is when the first database was made.
	Created time.Time
	// Epochs are the clusters' epochs by the clusters' UUIDs.
	Epochs map[string]uint64
}

// Epoch is the highest of the clusters' epochs.
func (i Info) Epoch() uint64 {
	var out uint64
	for _, e := range i.Epochs {
		out = max(out, e)
	}
	return out
}

// Info returns the description of the open database.
func (s *Store) Info(ctx context.Context) (Info, error) {
	var info Info
	err := s.view(ctx, "reading the state's description", func(tx *bolt.Tx) (err error) {
		info, err = readInfo(tx)
		if err == nil {
			err = readEpochs(tx, &info)
		}
		return err
	})
	return info, err
}

// Peek returns the description of the closed database at path, after the checks
// of [Open]. It only reads. A file that can't be used is a problem store-damaged,
// store-newer, or home-locked if it is open.
func Peek(ctx context.Context, path string) (info Info, err error) {
	if err := ctx.Err(); err != nil {
		return info, fmt.Errorf("reading %q: %w", path, err)
	}
	if err := inspectFile(path); err != nil {
		return info, err
	}
	db, err := openBolt(path, true)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer recoverDamage(path, &err)
	err = db.View(func(tx *bolt.Tx) (err error) {
		if info, err = readInfo(tx); err != nil || info.Schema != SchemaVersion {
			return err
		}
		return cmp.Or(verifyValues(tx), readEpochs(tx, &info))
	})
	return info, asDamage(path, err)
}

// readInfo reads the bucket meta alone, whose form no schema changes.
func readInfo(tx *bolt.Tx) (Info, error) {
	var info Info
	for key, v := range map[string]any{metaSchema: &info.Schema, metaInstance: &info.Instance, metaCreated: &info.Created} {
		found, err := get(tx, bucketMeta, key, v)
		if errors.Is(err, errFormat) {
			return info, newer(fmt.Sprintf("%q has values of a format", tx.DB().Path()))
		}
		if err == nil && !found {
			err = fmt.Errorf("%s is missing in %s", key, bucketMeta)
		}
		if err != nil {
			return info, err
		}
	}
	if info.Schema < 1 || info.Instance == "" {
		return info, fmt.Errorf("schema version %d of instance %q is not valid", info.Schema, info.Instance)
	}
	if info.Schema > SchemaVersion {
		return info, newer(fmt.Sprintf("%q has schema version %d", tx.DB().Path(), info.Schema))
	}
	return info, nil
}

func newer(what string) *appliance.Problem {
	return appliance.NewProblem(appliance.ErrStoreNewer, "%s, this pgapp knows %d: a newer pgapp wrote it", what, SchemaVersion).
		WithHint("use the newer pgapp; or restore a backup from before the upgrade with `pgapp state restore FILE`")
}

func readEpochs(tx *bolt.Tx, info *Info) error {
	clusters, err := list[appliance.Cluster](tx, bucketClusters)
	info.Epochs = make(map[string]uint64, len(clusters))
	for _, c := range clusters {
		info.Epochs[c.UUID] = c.Epoch
	}
	return err
}

// verifyValues checks the frame of every value.
func verifyValues(tx *bolt.Tx) error {
	for _, name := range buckets() {
		b, err := bucketOf(tx, name)
		if err != nil {
			return err
		}
		if err := b.ForEach(func(k, v []byte) error {
			_, err := unwrap(name, k, v)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
