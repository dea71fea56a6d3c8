package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// IdempotencyLife is how long a key is remembered.
const IdempotencyLife = 24 * time.Hour

// maxKeyBytes bounds an idempotency key and the name of a setting.
const maxKeyBytes = 1024

// Record is the request and the operation of an idempotency key.
type Record struct {
	BodyHash    [32]byte // SHA-256 of the request
	OperationID string
	CreatedAt   time.Time
}

// storedRecord is a record's form in the file.
type storedRecord struct {
	BodyHash    []byte    `json:"body_hash"`
	OperationID string    `json:"operation_id"`
	CreatedAt   time.Time `json:"created_at"`
}

// IdempotencyGet returns the key's record, or a problem not-found if the key is
// unknown or older than 24 hours.
func (s *Store) IdempotencyGet(ctx context.Context, key string) (Record, error) {
	var rec Record
	err := s.view(ctx, "reading an idempotency key", func(tx *bolt.Tx) error {
		r, found, err := getRecord(tx, key)
		if err == nil && (!found || s.expired(r)) {
			err = appliance.NewProblem(appliance.ErrNotFound, "the idempotency key is unknown")
		}
		rec = r
		return err
	})
	if err != nil {
		return Record{}, err
	}
	return rec, nil
}

// IdempotencyPut stores the key for 24 hours from rec.CreatedAt, and drops older
// keys. The first record of a key stays: another body is a problem
// idempotency-key-reused, another operation for the same body a problem conflict
// with the first operation, and the same record again is no error.
func (s *Store) IdempotencyPut(ctx context.Context, key string, rec Record) error {
	if key == "" || len(key) > maxKeyBytes {
		return appliance.NewProblem(appliance.ErrUsage, "an idempotency key has 1 to %d bytes, not %d", maxKeyBytes, len(key))
	}
	return s.updateShared(ctx, "storing an idempotency key", func(tx *bolt.Tx) error {
		if err := s.forget(tx); err != nil {
			return err
		}
		old, found, err := getRecord(tx, key)
		if err != nil {
			return err
		}
		if found {
			return sameRecord(old, rec)
		}
		return putRecord(tx, key, rec)
	})
}

func putRecord(tx *bolt.Tx, key string, rec Record) error {
	return errors.Join(
		put(tx, bucketIdempotency, key, storedRecord{BodyHash: rec.BodyHash[:], OperationID: rec.OperationID, CreatedAt: rec.CreatedAt}),
		put(tx, bucketIdemTimes, timeKey(rec.CreatedAt, key), key),
	)
}

// IdempotencyDelete removes the key, for a request without effect. An unknown key
// is no error.
func (s *Store) IdempotencyDelete(ctx context.Context, key string) error {
	return s.updateShared(ctx, "removing an idempotency key", func(tx *bolt.Tx) error {
		old, found, err := getRecord(tx, key)
		if err != nil || !found {
			return err
		}
		return errors.Join(remove(tx, bucketIdempotency, key), remove(tx, bucketIdemTimes, timeKey(old.CreatedAt, key)))
	})
}

func sameRecord(old, rec Record) error {
	if old.BodyHash != rec.BodyHash {
		return appliance.NewProblem(appliance.ErrIdempotencyReuse, "the idempotency key was used for another request").
			WithHint("send a new key with a new request")
	}
	if old.OperationID != rec.OperationID {
		return appliance.NewProblem(appliance.ErrConflict, "the idempotency key stands for operation %s", old.OperationID).
			WithOperation(old.OperationID)
	}
	return nil
}

func getRecord(tx *bolt.Tx, key string) (Record, bool, error) {
	var r storedRecord
	found, err := get(tx, bucketIdempotency, key, &r)
	rec := Record{OperationID: r.OperationID, CreatedAt: r.CreatedAt}
	copy(rec.BodyHash[:], r.BodyHash)
	return rec, found, err
}

func (s *Store) expired(r Record) bool { return s.now().Sub(r.CreatedAt) >= IdempotencyLife }

// forget removes keys older than 24 hours.
func (s *Store) forget(tx *bolt.Tx) error {
	b, err := bucketOf(tx, bucketIdemTimes)
	if err != nil {
		return err
	}
	limit := s.now().Add(-IdempotencyLife).UnixNano()
	var old [][]byte
	c := b.Cursor()
	for k, _ := c.First(); len(k) >= 8 && int64(binary.BigEndian.Uint64(k)) <= limit; k, _ = c.Next() { // #nosec G115 -- timeKey's inverse
		old = append(old, bytes.Clone(k)) // deleting under a cursor skips keys
	}
	for _, k := range old {
		err = cmp.Or(err, remove(tx, bucketIdempotency, string(k[8:])), remove(tx, bucketIdemTimes, string(k)))
	}
	return err
}
