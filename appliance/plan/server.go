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
// accepts connections. A standby whose WAL asks for higher limits than its directory did
// ends, and is started again.
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
	if d.Unpromoted() { // it would take writes on the timeline of the old primary
		if err := postgres.MarkStandby(ctx, mc); err != nil {
			return err
		}
	}
	err = s.work.withTablespaces(ctx, f.cluster, m, mc, func() error {
		if err := mc.StartServer(ctx); err != nil {
			return err
		}
		return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
	})
	if err != nil && ctx.Err() == nil && c.Primary != nil && raised(ctx, mc, d.Limits) != "" {
		if d, err = postgres.InspectDataDir(ctx, mc); err == nil {
			err = s.launch(ctx, f, m, mc, d)
		}
	}
	return err
}

// raised names a limit that the standby's directory asks for more of since its WAL was
// replayed, empty if there is none. A standby with less ends, or pauses its replay.
func raised(ctx context.Context, mc appliance.Machine, had postgres.Limits) string {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return ""
	}
	return had.Below(d.Limits)
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

func waitStreaming(ctx context.Context, c *postgres.Control, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	return postgres.WaitStreaming(ctx, c, names)
}
