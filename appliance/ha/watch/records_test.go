package watch

import (
	"context"
	"errors"
	"testing"

	"pgapp/appliance"
)

// told is a store that tells when something is written, and counts its reads.
type told struct {
	oneCluster
	changed chan struct{}
	reads   int
}

func (s *told) Changed() <-chan struct{} { return s.changed }

func (s *told) Cluster(ctx context.Context, name string) (appliance.Cluster, error) {
	s.reads++
	return s.oneCluster.Cluster(ctx, name)
}

func (s *told) write(epoch uint64) {
	s.cluster.Epoch = epoch
	close(s.changed)
	s.changed = make(chan struct{})
}

func TestRecordsAreReadAfterAWriteOnly(t *testing.T) {
	t.Parallel()
	s := &told{changed: make(chan struct{})}
	var trouble error
	g := &guard{w: New(Config{Store: s, Observing: func(context.Context) (string, error) { return "", trouble }})}
	read := func(epoch uint64, reads int, what string) {
		t.Helper()
		r, err := g.read(t.Context(), "main")
		if err != nil || r.cluster.Epoch != epoch || s.reads != reads {
			t.Errorf("%s: epoch %d after %d reads, %v; want %d after %d", what, r.cluster.Epoch, s.reads, err, epoch, reads)
		}
	}
	read(0, 1, "at first")
	read(0, 1, "at rest")
	s.write(1)
	read(1, 2, "after a write")
	read(1, 2, "at rest again")
	trouble = errors.New("no disk")
	s.write(2)
	read(2, 3, "a mode that can't be read")
	read(2, 4, "which is read again")
	trouble = nil
	read(2, 5, "and again")
	read(2, 5, "until it could be read")
}
