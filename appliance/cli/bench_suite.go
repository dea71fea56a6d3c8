package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
)

func (a benchCommands) benchSuiteCommand() *cobra.Command {
	var quick bool
	var seed uint64
	cmd := &cobra.Command{
		Use: "suite", Short: "Measure a series of loads, for a report",
		Long: `Measure a series of loads on the cluster as it is, each three times in changing
order: reads on the primary and on the standbys, the way through the endpoint and
without it, eventual and session consistency, and a switchover in the middle of a
load. pgapp bench report writes what came out.

The primary is moved, and moved back in the end. A cluster that is not whole, or has
no standby or no endpoint, is refused. Members on one machine share its processors, so
the suite says nothing about scaling there. Ctrl-C keeps what was measured.`,
		Example: `  pgapp bench suite --quick`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.benchSuite(cmd.Context(), quick, seed) },
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "short loads, about two minutes in all")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "what chance is drawn from")
	return cmd
}

func (a benchCommands) benchSuite(ctx context.Context, quick bool, seed uint64) (err error) {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx, a.cluster)
	if err != nil {
		return err
	}
	if found := drill.Whole(s); len(found) > 0 || len(s.Members) < 2 || s.Endpoints == nil {
		p := appliance.NewProblem(appliance.ErrConflict, "no suite: cluster %q needs a standby and endpoints", a.cluster)
		if len(found) > 0 {
			p = appliance.NewProblem(appliance.ErrConflict, "no suite: the cluster is not whole: %s", found[0])
		}
		return p.WithHint("pgapp ps shows the members")
	}
	release, err := a.benches().Claim()
	if err != nil {
		return err
	}
	defer release()
	now := time.Now()
	r := suiteRun{benchHands{a.drillCommands, c}, a.benches(), appliance.Bench{
		ID: bench.NewID(now), Cluster: a.cluster, Kind: appliance.BenchSuite, State: appliance.BenchRunning, Name: "suite",
		Command: fmt.Sprintf("pgapp bench suite --cluster %s --quick=%t --seed %d", a.cluster, quick, seed), CreatedAt: now.UTC(),
		Experiments: bench.Suite(quick, seed, len(s.Members)-1, string(s.Durability)),
		Notes:       []string{"members and driver share this machine's processors without shares of their own: the figures say nothing about scaling"},
	}}
	if err := r.open(ctx); err != nil {
		return err
	}
	defer r.close(ctx)
	if r.bench.Setting, err = r.setting(ctx, seed); err != nil {
		return err
	}
	err = errors.Join(r.points(ctx), r.back(ctx, s.Primary))
	r.bench.State = appliance.BenchSucceeded
	switch {
	case ctx.Err() != nil:
		r.bench.State = appliance.BenchCancelled
	case err != nil:
		r.bench.State, r.bench.Error = appliance.BenchFailed, appliance.AsProblem(err)
	}
	ended := time.Now().UTC()
	r.bench.EndedAt, r.bench.Progress.Doing, r.bench.Progress.LeftSeconds = &ended, "", 0
	err = errors.Join(err, r.records.Save(r.bench))
	a.note("bench %s: %d of %d points; pgapp bench report %s writes its report", r.bench.ID, r.bench.Progress.Done, r.bench.Progress.Total, r.bench.ID)
	return errors.Join(a.print(r.bench, func() error { return nil }), err)
}

// suiteRun is one run of a suite.
type suiteRun struct {
	benchHands
	records bench.Records
	bench   appliance.Bench
}

// points measures all points, and keeps each as soon as it is there. Every second round
// has the variants in the other order.
func (r *suiteRun) points(ctx context.Context) error {
	rounds := r.bench.Experiments[0].Repeats
	for _, e := range r.bench.Experiments {
		r.bench.Progress.Total += e.Repeats * len(e.Variants)
	}
	began := time.Now()
	for round := 1; round <= rounds; round++ {
		for _, e := range r.bench.Experiments {
			variants := slices.Clone(e.Variants)
			if round%2 == 0 {
				slices.Reverse(variants)
			}
			for _, v := range variants {
				if err := r.point(ctx, e, v, round); err != nil {
					return fmt.Errorf("measuring %s of %s: %w", v.Name, e.Name, err)
				}
				g := &r.bench.Progress
				g.Done++
				g.LeftSeconds = time.Since(began).Seconds() / float64(g.Done) * float64(g.Total-g.Done)
				if err := r.records.Save(r.bench); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// point measures one point on the whole cluster.
func (r *suiteRun) point(ctx context.Context, e appliance.BenchExperiment, v appliance.BenchVariant, round int) error {
	if err := r.whole(ctx); err != nil {
		return err
	}
	g := &r.bench.Progress
	g.Doing = fmt.Sprintf("%s: %s, round %d", e.Name, v.Name, round)
	r.note("%d of %d: %s", g.Done+1, g.Total, g.Doing)
	var event func(context.Context) error
	if v.Event == appliance.BenchSwitchover {
		event = func(ctx context.Context) error { return r.self(ctx, "switchover") }
	}
	p, err := r.measure(ctx, v.Load, event)
	p.Experiment, p.Variant, p.Round = e.Name, v.Name, round
	if p.Event != nil {
		p.Event.Event = v.Event
	}
	if p.Result.Requests > 0 {
		r.bench.Points = append(r.bench.Points, p)
		r.bench.Notes = append(r.bench.Notes, r.noted(g.Doing, p)...)
	}
	return errors.Join(err, ctx.Err())
}

// noted are the notes on a point, with its name.
func (r *suiteRun) noted(point string, p appliance.BenchPoint) []string {
	var out []string
	for _, n := range benchNotes(p) {
		out = append(out, point+": "+n)
	}
	return out
}

// whole waits until the cluster is whole.
func (r *suiteRun) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	return wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		s, err := r.api.Status(ctx, r.cluster)
		return err == nil && len(drill.Whole(s)) == 0, err
	})
}

// back makes the member the primary again, also after ctx has ended.
func (r *suiteRun) back(ctx context.Context, primary string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchLeave)
	defer cancel()
	if err := r.whole(ctx); err != nil {
		return err
	}
	s, err := r.api.Status(ctx, r.cluster)
	if err != nil || s.Primary == primary {
		return err
	}
	return r.self(ctx, "switchover", "--to", primary)
}
