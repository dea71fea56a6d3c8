package store

import (
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// group lets writes that come at the same time share one transaction, and so
// one wait for the disk. A write that comes alone doesn't wait for others:
// whoever finds nobody at work commits at once, and what arrives meanwhile is
// the next transaction. (bbolt's Batch waits for a timer instead.)
type group struct {
	mu    sync.Mutex
	busy  bool
	queue []*write
}

// write is one caller. done receives its outcome, or the word to lead: to
// commit what is queued.
type write struct {
	fn   func(*bolt.Tx) error
	done chan outcome
}

type outcome struct {
	err  error
	lead bool
}

// do runs fn in a transaction of commit and returns once that is on disk.
// fn may run more than once; its error takes only itself out.
func (g *group) do(fn func(*bolt.Tx) error, commit func(func(*bolt.Tx) error) error) error {
	w := &write{fn: fn, done: make(chan outcome, 1)}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	lead := !g.busy
	g.busy = true
	g.mu.Unlock()
	if !lead {
		o := <-w.done
		if !o.lead {
			return o.err
		}
	}
	g.mu.Lock()
	batch := g.queue
	g.queue = nil
	g.mu.Unlock()
	defer g.handOver()
	run(batch, commit)
	return (<-w.done).err
}

// handOver lets the first of those who came meanwhile commit next.
func (g *group) handOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.busy = false
		return
	}
	g.queue[0].done <- outcome{lead: true}
}

// run commits the batch and tells everyone the outcome, also where a write
// panics: nobody waits for ever then.
func run(batch []*write, commit func(func(*bolt.Tx) error) error) {
	defer func() {
		if r := recover(); r != nil {
			for _, w := range batch {
				w.done <- outcome{err: fmt.Errorf("a write of the same transaction panicked: %v", r)}
			}
			panic(r)
		}
	}()
	for len(batch) > 0 {
		refused := -1
		err := commit(func(tx *bolt.Tx) error {
			for i, w := range batch {
				if err := w.fn(tx); err != nil {
					refused = i
					return err
				}
			}
			return nil
		})
		if refused < 0 {
			for _, w := range batch {
				w.done <- outcome{err: err}
			}
			return
		}
		batch[refused].done <- outcome{err: err}
		batch = append(batch[:refused], batch[refused+1:]...)
	}
}
