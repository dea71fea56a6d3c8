package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// reinit clones one standby anew. Its old data goes only when the new clone
// is about to begin.
func (r recipe) reinit(c appliance.Cluster, member string) ([]appliance.Step, error) {
	m, err := r.member(c, member)
	if err != nil {
		return nil, err
	}
	if m.Name == c.Primary {
		return nil, appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't be cloned from itself", m.Name, c.Name).
			WithHint("pgapp ps shows which members are standbys")
	}
	steps, powered := r.remakeSteps(c, m)
	return behind(r.tablespaceStep(c, []appliance.Member{m}), append(steps, []appliance.Step{
		r.stopStep(m, powered),
		{
			ID: stepID("wipe", m.Name), Title: "remove the old data directory", Member: m.Name, After: []string{stepID("stop", m.Name)},
			// A resumed operation must not wipe the clone that it has finished.
			Done: r.wiped(m.Name), Do: r.wipe(m.Name),
		},
		{
			ID: stepID("clone", m.Name), Title: "clone the standby", Member: m.Name, Kind: appliance.StepOfClone, After: []string{stepID("wipe", m.Name)},
			Done: r.initialised(m.Name), Do: r.clone(m.Name),
		},
		r.startStep(m, stepID("clone", m.Name)),
		r.streamingStep([]appliance.Member{m}, stepID("start", m.Name)),
	}...)), nil
}

// remakeSteps ready the member's machine. Of a virtual one they make what is
// missing, its disk too.
func (r recipe) remakeSteps(c appliance.Cluster, m appliance.Member) (steps []appliance.Step, last string) {
	steps = []appliance.Step{r.intent(m.Name, false)}
	if m.Placement != appliance.PlacementVM {
		power := r.powerStep(m, "intent")
		return append(steps, power), power.ID
	}
	for _, s := range r.provider.CreateSteps(c, []appliance.Member{m}) {
		s.After = append(s.After, "intent")
		steps = append(steps, s)
	}
	return steps, stepID("machine", m.Name)
}

// wiped tells whether this operation's wipe is behind: its marker, written
// after the wipe, names the operation.
func (r recipe) wiped(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = r.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
			done, err = postgres.WipedBy(ctx, mc, r.op.ID)
			return err
		})
		return done, err
	}
}

func (r recipe) wipe(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.on(ctx, member, func(_ facts, _ appliance.Member, mc appliance.Machine) error {
			return postgres.Wipe(ctx, mc, r.op.ID)
		})
	}
}
