package plan

import (
	"context"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// scale adds standbys or removes some. Members that the user stopped stay so.
// Standbys that a failed attempt left half made are completed.
func (r recipe) scale(c appliance.Cluster, ch appliance.Change) []appliance.Step {
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
	steps := append(r.recordSteps(c, ch), after(r.provider.CreateSteps(kept, standbys), "record")...)
	steps = append(steps, r.startStep(primary, "record"), appliance.Step{
		ID: "slots", Title: "create the replication slots", Member: primary.Name, After: []string{stepID("start", primary.Name)}, Do: r.createSlots,
	})
	for _, m := range standbys {
		steps = append(steps, appliance.Step{
			ID: stepID("clone", m.Name), Title: "clone the standby", Member: m.Name, Kind: appliance.StepOfClone, After: []string{"slots", stepID("machine", m.Name)},
			Done: r.initialised(m.Name), Do: r.clone(m.Name),
		}, r.startStep(m, stepID("clone", m.Name)))
	}
	steps = append(steps, r.applySteps(c, kept, ch, "slots")...)
	steps = append(steps, r.removeSteps(c, ch, "slots", stepID("apply", primary.Name))...)
	steps = append(steps,
		r.streamingStep(standbys, append(each("start", standbys), "slots")...),
		appliance.Step{ID: "sync", Title: "write the new members to disk", After: []string{"streaming"}, Do: r.syncMembers(ch.Add)})
	if !stopped { // else it can't pass
		steps = append(steps, appliance.Step{ID: "verify", Title: "verify the cluster", After: []string{"streaming"}, Do: r.verify})
	}
	return ordered(behind(r.tablespaceStep(c, ch.Add), r.joined(steps, kept)))
}

// removeSteps take the standbys away: the server, its slot, the machine with
// all its data, and last the record, so that a resumed operation knows what it
// removes.
func (r recipe) removeSteps(c appliance.Cluster, ch appliance.Change, needs ...string) []appliance.Step {
	var steps []appliance.Step
	before := "record"
	for _, m := range ch.Remove {
		mc := r.provider.Machine(c, m)
		stop, slot := stepID("stop", m.Name), stepID("unslot", m.Name)
		steps = append(steps, appliance.Step{
			ID: stop, Title: "stop PostgreSQL", Member: m.Name, After: append([]string{before}, needs...),
			Done: r.forgotten(m.Name),
			Do:   func(ctx context.Context, report appliance.Report) error { return r.stopMember(ctx, c, m, mc, report) },
		}, appliance.Step{
			ID: slot, Title: "drop its replication slot", Member: m.Name, After: []string{stop}, Do: r.dropSlot(m),
		})
		for _, s := range r.provider.DestroySteps(c, []appliance.Member{m}) {
			if s.Member == m.Name { // what members share stays
				s.After = append(s.After, slot)
				steps = append(steps, s)
			}
		}
		forget := appliance.Step{
			ID: stepID("forget", m.Name), Title: "remove it from the record", Member: m.Name, After: []string{stepID("remove", m.Name)},
			Done: r.forgotten(m.Name), Do: r.forget(m.Name),
		}
		steps, before = append(steps, forget), forget.ID
	}
	return steps
}

func (r recipe) forgotten(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		f, err := r.facts(ctx)
		_, there := f.cluster.Member(member)
		return err == nil && !there, err
	}
}

// forget never takes the primary out of the record.
func (r recipe) forget(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.updateCluster(ctx, func(c *appliance.Cluster) {
			c.Members = slices.DeleteFunc(c.Members, func(m appliance.Member) bool { return m.Name == member && m.Name != c.Primary })
		})
	}
}

func (r recipe) dropSlot(m appliance.Member) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.inPrimary(ctx, func(_ facts, c *postgres.Control) error { return c.DropSlot(ctx, m.Slot) })
	}
}

func (r recipe) syncMembers(members []appliance.Member) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		f, err := r.facts(ctx)
		if err != nil {
			return err
		}
		for _, m := range members {
			if err := postgres.SyncDataDir(ctx, r.provider.Machine(f.cluster, m)); err != nil {
				return err
			}
		}
		return nil
	}
}

// adds tells whether the operation adds the member: then it is no copy of the
// template, which the primary may have left far behind.
func (r recipe) adds(member string) bool {
	ch := r.op.Params.Change
	return ch != nil && slices.ContainsFunc(ch.Add, func(m appliance.Member) bool { return m.Name == member })
}

// after has the steps that wait for nothing wait for one.
func after(steps []appliance.Step, id string) []appliance.Step {
	for i := range steps {
		if len(steps[i].After) == 0 {
			steps[i].After = []string{id}
		}
	}
	return steps
}

// ordered puts each step behind those that it waits for, and otherwise leaves
// them as they are.
func ordered(steps []appliance.Step) []appliance.Step {
	out := make([]appliance.Step, 0, len(steps))
	placed := map[string]bool{}
	for len(steps) > 0 {
		var later []appliance.Step
		for _, s := range steps {
			if slices.ContainsFunc(s.After, func(id string) bool { return !placed[id] }) {
				later = append(later, s)
				continue
			}
			placed[s.ID] = true
			out = append(out, s)
		}
		if len(later) == len(steps) {
			return append(out, later...) // the runner refuses it, and says why
		}
		steps = later
	}
	return out
}

// splitID is the reverse of stepID.
func splitID(id string) (verb, member string) {
	verb, member, _ = strings.Cut(id, "/")
	return verb, member
}
