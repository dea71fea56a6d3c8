package store

import (
	"bytes"
	"context"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// spoolBytes is the size up to which a backup is copied to memory first. A slow
// receiver would hold the transaction open, and the file would grow.
const spoolBytes = 16 << 20

// Backup writes a consistent copy of the database while the store is in use,
// and returns the number of bytes. The copy contains the secrets in plain text.
// After an error, the bytes written to w are useless.
func (s *Store) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	_, n, err = s.Snapshot(ctx, w)
	return n, err
}

// Snapshot is like [Store.Backup] and also returns the copy's [Info].
func (s *Store) Snapshot(ctx context.Context, w io.Writer) (info Info, n int64, err error) {
	const doing = "backing up the state"
	w = untilDone(ctx, w)
	var spool bytes.Buffer
	err = s.view(ctx, doing, func(tx *bolt.Tx) (err error) {
		if info, err = readInfo(tx); err != nil {
			return err
		}
		if err := readEpochs(tx, &info); err != nil {
			return err
		}
		if tx.Size() > spoolBytes {
			n, err = tx.WriteTo(w)
			return err
		}
		spool.Grow(int(tx.Size()))
		_, err = tx.WriteTo(&spool)
		return err
	})
	if err != nil || spool.Len() == 0 {
		return info, n, err
	}
	if n, err = spool.WriteTo(w); err != nil {
		return info, n, fmt.Errorf("%s: %w", doing, err)
	}
	return info, n, nil
}

// writerFunc is a function that writes.
type writerFunc func(p []byte) (int, error)

// Write calls the function.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// untilDone is w, but fails once the context has ended.
func untilDone(ctx context.Context, w io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return w.Write(p)
	})
}
