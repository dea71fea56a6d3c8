package plan

import (
	"context"
	"slices"

	"pgapp/appliance"
)

// adopt draws the step that records the decision made before the operation began.
// No server is started, stopped or configured.
func (r *recipe) adopt() error {
	d := r.op.Params.Adopt
	if d == nil {
		return appliance.NewProblem(appliance.ErrInternal, "operation %s does not say what to adopt", r.op.ID)
	}
	record := whole(kindRecord, "record the primary")
	record.Done = func(ctx context.Context) (bool, error) {
		c, err := r.cfg.Store.Cluster(ctx, r.op.Cluster)
		return err == nil && c.Revision > d.Revision && c.Epoch == d.Found.Epoch && c.Primary == d.Found.Primary, err
	}
	record.Do = func(ctx context.Context, _ appliance.Report) error {
		_, err := r.cfg.Store.UpdateCluster(ctx, r.op.Cluster, func(c *appliance.Cluster) error { return adoptInto(c, *d) })
		return err
	}
	known := whole(kindKnown, "end observing only")
	known.Do = func(ctx context.Context, _ appliance.Report) error { return r.cfg.Adopted(ctx, r.op.Cluster) }
	r.add(known, r.add(record))
	return nil
}

// adoptInto applies the decision to the record. adoptInto returns ErrConflict if
// the record has changed since the decision.
func adoptInto(c *appliance.Cluster, d appliance.AdoptDecision) error {
	if c.Revision != d.Revision {
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q was changed while its members were looked at", c.Name).
			WithHint("run pgapp adopt --cluster %s again; nothing was changed", c.Name)
	}
	c.Primary, c.Epoch, c.Timeline = d.Found.Primary, d.Found.Epoch, d.Found.Timeline
	for i, m := range c.Members {
		if slices.Contains(d.Running, m.Name) {
			c.Members[i].WantStopped, c.WantStopped = false, false
		}
	}
	if slices.Contains(d.Running, c.Primary) && c.Initialised && c.Phase != appliance.PhaseRemoving {
		c.Phase = appliance.PhaseReady
	}
	return nil
}
