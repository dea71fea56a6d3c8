package store

import (
	"bytes"
	"context"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// spoolBytes is up to which size a backup is copied to memory first, so that
// a slow receiver doesn't hold the transaction open, which would keep freed
// pages and make the file grow.
const spoolBytes = 16 << 20

// Backup writes a consistent copy of the database while the store is in use,
// and returns how many bytes that were. The copy holds the secrets in plain.
// An error leaves w with a part that is of no use.
func (s *Store) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	const doing = "backing up the state"
	w = &ctxWriter{ctx, w}
	var spool bytes.Buffer
	err = s.view(ctx, doing, func(tx *bolt.Tx) error {
		if tx.Size() > spoolBytes {
			n, err = tx.WriteTo(w)
			return err
		}
		spool.Grow(int(tx.Size()))
		_, err := tx.WriteTo(&spool)
		return err
	})
	if err != nil || spool.Len() == 0 {
		return n, err
	}
	if n, err = spool.WriteTo(w); err != nil {
		return n, fmt.Errorf("%s: %w", doing, err)
	}
	return n, nil
}

// ctxWriter fails once the context has ended.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

// Write passes the bytes on.
func (c *ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
