package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// formatJSON is the only format of values so far: one byte of format, four
// of CRC-32C, then JSON.
const formatJSON = 1

const wrapBytes = 5

// errFormat is returned for a value whose format byte is unknown: a newer
// pgapp may have written it.
var errFormat = errors.New("the value has an unknown format")

// wrap adds format and checksum to the payload. The checksum covers bucket and
// key too, so that a value under a wrong key is noticed.
func wrap(bucket string, key, payload []byte) []byte {
	out := make([]byte, wrapBytes, wrapBytes+len(payload))
	out[0] = formatJSON
	binary.BigEndian.PutUint32(out[1:], checksum(bucket, key, payload))
	return append(out, payload...)
}

func unwrap(bucket string, key, value []byte) ([]byte, error) {
	if len(value) < wrapBytes {
		return nil, fmt.Errorf("value %q in %s is too short", key, bucket)
	}
	if value[0] != formatJSON {
		return nil, fmt.Errorf("value %q in %s: format %d: %w", key, bucket, value[0], errFormat)
	}
	payload := value[wrapBytes:]
	if binary.BigEndian.Uint32(value[1:]) != checksum(bucket, key, payload) {
		return nil, fmt.Errorf("value %q in %s has a wrong checksum", key, bucket)
	}
	return payload, nil
}

func checksum(bucket string, key, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(bucket))
	sum = crc32.Update(sum, table, []byte{formatJSON})
	sum = crc32.Update(sum, table, binary.BigEndian.AppendUint32(nil, uint32(len(key)))) // #nosec G115 -- bbolt's keys are below 32 KiB
	sum = crc32.Update(sum, table, key)
	return crc32.Update(sum, table, payload)
}

// put stores v as JSON under the key.
func put(tx *bolt.Tx, bucket, key string, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %q for %s: %w", key, bucket, err)
	}
	b, err := bucketOf(tx, bucket)
	if err != nil {
		return err
	}
	if err := b.Put([]byte(key), wrap(bucket, []byte(key), payload)); err != nil {
		return fmt.Errorf("storing %q in %s: %w", key, bucket, err)
	}
	return nil
}

// get reads the value of the key into v; found is false where there is none.
func get(tx *bolt.Tx, bucket, key string, v any) (found bool, err error) {
	b, err := bucketOf(tx, bucket)
	if err != nil {
		return false, err
	}
	value := b.Get([]byte(key))
	if value == nil {
		return false, nil
	}
	return true, decode(bucket, []byte(key), value, v)
}

func decode(bucket string, key, value []byte, v any) error {
	payload, err := unwrap(bucket, key, value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("decoding %q in %s: %w", key, bucket, err)
	}
	return nil
}

func remove(tx *bolt.Tx, bucket, key string) error {
	b, err := bucketOf(tx, bucket)
	if err != nil {
		return err
	}
	if err := b.Delete([]byte(key)); err != nil {
		return fmt.Errorf("removing %q from %s: %w", key, bucket, err)
	}
	return nil
}

// list decodes every value of the bucket in the order of the keys.
func list[T any](tx *bolt.Tx, bucket string) ([]T, error) {
	b, err := bucketOf(tx, bucket)
	if err != nil {
		return nil, err
	}
	var out []T
	err = b.ForEach(func(k, value []byte) error {
		var v T
		if err := decode(bucket, k, value, &v); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

func bucketOf(tx *bolt.Tx, name string) (*bolt.Bucket, error) {
	b := tx.Bucket([]byte(name))
	if b == nil {
		return nil, fmt.Errorf("bucket %s is missing", name)
	}
	return b, nil
}
