package plan

import (
	"context"

	"pgapp/appliance"
)

const (
	kindPromise appliance.StepKind = "promise"
	// kindPromised is the kind of a promise step in the middle of an operation.
	kindPromised appliance.StepKind = "promised"
	kindWeaken   appliance.StepKind = "weaken"
	kindAdmit    appliance.StepKind = "admit"
)

// promiseStep draws the step that settles what is promised of acknowledged commits on
// the standbys that stream. It returns nil if the operation has nothing to settle.
func promiseStep(r *recipe, needs ...*node) *node {
	if !r.decision.Promise {
		return nil
	}
	s := whole(kindPromise, "settle what a commit waits for")
	last := lastKeeps
	if r.op.Kind == appliance.OpRejoin && r.op.Params.Force {
		last = lastEnds
	}
	s.Do = settling{work: r.work, last: last}.all
	return r.add(s, needs...)
}

// promisedStep is promiseStep before a move of the primary: the candidate leaves the
// promise, which then has to hold with the other standbys.
func promisedStep(r *recipe, needs ...*node) *node {
	if !r.decision.Promise {
		return nil
	}
	s := whole(kindPromised, "let commits wait for the standbys again")
	s.Do = settling{work: r.work}.allIfServed
	return r.add(s, needs...)
}

// allIfServed is all, unless the primary doesn't run: then there is nothing to move, and
// the promise is settled after the primary's start.
func (p settling) allIfServed(ctx context.Context, report appliance.Report) error {
	serves := false
	err := p.work.on(ctx, p.work.primaryName(ctx), func(_ facts, _ appliance.Member, mc appliance.Machine) (err error) {
		serves, err = mc.ServerRunning(ctx)
		return err
	})
	if err != nil || !serves {
		return err
	}
	return p.all(ctx, report)
}

// all settles the promise on all standbys that stream.
func (p settling) all(ctx context.Context, report appliance.Report) error {
	f, err := p.work.facts(ctx)
	if err != nil || f.cluster.PrimaryMember().WantStopped || f.cluster.Promise.None() && f.cluster.Sync.None() && !f.cluster.Spec.Quorum() && !endsPromise(p.work.op) {
		return err
	}
	if err := p.settle(ctx, report); err != nil {
		return err
	}
	if p.last == lastEnds {
		p.tellEnd(ctx, report)
	}
	p.spread(ctx, report)
	return nil
}

// tellEnd notes that the promise has ended with the last standby.
func (p settling) tellEnd(ctx context.Context, report appliance.Report) {
	if f, err := p.work.facts(ctx); err == nil && f.cluster.Promise.None() {
		report(appliance.Progress{Note: "no standby streams: from now on commits don't wait, and a failover may lose them, until one streams"})
	}
}

// endsPromise tells whether the operation makes the cluster asynchronous. The record
// promises nothing then, but the setting may still be in force.
func endsPromise(o appliance.Operation) bool {
	return o.Params.Change != nil && o.Params.Change.Durability == appliance.DurabilityAsync
}

// weakenStep draws the step that takes a standby out of what is promised, before the
// standby stops. It returns nil if nothing is promised.
func weakenStep(r *recipe, member string, last lastStandby, needs ...*node) *node {
	if !r.decision.Promise {
		return nil
	}
	s := each(kindWeaken, member, "let no commit wait for it")
	keeps := r.op.Kind == appliance.OpStop || r.op.Kind == appliance.OpRestart
	s.Do = settling{work: r.work, leaving: member, keeps: keeps, last: last}.weaken
	return r.add(s, needs...)
}

// lastOf returns what becomes of the promise if the operation takes the last standby.
func (w world) lastOf() lastStandby {
	if w.op.Params.Force {
		return lastEnds
	}
	return lastRefused
}

// weaken takes the leaving standby out of the promise. While the primary doesn't run,
// commits can't wait for the standby; what was acknowledged before may be on this
// standby alone, so its data must not go then.
func (p settling) weaken(ctx context.Context, report appliance.Report) error {
	var in, serves bool
	err := p.work.on(ctx, p.work.primaryName(ctx), func(f facts, _ appliance.Member, mc appliance.Machine) (err error) {
		in = f.cluster.Promise.Has(p.leaving) || f.cluster.Sync.Has(p.leaving)
		serves, err = mc.ServerRunning(ctx)
		return err
	})
	switch {
	case err != nil || !in || !serves && p.keeps:
		return err
	case !serves:
		return appliance.NewProblem(appliance.ErrConflict, "the primary doesn't run, and %s may have commits that no other standby has", p.leaving).
			WithHint("start the primary first: pgapp start")
	}
	return p.settle(ctx, report)
}
