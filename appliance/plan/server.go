package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func (w work) follow(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			c, err := f.memberConfig(ctx, m, mc, d.Limits)
			if err != nil {
				return err
			}
			return postgres.Follow(ctx, mc, c)
		})
	}
}

// launch starts the stopped member with its recorded configuration, and waits until it
// accepts connections.
func (s starter) launch(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, d postgres.DataDir) error {
	c, err := f.memberConfig(ctx, m, mc, d.Limits)
	if err != nil {
		return err
	}
	c.Apart, c.Shut = s.apart, s.shuts(f, m)
	if f.cluster.Phase == appliance.PhaseCreating { // later changes check parameters before they record them
		if err := postgres.CheckFiles(ctx, mc, c.Parameters); err != nil {
			return err
		}
	}
	if err := postgres.Configure(ctx, mc, c); err != nil {
		return err
	}
	return s.work.withTablespaces(ctx, f.cluster, m, mc, func() error {
		if err := mc.StartServer(ctx); err != nil {
			return err
		}
		return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
	})
}

// presentDir returns the member's data directory, which must exist.
func presentDir(ctx context.Context, c appliance.Cluster, member string, mc appliance.Machine) (postgres.DataDir, error) {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return d, err
	}
	own, err := ownDataDir(c, member, mc, d)
	if err == nil && !own {
		err = appliance.NewProblem(appliance.ErrPostgresStart, "member %s has no data directory", member).
			WithHint("pgapp reinit %s clones it anew", member)
	}
	return d, err
}

// joinRunning waits until an already running server accepts connections, and tells
// whether it does. A server that ends during the wait is no error, since the cause,
// such as a full disk, may be gone: joinRunning then returns false.
func joinRunning(ctx context.Context, m appliance.Member, mc appliance.Machine) (bool, error) {
	running, err := mc.ServerRunning(ctx)
	if err != nil || !running {
		return false, err
	}
	err = postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
	if err == nil || ctx.Err() != nil {
		return err == nil, err
	}
	if alive, aliveErr := mc.ServerRunning(ctx); aliveErr != nil || alive {
		return false, err
	}
	return false, nil
}

// configure writes the member's configuration files.
func configure(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, limits postgres.Limits) error {
	c, err := f.memberConfig(ctx, m, mc, limits)
	if err != nil {
		return err
	}
	return postgres.Configure(ctx, mc, c)
}

// memberConfig returns the input of the member's configuration files. Members on this
// machine share its file system, and so each gets a share of its size. A standby never
// gets parameters below limits, because it would not start.
func (f facts) memberConfig(ctx context.Context, m appliance.Member, mc appliance.Machine, limits postgres.Limits) (postgres.Config, error) {
	size, err := postgres.FileSystemBytes(ctx, mc)
	if err != nil {
		return postgres.Config{}, err
	}
	return f.configOn(m, limits, size), nil
}

// configOn is memberConfig for a file system of that size.
func (f facts) configOn(m appliance.Member, limits postgres.Limits, size int64) postgres.Config {
	c := f.config(m)
	if m.Name != f.cluster.Primary {
		c.Parameters = undelayed(f.cluster, limits.Raise(c.Parameters))
	}
	sharing := 0
	for _, o := range f.cluster.Members {
		if o.Placement == m.Placement {
			sharing++
		}
	}
	if m.Placement == appliance.PlacementVM {
		sharing = 1
	}
	c.DiskBytes = size / int64(max(sharing, 1))
	return c
}

func (w work) awaitStreaming(names []string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		names, err := w.unmarked(ctx, names)
		if err != nil || len(names) == 0 {
			return err
		}
		err = w.inPrimary(ctx, func(f facts, c *postgres.Control) error {
			if delayed(f.cluster) {
				return waitDelayed(ctx, f, c, names, report)
			}
			if err := w.await(ctx, f, c, names); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, replayTimeout)
			defer cancel()
			_ = postgres.WaitReplayed(ctx, c, names)
			return nil
		})
		if err != nil {
			return err
		}
		return streamed(ctx, w.world, names, report)
	}
}

// await waits until the standbys stream. What pgapp begins by itself must not wait long
// for one that can't: there may be more to do.
func (w work) await(ctx context.Context, f facts, c *postgres.Control, names []string) error {
	if w.op.Params.Reason != "" {
		return w.waitMoving(ctx, f, c, names)
	}
	return waitStreaming(ctx, c, names)
}

func waitStreaming(ctx context.Context, c *postgres.Control, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	return postgres.WaitStreaming(ctx, c, names)
}
