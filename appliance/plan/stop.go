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
func (r *recipe) stop(c appliance.Cluster, member string) error {
	intent := r.intent(member, true)
	if member != "" {
		m, err := memberOf(c, member)
		if err != nil {
			return err
		}
		r.powerOffStep(m, r.stopStep(m, intent))
		return nil
	}
	primary := c.PrimaryMember()
	stopped := r.stopStep(primary, intent)
	r.powerOffStep(primary, stopped)
	for _, m := range c.Standbys() {
		r.powerOffStep(m, r.stopStep(m, stopped))
	}
	return nil
}

func (r *recipe) stopStep(m appliance.Member, needs ...*node) *node {
	s := each(kindStop, m.Name, "stop PostgreSQL")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, m.Name, func(f facts, m appliance.Member, mc appliance.Machine) error {
			return r.stopMember(ctx, f.cluster, m, mc, report)
		})
	}
	return r.add(s, needs...)
}

func (r *recipe) powerOffStep(m appliance.Member, stopped *node) {
	s := each(kindPowerOff, m.Name, "stop the machine")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, m.Name, func(f facts, m appliance.Member, _ appliance.Machine) error {
			return r.provider.StopMachine(ctx, f.cluster, m, report)
		})
	}
	r.add(s, stopped)
}

// restart stops and starts. Whether a running server is the old or the new
// one can't be seen, so a resumed restart stops once more.
func (r *recipe) restart(c appliance.Cluster, member string) error {
	members := c.Members
	if member != "" {
		m, err := memberOf(c, member)
		if err != nil {
			return err
		}
		members = []appliance.Member{m}
	}
	intent := r.intent(member, false)
	var stopped []*node
	for _, m := range members {
		stopped = append(stopped, r.stopStep(m, intent))
	}
	from := len(r.nodes)
	err := r.startAfter(intent, c, member)
	for _, n := range r.nodes[from:] {
		if n.step.Member != "" {
			n.need(stopped...)
		}
	}
	return err
}

// destroy removes every trace. Nothing of the cluster is needed any more, so
// the members are ended at once instead of being shut down.
func (r *recipe) destroy(c appliance.Cluster) {
	s := whole(kindIntent, "record that it shall go")
	s.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { c.Phase, c.WantStopped = appliance.PhaseRemoving, true })
	}
	intent := r.add(s)
	from := len(r.nodes)
	r.embed(r.provider.DestroySteps(c, c.Members), nil)
	for _, n := range r.nodes[from:] {
		n.need(intent)
	}
	forget := whole(kindForget, "remove the clients' files")
	forget.Do = func(context.Context, appliance.Report) error { return r.cfg.Forget(c.Name) }
	r.add(forget, intent)
}

// stopMember stops the member's PostgreSQL; where that can't be done on its
// machine, by powering the machine off.
func (w work) stopMember(ctx context.Context, c appliance.Cluster, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	err := stopServer(ctx, mc)
	if m.Placement != appliance.PlacementVM || ctx.Err() != nil || !outOfReach(err) {
		return err
	}
	report(appliance.Progress{Detail: "PostgreSQL can't be stopped there: powering the machine off"})
	if e := w.provider.StopMachine(ctx, c, m, report); e != nil {
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
