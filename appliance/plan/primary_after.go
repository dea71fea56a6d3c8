package plan

import (
	"context"

	"pgapp/appliance"
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
