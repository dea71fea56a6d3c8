package plan

import (
	"context"
	"slices"

	"pgapp/appliance"
)

// scale draws the steps that add or remove standbys. Members that the user stopped
// stay stopped. Standbys that a failed attempt left incomplete are completed.
func (r *recipe) scale(c appliance.Cluster) error {
	if r.op.Params.Change == nil {
		return appliance.NewProblem(appliance.ErrInternal, "operation %s does not say how to scale", r.op.ID)
	}
	ch := *r.op.Params.Change
	kept := ch.Without(ch.Applied(c))
	primary := kept.PrimaryMember()
	var standbys []appliance.Member
	stopped := primary.WantStopped
	for _, m := range kept.Standbys() {
		if r.runs(m) {
			standbys = append(standbys, m)
		}
		stopped = stopped || m.WantStopped
	}
	spaces := r.tablespaceStep(c, ch.Add)
	record := r.recordSteps(c, ch)
	r.embed(r.provider.CreateSteps(kept, standbys), record)
	slots := r.slotsStep(primary, r.startStep(primary, record))
	for _, m := range standbys {
		s := each(appliance.StepClone, m.Name, "clone the standby")
		s.Done, s.Do = r.initialised(m.Name), r.clone(m.Name)
		r.startStep(m, r.add(s, slots, r.of(appliance.StepMachine, m.Name)))
	}
	r.applySteps(c, kept, ch, slots)
	r.removeSteps(c, ch, slots, r.of(kindApply, primary.Name))
	streaming := r.streamingStep(standbys, append(r.startedOf(standbys), slots)...)
	promise := promiseStep(r, streaming)
	sync := whole(kindSync, "write the new members to disk")
	sync.Do = r.syncMembers(ch.Add)
	r.add(sync, streaming)
	if !stopped { // verify can't pass on a stopped cluster
		verify := whole(kindVerify, "verify the cluster")
		verify.Do = r.verify
		r.add(verify, streaming, promise)
	}
	r.join(kept)
	r.behind(spaces, r.nodes)
	return nil
}

// removeSteps draws the steps that remove the standbys: the server, its slot, the
// machine with all data, and the record. The record goes last, so that a resumed
// operation knows which standbys to remove.
func (r *recipe) removeSteps(c appliance.Cluster, ch appliance.Change, needs ...*node) {
	before := r.of(kindRecord, "")
	for _, m := range ch.Remove {
		mc := r.provider.Machine(c, m)
		stop := each(kindStop, m.Name, "stop PostgreSQL")
		stop.Done = r.forgotten(m.Name)
		stop.Do = func(ctx context.Context, report appliance.Report) error { return r.stopMember(ctx, c, m, mc, report) }
		stopped := r.add(stop, before)
		stopped.need(needs...)
		weaken := weakenStep(r, m.Name, r.lastOf(), append(needs, before)...)
		if weaken != nil {
			weaken.step.Done = r.forgotten(m.Name)
		}
		stopped.need(weaken)
		slot := each(kindUnslot, m.Name, "drop its replication slot")
		slot.Do = dropSlot(r.world, m)
		unslotted := r.add(slot, stopped)
		from := len(r.nodes)
		r.embed(slices.DeleteFunc(r.provider.DestroySteps(c, []appliance.Member{m}), func(s appliance.Step) bool {
			return s.Member != m.Name // keep the objects that members share
		}), nil)
		for _, n := range r.nodes[from:] {
			n.need(unslotted)
		}
		forget := each(kindForget, m.Name, "remove it from the record")
		forget.Done, forget.Do = r.forgotten(m.Name), r.forget(m.Name)
		before = r.add(forget, r.of(appliance.StepRemove, m.Name))
	}
}

func (w work) forgotten(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		f, err := w.facts(ctx)
		_, there := f.cluster.Member(member)
		return err == nil && !there, err
	}
}

// forget never takes the primary out of the record.
func (w work) forget(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return w.updateCluster(ctx, func(c *appliance.Cluster) {
			c.Members = slices.DeleteFunc(c.Members, func(m appliance.Member) bool { return m.Name == member && m.Name != c.Primary })
		})
	}
}
