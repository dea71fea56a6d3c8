package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// sharesMachine tells whether the cluster's members share a file system, so
// that none but the primary may have a tablespace's directory.
func sharesMachine(c appliance.Cluster) bool { return c.Spec.Provider == appliance.ProviderLocal }

// tablespaceStep refuses, before anything is changed, a standby beside
// tablespaces on one machine.
func (r recipe) tablespaceStep(c appliance.Cluster, added []appliance.Member) []appliance.Step {
	if !sharesMachine(c) || len(added) == 0 || c.Phase == appliance.PhaseCreating {
		return nil
	}
	return []appliance.Step{{
		ID: "tablespaces", Title: "look for tablespaces", Member: c.Primary,
		Do: func(ctx context.Context, _ appliance.Report) error {
			f, err := r.facts(ctx)
			if err != nil {
				return err
			}
			mc := r.provider.Machine(f.cluster, f.cluster.PrimaryMember())
			if running, err := mc.ServerRunning(ctx); err != nil || !running {
				return err // the clone asks again
			}
			return r.inPrimary(ctx, func(_ facts, p *postgres.Control) error {
				return postgres.RefuseTablespaces(ctx, p, "standby "+added[0].Name)
			})
		},
	}}
}

// readyToClone looks for what forbids a clone, and makes its slot.
func readyToClone(ctx context.Context, f facts, m appliance.Member, primary *postgres.Control) error {
	if sharesMachine(f.cluster) {
		if err := postgres.RefuseTablespaces(ctx, primary, "standby "+m.Name); err != nil {
			return err
		}
	}
	return postgres.EnsureSlot(ctx, primary, m.Slot)
}

// behind has the steps that wait for nothing wait for the first ones.
func behind(first, steps []appliance.Step) []appliance.Step {
	if len(first) == 0 {
		return steps
	}
	return append(first, after(steps, first[len(first)-1].ID)...)
}
