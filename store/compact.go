package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// compactTxBytes bounds one transaction of a compaction.
const compactTxBytes = 4 << 20

// Compact writes a copy of the closed database at from, without its free
// pages, to the new file at to, synced to disk. from must pass the checks of
// [Open]: a damaged one is restored, not compacted. After an error there is no
// file at to. [Replace] puts the copy in place.
func Compact(ctx context.Context, from, to string) (err error) {
	if _, err := Peek(ctx, from); err != nil {
		return err
	}
	doing := fmt.Sprintf("compacting %q", from)
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := compactInto(from, to); err != nil {
		return explainReplace(doing, errors.Join(err, os.Remove(to)))
	}
	return nil
}

func compactInto(from, to string) (err error) {
	src, err := openBolt(from, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := bolt.Open(to, 0o600, &bolt.Options{Timeout: openTimeout, PageSize: pageSize})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return bolt.Compact(dst, src, compactTxBytes)
}
