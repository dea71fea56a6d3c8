package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
)

const (
	// streamingTimeout bounds the wait for a standby that may have to replay
	// what it missed; it goes on afterwards, and the operation can be repeated.
	streamingTimeout = 5 * time.Minute
	// replayTimeout bounds the wait for standbys that stream to show what the
	// primary holds, before they are verified.
	replayTimeout = 30 * time.Second
	// stopTimeout is that of pg_ctl's documentation for a fast shutdown.
	stopTimeout = 60 * time.Second
)

// stop stops the cluster, or one member. The primary goes first: its shutdown
// checkpoint then reaches every standby, so that none lags when it stops.
func (r recipe) stop(c appliance.Cluster, member string) ([]appliance.Step, error) {
	steps := []appliance.Step{r.intent(member, true)}
	if member != "" {
		m, err := r.member(c, member)
		if err != nil {
			return nil, err
		}
		return append(steps, r.stopStep(m, "intent"), r.powerOffStep(m)), nil
	}
	primary := c.PrimaryMember()
	steps = append(steps, r.stopStep(primary, "intent"), r.powerOffStep(primary))
	for _, m := range c.Standbys() {
		steps = append(steps, r.stopStep(m, stepID("stop", primary.Name)), r.powerOffStep(m))
	}
	return steps, nil
}

func (r recipe) stopStep(m appliance.Member, after ...string) appliance.Step {
	return appliance.Step{
		ID: stepID("stop", m.Name), Title: "stop PostgreSQL", Member: m.Name, After: after,
		Do: func(ctx context.Context, report appliance.Report) error {
			return r.on(ctx, m.Name, func(f facts, m appliance.Member, mc appliance.Machine) error {
				return r.stopMember(ctx, f.cluster, m, mc, report)
			})
		},
	}
}

// stopMember stops the member's PostgreSQL; where that can't be done on its
// machine, by powering the machine off.
func (r recipe) stopMember(ctx context.Context, c appliance.Cluster, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	err := stopServer(ctx, mc)
	if m.Placement != appliance.PlacementVM || ctx.Err() != nil || !outOfReach(err) {
		return err
	}
	report(appliance.Progress{Detail: "PostgreSQL can't be stopped there: powering the machine off"})
	if e := r.provider.StopMachine(ctx, c, m, report); e != nil {
		return errors.Join(err, e)
	}
	return nil
}

// outOfReach tells whether a server could not be stopped in a way that ends
// with its machine.
func outOfReach(err error) bool {
	return appliance.IsProblem(err, appliance.ErrMemberUnreachable) || appliance.IsProblem(err, appliance.ErrGuestHostKey) ||
		appliance.IsProblem(err, appliance.ErrPostgresStop)
}

// stopServer stops fast; where that takes too long the server is stopped at
// once, which costs a crash recovery and no data.
func stopServer(ctx context.Context, mc appliance.Machine) error {
	fast, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := mc.StopServer(fast, appliance.StopFast)
	if err == nil || ctx.Err() != nil || fast.Err() == nil {
		return err
	}
	now, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return mc.StopServer(now, appliance.StopImmediate)
}

func (r recipe) powerOffStep(m appliance.Member) appliance.Step {
	return appliance.Step{
		ID: stepID("poweroff", m.Name), Title: "stop the machine", Member: m.Name, After: []string{stepID("stop", m.Name)},
		Do: func(ctx context.Context, report appliance.Report) error {
			return r.on(ctx, m.Name, func(f facts, m appliance.Member, _ appliance.Machine) error {
				return r.provider.StopMachine(ctx, f.cluster, m, report)
			})
		},
	}
}

// restart stops and starts. Whether a running server is the old or the new
// one can't be seen, so a resumed restart stops once more.
func (r recipe) restart(c appliance.Cluster, member string) ([]appliance.Step, error) {
	members := c.Members
	if member != "" {
		m, err := r.member(c, member)
		if err != nil {
			return nil, err
		}
		members = []appliance.Member{m}
	}
	start, err := r.start(c, member)
	if err != nil {
		return nil, err
	}
	steps := []appliance.Step{start[0]}
	for _, m := range members {
		steps = append(steps, r.stopStep(m, "intent"))
	}
	for _, s := range start[1:] {
		if s.Member != "" {
			s.After = append(s.After, each("stop", members)...)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// destroy removes every trace. Nothing of the cluster is needed any more, so
// the members are ended at once instead of being shut down.
func (r recipe) destroy(c appliance.Cluster) []appliance.Step {
	steps := []appliance.Step{{ID: "intent", Title: "record that it shall go", Do: func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { c.Phase, c.WantStopped = appliance.PhaseRemoving, true })
	}}}
	for _, s := range r.provider.DestroySteps(c, c.Members) {
		s.After = append(s.After, "intent")
		steps = append(steps, s)
	}
	return append(steps, appliance.Step{
		ID: "forget", Title: "remove the clients' files", After: []string{"intent"},
		Do: func(context.Context, appliance.Report) error { return r.cfg.Forget(c.Name) },
	})
}
