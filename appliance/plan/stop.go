package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
)

const (
	// streamingTimeout bounds the wait for a standby that may have much WAL to
	// replay. The standby continues after the timeout, and the user can repeat the
	// operation.
	streamingTimeout = 5 * time.Minute
	// replayTimeout bounds the wait for streaming standbys to replay the primary's
	// WAL before verification.
	replayTimeout = 30 * time.Second
	// stopTimeout bounds each shutdown, and equals pg_ctl's default timeout.
	stopTimeout = 60 * time.Second
)

// stop draws the steps that stop the cluster or one member. The primary stops first,
// so that its shutdown checkpoint reaches every standby before the standbys stop.
func (r *recipe) stop(c appliance.Cluster, member string) error {
	if member != "" {
		m, err := memberOf(c, member)
		if err != nil {
			return err
		}
		intent := r.intent(member, true)
		if m.Name != c.Primary {
			intent.need(weakenStep(r, m.Name, r.lastOf()))
		}
		r.powerOffStep(m, r.stopStep(m, intent))
		return nil
	}
	primary := c.PrimaryMember()
	stopped := r.stopStep(primary, r.intent(member, true))
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

// destroy draws the steps that remove the cluster and its files. The members end at
// once, without a shutdown, since nothing of the cluster is needed any more.
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
	forget.Do = func(ctx context.Context, _ appliance.Report) error {
		if r.cfg.Endpoints != nil {
			if err := r.cfg.Endpoints.Settle(ctx, c.Name, false); err != nil {
				return err
			}
		}
		return r.cfg.Forget(c.Name)
	}
	r.add(forget, intent)
}

// stopMember stops the member's PostgreSQL. If the virtual machine is out of reach,
// stopMember powers the machine off.
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

// outOfReach tells whether a power-off of the machine resolves the error: the machine
// is unreachable, or the server doesn't stop.
func outOfReach(err error) bool {
	return appliance.IsProblem(err, appliance.ErrMemberUnreachable) || appliance.IsProblem(err, appliance.ErrGuestHostKey) ||
		appliance.IsProblem(err, appliance.ErrPostgresStop)
}

// stopServer stops the server in mode fast, and after stopTimeout in mode immediate,
// which costs a crash recovery but no data.
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
