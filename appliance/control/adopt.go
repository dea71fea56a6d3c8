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

// Adopt looks at the cluster's members and corrects the record: the one member
// that accepts writes, on a timeline that descends from the recorded one, becomes
// the primary, and the epoch grows. Adopt starts, stops and configures nothing. It
// returns a problem conflict with a list of the members if it can't tell which one
// is the primary. Adopt waits for the end of the operation, which goes on if ctx
// ends first. A repeat is safe.
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

// decideAdopt looks at all members and decides what the operation records.
func (c *Controller) decideAdopt(ctx context.Context, cluster string) (decision, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return decision{}, clusterNotFound(err, cluster)
	}
	running, err := c.running(ctx, cluster)
	if err != nil {
		return decision{}, err
	}
	joined, supersede, err := rule(Act(appliance.OpAdopt), running, r.Change, true)
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
	v, err := findPrimary(r, looks)
	if err != nil {
		return decision{}, err
	}
	found := appliance.AdoptDecision{
		Revision: r.Revision, FromEpoch: r.Epoch, FromTimeline: r.Timeline, Running: v.running, Ancestors: v.ancestors, Stray: v.stray,
		Found: appliance.Adoption{
			Cluster: r.Name, Primary: v.primary, Was: r.Primary, Epoch: max(r.Epoch, v.epoch) + 1, Timeline: max(r.Timeline, v.timeline), Notes: v.notes,
		},
	}
	o := c.newOperation(cluster, appliance.OpAdopt, appliance.OperationParams{Adopt: &found})
	if v.primary == r.Primary && !slices.Contains(only.Clusters, cluster) {
		found.Found.Epoch, found.Found.Timeline = r.Epoch, r.Timeline
		found.Found.Notes = append(v.notes, "the record is right: nothing was changed")
		o.State = appliance.OpSucceeded
		return decision{nothing: true, operation: o}, nil
	}
	return decision{cluster: cluster, from: basisOf(r, supersede), operation: o, supersede: supersede}, nil
}

// await waits until the operation has succeeded, and returns it. If the operation
// fails, await returns that error.
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
	return o, appliance.NewProblem(appliance.ErrInterrupted, "operation %s (%s) was interrupted and continues when the daemon has started again", o.ID, o.Kind).
		WithHint("pgapp ops %s --follow waits for it", o.ID)
}

// inspect looks at all members' servers and data directories.
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

// lost returns the reason why the look at the machine failed, nil if it didn't.
func lost(l observe.Look) error {
	for _, err := range []error{l.Process.Why(), l.DataDir.Why(), l.Ancestors.Why()} {
		if err != nil && !errors.Is(err, observe.ErrNotAsked) {
			return err
		}
	}
	return nil
}

// verdict is what the looks at the members prove.
type verdict struct {
	primary  string
	timeline uint32
	// ancestors are those of the primary's timeline.
	ancestors []appliance.Switch
	// epoch is the newest one that any member's data know, 0 if none does.
	epoch   uint64
	running []string // members whose servers answer
	stray   []string // members whose WAL may not be the beginning of the primary's
	notes   []string
}

// findPrimary finds the primary among the members, or returns a problem that lists
// the reasons against each candidate.
func findPrimary(r appliance.Cluster, all []observe.Look) (verdict, error) {
	var against []string
	for _, s := range all {
		if why := obstacle(r, s); why != "" {
			against = append(against, s.Member.Name+" "+why)
		}
	}
	if len(against) > 0 {
		return verdict{}, ambiguousProblem(r, all, against...)
	}
	v := verdict{primary: r.Primary, timeline: r.Timeline, ancestors: r.Ancestors}
	for _, s := range all {
		if s.Server.Known() {
			v.running = append(v.running, s.Member.Name)
		}
		v.epoch = max(v.epoch, s.Epoch.Value())
		if note := deviation(r, s); note != "" {
			v.notes = append(v.notes, s.Member.Name+" "+note)
		}
	}
	best, err := choose(r, all)
	if err != nil || best == nil {
		v.notes = append(v.notes, "nothing is left of the cluster in this home: pgapp down --volumes removes its record")
		return v, err
	}
	v.primary, v.timeline, v.ancestors = best.Member.Name, best.Timeline(), best.Line().Ancestors
	for _, s := range all {
		if s.Member.Name != v.primary && strayed(s, *best) {
			v.stray = append(v.stray, s.Member.Name)
			v.notes = append(v.notes, s.Member.Name+" has to be brought back before it may run: pgapp rejoin "+s.Member.Name)
		}
	}
	return v, nil
}

// strayed tells whether the member's WAL is not known to be the beginning of the
// primary's. A member without a data directory has none.
func strayed(s, primary observe.Look) bool {
	if s.DataDir.Known() && !s.DataDir.Value().Exists {
		return false
	}
	if s.TakesWrites() {
		return true
	}
	if s.Timeline() == primary.Timeline() {
		// A member with a history file of that number may have another one's.
		return len(s.Line().Ancestors) > 0 && !primary.Line().DescendsFrom(s.Line())
	}
	left := slices.IndexFunc(primary.Line().Ancestors, func(a appliance.Switch) bool { return a.Timeline == s.Timeline() })
	at, err := appliance.ParseLSN(s.Server.Value().LSN)
	// A stopped member's position isn't known.
	return left < 0 || err != nil || !s.Server.Known() || at > primary.Line().Ancestors[left].At
}

// choose returns the one member that can be the primary, nil if no member exists
// any more.
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
		return nil, ambiguousProblem(r, all, "no member is a primary")
	case live > 1:
		return nil, ambiguousProblem(r, all, "more than one member accepts writes: stop all but one by hand")
	case highest > 1:
		return nil, ambiguousProblem(r, all, fmt.Sprintf("more than one member would accept writes on timeline %d", best.Timeline()))
	case live == 1 && !best.Server.Known():
		return nil, ambiguousProblem(r, all, fmt.Sprintf("%s is stopped, but has a newer timeline than the member that accepts writes", best.Member.Name))
	}
	for _, s := range all {
		if s.Timeline() > best.Timeline() {
			return nil, ambiguousProblem(r, all, fmt.Sprintf("%s follows timeline %d, of which no primary is known", s.Member.Name, s.Timeline()))
		}
	}
	return best, checkDescent(r, all, best)
}

// checkDescent refuses a primary whose timeline does not descend from the recorded
// one.
func checkDescent(r appliance.Cluster, all []observe.Look, best *observe.Look) error {
	t := best.Timeline()
	switch {
	case r.Timeline == 0, t == r.Timeline && best.Member.Name == r.Primary, postgres.Descends(best.Ancestors.Value(), r.Timeline):
		return nil
	}
	return ambiguousProblem(r, all, fmt.Sprintf("%s is on timeline %d, which does not descend from the recorded timeline %d of %s",
		best.Member.Name, t, r.Timeline, r.Primary))
}

// obstacle says why nothing can be concluded from the member, or "".
func obstacle(r appliance.Cluster, s observe.Look) string {
	id := s.Server.Value().SystemIdentifier
	if id == "" {
		id = s.DataDir.Value().SystemIdentifier
	}
	switch {
	case lost(s) != nil:
		return "can't be looked at: " + lost(s).Error()
	case s.DataDir.Value().Foreign:
		return "has a data directory that is not PostgreSQL 17's"
	case s.Server.Known() && s.Server.Value().ClusterName != "" && s.Server.Value().ClusterName != r.Name+"/"+s.Member.Name:
		return fmt.Sprintf("has another server at its address: %s", s.Server.Value().ClusterName)
	case id != "" && r.SystemIdentifier != "" && id != r.SystemIdentifier:
		return fmt.Sprintf("has system identifier %s, the record says %s", id, r.SystemIdentifier)
	case s.Server.Known() && !s.Process.Value():
		return "answers at its address, but this home has neither its server nor its data"
	case s.Process.Value() && !s.Server.Known():
		return fmt.Sprintf("has a server process that does not answer: %v", s.Server.Why())
	}
	return ""
}

// deviation says in what the member differs from the record, or "".
func deviation(r appliance.Cluster, s observe.Look) string {
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

// ambiguousProblem lists all members and leaves the decision to a person.
func ambiguousProblem(r appliance.Cluster, all []observe.Look, against ...string) error {
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
