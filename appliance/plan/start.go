package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// start draws the steps that start the cluster or one member: the recorded primary
// first, and every other member as a standby, whatever its role was.
func (r *recipe) start(c appliance.Cluster, member string) error {
	switch {
	case r.op.Params.KeepStopped && member != "":
		return startOnly(r, c, member)
	case r.op.Params.KeepStopped:
		r.startWanted(c)
		return nil
	}
	return r.startAfter(r.intent(member, false), c, member)
}

func (r *recipe) startAfter(intent *node, c appliance.Cluster, member string) error {
	if member != "" {
		m, err := memberOf(c, member)
		if err != nil {
			return err
		}
		last := r.startStep(m, r.powerStep(m, intent))
		if m.Name == c.Primary {
			last = r.accessStep(last)
		}
		promiseStep(r, r.streamingStep(following(c, m), last))
		return nil
	}
	primary, standbys := c.PrimaryMember(), c.Standbys()
	started := r.startStep(primary, r.powerStep(primary, intent))
	for _, m := range standbys {
		r.startStep(m, r.powerStep(m, intent), started)
	}
	access := r.accessStep(started)
	promiseStep(r, r.streamingStep(standbys, append(r.startedOf(standbys), access)...))
	return nil
}

// servesLimit bounds the question to a primary that may be ill. A standby streams also
// where nobody waits for that.
const servesLimit = time.Second

// startOnly draws the steps that start one standby which shall run, whatever the primary
// does: it may be ill, and its replacement may need the standby's answer.
func startOnly(r *recipe, c appliance.Cluster, member string) error {
	m, err := memberOf(c, member)
	if err != nil || m.WantStopped || m.Name == c.Primary {
		return err
	}
	s := whole(kindStreaming, "wait until it streams, if the primary serves")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		return r.keeping(ctx, member, report, func() error { return r.streamsIfServed(ctx, member, report) })
	}
	r.add(s, r.startStep(m, r.powerStep(m)))
	return nil
}

// streamsIfServed waits until the standby streams and is promised. It waits for no primary
// that takes no sessions.
func (w work) streamsIfServed(ctx context.Context, member string, report appliance.Report) error {
	f, err := w.facts(ctx)
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, servesLimit)
	defer cancel()
	if p := f.cluster.PrimaryMember(); !postgres.Accepts(asked, p.Host, p.Port) {
		report(appliance.Progress{Detail: p.Name + ", the primary, takes no sessions"})
		return nil
	}
	if err := w.awaitStreaming([]string{member})(ctx, report); err != nil || !w.decision.Promise {
		return err
	}
	return settling{work: w}.all(ctx, report)
}

// startWanted draws the steps that start the members the user wants running, as after
// a reboot.
func (r *recipe) startWanted(c appliance.Cluster) {
	var primary, access *node
	if p := c.PrimaryMember(); !p.WantStopped {
		primary = r.startStep(p, r.powerStep(p, fenceStep(r, p)))
		access = r.accessStep(primary)
	}
	var standbys []appliance.Member
	for _, m := range c.Standbys() {
		if !m.WantStopped {
			r.startStep(m, r.powerStep(m), primary)
			standbys = append(standbys, m)
		}
	}
	if primary != nil {
		promiseStep(r, r.streamingStep(standbys, append(r.startedOf(standbys), access)...))
	}
}

// fenceStep draws the step that ends whatever runs of a primary that answers nobody and
// that nobody can replace. It returns nil if the operation doesn't ask for that. A repeat
// leaves a server alone that accepts sessions: it is the one that was started.
func fenceStep(r *recipe, m appliance.Member) *node {
	if !r.op.Params.Fence {
		return nil
	}
	s := each(kindFence, m.Name, "end what runs of it")
	s.Done = func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		defer cancel()
		return postgres.Accepts(ctx, m.Host, m.Port), nil
	}
	s.Do = func(ctx context.Context, report appliance.Report) error {
		if r.cfg.Endpoints != nil {
			if err := r.cfg.Endpoints.Cut(ctx, r.op.Cluster); err != nil && ctx.Err() == nil {
				report(appliance.Progress{Note: "the endpoints: " + err.Error()})
			}
		}
		return r.on(ctx, m.Name, func(_ facts, _ appliance.Member, mc appliance.Machine) error { return mc.Fence(ctx) })
	}
	return r.add(s)
}

// following returns the standbys that should stream once the member has started: a
// standby itself, or all running standbys if the member is the primary.
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

// intent draws the step that records whether the user wants the member running, so
// that a restarted daemon knows.
func (r *recipe) intent(member string, stopped bool) *node {
	s := whole(kindIntent, "record that it shall run")
	if stopped {
		s.Title = "record that it shall be stopped"
	}
	s.Member = member
	s.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { setWanted(c, member, stopped) })
	}
	return r.add(s)
}

// setWanted sets whether the user wants the member stopped. An empty name means the
// cluster and all members.
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

// wanted draws up's first step, which records that all members shall run, if the user
// had stopped some or the creation failed.
func (r *recipe) wanted() {
	if !r.op.Params.WantRunning {
		return
	}
	r.intent("", false).step.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) {
			setWanted(c, "", false)
			if c.Phase == appliance.PhaseFailed {
				c.Phase = appliance.PhaseCreating
			}
		})
	}
}

// powerStep draws the step that makes the member's machine ready for commands.
func (r *recipe) powerStep(m appliance.Member, needs ...*node) *node {
	s := each(kindPower, m.Name, "ready the machine")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, m.Name, func(f facts, m appliance.Member, _ appliance.Machine) error {
			return r.provider.StartMachine(ctx, f.cluster, m, report)
		})
	}
	return r.add(s, needs...)
}

// startStep draws the step that applies the member's recorded configuration and
// starts PostgreSQL in the recorded role.
func (r *recipe) startStep(m appliance.Member, needs ...*node) *node {
	s := each(kindStart, m.Name, "start PostgreSQL")
	role := starter{work: r.work, member: m.Name, admits: r.decision.Promise}
	s.Done = role.inRole
	s.Do = func(ctx context.Context, report appliance.Report) error {
		if err := role.do(ctx, report); err != nil {
			return err
		}
		r.cfg.settleEndpoints(ctx, r.op.Cluster)
		return nil
	}
	if r.op.Kind == appliance.OpUp && m.Return == appliance.WayLook && m.Name != r.decision.Primary { // up brings it back
		needs = append(needs, wayStep(r, m.Name, needs...))
	}
	return r.add(s, needs...)
}

// startApartStep is startStep for a standby whose slot doesn't exist yet. The standby
// connects to the primary only in followStep, because a failed connection would make
// the standby wait for wal_retrieve_retry_interval.
func (r *recipe) startApartStep(m appliance.Member, needs ...*node) *node {
	n := r.startStep(m, needs...)
	n.step.Do = starter{work: r.work, member: m.Name, apart: true}.do
	return n
}

func (r *recipe) followStep(m appliance.Member, needs ...*node) *node {
	s := each(kindFollow, m.Name, "follow the primary")
	s.Do = r.follow(m.Name)
	return r.add(s, needs...)
}

// streamingStep draws the step that waits until the standbys stream. The step also
// waits for them to replay recent changes, such as pgapp's password, which verify
// needs. A standby that replays too late is no error here: verify reports it.
func (r *recipe) streamingStep(standbys []appliance.Member, needs ...*node) *node {
	names := make([]string, 0, len(standbys))
	for _, m := range standbys {
		names = append(names, m.Name)
	}
	s := whole(kindStreaming, "wait until all standbys stream")
	s.Do = r.awaitStreaming(names)
	return r.add(s, needs...)
}
