package plan

import (
	"context"

	"pgapp/appliance"
)

// start brings the cluster, or one member, back to running: the recorded
// primary first, and every other member as a standby whatever it was.
func (r *recipe) start(c appliance.Cluster, member string) error {
	if r.op.Params.KeepStopped {
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
		r.streamingStep(following(c, m), last)
		return nil
	}
	primary, standbys := c.PrimaryMember(), c.Standbys()
	started := r.startStep(primary, r.powerStep(primary, intent))
	for _, m := range standbys {
		r.startStep(m, r.powerStep(m, intent), started)
	}
	access := r.accessStep(started)
	r.streamingStep(standbys, append(r.startedOf(standbys), access)...)
	return nil
}

// startWanted brings back what should run, as after a reboot, and changes
// nothing of what the user wants.
func (r *recipe) startWanted(c appliance.Cluster) {
	var primary, access *node
	if p := c.PrimaryMember(); !p.WantStopped {
		primary = r.startStep(p, r.powerStep(p))
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
		r.streamingStep(standbys, append(r.startedOf(standbys), access)...)
	}
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

// powerStep makes the member's machine ready for commands.
func (r *recipe) powerStep(m appliance.Member, needs ...*node) *node {
	s := each(kindPower, m.Name, "ready the machine")
	s.Do = func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, m.Name, func(f facts, m appliance.Member, _ appliance.Machine) error {
			return r.provider.StartMachine(ctx, f.cluster, m, report)
		})
	}
	return r.add(s, needs...)
}

// startStep configures the member by the record and starts PostgreSQL there.
func (r *recipe) startStep(m appliance.Member, needs ...*node) *node {
	s := each(kindStart, m.Name, "start PostgreSQL")
	s.Done, s.Do = r.accepting(m.Name), r.startServer(m.Name, false)
	return r.add(s, needs...)
}

// startApartStep is startStep for a standby whose slot isn't there yet: it
// connects to the primary in followStep. A first try that fails would have it
// wait for wal_retrieve_retry_interval.
func (r *recipe) startApartStep(m appliance.Member, needs ...*node) *node {
	n := r.startStep(m, needs...)
	n.step.Do = r.startServer(m.Name, true)
	return n
}

func (r *recipe) followStep(m appliance.Member, needs ...*node) *node {
	s := each(kindFollow, m.Name, "follow the primary")
	s.Do = r.follow(m.Name)
	return r.add(s, needs...)
}

// streamingStep waits until the standbys stream and have replayed what was done
// a moment ago, such as setting pgapp's own password: it is not to be held
// against them. Where one doesn't in time, verify says why.
func (r *recipe) streamingStep(standbys []appliance.Member, needs ...*node) *node {
	names := make([]string, 0, len(standbys))
	for _, m := range standbys {
		names = append(names, m.Name)
	}
	s := whole(kindStreaming, "wait until all standbys stream")
	s.Do = r.awaitStreaming(names)
	return r.add(s, needs...)
}
