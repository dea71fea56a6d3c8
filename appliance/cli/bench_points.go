package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/drill"
)

// suiteRun is one run of a suite.
type suiteRun struct {
	benchHands
	records bench.Records
	bench   appliance.Bench
	shares  *benchShares
}

// play measures what is left of the suite, and puts the cluster back. What the cluster was
// is on disk, and a guardian waits, before anything is changed.
func (r *suiteRun) play(ctx context.Context, s appliance.ClusterStatus) (err error) {
	before := appliance.BenchBefore{UUID: s.UUID, Primary: s.Primary, Durability: s.Durability}
	for _, m := range s.Members {
		before.Members = append(before.Members, m.Name)
	}
	r.bench.Before, r.bench.State, r.bench.EndedAt, r.bench.Error = &before, appliance.BenchRunning, nil, nil
	r.bench.Progress.Total = len(bench.Turns(r.bench.Experiments))
	if err := r.records.Save(r.bench); err != nil {
		return err
	}
	g, err := r.guarded(ctx, r.bench.ID)
	if err != nil {
		return errors.Join(err, r.ended(ctx, err))
	}
	defer g.dismiss()
	r.note("bench %s: copying the tables to database %s", r.bench.ID, appliance.BenchDatabase)
	if err = r.open(ctx); err == nil {
		err = r.points(ctx)
	}
	left := r.ended(ctx, err)
	if r.bench.State == appliance.BenchCancelled {
		err = benchInterrupted(r.bench.ID)
	}
	return errors.Join(err, left)
}

// ended notes how the suite has ended, and puts the cluster back.
func (r *suiteRun) ended(ctx context.Context, err error) error {
	r.bench.State = appliance.BenchSucceeded
	switch {
	case ctx.Err() != nil:
		r.bench.State = appliance.BenchCancelled
	case err != nil:
		r.bench.State, r.bench.Error = appliance.BenchFailed, appliance.AsProblem(err)
	}
	now := time.Now().UTC()
	r.bench.EndedAt, r.bench.Progress.Doing, r.bench.Progress.LeftSeconds = &now, "putting the cluster back", 0
	r.note("putting the cluster back as it was")
	saved := r.records.Save(r.bench)
	left := errors.Join(r.shares.putBack(ctx), r.putBack(ctx, *r.bench.Before))
	r.bench.Progress.Doing = ""
	if left == nil {
		r.bench.Before.PutBack = &appliance.BenchPutBack{At: time.Now().UTC(), By: appliance.PutBackBySuite}
	} else {
		left = fmt.Errorf("putting the cluster back as it was before the bench: %w", left)
		r.bench.Notes = append(r.bench.Notes, clean(left.Error()))
	}
	return errors.Join(saved, left, r.records.Save(r.bench))
}

// points measures the points that are left, and keeps each as soon as it is there.
func (r *suiteRun) points(ctx context.Context) error {
	left := bench.TurnsLeft(r.bench)
	g := &r.bench.Progress
	g.Done = g.Total - len(left)
	began, planned := time.Now(), bench.Planned(r.bench.Experiments, left)
	g.LeftSeconds = planned
	for i, t := range left {
		e := r.bench.Experiments[t.Experiment]
		v := e.Variants[t.Variant]
		g.Doing = fmt.Sprintf("%s: %s, round %d", e.Name, v.Name, t.Round)
		r.note("%d of %d: %s%s", g.Done+1, g.Total, g.Doing, leftText(g.LeftSeconds))
		if err := r.records.Save(r.bench); err != nil {
			return err
		}
		if err := r.point(ctx, e, v, t.Round); err != nil {
			return fmt.Errorf("measuring %s of %s: %w", v.Name, e.Name, err)
		}
		g.Done++
		toGo := bench.Planned(r.bench.Experiments, left[i+1:])
		g.LeftSeconds = time.Since(began).Seconds() * toGo / max(planned-toGo, 1)
	}
	return r.records.Save(r.bench)
}

// leftText says how much time is left; nothing where nobody knows yet.
func leftText(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return fmt.Sprintf(" (about %s left)", time.Duration(seconds*float64(time.Second)).Round(time.Second))
}

// point brings the cluster into the variant's state and measures one point.
func (r *suiteRun) point(ctx context.Context, e appliance.BenchExperiment, v appliance.BenchVariant, round int) error {
	began, err := r.bring(ctx, v)
	if err != nil {
		return err
	}
	event, err := r.event(ctx, v.Event)
	if err != nil {
		return err
	}
	if err := r.shares.apply(ctx); err != nil {
		return r.unlessChanged(ctx, began, fmt.Errorf("giving each member its share of the processors: %w", err))
	}
	used := use{used: func() map[string]float64 { return r.shares.used(ctx) }}
	p, err := r.measure(ctx, v.Load, beside{used.begin, used.end, event})
	p.Result.Used = used.cores
	_ = r.shares.release() // the end of the suite waits for what is left
	if err == nil && v.Event == "" && ctx.Err() == nil {
		err = r.changed(ctx, began)
	}
	p.Experiment, p.Variant, p.Round = e.Name, v.Name, round
	if p.Event != nil {
		p.Event.Event = v.Event
	}
	if p.Result.Requests > 0 {
		p.Partial = p.Partial || err != nil
		r.bench.Points = append(r.bench.Points, p)
		for _, n := range benchNotes(p) {
			r.bench.Notes = append(r.bench.Notes, r.bench.Progress.Doing+": "+n)
		}
	}
	return errors.Join(err, ctx.Err())
}

// bring brings the cluster into the variant's state, and returns its status. Members that
// have come or gone since the suite began are not the suite's to stop or start.
func (r *suiteRun) bring(ctx context.Context, v appliance.BenchVariant) (s appliance.ClusterStatus, err error) {
	if s, err = r.api.Status(ctx, r.cluster); err != nil {
		return s, err
	}
	if why := bench.OtherMembers(r.bench.Before.Members, s); why != "" {
		return s, appliance.NewProblem(appliance.ErrConflict, "the cluster has changed under the suite: %s", why).WithHint("pgapp bench suite begins a new one")
	}
	if err := r.reach(ctx, func(appliance.ClusterStatus) bench.State { return bench.Wanted(*r.bench.Before, v) }); err != nil {
		return s, err
	}
	return r.api.Status(ctx, r.cluster)
}

// event is what happens in the middle of a point, nil where nothing does.
func (r *suiteRun) event(ctx context.Context, e appliance.BenchEvent) (func(context.Context) error, error) {
	switch e {
	case appliance.BenchSwitchover:
		return func(ctx context.Context) error { return r.change(ctx, bench.Change{Action: bench.Switchover}) }, nil
	case appliance.BenchKillPrimary:
		hands := drillHands{r.drillCommands, r.api}
		if err := hands.Resume(ctx); err != nil { // the failovers of earlier points don't count
			return nil, err
		}
		s, err := r.api.Status(ctx, r.cluster)
		return func(ctx context.Context) error {
			_, err := hands.Strike(ctx, s.Primary, drill.FaultKillMember)
			return err
		}, err
	}
	return nil, nil
}
