package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
)

// Adopt looks at what really runs of the cluster and makes the record say so:
// the one writable member, of a timeline that descends from the recorded one,
// is its primary from then on, and the epoch grows. Nothing is started,
// stopped or reconfigured. Whatever is ambiguous is a problem conflict that
// lists what was found. Adopt returns when the operation has ended; where ctx ends
// first, the operation goes on. A repeat is safe.
func (c *Controller) Adopt(ctx context.Context, cluster string) (appliance.Adoption, error) {
	o, err := c.admit(ctx, Act(appliance.OpAdopt), cluster, func(ctx context.Context) (decision, error) { return c.decideAdopt(ctx, cluster) })
	if err != nil {
		return appliance.Adoption{}, err
	}
	if o.State.Final() { // nothing had to be changed
		return o.Params.Adopt.Found, nil
	}
	if o, err = c.await(ctx, o); err != nil {
		return appliance.Adoption{}, err
	}
	a := o.Params.Adopt.Found
	c.cfg.Log.Info("cluster adopted", "cluster", a.Cluster, "primary", a.Primary, "was", a.Was, "epoch", a.Epoch, "timeline", a.Timeline)
	return a, nil
}

// decideAdopt decides from looks at all members what is to be recorded.
func (c *Controller) decideAdopt(ctx context.Context, cluster string) (decision, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return decision{}, notFound(err, cluster)
	}
	running, err := c.running(ctx, cluster)
	if err != nil {
		return decision{}, err
	}
	joined, supersede, err := rule(Act(appliance.OpAdopt), running, true)
	if err != nil {
		return decision{}, err
	}
	if joined {
		return decision{cluster: cluster, join: running}, nil
	}
	only, err := c.observeOnly(ctx)
	if err != nil {
		return decision{}, err
	}
	looks, err := c.inspect(ctx, r)
	if err != nil {
		return decision{}, err
	}
	v, err := judge(r, looks)
	if err != nil {
		return decision{}, err
	}
	found := appliance.AdoptDecision{Revision: r.Revision, Running: v.running, Found: appliance.Adoption{
		Cluster: r.Name, Primary: v.primary, Was: r.Primary, Epoch: r.Epoch + 1, Timeline: max(r.Timeline, v.timeline), Notes: v.notes,
	}}
	o := c.newOperation(cluster, appliance.OpAdopt, appliance.OperationParams{Adopt: &found})
	if v.primary == r.Primary && !slices.Contains(only.Clusters, cluster) {
		found.Found.Epoch, found.Found.Timeline = r.Epoch, r.Timeline
		found.Found.Notes = append(v.notes, "the record is right: nothing was changed")
		o.State = appliance.OpSucceeded
		return decision{nothing: true, operation: o}, nil
	}
	return decision{cluster: cluster, from: basis{revision: r.Revision, running: supersede}, operation: o, supersede: supersede}, nil
}

// await returns the operation when it has succeeded. Its failure is the error.
func (c *Controller) await(ctx context.Context, o appliance.Operation) (appliance.Operation, error) {
	states, err := c.cfg.Runner.Watch(ctx, o.ID)
	if err != nil {
		return o, err
	}
	for o = range states {
		continue // the last one counts
	}
	switch {
	case o.State == appliance.OpSucceeded:
		return o, nil
	case o.Error != nil:
		return o, o.Error
	case ctx.Err() != nil:
		return o, fmt.Errorf("waiting for operation %s: %w", o.ID, context.Cause(ctx))
	}
	return o, appliance.NewProblem(appliance.ErrInterrupted, "operation %s (%s) has not ended, and goes on when the daemon is there again", o.ID, o.Kind).
		WithHint("pgapp ops %s --follow waits for it", o.ID)
}

// inspect looks at all members, at what runs and what is on disk.
func (c *Controller) inspect(ctx context.Context, r appliance.Cluster) ([]observe.Look, error) {
	secrets, err := c.cfg.Store.Secrets(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return nil, err
	}
	return c.cfg.Observer.Inspect(ctx, observe.Subjects(r, provider, secrets)), ctx.Err()
}

// lost says why the machine could not be looked at, nil where it was.
func lost(l observe.Look) error {
	for _, err := range []error{l.Process.Why(), l.DataDir.Why(), l.Ancestors.Why()} {
		if err != nil && !errors.Is(err, observe.ErrNotAsked) {
			return err
		}
	}
	return nil
}

// verdict is what unambiguously is.
type verdict struct {
	primary  string
	timeline uint32
	running  []string // members whose servers answer
	notes    []string
}

// judge finds the primary in what was seen, or says what stands against it.
func judge(r appliance.Cluster, all []observe.Look) (verdict, error) {
	var against []string
	for _, s := range all {
		if why := strange(r, s); why != "" {
			against = append(against, s.Member.Name+" "+why)
		}
	}
	if len(against) > 0 {
		return verdict{}, ambiguous(r, all, against...)
	}
	v := verdict{primary: r.Primary, timeline: r.Timeline}
	for _, s := range all {
		if s.Server.Known() {
			v.running = append(v.running, s.Member.Name)
		}
		if note := differs(r, s); note != "" {
			v.notes = append(v.notes, s.Member.Name+" "+note)
		}
	}
	best, err := choose(r, all)
	if err != nil || best == nil {
		v.notes = append(v.notes, "nothing is left of the cluster in this home: pgapp down --volumes removes its record")
		return v, err
	}
	v.primary, v.timeline = best.Member.Name, best.Timeline()
	return v, nil
}

// choose returns the one member that is primary, nil where there is none of
// the members any more.
func choose(r appliance.Cluster, all []observe.Look) (*observe.Look, error) {
	var best *observe.Look
	var live, highest, there int
	for i, s := range all {
		if s.Server.Known() || s.DataDir.Value().Exists {
			there++
		}
		if !s.TakesWrites() {
			continue
		}
		if s.Server.Known() {
			live++
		}
		switch {
		case best == nil || s.Timeline() > best.Timeline():
			best, highest = &all[i], 1
		case s.Timeline() == best.Timeline():
			highest++
		}
	}
	switch {
	case there == 0:
		return nil, nil
	case best == nil:
		return nil, ambiguous(r, all, "no member is a primary")
	case live > 1:
		return nil, ambiguous(r, all, "more than one member accepts writes: stop all but one by hand")
	case highest > 1:
		return nil, ambiguous(r, all, fmt.Sprintf("more than one member would accept writes on timeline %d", best.Timeline()))
	case live == 1 && !best.Server.Known():
		return nil, ambiguous(r, all, fmt.Sprintf("%s is stopped, but has a newer timeline than the member that accepts writes", best.Member.Name))
	}
	for _, s := range all {
		if s.Timeline() > best.Timeline() {
			return nil, ambiguous(r, all, fmt.Sprintf("%s follows timeline %d, of which no primary is known", s.Member.Name, s.Timeline()))
		}
	}
	return best, descends(r, all, best)
}

// descends wants the primary's timeline to come from the recorded one.
func descends(r appliance.Cluster, all []observe.Look, best *observe.Look) error {
	t := best.Timeline()
	switch {
	case r.Timeline == 0, t == r.Timeline && best.Member.Name == r.Primary, postgres.Descends(best.Ancestors.Value(), r.Timeline):
		return nil
	}
	return ambiguous(r, all, fmt.Sprintf("%s is on timeline %d, which does not descend from the recorded timeline %d of %s",
		best.Member.Name, t, r.Timeline, r.Primary))
}

// strange says why a member can't be judged, or "".
func strange(r appliance.Cluster, s observe.Look) string {
	id := s.Server.Value().SystemIdentifier
	if id == "" {
		id = s.DataDir.Value().SystemIdentifier
	}
	switch {
	case lost(s) != nil:
		return "can't be looked at: " + lost(s).Error()
	case s.DataDir.Value().Foreign:
		return "has a data directory that is none of PostgreSQL 17"
	case s.Server.Known() && s.Server.Value().ClusterName != "" && s.Server.Value().ClusterName != r.Name+"/"+s.Member.Name:
		return fmt.Sprintf("has another server at its address: %s", s.Server.Value().ClusterName)
	case id != "" && r.SystemIdentifier != "" && id != r.SystemIdentifier:
		return fmt.Sprintf("has system identifier %s, the record says %s", id, r.SystemIdentifier)
	case s.Server.Known() && !s.Process.Value():
		return "answers at its address, but its server and data are not in this home"
	case s.Process.Value() && !s.Server.Known():
		return fmt.Sprintf("runs, but does not say what it is: %v", s.Server.Why())
	}
	return ""
}

// differs says what of a member isn't as recorded, or "".
func differs(r appliance.Cluster, s observe.Look) string {
	switch {
	case !s.DataDir.Value().Exists && !s.Server.Known():
		return "has no data directory"
	case s.Member.Name == r.Primary && !s.TakesWrites():
		return fmt.Sprintf("was recorded as primary and is a standby on timeline %d", s.Timeline())
	case s.Member.Name == r.Primary && !s.Server.Known():
		return "was recorded as primary and does not run"
	case s.Member.Name != r.Primary && s.TakesWrites():
		return fmt.Sprintf("was recorded as standby and is a primary on timeline %d", s.Timeline())
	case !s.Server.Known():
		return "does not run"
	}
	return ""
}

// ambiguous is the problem that leaves the decision to a person.
func ambiguous(r appliance.Cluster, all []observe.Look, against ...string) error {
	lines := slices.Clone(against)
	for _, s := range all {
		role := "standby"
		if s.TakesWrites() {
			role = "writable"
		}
		state := "stopped"
		if s.Server.Known() || s.Process.Value() {
			state = "running"
		}
		switch {
		case s.Server.Known():
		case !s.DataDir.Known():
			role, state = "unknown", "can't be looked at"
		case !s.DataDir.Value().Exists:
			role, state = "nothing", "no data directory"
		}
		lines = append(lines, fmt.Sprintf("%s (recorded %s): %s, %s, timeline %d, %s:%d",
			s.Member.Name, r.RoleOf(s.Member.Name), role, state, s.Timeline(), s.Member.Host, s.Member.Port))
	}
	return appliance.NewProblem(appliance.ErrConflict, "what runs of cluster %q is ambiguous: %s", r.Name, against[0]).
		WithHint("make it unambiguous by hand, then run pgapp adopt --cluster %s again; nothing was changed", r.Name).
		WithDetail(strings.Join(lines, "\n"))
}
