package plan

import (
	"context"
	"maps"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// afterwards returns what a step does that comes after the change of primary. If it fails,
// the change is done all the same: the error says so, and what is left.
func afterwards(w work, s appliance.Step) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		err := s.Do(ctx, report)
		if err == nil || ctx.Err() != nil {
			return err
		}
		f, e := w.facts(ctx)
		if e != nil {
			return err
		}
		c, why := f.cluster, appliance.AsProblem(err)
		what := s.Title
		if s.Member != "" {
			what = s.Member + ": " + what
		}
		left := appliance.NewProblem(appliance.ErrDegraded, "the %s is done, and %s is the primary of cluster %q; what failed afterwards is %q: %w", w.op.Kind, c.Primary, c.Name, what, err).
			WithDetail(why.Detail)
		if s.Member != "" && s.Member != c.Primary {
			return left.WithHint("pgapp rejoin %s --cluster %s brings it back", s.Member, c.Name)
		}
		return left.WithHint("pgapp up --cluster %s goes on", c.Name)
	}
}

// unfitPaused is why a standby that has paused its replay can't be promoted.
const unfitPaused = "has paused its replay"

// exact returns the outcome with the hint that fits: to adopt a member that takes writes,
// or how the candidates' replay goes on that is paused.
func (p primaryChange) exact(ctx context.Context, f facts, ch appliance.PrimaryChange, outcome error) error {
	if outcome == nil || ch.Why == nil {
		return outcome
	}
	if takesWrites(ch) {
		return appliance.AsProblem(outcome).WithHint("it may be the real primary: pgapp adopt --cluster %s takes over what really runs", f.cluster.Name)
	}
	var hints []string
	for _, name := range pausedCandidates(ch) {
		if pause := p.work.pauseOf(ctx, f, name); pause != nil {
			hints = append(hints, goesOn(f.cluster.Name, name, *pause))
		}
	}
	if len(hints) == 0 {
		return outcome
	}
	return appliance.AsProblem(outcome).WithHint("%s, and then pgapp %s --cluster %s", strings.Join(hints, "; "), ch.Kind, f.cluster.Name)
}

// takesWrites tells whether another member than the recorded primary takes writes. No
// other one is promoted then, whoever accepts a loss.
func takesWrites(ch appliance.PrimaryChange) bool {
	for _, why := range ch.Why.Unfit {
		if why == ha.UnfitWrites {
			return true
		}
	}
	return false
}

// pausedCandidates are the members that a change was refused for, since they have paused
// their replay. Where one member was asked for, the others don't count.
func pausedCandidates(ch appliance.PrimaryChange) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ch.Why.Unfit)) {
		if ch.Why.Unfit[name] == unfitPaused && (ch.Wanted == "" || ch.Wanted == name) {
			out = append(out, name)
		}
	}
	return out
}
