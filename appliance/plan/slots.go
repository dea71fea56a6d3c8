package plan

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// slotsOf returns the names of the members' replication slots, but not those of the
// members in except.
func slotsOf(c appliance.Cluster, except ...string) []string {
	var out []string
	for _, m := range c.Members {
		if m.Slot != "" && !slices.Contains(except, m.Name) {
			out = append(out, m.Slot)
		}
	}
	return out
}

// prepareSlots makes slots on the standby that keep no WAL, for all other members: they
// can stream from it as soon as it is promoted.
func prepareSlots(ctx context.Context, w world, member string) error {
	fs, err := w.facts(ctx)
	if err != nil {
		return err
	}
	m, err := memberOf(fs.cluster, member)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context) (*postgres.Control, error) { return fs.control(ctx, m) }
	return w.cfg.Sessions.Use(ctx, postgres.SessionKey(fs.cluster, m.Name), dial, func(c *postgres.Control) error {
		return c.PrepareSlots(ctx, slotsOf(fs.cluster, member))
	})
}

// streamed makes the slots of the members that stream, and records that they have
// streamed in this epoch. A promotion makes missing slots, so a standby whose sessions
// are all taken is no error.
func streamed(ctx context.Context, w world, names []string, report appliance.Report) error {
	var g errgroup.Group
	for _, name := range names {
		g.Go(func() error { return prepareSlots(ctx, w, name) })
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return err
		}
		report(appliance.Progress{Detail: "slots for a later change of primary are missing: " + appliance.AsProblem(err).Message})
	}
	f, err := w.facts(ctx)
	if err != nil {
		return err
	}
	behind := func(m appliance.Member) bool {
		return slices.Contains(names, m.Name) && m.Return == "" && m.Epoch != f.cluster.Epoch
	}
	// Before the first change of primary no epoch tells members apart.
	if f.cluster.Epoch <= 1 || !slices.ContainsFunc(f.cluster.Members, behind) {
		return nil
	}
	return w.updateCluster(ctx, func(c *appliance.Cluster) {
		for i, m := range c.Members {
			if c.Epoch == f.cluster.Epoch && behind(m) {
				c.Members[i].Epoch = c.Epoch
			}
		}
	})
}

// dropSlot drops the slot of a member that leaves, on all others. A standby that doesn't
// answer keeps a slot that keeps no WAL.
func dropSlot(w world, leaving appliance.Member) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		f, err := w.facts(ctx)
		if err != nil {
			return err
		}
		for _, m := range f.cluster.Standbys() {
			if m.Name == leaving.Name || m.WantStopped || m.Return != "" {
				continue
			}
			dial := func(ctx context.Context) (*postgres.Control, error) { return f.control(ctx, m) }
			err := w.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, m.Name), dial, func(c *postgres.Control) error {
				return c.DropSlot(ctx, leaving.Slot)
			})
			if err != nil && ctx.Err() != nil {
				return err
			}
		}
		return w.inPrimary(ctx, func(_ facts, c *postgres.Control) error { return c.DropSlot(ctx, leaving.Slot) })
	}
}
