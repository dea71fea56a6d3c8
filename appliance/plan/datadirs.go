package plan

import (
	"context"

	"golang.org/x/sync/errgroup"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// initialised tells whether the member has a data directory of the cluster. The
// primary's must also be on record.
func (d dataDirs) initialised(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = d.on(ctx, member, func(f facts, _ appliance.Member, mc appliance.Machine) error {
			dir, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			own, err := ownDataDir(f.cluster, member, mc, dir)
			done = own && recorded(f.cluster, member)
			return err
		})
		return done, err
	}
}

// recorded tells whether the member's data directory is on record, as only the
// primary's must be.
func recorded(c appliance.Cluster, member string) bool { return c.Initialised || member != c.Primary }

// ownDataDir tells whether the member has a data directory. A directory that is not
// the cluster's, and a recorded primary's missing directory, are errors.
func ownDataDir(c appliance.Cluster, member string, mc appliance.Machine, d postgres.DataDir) (bool, error) {
	dir := mc.Layout().DataDir
	switch {
	case d.Foreign:
		return false, appliance.NewProblem(appliance.ErrDataDirForeign, "%s of member %s holds files that are not a PostgreSQL 17 data directory of pgapp", dir, member).
			WithHint("move them elsewhere; pgapp touches nothing that it did not make")
	case !d.Exists:
		return false, primaryGone(c, member, dir)
	case c.SystemIdentifier != "" && c.SystemIdentifier != d.SystemIdentifier:
		return false, appliance.NewProblem(appliance.ErrDataDirForeign, "%s of member %s belongs to another cluster: its system identifier is %s, not %s", dir, member, d.SystemIdentifier, c.SystemIdentifier).
			WithHint("move it elsewhere, then run the same command again")
	}
	return true, nil
}

// primaryGone returns an error if the member, which has no data directory, is the
// primary and had one.
func primaryGone(c appliance.Cluster, member, dir string) error {
	if !c.Initialised || member != c.Primary {
		return nil
	}
	return appliance.NewProblem(appliance.ErrDataDirForeign, "the data directory of the primary %s is gone: %s", member, dir).
		WithHint("put it back, or remove the cluster with 'pgapp down --volumes'")
}

// record records the primary's system identifier and timeline unless they are on
// record. It does nothing for a standby.
func (d dataDirs) record(ctx context.Context, c appliance.Cluster, member string, dir postgres.DataDir) error {
	if recorded(c, member) {
		return nil
	}
	return d.updateCluster(ctx, func(c *appliance.Cluster) {
		c.SystemIdentifier, c.Timeline, c.Initialised = dir.SystemIdentifier, dir.Timeline, true
	})
}

// initialise makes the primary's data directory.
func (d dataDirs) initialise(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return d.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			if d.template != nil {
				return d.copyPrimary(ctx, f, m, mc)
			}
			return d.initdb(ctx, f, m, mc)
		})
	}
}

// initdb makes the primary's data directory unless it exists, and records it. A kill
// may have left a data directory that is not on record.
func (d dataDirs) initdb(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	dir, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return err
	}
	own, err := ownDataDir(f.cluster, m.Name, mc, dir)
	if err != nil {
		return err
	}
	if own {
		return d.record(ctx, f.cluster, m.Name, dir)
	}
	if f.cluster.SystemIdentifier != "" { // chosen for copies of a template, but never used
		if err := d.updateCluster(ctx, func(c *appliance.Cluster) { c.SystemIdentifier, c.Template = "", "" }); err != nil {
			return err
		}
	}
	if err := postgres.Initdb(ctx, mc, postgres.InitOptions{Locale: f.cluster.Spec.Locale, SyncLater: true}); err != nil {
		return err
	}
	if dir, err = postgres.InspectDataDir(ctx, mc); err != nil {
		return err
	}
	return d.record(ctx, f.cluster, m.Name, dir)
}

func (d dataDirs) clone(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		return d.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			if d.template != nil && !d.adds(member) {
				return d.copyTemplate(ctx, f, m, mc)
			}
			c, err := f.control(ctx, f.cluster.PrimaryMember())
			if err != nil {
				return err
			}
			defer func() { _ = c.Close(ctx) }()
			if err := readyToClone(ctx, f, m, c); err != nil {
				return err
			}
			// Recorded before the copy is whole, so that no kill leaves a whole copy whose
			// history looks like another promotion's. What is to be brought back may get its
			// old directory back instead.
			if m.Return == "" && stale(f.cluster, m) {
				if err := d.updateCluster(ctx, func(c *appliance.Cluster) { setReturned(c, member) }); err != nil {
					return err
				}
			}
			err = postgres.Clone(ctx, mc, postgres.CloneOptions{
				Upstream: f.upstream(m), Member: member, OperationID: d.op.ID, Primary: c,
				SystemIdentifier: f.cluster.SystemIdentifier, SyncLater: true,
				ReplicatorPassword: f.secrets.Get(appliance.SecretReplicator),
			}, report)
			if err != nil {
				return err
			}
			return d.keepWAL(ctx, m) // the backup's own checkpoint may make the slot lose WAL
		})
	}
}

// wiped tells whether this operation has wiped the member's data directory. The
// marker, which is written after the wipe, names the operation.
func (d dataDirs) wiped(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = d.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
			done, err = postgres.WipedBy(ctx, mc, d.op.ID)
			return err
		})
		return done, err
	}
}

func (d dataDirs) wipe(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return d.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
			return postgres.Wipe(ctx, mc, d.op.ID)
		})
	}
}

// syncAll flushes all members' data directories to disk, since earlier steps write
// without a flush.
func (d dataDirs) syncAll(ctx context.Context, _ appliance.Report) error {
	f, err := d.facts(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range f.cluster.Members {
		g.Go(func() error { return postgres.SyncDataDir(ctx, d.provider.Machine(f.cluster, m)) })
	}
	return g.Wait()
}

func (d dataDirs) syncMembers(members []appliance.Member) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		f, err := d.facts(ctx)
		if err != nil {
			return err
		}
		for _, m := range members {
			if err := postgres.SyncDataDir(ctx, d.provider.Machine(f.cluster, m)); err != nil {
				return err
			}
		}
		return nil
	}
}
