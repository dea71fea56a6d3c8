package plan

import (
	"context"

	"pgapp/appliance"
)

// MayCancel refuses the cancel of an operation whose change of primary has a candidate
// on record: the old primary can't come back any more. A switchover or a failover is
// refused to its end, other operations until their change of primary is done.
func (p *Planner) MayCancel(ctx context.Context, o appliance.Operation) error {
	c, err := p.cfg.Store.Cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	ch := c.Change
	if ch == nil || ch.Operation != o.ID || !ch.OneWay() {
		return nil
	}
	if ch.Phase == appliance.ChangeDone && o.Kind != appliance.OpSwitchover && o.Kind != appliance.OpFailover {
		return nil
	}
	to := ch.To
	if to == "" {
		to = "another member"
	}
	return appliance.NewProblem(appliance.ErrConflict, "operation %s (%s) can't be cancelled any more: %s becomes the primary instead of %s", o.ID, o.Kind, to, ch.From).
		WithHint("pgapp ops %s --follow waits for it; only pgapp down --volumes --cluster %s ends it, and removes the cluster", o.ID, o.Cluster).
		WithOperation(o.ID)
}
