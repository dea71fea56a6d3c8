package plan

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

const (
	strandedPoll = 200 * time.Millisecond
	// strandedFor is how long a standby has to be stranded before it is led on: two looks,
	// because a primary with much to write reaches the segment soon, which ends the standby.
	// One that only has not asked the new primary yet looks the same, and is led on in vain,
	// which does no harm.
	strandedFor = strandedPoll
	// strandedAgain is the pause after an attempt that has not helped, as with a full disk.
	strandedAgain = time.Second
	// leadRest is how long a leading that has begun may go on when nobody waits for it any
	// more: half of it helps no standby.
	leadRest = 3 * time.Second
)

// stranding is how a standby is stranded (see [postgres.Standing.Stranded]).
type stranding struct {
	timeline    uint32
	begin, asks appliance.LSN
}

// leading calls do, which waits for standbys, and leads on all standbys that are stranded
// until do returns. What fails is tried again: do says in the end what has not come.
func (w world) leading(ctx context.Context, report appliance.Report, do func() error) error {
	led, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case w.leaders <- struct{}{}:
			defer func() { <-w.leaders }()
		case <-led.Done():
			return
		}
		l := leader{world: w, since: map[string]time.Time{}, last: map[string]stranding{}}
		_ = wait.Until(led, strandedPoll, func(ctx context.Context) (bool, error) { l.turn(ctx, report); return false, nil })
	})
	err := do()
	stop()
	wg.Wait()
	return err
}

// handOver gives the stopped standby the beginning of the primary's timeline, and tells
// whether it lacked it. Without it the standby may be stranded, which ends no start.
func (w world) handOver(ctx context.Context, m appliance.Member, mc appliance.Machine, report appliance.Report) (lacked bool) {
	err := w.inPrimary(ctx, func(f facts, c *postgres.Control) (err error) {
		if n := len(f.cluster.Ancestors); n > 0 {
			from := w.provider.Machine(f.cluster, f.cluster.PrimaryMember())
			lacked, err = postgres.HandOver(ctx, c, from, mc, f.cluster.Timeline, f.cluster.Ancestors[n-1].At)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		report(appliance.Progress{Detail: m.Name + " starts without the beginning of the primary's timeline: " + err.Error()})
	}
	return lacked
}

// leader leads on stranded standbys.
type leader struct {
	world
	last  map[string]stranding
	since map[string]time.Time
}

// turn looks at the standbys, and leads on all that are stranded when one has been for
// long enough: the primary's WAL, once moved on, would end the others (see
// [postgres.LeadOn]).
func (l leader) turn(ctx context.Context, report appliance.Report) {
	f, err := l.facts(ctx)
	if err != nil || len(f.cluster.Ancestors) == 0 {
		return
	}
	now := l.stranded(ctx, f)
	due := false
	for name, s := range now {
		if l.last[name] != s {
			l.since[name] = time.Now()
		}
		due = due || time.Since(l.since[name]) >= strandedFor
	}
	clear(l.last)
	maps.Copy(l.last, now)
	if !due {
		return
	}
	names := slices.Sorted(maps.Keys(now))
	err = l.leadOn(ctx, f, now)
	for _, name := range names {
		l.since[name] = time.Now().Add(strandedAgain - strandedFor)
	}
	if err != nil {
		report(appliance.Progress{Detail: "leading " + strings.Join(names, ", ") + " on: " + err.Error()})
		return
	}
	report(appliance.Progress{Note: "moved the primary's WAL on to where " + strings.Join(names, ", ") + " ask for it: they had received the beginning of a record that the old primary did not end"})
}

// stranded returns the standbys that are stranded.
func (l leader) stranded(ctx context.Context, f facts) map[string]stranding {
	begin := f.cluster.Ancestors[len(f.cluster.Ancestors)-1].At
	found := map[string]postgres.Standing{}
	for _, m := range f.cluster.Standbys() {
		s, err := l.standing(ctx, f, m)
		if _, maybe := s.Stranded(postgres.Standing{}, begin); err == nil && maybe {
			found[m.Name] = s
		}
	}
	if len(found) == 0 {
		return nil
	}
	p, err := l.standing(ctx, f, f.cluster.PrimaryMember())
	if err != nil || p.Timeline != f.cluster.Timeline {
		return nil
	}
	out := map[string]stranding{}
	for name, s := range found {
		if asks, is := s.Stranded(p, begin); is {
			out[name] = stranding{p.Timeline, begin, asks}
		}
	}
	return out
}

// standing asks the member for its standing.
func (l leader) standing(ctx context.Context, f facts, m appliance.Member) (s postgres.Standing, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	dial := func(ctx context.Context) (*postgres.Control, error) {
		return postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, f.secrets.Get(appliance.SecretControl))
	}
	err = l.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, m.Name), dial, func(c *postgres.Control) (err error) {
		s, err = c.Standing(ctx)
		return err
	})
	return s, err
}

// leadOn leads the standbys on.
func (l leader) leadOn(ctx context.Context, f facts, all map[string]stranding) error {
	var to []postgres.Follower
	var s stranding
	for _, m := range f.cluster.Standbys() {
		if x, ok := all[m.Name]; ok {
			s = x
			to = append(to, postgres.Follower{Shell: l.provider.Machine(f.cluster, m), Asks: x.asks})
		}
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(leadRest, cancel) })()
	from := l.provider.Machine(f.cluster, f.cluster.PrimaryMember())
	return l.inPrimary(own, func(_ facts, c *postgres.Control) error {
		return postgres.LeadOn(own, c, from, to, s.timeline, s.begin)
	})
}
