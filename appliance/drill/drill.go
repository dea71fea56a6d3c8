package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Hands are how a drill reaches the cluster besides the writers.
type Hands interface {
	// Status returns what pgapp has on record and observes.
	Status(ctx context.Context) (appliance.ClusterStatus, error)
	// Operations returns the cluster's operations.
	Operations(ctx context.Context) ([]appliance.Operation, error)
	// Strike strikes the member with a fault of one member.
	Strike(ctx context.Context, member string, f Fault) (Struck, error)
	// Switchover begins a switchover.
	Switchover(ctx context.Context) error
	// EndEndpoint kills the process behind the endpoints, and returns when it has ended.
	EndEndpoint(ctx context.Context) error
	// EndDaemon kills the daemon, and returns when it answers again.
	EndDaemon(ctx context.Context) error
	// Resume has pgapp's failovers so far not count any more: a person looks.
	Resume(ctx context.Context) error
}

// Struck is a member that was struck.
type Struck struct {
	Member string `json:"member"`
	// Gone tells whether what was struck has ended; nil where it can't be told.
	Gone func() bool `json:"-"`
	// Undo takes the fault back if the member still has it. A repeat is safe.
	Undo func() `json:"-"`
}

// Drill strikes a cluster under writers, round after round.
type Drill struct {
	Config
	Hands Hands
	Fault Fault
	// Machines is set if members are virtual machines.
	Machines bool
	// Uncut is set if links can't be cut. Members that random would cut are frozen then.
	Uncut  bool
	Rounds int
	Seed   uint64
	// Limit is how long the cluster may take to be whole after a round's last fault.
	Limit time.Duration
	// Seen, if set, gets each round when it has ended.
	Seen func(Round)
}

const (
	// rowsAround is how many rows the writers write before and after a round's faults.
	rowsAround = 100
	// writeWait bounds the wait for these rows.
	writeWait = time.Minute
	// lookPause is the pause between two looks at the cluster.
	lookPause = 100 * time.Millisecond
	// liftPause is the pause between two looks at what was struck.
	liftPause = 20 * time.Millisecond
)

// Run plays the rounds, and returns what came of them. It ends with the first round after
// which a rule is broken, so that the cluster can be looked at. An error means that a
// round could not be played.
func (d Drill) Run(ctx context.Context) (Report, error) {
	out := Report{Fault: d.Fault, Seed: d.Seed, Through: ThroughMembers}
	if d.Through != nil {
		out.Through = ThroughEndpoint
	}
	for n := 1; n <= d.Rounds; n++ {
		r, err := d.round(ctx, n)
		if err != nil {
			return out.sum(), fmt.Errorf("round %d: %w", n, err)
		}
		out.Rounds = append(out.Rounds, r)
		if d.Seen != nil {
			d.Seen(r)
		}
		if len(r.Findings) > 0 {
			break
		}
	}
	return out.sum(), nil
}

// round plays one round.
func (d Drill) round(ctx context.Context, number int) (Round, error) {
	s, err := d.Hands.Status(ctx)
	if err != nil {
		return Round{}, err
	}
	if found := Whole(s); len(found) > 0 {
		return Round{}, fmt.Errorf("the cluster is not whole: %s", found[0])
	}
	if err := d.Hands.Resume(ctx); err != nil {
		return Round{}, err
	}
	run, err := Start(ctx, d.Config)
	if err != nil {
		return Round{}, err
	}
	defer run.Stop()
	if err := written(ctx, run); err != nil {
		return Round{}, err
	}
	p := &played{Round: Round{Number: number, Primary: s.Primary}, drill: d, run: run, before: s}
	p.from, p.begun = run.Since(), time.Now()
	defer p.undo()
	blows := d.Fault.blows(d.Seed, number, ground{len(s.Members) - 1, d.Machines, d.Through != nil})
	for _, b := range blows {
		if b.Fault == FaultCut && d.Uncut {
			b.Fault = FaultFreeze
		}
		rest(ctx, b.After)
		if err := p.blow(ctx, b); err != nil {
			return Round{}, err
		}
	}
	if len(blows) == 1 && p.endpoint {
		err = p.leadsAgain(ctx)
	}
	if err == nil {
		err = p.heal(ctx)
	}
	if err == nil {
		err = written(ctx, run)
	}
	if ctx.Err() != nil {
		return Round{}, ctx.Err()
	}
	if err != nil {
		p.Findings = append(p.Findings, Finding{RuleBack, err.Error()})
	}
	return p.end(ctx), nil
}

// written waits for more acknowledged rows.
func written(ctx context.Context, run *Run) error {
	limited, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	want := run.Acknowledged() + rowsAround
	err := wait.Until(limited, lookPause, func(context.Context) (bool, error) { return run.Acknowledged() >= want, nil })
	if err != nil {
		return fmt.Errorf("waiting for %d rows to be acknowledged: %w", rowsAround, err)
	}
	return nil
}

// played is a round that is being played.
type played struct {
	Round
	drill  Drill
	run    *Run
	before appliance.ClusterStatus
	// from and begun are the time of the first blow.
	from   time.Duration
	begun  time.Time
	struck []Struck
	// endpoint is set if the process behind the endpoints was struck.
	endpoint bool
}

func (p *played) undo() {
	for _, s := range p.struck {
		s.Undo()
	}
}

// blow strikes once. A member that can't be struck, since an earlier blow has ended it, is
// left out.
func (p *played) blow(ctx context.Context, b Blow) error {
	h := p.drill.Hands
	what := string(b.Fault)
	var err error
	switch b.Fault {
	case FaultSwitchover:
		err = h.Switchover(ctx)
	case FaultDaemon:
		err = h.EndDaemon(ctx)
	case FaultEndpoint:
		err = h.EndEndpoint(ctx)
	default:
		var hit Struck
		member := p.target(b)
		what += " " + member
		hit, err = h.Strike(ctx, member, b.Fault)
		if err == nil {
			p.struck = append(p.struck, hit)
		}
	}
	switch {
	case err != nil && len(p.Faults) == 0:
		return fmt.Errorf("%s: %w", what, err)
	case err != nil:
		what += " (left out: its server had ended)"
	}
	p.endpoint = p.endpoint || b.Fault == FaultEndpoint
	p.Faults = append(p.Faults, what)
	return nil
}

// target is the member that the blow strikes. The members' roles are those at the round's
// beginning.
func (p *played) target(b Blow) string {
	if b.Standby == 0 {
		return p.before.Primary
	}
	var standbys []string
	for _, m := range p.before.Members {
		if m.Name != p.before.Primary {
			standbys = append(standbys, m.Name)
		}
	}
	return standbys[(b.Standby-1)%len(standbys)]
}

// heal waits until the cluster is whole without a person.
func (p *played) heal(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, p.drill.Limit)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, hit := range p.struck {
		if hit.Gone != nil { // a look at the cluster takes long beside a link that is cut
			wg.Go(func() {
				if wait.Until(limited, liftPause, func(context.Context) (bool, error) { return hit.Gone(), nil }) == nil {
					hit.Undo()
				}
			})
		}
	}
	why := "nobody has looked"
	err := wait.Until(limited, lookPause, func(ctx context.Context) (bool, error) {
		s, err := p.drill.Hands.Status(ctx)
		if ctx.Err() == nil { // else the last look counts
			why = p.missing(s, err)
		}
		return why == "", nil
	})
	p.Whole = Millis(time.Since(p.begun))
	if err != nil {
		return fmt.Errorf("not whole after %s: %s", p.drill.Limit, why)
	}
	return nil
}

// missing says what the cluster lacks to be whole, empty if nothing.
func (p *played) missing(s appliance.ClusterStatus, err error) string {
	if err != nil {
		return "pgapp doesn't answer: " + err.Error()
	}
	for _, hit := range p.struck {
		gone := s.Primary != p.before.Primary || s.Timeline != p.before.Timeline
		if hit.Gone != nil {
			gone = hit.Gone()
		}
		if !gone {
			return hit.Member + " has not been ended yet"
		}
	}
	if found := Whole(s); len(found) > 0 {
		return found[0].String()
	}
	if p.drill.Through != nil || p.endpoint {
		return misses(s)
	}
	return ""
}

// Whole returns what a cluster lacks in which all members serve, all standbys stream and
// nothing is under way.
func Whole(s appliance.ClusterStatus) []Finding {
	out := left(s)
	if s.Durability == appliance.DurabilityQuorum && (s.Promise == nil || len(s.Promise.Set) != len(s.Members)-1) {
		promised := "nothing"
		if s.Promise != nil {
			promised = s.Promise.String()
		}
		out = append(out, Finding{RuleRecord, "not all standbys are promised: " + promised})
	}
	return out
}

// end stops the writers and judges.
func (p *played) end(ctx context.Context) Round {
	to := p.run.Since()
	h := p.run.Stop()
	r := &p.Round
	r.Gap = Millis(h.Outage(p.from, to))
	for _, w := range h.Writes {
		if w.Outcome == Acknowledged {
			r.Acknowledged++
		} else {
			r.Unknown++
		}
	}
	found := Check(ctx, Cluster{Config: p.drill.Config, Status: p.drill.Hands.Status}, h)
	r.Findings = append(r.Findings, found...)
	r.SecondWriters = len(h.TwoAtOnce())
	if p.drill.Through != nil {
		r.Reads = &h.Reads
	}
	s, err := p.drill.Hands.Status(ctx)
	if err == nil {
		r.Lost, err = p.lost(ctx, h, s.Primary)
		r.NewPrimary = s.Primary
		r.Struck, r.Back = len(p.struck), p.back(s)
	}
	ops, opsErr := p.drill.Hands.Operations(ctx)
	if err := errors.Join(err, opsErr); err != nil {
		r.Findings = append(r.Findings, Finding{RuleRecord, err.Error()})
	}
	p.note(ops)
	return *r
}

// lost counts the acknowledged rows that the primary lacks.
func (p *played) lost(ctx context.Context, h History, primary string) (int, error) {
	rows, err := Rows(ctx, p.drill.Config, primary)
	return len(h.Lost(rows)), err
}

// back counts the struck members that serve again.
func (p *played) back(s appliance.ClusterStatus) int {
	n := 0
	for _, hit := range p.struck {
		if slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
			return m.Name == hit.Member && (m.State == appliance.StateRunning || m.State == appliance.StateStreaming)
		}) {
			n++
		}
	}
	return n
}

// note notes the operations of the round, oldest first, and the phases of its changes of
// primary.
func (p *played) note(ops []appliance.Operation) {
	slices.SortFunc(ops, func(a, b appliance.Operation) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, o := range ops {
		if o.CreatedAt.Before(p.begun) {
			continue
		}
		p.Operations = append(p.Operations, strings.TrimSpace(string(o.Kind)+" "+o.Params.Reason))
		if o.Kind != appliance.OpFailover && o.Kind != appliance.OpSwitchover {
			continue
		}
		if p.Phases == nil {
			p.Phases = map[string]Millis{}
		}
		if o.Kind == appliance.OpFailover {
			p.Phases["detecting"] += Millis(o.CreatedAt.Sub(p.begun))
		}
		for name, took := range Phases(o) {
			p.Phases[name] += Millis(took)
		}
	}
}
