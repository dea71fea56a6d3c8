package store

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Setting returns the stored bytes, or a problem not-found.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, error) {
	type setting struct {
		Value []byte
		Found bool
	}
	out, err := recall(ctx, s, fmt.Sprintf("reading setting %q", name), bucketSettings+"/"+name, func(tx *bolt.Tx) (out setting, err error) {
		out.Found, err = get(tx, bucketSettings, name, &out.Value)
		return out, err
	})
	if err == nil && !out.Found {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no setting %q", name)
	}
	return out.Value, err
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
