package store

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Setting returns the stored bytes, or a problem not-found.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.view(ctx, fmt.Sprintf("reading setting %q", name), func(tx *bolt.Tx) error {
		found, err := get(tx, bucketSettings, name, &value)
		if err == nil && !found {
			err = appliance.NewProblem(appliance.ErrNotFound, "there is no setting %q", name)
		}
		return err
	})
	return value, err
}

// PutSetting stores the bytes under the name; nil removes the setting.
func (s *Store) PutSetting(ctx context.Context, name string, value []byte) error {
	if name == "" || len(name) > maxKeyBytes {
		return appliance.NewProblem(appliance.ErrUsage, "the name of a setting has 1 to %d bytes, not %d", maxKeyBytes, len(name))
	}
	return s.updateShared(ctx, fmt.Sprintf("storing setting %q", name), func(tx *bolt.Tx) error {
		if value == nil {
			return remove(tx, bucketSettings, name)
		}
		return put(tx, bucketSettings, name, value)
	})
}
