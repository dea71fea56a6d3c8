package plan

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// upChanged is up for a cluster whose spec changes. Members that go leave when
// all others are in place; parameters reach the standbys before the primary,
// and once more after it where they were lowered.
func (r recipe) upChanged(c appliance.Cluster, ch appliance.Change) []appliance.Step {
	kept := ch.Without(ch.Applied(c))
	first := r.recordSteps(c, ch)
	if c.Initialised {
		first = append(first, r.letIn(kept, "record"))
	}
	steps := append(first, r.sized(c, ch, after(r.up(kept), first[len(first)-1].ID))...)
	steps = append(steps, r.applySteps(c, kept, ch, "slots", "load")...)
	steps = append(steps, r.resizeSteps(c, kept, ch)...)
	steps = append(steps, r.removeSteps(c, ch, "slots", stepID("apply", kept.Primary))...)
	return ordered(behind(r.tablespaceStep(c, ch.Add), r.joined(steps, kept)))
}

// upUnchanged is up for a new cluster, or for one of that spec. An earlier
// change may be on record without being in force: the servers are asked.
func (r recipe) upUnchanged(c appliance.Cluster) []appliance.Step {
	if c.Phase != appliance.PhaseReady && c.Phase != appliance.PhaseStopped {
		return r.up(c) // each start has the configuration of the record
	}
	steps := r.applySteps(c, c, appliance.Change{}, "slots", "load")
	for i, s := range steps {
		steps[i].Title, steps[i].Done = "apply the configuration", r.inForce(s.Member)
	}
	in := r.letIn(c)
	return ordered(r.joined(append(append([]appliance.Step{in}, after(r.up(c), in.ID)...), steps...), c))
}

func (r recipe) inForce(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			if err != nil || !running {
				return err
			}
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			c, err := f.memberConfig(ctx, m, mc, d.Limits)
			if err != nil {
				return err
			}
			done, err = postgres.InForce(ctx, mc, c)
			return err
		})
		return done, err
	}
}

// joined makes the steps of the change wait for each other: new members are
// cloned when the primary lets them in, and the end is looked at last.
func (r recipe) joined(steps []appliance.Step, kept appliance.Cluster) []appliance.Step {
	var last []string
	for _, s := range steps {
		if verb, _ := splitID(s.ID); verb == "apply" || verb == "settle" || verb == "resize" || verb == "forget" {
			last = append(last, s.ID)
		}
	}
	for i, s := range steps {
		verb, member := splitID(s.ID)
		switch {
		case verb == "clone" && r.adds(member):
			steps[i].After = append(slices.Clone(s.After), stepID("apply", kept.Primary), "slots")
		case s.ID == "streaming", s.ID == "sync", s.ID == "verify":
			steps[i].After = append(slices.Clone(s.After), last...)
		}
	}
	return steps
}

// recordSteps store the change before anything is done of it, and before that
// have PostgreSQL look at the parameters.
func (r recipe) recordSteps(c appliance.Cluster, ch appliance.Change) []appliance.Step {
	record := appliance.Step{
		ID: "record", Title: "record the change",
		Done: func(ctx context.Context) (bool, error) {
			f, err := r.facts(ctx)
			return err == nil && reflect.DeepEqual(ch.Applied(f.cluster), f.cluster), err
		},
		Do: func(ctx context.Context, _ appliance.Report) error {
			return r.updateCluster(ctx, func(c *appliance.Cluster) { *c = ch.Applied(*c) })
		},
	}
	if !ch.SetParameters || !c.Initialised {
		return []appliance.Step{record}
	}
	record.After = []string{"check"}
	return []appliance.Step{{ID: "check", Title: "check the parameters", Member: c.Primary, Do: r.checkParameters(ch)}, record}
}

func (r recipe) checkParameters(ch appliance.Change) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.on(ctx, r.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
			f.cluster = ch.Applied(f.cluster)
			if err := postgres.CheckConfig(ctx, mc, f.config(m)); err != nil {
				return err
			}
			return r.checkStandbys(ctx, f.cluster)
		})
	}
}

// checkStandbys looks for the parameters' libraries on the standbys that run.
func (r recipe) checkStandbys(ctx context.Context, c appliance.Cluster) error {
	for _, m := range c.Standbys() {
		mc := r.provider.Machine(c, m)
		if running, err := mc.ServerRunning(ctx); err != nil || !running {
			continue // it takes the parameters over when it starts
		}
		if err := postgres.CheckFiles(ctx, mc, c.Spec.Parameters); err != nil {
			return fmt.Errorf("checking the parameters on %s: %w", m.Name, err)
		}
	}
	return nil
}

// applySteps bring the new configuration to the members that there are. What
// has to be no less on a standby than on its primary is raised on the standbys
// first; lowered, it is lowered there when they have replayed that the primary
// has less. Members are restarted one after the other.
func (r recipe) applySteps(c, kept appliance.Cluster, ch appliance.Change, needs ...string) []appliance.Step {
	title := "reload the configuration"
	if len(ch.Restart) > 0 {
		title = "apply the parameters, by a restart"
	}
	var steps []appliance.Step
	var before string
	add := func(verb string, m appliance.Member, after ...string) {
		if before != "" {
			after = append(after, before)
		}
		s := appliance.Step{
			ID: stepID(verb, m.Name), Title: title, Member: m.Name, After: after,
			Do: r.apply(m.Name, verb == "settle"),
		}
		steps, before = append(steps, s), s.ID
	}
	var standbys []appliance.Member
	for _, m := range kept.Standbys() {
		if _, old := c.Member(m.Name); old && !r.adds(m.Name) && r.runs(m) {
			standbys = append(standbys, m)
			add("apply", m, stepID("start", m.Name))
		}
	}
	add("apply", kept.PrimaryMember(), append(needs, stepID("start", kept.Primary))...)
	if !slices.ContainsFunc(ch.Restart, postgres.LimitParameter) {
		return steps
	}
	for _, m := range standbys {
		add("settle", m)
	}
	return steps
}

// runs tells whether the operation has the member run: up starts all.
func (r recipe) runs(m appliance.Member) bool {
	return r.op.Kind == appliance.OpUp || !m.WantStopped
}

// apply has a running member take over the configuration of the record. One
// that does not run takes it over at its start.
func (r recipe) apply(member string, settle bool) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			if err != nil || !running {
				return err
			}
			if settle && !delayed(f.cluster) { // a delayed one keeps its higher limits
				if err := waitLimits(ctx, f, mc); err != nil {
					return err
				}
			}
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			if err := configure(ctx, f, m, mc, d.Limits); err != nil {
				return err
			}
			restart, err := reload(ctx, f, m, mc)
			if err != nil || !restart {
				return err
			}
			report(appliance.Progress{Detail: "restarting PostgreSQL"})
			return restartServer(ctx, m, mc)
		})
	}
}

func reload(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) (restart bool, err error) {
	c, err := f.control(ctx, m)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close(ctx) }()
	return postgres.ReloadAndAsk(ctx, mc, m.Port, c)
}

// waitLimits waits until the standby knows the limits that the primary has now.
func waitLimits(ctx context.Context, f facts, mc appliance.Machine) error {
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	want, err := c.Limits(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	return postgres.WaitLimits(ctx, mc, want)
}
