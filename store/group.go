package store

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance/wait"
)

// group lets writes that come at the same time share one transaction, and so
// one wait for the disk. (bbolt's Batch waits for a timer instead.)
type group struct {
	writes wait.Group[*write, struct{}]
}

// write is one caller's write and its outcome.
type write struct {
	fn  func(*bolt.Tx) error
	err error
}

// do runs fn in a transaction of commit and returns once that is on disk.
// fn may run more than once; its error takes only itself out.
func (g *group) do(ctx context.Context, fn func(*bolt.Tx) error, commit func(func(*bolt.Tx) error) error) error {
	w := &write{fn: fn}
	// A caller that left would not know whether its write was made.
	_, err := g.writes.Do(context.WithoutCancel(ctx), "", w, func(_ context.Context, all []*write) (struct{}, error) {
		commitAll(all, commit)
		return struct{}{}, nil
	})
	if w.err != nil {
		return w.err
	}
	return err
}

// commitAll commits the writes in one transaction and notes the outcome of
// each. A write that is refused is left out, and the others are run again.
func commitAll(all []*write, commit func(func(*bolt.Tx) error) error) {
	for len(all) > 0 {
		refused := -1
		err := commit(func(tx *bolt.Tx) error {
			for i, w := range all {
				if err := w.fn(tx); err != nil {
					refused = i
					return err
				}
			}
			return nil
		})
		if refused < 0 {
			for _, w := range all {
				w.err = err
			}
			return
		}
		all[refused].err = err
		all = append(all[:refused], all[refused+1:]...)
	}
}
