package plan

import (
	"context"

	"pgapp/appliance"
)

// restart draws the steps that stop and start the cluster or one member. The whole
// cluster restarts one member after the other: the standbys, and then the primary, which
// moves to one of them if the decision says so. A resumed restart stops the standbys
// again before the move, because a restarted server looks like the old one.
func (r *recipe) restart(c appliance.Cluster, member string) error {
	intent := r.intent(member, false)
	if member != "" || len(c.Standbys()) == 0 {
		return restartAtOnce(r, intent, c, member)
	}
	last := intent
	for _, m := range c.Standbys() {
		started := r.startStep(m, r.powerStep(m, r.stopStep(m, last, weakenStep(r, m.Name, lastKeeps, last))))
		again := each(kindStreaming, m.Name, "wait until it streams again")
		again.Do = streamsAgain(r.work, m.Name)
		last = r.add(again, started)
	}
	primary := c.PrimaryMember()
	if r.decision.Primary == "" {
		started := r.startStep(primary, r.powerStep(primary, r.stopStep(primary, last)))
		promiseStep(r, r.streamingStep(c.Standbys(), r.accessStep(started)))
		return nil
	}
	m := newMove(r.work, primary.Name)
	changed := m.draw(r, last, promisedStep(r, last))
	stopped := m.unlessMoved(r.stopStep(primary, changed))
	m.drawReturn(r, c.Standbys(), m.unlessMoved(r.startStep(primary, r.powerStep(primary, stopped))))
	return nil
}

// restartAtOnce draws the steps that stop the members, all or one, before they start
// again.
func restartAtOnce(r *recipe, intent *node, c appliance.Cluster, member string) error {
	members := c.Members
	if member != "" {
		m, err := memberOf(c, member)
		if err != nil {
			return err
		}
		members = []appliance.Member{m}
	}
	var stopped []*node
	for _, m := range members {
		stop := r.stopStep(m, intent)
		if member != "" && m.Name != c.Primary {
			stop.need(weakenStep(r, m.Name, lastKeeps, intent))
		}
		stopped = append(stopped, stop)
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

// streamsAgain waits until the restarted standby streams, so that at most one standby
// is away at a time. While the primary is down there is nothing to stream.
func streamsAgain(w work, member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		serves := false
		err := w.on(ctx, w.primaryName(ctx), func(_ facts, _ appliance.Member, mc appliance.Machine) (err error) {
			serves, err = mc.ServerRunning(ctx)
			return err
		})
		if err != nil || !serves {
			report(appliance.Progress{Detail: "the primary doesn't run"})
			return ctx.Err()
		}
		return w.awaitStreaming([]string{member})(ctx, report)
	}
}
