package plan

import (
	"context"
	"reflect"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// upChanged draws up for a cluster whose spec changes. Removed members leave when
// all others are in place. Parameters reach the standbys before the primary, and
// once more after the primary if a restart changes a limit.
func (r *recipe) upChanged(c appliance.Cluster, ch appliance.Change) {
	kept := ch.Without(ch.Applied(c))
	from := len(r.nodes)
	spaces := r.tablespaceStep(c, ch.Add)
	first := r.recordSteps(c, ch)
	if c.Initialised {
		first = r.letIn(kept, first)
	}
	r.sizeSteps(c, ch)
	drawn := len(r.nodes)
	r.bring(kept)
	r.behind(first, r.nodes[drawn:])
	for _, n := range r.all(kindSize) {
		r.of(appliance.StepMachine, n.step.Member).need(n)
	}
	slots := r.of(kindSlots, "")
	applied := r.applySteps(c, kept, ch, slots, r.of(kindLoad, ""))
	r.resizeSteps(c, kept, ch)
	r.removeSteps(c, ch, slots, r.of(kindApply, kept.Primary))
	r.join(kept)
	r.behind(spaces, r.nodes[from:])
	moveForParameters(r, applied)
}

// upUnchanged draws up for a new cluster, or for a cluster whose spec doesn't
// change. An earlier change may be on record and not in force, so the steps ask
// the servers.
func (r *recipe) upUnchanged(c appliance.Cluster) {
	if c.Phase != appliance.PhaseReady && c.Phase != appliance.PhaseStopped {
		r.bring(c) // each start applies the recorded configuration
		return
	}
	in := r.letIn(c)
	from := len(r.nodes)
	r.bring(c)
	r.behind(in, r.nodes[from:])
	applied := r.applySteps(c, c, appliance.Change{Restart: r.decision.Restart}, r.of(kindSlots, ""), r.of(kindLoad, ""))
	for _, n := range applied {
		if n.step.Title = "apply the configuration"; n.step.Kind == kindApply {
			n.step.Done = r.inForce(n.step.Member)
		}
	}
	r.join(c)
	moveForParameters(r, applied)
}

// join makes the clones of new members wait until the primary lets them in, and
// the final checks wait for all changes.
func (r *recipe) join(kept appliance.Cluster) {
	applied, slots := r.of(kindApply, kept.Primary), r.of(kindSlots, "")
	for _, n := range r.all(appliance.StepClone) {
		if r.adds(n.step.Member) {
			n.need(applied, slots)
		}
	}
	last := r.all(kindApply, kindSettle, kindResize, kindForget)
	for _, n := range r.all(kindStreaming, kindSync, kindVerify) {
		n.need(last...)
	}
}

// recordSteps draws the steps that have PostgreSQL check the parameters, and then
// record the change. All other steps of the change come later.
func (r *recipe) recordSteps(c appliance.Cluster, ch appliance.Change) *node {
	var checked *node
	if ch.SetParameters && c.Initialised {
		check := whole(kindCheck, "check the parameters")
		check.Member, check.Do = c.Primary, r.checkParameters(ch)
		checked = r.add(check)
	}
	record := whole(kindRecord, "record the change")
	record.Done = func(ctx context.Context) (bool, error) {
		f, err := r.facts(ctx)
		return err == nil && reflect.DeepEqual(ch.Applied(f.cluster), f.cluster), err
	}
	record.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { *c = ch.Applied(*c) })
	}
	return r.add(record, checked)
}

// applySteps draws the steps that apply the new configuration to the existing
// members, one member after the other. A standby's limits must not be below the
// primary's, so standbys raise limits before the primary, and lower limits after
// they have replayed the primary's lower limits.
func (r *recipe) applySteps(c, kept appliance.Cluster, ch appliance.Change, needs ...*node) []*node {
	title := "reload the configuration"
	if len(ch.Restart) > 0 {
		title = "apply the parameters, by a restart"
	}
	var out []*node
	var before *node
	add := func(kind appliance.StepKind, m appliance.Member, needs ...*node) {
		s := each(kind, m.Name, title)
		s.Do = r.apply(m.Name, kind == kindSettle)
		n := r.add(s, needs...)
		n.need(before)
		out, before = append(out, n), n
	}
	var standbys []appliance.Member
	for _, m := range kept.Standbys() {
		if _, old := c.Member(m.Name); old && !r.adds(m.Name) && r.runs(m) {
			standbys = append(standbys, m)
			add(kindApply, m, r.of(kindStart, m.Name))
		}
	}
	add(kindApply, kept.PrimaryMember(), append(needs, r.of(kindStart, kept.Primary))...)
	if !slices.ContainsFunc(ch.Restart, postgres.LimitParameter) {
		return out
	}
	for _, m := range standbys {
		add(kindSettle, m)
	}
	return out
}

// runs tells whether the member runs after the operation. Up starts all members.
func (w world) runs(m appliance.Member) bool {
	return w.op.Kind == appliance.OpUp || !m.WantStopped
}
