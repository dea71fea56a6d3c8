package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// Endpoints leads the clusters' endpoints to their members. Where they lead follows from
// the record: so to close them is to record a phase and to have the record taken over.
type Endpoints interface {
	// Settle returns when the endpoints lead where the record says now, within about a
	// second. With verified the recorded primary was just seen to take writes; else the
	// endpoint for writes opens only if a look finds that it does. An error during a
	// change of primary says that nothing leads anywhere until the endpoints are there
	// again, or that they could not even be ended.
	Settle(ctx context.Context, cluster string, verified bool) error
	// Cut has the endpoint for writes lead nowhere until its primary is verified anew.
	Cut(ctx context.Context, cluster string) error
}

// settleEndpoints has the endpoints follow the record. They are no reason to fail: who
// needs them waits, and they follow by themselves.
func (cfg Config) settleEndpoints(ctx context.Context, cluster string) {
	if cfg.Endpoints != nil {
		_ = cfg.Endpoints.Settle(ctx, cluster, false)
	}
}

// routesNow tells whether the endpoints follow the step at once. A primary that writes a
// checkpoint before its stop still takes connections, and one that is primary again takes
// them once the application is let in.
func routesNow(next ha.Step) bool {
	for _, c := range next.Commands {
		if c.Verb == ha.Checkpoint {
			return false
		}
	}
	return !next.Change.Phase.Final() || next.Change.Phase == appliance.ChangeDone
}

// route has the endpoints follow the phase that was just recorded, before the phase's
// commands are carried out: they are closed before the old primary is stopped, and open once
// the new one is on record. A failover goes on without them: then nothing leads anywhere. It
// closes them while it kills the old primary, and nobody is promoted before they are closed.
func (p *primaryChange) route(ctx context.Context, f facts, ch appliance.PrimaryChange, report appliance.Report) {
	if p.work.cfg.Endpoints == nil || !f.cluster.Spec.HasEndpoints() || ch.Phase == appliance.ChangeLooking || ch.Phase == p.routed {
		return
	}
	closed(ctx, p, report)
	first := p.routed == ""
	begun := time.Now()
	settle := func() routing {
		err := p.work.cfg.Endpoints.Settle(ctx, p.work.op.Cluster, ch.Phase == appliance.ChangeDone)
		return routing{err: err, took: time.Since(begun), phase: ch.Phase, first: first}
	}
	if ch.Phase == appliance.ChangeFencing {
		p.routed, p.closing = ch.Phase, make(chan routing, 1)
		go func(done chan<- routing) { done <- settle() }(p.closing)
		return
	}
	noteRouting(ctx, p, settle(), report)
}

// routing is how the endpoints came to follow a phase.
type routing struct {
	err   error
	took  time.Duration
	phase appliance.ChangePhase
	// first is set for the first phase that they follow.
	first bool
}

// closed waits until the endpoints have followed the fence's phase, if they are to.
func closed(ctx context.Context, p *primaryChange, report appliance.Report) {
	if p.closing != nil {
		noteRouting(ctx, p, <-p.closing, report)
		p.closing = nil
	}
}

// noteRouting notes that the endpoints have followed a phase.
func noteRouting(ctx context.Context, p *primaryChange, r routing, report appliance.Report) {
	if ctx.Err() != nil {
		return
	}
	p.routed = r.phase
	switch {
	case r.err != nil:
		report(appliance.Progress{Note: "the endpoints: " + r.err.Error()})
	case r.first && !r.phase.Final():
		p.times.note("closing", r.took)
	case r.phase == appliance.ChangeDone:
		p.times.note("opening", r.took)
	}
}
