package plan

import (
	"context"

	"pgapp/appliance"
)

// reinit draws the steps that clone one standby again. The old data is removed only
// just before the new clone begins.
func (r *recipe) reinit(c appliance.Cluster, member string) error {
	m, err := memberOf(c, member)
	if err != nil {
		return err
	}
	if m.Name == c.Primary {
		return appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't be cloned from itself", m.Name, c.Name).
			WithHint("pgapp ps shows which members are standbys")
	}
	spaces := r.tablespaceStep(c, []appliance.Member{m})
	weaken := weakenStep(r, m.Name, r.lastOf())
	stop := r.stopStep(m, r.remakeSteps(c, m), weaken)
	// A reinit that is superseded leaves a member that is cloned later.
	mark := each(kindMarked, m.Name, "record that it has to be cloned")
	mark.Do = func(ctx context.Context, _ appliance.Report) error {
		return rejoin{r.work, m.Name}.set(ctx, setClone)
	}
	wipe := each(kindWipe, m.Name, "remove the old data directory")
	// A resumed operation must not wipe its own finished clone.
	wipe.Done, wipe.Do = r.wiped(m.Name), r.wipe(m.Name)
	clone := each(appliance.StepClone, m.Name, "clone the standby")
	clone.Done, clone.Do = r.initialised(m.Name), r.clone(m.Name)
	back := each(kindReturned, m.Name, "record that it may run")
	back.Do = func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) { setReturned(c, m.Name) })
	}
	started := r.startStep(m, r.add(back, r.add(clone, r.add(wipe, r.add(mark, stop)))))
	promiseStep(r, r.streamingStep([]appliance.Member{m}, started))
	r.behind(spaces, r.nodes)
	return nil
}

// remakeSteps draws the steps that ready the member's machine, and returns the last.
// For a virtual machine, the steps make missing parts, including the disk.
func (r *recipe) remakeSteps(c appliance.Cluster, m appliance.Member) *node {
	intent := r.intent(m.Name, false)
	if m.Placement != appliance.PlacementVM {
		return r.powerStep(m, intent)
	}
	from := len(r.nodes)
	r.embed(r.provider.CreateSteps(c, []appliance.Member{m}), intent)
	for _, n := range r.nodes[from:] {
		n.need(intent)
	}
	return r.of(appliance.StepMachine, m.Name)
}
