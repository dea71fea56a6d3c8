package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// kindRejoin is the step that brings a member back as a standby.
const kindRejoin appliance.StepKind = "rejoin"

// rejoin brings one member back as a standby of the recorded primary.
type rejoin struct {
	work   work
	member string
}

// rejoinStep draws the step that brings the member back as a standby of the recorded
// primary. The step takes no notice of a member that has no way back on record.
func rejoinStep(r *recipe, member string, needs ...*node) *node {
	j := rejoin{r.work, member}
	s := each(kindRejoin, member, "bring it back as a standby")
	s.Done, s.Do = j.returned, j.do
	return r.add(s, needs...)
}

// drawRejoin draws the steps that bring back one member, or all members that have a way
// back on record and that the user has not stopped.
func drawRejoin(r *recipe, c appliance.Cluster, member string) error {
	if member == "" {
		for _, m := range c.Standbys() {
			if !m.WantStopped {
				rejoinStep(r, m.Name)
			}
		}
		return nil
	}
	m, err := memberOf(c, member)
	if err != nil {
		return err
	}
	if m.Name == c.Primary {
		return appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't follow itself", m.Name, c.Name).
			WithHint("pgapp ps shows which members are standbys")
	}
	rejoinStep(r, m.Name, r.intent(m.Name, false))
	return nil
}

// returned tells whether the record has no way back for the member. The record alone
// decides: a server that runs may be the old primary that somebody started.
func (j rejoin) returned(ctx context.Context) (bool, error) {
	f, err := j.work.facts(ctx)
	if err != nil {
		return false, err
	}
	m, err := memberOf(f.cluster, j.member)
	return err == nil && m.Return == "", err
}

// do brings the member back. A repeat after a kill at any point stops the server that
// an earlier attempt has started.
func (j rejoin) do(ctx context.Context, report appliance.Report) error {
	err := j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		if err := j.work.provider.StartMachine(ctx, f.cluster, m, report); err != nil {
			return err
		}
		if err := j.work.stopMember(ctx, f.cluster, m, mc, report); err != nil {
			return err
		}
		return j.follow(ctx, f, m, mc, report)
	})
	if err != nil {
		return err
	}
	return j.work.updateCluster(ctx, func(c *appliance.Cluster) { setReturned(c, j.member) })
}

// setReturned records that the member streams from the recorded primary.
func setReturned(c *appliance.Cluster, member string) {
	for i := range c.Members {
		if m := &c.Members[i]; m.Name == member {
			m.Return, m.Epoch = "", c.Epoch
		}
	}
}

// follow starts the stopped member as a standby, and waits until it streams.
func (j rejoin) follow(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return err
	}
	own, err := ownDataDir(f.cluster, m.Name, mc, d)
	if err != nil {
		return err
	}
	if !own {
		return appliance.NewProblem(appliance.ErrPostgresStart, "member %s has no data directory", m.Name).
			WithHint("pgapp reinit %s clones it anew", m.Name)
	}
	c, err := f.memberConfig(ctx, m, mc, d.Limits)
	if err != nil {
		return err
	}
	if err := postgres.Configure(ctx, mc, c); err != nil {
		return err
	}
	if err := postgres.RemoveSlots(ctx, mc, slotsOf(f.cluster)); err != nil {
		return err
	}
	err = j.work.inPrimary(ctx, func(_ facts, c *postgres.Control) error { return postgres.EnsureSlot(ctx, c, m.Slot) })
	if err != nil {
		return err
	}
	err = j.work.withTablespaces(ctx, f.cluster, m, mc, func() error {
		if err := mc.StartServer(ctx); err != nil {
			return err
		}
		return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
	})
	if err != nil {
		return err
	}
	return j.work.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		if delayed(f.cluster) {
			return waitDelayed(ctx, f, c, []string{m.Name}, report)
		}
		return waitStreaming(ctx, c, []string{m.Name})
	})
}

// slotsOf returns the names of the members' replication slots.
func slotsOf(c appliance.Cluster) []string {
	var out []string
	for _, m := range c.Members {
		if m.Slot != "" {
			out = append(out, m.Slot)
		}
	}
	return out
}
