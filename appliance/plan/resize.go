package plan

import (
	"context"

	"pgapp/appliance"
)

// resized returns the members whose machines get another size: the existing virtual
// machines, the primary's last. New machines are made with the new size.
func (w world) resized(c appliance.Cluster, ch appliance.Change) []appliance.Member {
	if _, ok := w.provider.(appliance.Resizer); !ok || ch.Size == nil {
		return nil
	}
	var out []appliance.Member
	for _, m := range append(c.Standbys(), c.PrimaryMember()) {
		if m.Placement == appliance.PlacementVM && !ch.Removes(m.Name) && !w.adds(m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// sizeSteps draws the steps that set the machines' size before the machines start, so
// that a machine that is off starts with the new size.
func (r *recipe) sizeSteps(c appliance.Cluster, ch appliance.Change) {
	for _, m := range r.resized(c, ch) {
		s := each(kindSize, m.Name, "set the machine's size")
		s.Do = func(ctx context.Context, _ appliance.Report) error {
			return r.resizer(ctx, m.Name, func(p appliance.Resizer, c appliance.Cluster, m appliance.Member) error {
				return p.SetSize(ctx, c, m, *ch.Size)
			})
		}
		r.add(s, r.of(kindRecord, ""))
	}
}

// resizeSteps draws the steps that restart the machines whose running size is not the
// new one, one after the other, once their configuration is applied. No commit waits for
// a standby whose machine restarts, and the next machine restarts when the standby
// streams again.
func (r *recipe) resizeSteps(c, kept appliance.Cluster, ch appliance.Change) {
	before := r.of(kindApply, kept.Primary)
	for _, m := range r.resized(c, ch) {
		needs := []*node{before, r.of(kindStart, m.Name), r.of(kindSlots, ""), r.of(kindLoad, "")}
		if m.Name != kept.Primary && (ch.Size.MemoryMiB != 0 || ch.Size.VCPUs != 0) {
			needs = append(needs, weakenStep(r, m.Name, lastKeeps, needs...))
		}
		s := each(kindResize, m.Name, "restart the machine with its size")
		s.Do = r.applySize(m.Name, *ch.Size)
		before = r.add(s, needs...)
	}
}

func (w work) resizer(ctx context.Context, member string, f func(appliance.Resizer, appliance.Cluster, appliance.Member) error) error {
	return w.on(ctx, member, func(fs facts, m appliance.Member, _ appliance.Machine) error {
		p, ok := w.provider.(appliance.Resizer)
		if !ok {
			return nil
		}
		return f(p, fs.cluster, m)
	})
}

func (w work) applySize(member string, size appliance.MachineSize) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		restart := false
		err := w.resizer(ctx, member, func(p appliance.Resizer, c appliance.Cluster, m appliance.Member) (err error) {
			restart, err = p.ApplySize(ctx, c, m, size, report)
			return err
		})
		if err != nil || !restart {
			return err
		}
		err = w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			report(appliance.Progress{Detail: "stopping the machine"})
			if err := w.stopMember(ctx, f.cluster, m, mc, report); err != nil {
				return err
			}
			if err := w.provider.StopMachine(ctx, f.cluster, m, report); err != nil {
				return err
			}
			return w.provider.StartMachine(ctx, f.cluster, m, report)
		})
		if err != nil {
			return err
		}
		return w.startResized(ctx, member, report)
	}
}

// startResized starts the member, and waits until it streams again, or lets the
// application into the primary.
func (w work) startResized(ctx context.Context, member string, report appliance.Report) error {
	err := starter{work: w, member: member, admits: w.decision.Promise}.do(ctx, report)
	switch {
	case err != nil:
		return err
	case member != w.primaryName(ctx):
		return streamsAgain(w, member)(ctx, report)
	case w.decision.Promise:
		return admission{w}.admit(ctx, report)
	}
	return nil
}
