package plan

import (
	"context"

	"pgapp/appliance"
)

// resized are the members whose machines get another size: the virtual ones that
// existed before the operation, the primary last. New machines are made with it.
func (r recipe) resized(c appliance.Cluster, ch appliance.Change) []appliance.Member {
	if _, ok := r.provider.(appliance.Resizer); !ok || ch.Size == nil {
		return nil
	}
	var out []appliance.Member
	for _, m := range append(c.Standbys(), c.PrimaryMember()) {
		if m.Placement == appliance.PlacementVM && !ch.Removes(m.Name) && !r.adds(m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// sized has the machines get their size before they are started: one that is
// off then starts with it at once.
func (r recipe) sized(c appliance.Cluster, ch appliance.Change, steps []appliance.Step) []appliance.Step {
	var first []appliance.Step
	for _, m := range r.resized(c, ch) {
		define := appliance.Step{
			ID: stepID("size", m.Name), Title: "set the machine's size", Member: m.Name, After: []string{"record"},
			Do: func(ctx context.Context, _ appliance.Report) error {
				return r.resizer(ctx, m.Name, func(p appliance.Resizer, c appliance.Cluster, m appliance.Member) error {
					return p.SetSize(ctx, c, m, *ch.Size)
				})
			},
		}
		first = append(first, define)
		for i := range steps {
			if steps[i].ID == stepID("machine", m.Name) {
				steps[i].After = append(steps[i].After, define.ID)
			}
		}
	}
	return append(first, steps...)
}

// resizeSteps restart the machines that run with another size than they have
// now, one after the other, when their configuration is in place.
func (r recipe) resizeSteps(c, kept appliance.Cluster, ch appliance.Change) []appliance.Step {
	var steps []appliance.Step
	before := stepID("apply", kept.Primary)
	for _, m := range r.resized(c, ch) {
		s := appliance.Step{
			ID: stepID("resize", m.Name), Title: "restart the machine with its size", Member: m.Name,
			After: []string{before, stepID("start", m.Name), "slots", "load"}, Do: r.applySize(m.Name, *ch.Size),
		}
		steps, before = append(steps, s), s.ID
	}
	return steps
}

func (r recipe) resizer(ctx context.Context, member string, f func(appliance.Resizer, appliance.Cluster, appliance.Member) error) error {
	return r.on(ctx, member, func(fs facts, m appliance.Member, _ appliance.Machine) error {
		p, ok := r.provider.(appliance.Resizer)
		if !ok {
			return nil
		}
		return f(p, fs.cluster, m)
	})
}

func (r recipe) applySize(member string, size appliance.MachineSize) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		restart := false
		err := r.resizer(ctx, member, func(p appliance.Resizer, c appliance.Cluster, m appliance.Member) (err error) {
			restart, err = p.ApplySize(ctx, c, m, size, report)
			return err
		})
		if err != nil || !restart {
			return err
		}
		err = r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			report(appliance.Progress{Detail: "stopping the machine"})
			if err := r.stopMember(ctx, f.cluster, m, mc, report); err != nil {
				return err
			}
			if err := r.provider.StopMachine(ctx, f.cluster, m, report); err != nil {
				return err
			}
			return r.provider.StartMachine(ctx, f.cluster, m, report)
		})
		if err != nil {
			return err
		}
		return r.startServer(member, false)(ctx, report)
	}
}
