package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// start brings the cluster, or one member, back to running: the recorded
// primary first, and every other member as a standby whatever it was.
func (r recipe) start(c appliance.Cluster, member string) ([]appliance.Step, error) {
	if r.op.Params.KeepStopped {
		return r.startWanted(c), nil
	}
	steps := []appliance.Step{r.intent(member, false)}
	if member != "" {
		m, err := r.member(c, member)
		if err != nil {
			return nil, err
		}
		steps = append(steps, r.powerStep(m, "intent"), r.startStep(m, stepID("power", m.Name)))
		last := stepID("start", m.Name)
		if m.Name == c.Primary {
			steps, last = append(steps, r.accessStep(last)), "access"
		}
		return append(steps, r.streamingStep(following(c, m), last)), nil
	}
	primary, standbys := c.PrimaryMember(), c.Standbys()
	steps = append(steps, r.powerStep(primary, "intent"), r.startStep(primary, stepID("power", primary.Name)))
	for _, m := range standbys {
		steps = append(steps, r.powerStep(m, "intent"), r.startStep(m, stepID("power", m.Name), stepID("start", primary.Name)))
	}
	steps = append(steps, r.accessStep(stepID("start", primary.Name)))
	return append(steps, r.streamingStep(standbys, append(each("start", standbys), "access")...)), nil
}

// startWanted brings back what should run, as after a reboot, and changes
// nothing of what the user wants.
func (r recipe) startWanted(c appliance.Cluster) []appliance.Step {
	var steps []appliance.Step
	var primary []string
	if p := c.PrimaryMember(); !p.WantStopped {
		steps = append(steps, r.powerStep(p), r.startStep(p, stepID("power", p.Name)))
		primary = []string{stepID("start", p.Name)}
		steps = append(steps, r.accessStep(primary...))
	}
	var standbys []appliance.Member
	for _, m := range c.Standbys() {
		if !m.WantStopped {
			steps = append(steps, r.powerStep(m), r.startStep(m, append([]string{stepID("power", m.Name)}, primary...)...))
			standbys = append(standbys, m)
		}
	}
	if primary == nil {
		return steps
	}
	return append(steps, r.streamingStep(standbys, append(each("start", standbys), "access")...))
}

// following are the standbys that should stream once the member has started:
// itself, or all that run where it is the primary.
func following(c appliance.Cluster, m appliance.Member) []appliance.Member {
	if m.Name != c.Primary {
		if c.PrimaryMember().WantStopped {
			return nil
		}
		return []appliance.Member{m}
	}
	var out []appliance.Member
	for _, s := range c.Standbys() {
		if !s.WantStopped {
			out = append(out, s)
		}
	}
	return out
}

// intent records what the user wants, so that a restarted daemon wants it too.
func (r recipe) intent(member string, stopped bool) appliance.Step {
	title := "record that it shall run"
	if stopped {
		title = "record that it shall be stopped"
	}
	return appliance.Step{ID: "intent", Title: title, Member: member, Do: func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { setWanted(c, member, stopped) })
	}}
}

// setWanted sets what the user wants of the member, or of all where the name
// is empty.
func setWanted(c *appliance.Cluster, member string, stopped bool) {
	if member == "" {
		c.WantStopped = stopped
	}
	for i := range c.Members {
		if member == "" || c.Members[i].Name == member {
			c.Members[i].WantStopped = stopped
		}
	}
}

// wanted has an up first record that all members shall run, where the user had
// stopped some or where the creation failed.
func (r recipe) wanted(steps []appliance.Step) []appliance.Step {
	if !r.op.Params.WantRunning {
		return steps
	}
	intent := r.intent("", false)
	intent.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) {
			setWanted(c, "", false)
			if c.Phase == appliance.PhaseFailed {
				c.Phase = appliance.PhaseCreating
			}
		})
	}
	return append([]appliance.Step{intent}, after(steps, intent.ID)...)
}

// powerStep makes the member's machine ready for commands.
func (r recipe) powerStep(m appliance.Member, after ...string) appliance.Step {
	return appliance.Step{
		ID: stepID("power", m.Name), Title: "ready the machine", Member: m.Name, After: after,
		Do: func(ctx context.Context, report appliance.Report) error {
			return r.on(ctx, m.Name, func(f facts, m appliance.Member, _ appliance.Machine) error {
				return r.provider.StartMachine(ctx, f.cluster, m, report)
			})
		},
	}
}

// startStep configures the member by the record and starts PostgreSQL there.
func (r recipe) startStep(m appliance.Member, after ...string) appliance.Step {
	return appliance.Step{
		ID: stepID("start", m.Name), Title: "start PostgreSQL", Member: m.Name, After: after,
		Done: r.accepting(m.Name), Do: r.startServer(m.Name, false),
	}
}

func (r recipe) accepting(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (ok bool, err error) {
		err = r.on(ctx, member, func(_ facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			ok = err == nil && running && postgres.Accepts(ctx, m.Host, m.Port)
			return err
		})
		return ok, err
	}
}

// startApartStep is startStep for a standby whose slot isn't there yet: it
// connects to the primary in followStep. A first try that fails would have it
// wait for wal_retrieve_retry_interval.
func (r recipe) startApartStep(m appliance.Member, after ...string) appliance.Step {
	s := r.startStep(m, after...)
	s.Do = r.startServer(m.Name, true)
	return s
}

func (r recipe) followStep(m appliance.Member, after ...string) appliance.Step {
	return appliance.Step{
		ID: stepID("follow", m.Name), Title: "follow the primary", Member: m.Name, After: after,
		Do: func(ctx context.Context, _ appliance.Report) error {
			return r.on(ctx, m.Name, func(f facts, m appliance.Member, mc appliance.Machine) error {
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
		},
	}
}

func (r recipe) startServer(member string, apart bool) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			own, err := r.recordDataDir(ctx, f.cluster, member, mc, d)
			if err != nil {
				return err
			}
			if !own {
				return appliance.NewProblem(appliance.ErrPostgresStart, "member %s has no data directory", member).
					WithHint("pgapp reinit %s clones it anew", member)
			}
			if done, err := joinRunning(ctx, m, mc); done || err != nil {
				return err
			}
			c, err := f.memberConfig(ctx, m, mc, d.Limits)
			if err != nil {
				return err
			}
			c.Apart = apart
			if f.cluster.Phase == appliance.PhaseCreating { // later the parameters were checked before they were recorded
				if err := postgres.CheckFiles(ctx, mc, c.Parameters); err != nil {
					return err
				}
			}
			if err := postgres.Configure(ctx, mc, c); err != nil {
				return err
			}
			return r.withTablespaces(ctx, f.cluster, m, mc, func() error {
				if err := mc.StartServer(ctx); err != nil {
					return err
				}
				return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
			})
		})
	}
}

// joinRunning waits for a server that is there already, and tells whether it
// accepts. It may have been ending, or failing at what has been mended since,
// such as a full disk: then it has gone, and there is none to join.
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

// configure renders the member's files.
func configure(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, limits postgres.Limits) error {
	c, err := f.memberConfig(ctx, m, mc, limits)
	if err != nil {
		return err
	}
	return postgres.Configure(ctx, mc, c)
}

// memberConfig is what the member's files depend on. Members on this machine
// share its file system, and so what of it their slots may hold. A standby gets
// no less than its limits, whatever the record says: it would not start.
func (f facts) memberConfig(ctx context.Context, m appliance.Member, mc appliance.Machine, limits postgres.Limits) (postgres.Config, error) {
	c := f.config(m)
	if m.Name != f.cluster.Primary {
		c.Parameters = undelayed(f.cluster, limits.Raise(c.Parameters))
	}
	size, err := postgres.FileSystemBytes(ctx, mc)
	if err != nil {
		return c, err
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
	return c, nil
}

// streamingStep waits until the standbys stream and have replayed what was done
// a moment ago, such as setting pgapp's own password: it is not to be held
// against them. Where one doesn't in time, verify says why.
func (r recipe) streamingStep(standbys []appliance.Member, after ...string) appliance.Step {
	return appliance.Step{
		ID: "streaming", Title: "wait until all standbys stream", After: after,
		Do: func(ctx context.Context, report appliance.Report) error {
			if len(standbys) == 0 {
				return nil
			}
			names := make([]string, 0, len(standbys))
			for _, m := range standbys {
				names = append(names, m.Name)
			}
			return r.inPrimary(ctx, func(f facts, c *postgres.Control) error {
				if delayed(f.cluster) {
					return waitDelayed(ctx, f, c, names, report)
				}
				if err := waitStreaming(ctx, c, names); err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(ctx, replayTimeout)
				defer cancel()
				_ = postgres.WaitReplayed(ctx, c, names)
				return nil
			})
		},
	}
}

func waitStreaming(ctx context.Context, c *postgres.Control, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	return postgres.WaitStreaming(ctx, c, names)
}
