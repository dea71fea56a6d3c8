package watch

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// records are what a guard has read of its cluster. They hold until something may have been
// written: a guard at rest would read the same ones twice a second.
type records struct {
	cluster appliance.Cluster
	secrets appliance.Secrets
	hold    ha.Hold
	// changed is closed as soon as something may have been written. It is nil where that
	// can't be told, or where something could not be read.
	changed <-chan struct{}
}

// valid tells whether nothing was written since the records were read.
func (r records) valid() bool {
	select {
	case <-r.changed:
		return false
	default:
		return r.changed != nil
	}
}

// read returns the records of now.
func (g *guard) read(ctx context.Context, name string) (records, error) {
	if g.records.valid() {
		return g.records, nil
	}
	g.records = records{}
	s := g.w.cfg.Store
	r := records{changed: s.Changed()}
	var err error
	// The record comes last: what an operation that has ended by now has stored is in it.
	if r.hold.Observing, err = g.w.cfg.Observing(ctx); err != nil {
		r.hold.Observing, r.changed = "the state can't be read: "+err.Error(), nil
	}
	switch o, err := s.Running(ctx, name); {
	case err == nil:
		r.hold.Running = &o
	case !appliance.IsProblem(err, appliance.ErrNotFound):
		r.hold.Unknown, r.changed = err.Error(), nil
	}
	if r.cluster, err = s.Cluster(ctx, name); err != nil {
		return r, err
	}
	if r.secrets, err = s.Secrets(ctx, name); err != nil {
		return r, err
	}
	g.records = r
	return r, nil
}

// held says why nothing may be done now, and what the cluster's automatic state is.
func (g *guard) held(c appliance.Cluster, h ha.Hold) (ha.Holds, appliance.Automatic) {
	h.Own = h.Running != nil && h.Running.ID == g.mine
	return ha.HeldBy(c, h, time.Now())
}
