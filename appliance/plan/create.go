package plan

import (
	"context"
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/tree"
)

func (w work) binariesKnown(ctx context.Context) (bool, error) {
	f, err := w.facts(ctx)
	if err != nil || f.cluster.PostgresBin == "" {
		return false, err
	}
	// The directory may be gone, for example with a removed package.
	_, err = tree.Probe(ctx, f.cluster.PostgresBin)
	return err == nil, nil
}

func (w work) findBinaries(ctx context.Context, report appliance.Report) error {
	f, err := w.facts(ctx)
	if err != nil {
		return err
	}
	b, err := w.cfg.Binaries(ctx, f.cluster.Spec, w.decision.Postgres)
	if err != nil {
		return fmt.Errorf("finding PostgreSQL 17: %w", err)
	}
	report(appliance.Progress{Detail: fmt.Sprintf("%s (%s)", b.Version, b.Source)})
	return w.updateCluster(ctx, func(c *appliance.Cluster) {
		c.PostgresBin, c.PostgresVersion, c.PostgresTree = b.Dir, b.Version, b.Source == tree.SourceTree
		c.PostgresEnv = b.Env()
	})
}

// rolesThere tells whether the roles are complete, by a login as role pgapp with the
// recorded password.
func (w work) rolesThere(ctx context.Context) (bool, error) {
	f, err := w.facts(ctx)
	if err != nil {
		return false, err
	}
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return false, nil // Do creates a missing role, and sets the password of an existing one
	}
	defer func() { _ = c.Close(ctx) }()
	return postgres.RolesComplete(ctx, c)
}

func (w work) createRoles(ctx context.Context, _ appliance.Report) error {
	return w.on(ctx, w.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		return postgres.EnsureRoles(ctx, mc, m.Port, f.secrets, f.cluster.Spec.Database)
	})
}

// createSlots makes a slot, which reserves WAL at once, for every standby.
func (w work) createSlots(ctx context.Context, _ appliance.Report) error {
	return w.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		for _, m := range f.cluster.Standbys() {
			if err := postgres.EnsureSlot(ctx, c, m.Slot); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitReplayed waits until the standbys have replayed the load, at most
// replayTimeout. A standby that is late is no error here: verify reports it.
func (w work) waitReplayed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	_ = w.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		var names []string
		for _, m := range f.cluster.Standbys() {
			if !m.WantStopped {
				names = append(names, m.Name)
			}
		}
		return postgres.WaitReplayed(ctx, c, names)
	})
}
