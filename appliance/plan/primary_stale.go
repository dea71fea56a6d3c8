package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/observe"
)

// evidenceLasts is how old what a failover was begun for may be when it begins to act. It
// is older where the daemon was held up or ended between the two.
const evidenceLasts = 5 * time.Second

// unlessServes refuses a failover that has done nothing yet, and whose evidence is old, if
// the primary works by now: it may have been silent for a while only. It is asked in a new
// session, with a write that the standbys confirm if that is promised.
func unlessServes(ctx context.Context, p primaryChange, f facts, ch appliance.PrimaryChange) error {
	if ch.Kind != appliance.OpFailover || ch.Phase != appliance.ChangeLooking || time.Since(p.work.op.CreatedAt) < evidenceLasts {
		return nil
	}
	for _, s := range observe.Subjects(f.cluster, p.work.provider, f.secrets) {
		if s.Primary && p.work.cfg.Observer.Serves(ctx, s, ha.Without(f.cluster.Promise, ch.From)) == nil {
			return appliance.NewProblem(appliance.ErrConflict, "%s, the primary of cluster %q, answers and takes writes again: it is not replaced", ch.From, f.cluster.Name).
				WithHint("pgapp switchover --cluster %s moves the primary without loss", f.cluster.Name)
		}
	}
	return ctx.Err()
}
