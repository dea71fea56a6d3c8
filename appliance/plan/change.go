package plan

import (
	"context"
	"reflect"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// upChanged is up for a cluster whose spec changes. Members that go leave when
// all others are in place; parameters reach the standbys before the primary,
// and once more after it where they were lowered.
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
	r.applySteps(c, kept, ch, slots, r.of(kindLoad, ""))
	r.resizeSteps(c, kept, ch)
	r.removeSteps(c, ch, slots, r.of(kindApply, kept.Primary))
	r.join(kept)
	r.behind(spaces, r.nodes[from:])
}

// upUnchanged is up for a new cluster, or for one of that spec. An earlier
// change may be on record without being in force: the servers are asked.
func (r *recipe) upUnchanged(c appliance.Cluster) {
	if c.Phase != appliance.PhaseReady && c.Phase != appliance.PhaseStopped {
		r.bring(c) // each start has the configuration of the record
		return
	}
	in := r.letIn(c)
	from := len(r.nodes)
	r.bring(c)
	r.behind(in, r.nodes[from:])
	for _, n := range r.applySteps(c, c, appliance.Change{}, r.of(kindSlots, ""), r.of(kindLoad, "")) {
		n.step.Title, n.step.Done = "apply the configuration", r.inForce(n.step.Member)
	}
	r.join(c)
}

// join makes the steps of the change wait for each other: new members are
// cloned when the primary lets them in, and the end is looked at last.
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

// recordSteps store the change before anything is done of it, and before that
// have PostgreSQL look at the parameters.
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

// applySteps bring the new configuration to the members that there are. What
// has to be no less on a standby than on its primary is raised on the standbys
// first; lowered, it is lowered there when they have replayed that the primary
// has less. Members are restarted one after the other.
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

// runs tells whether the operation has the member run: up starts all.
func (w world) runs(m appliance.Member) bool {
	return w.op.Kind == appliance.OpUp || !m.WantStopped
}
