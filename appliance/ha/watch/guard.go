package watch

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

const (
	localTick   = 500 * time.Millisecond
	machineTick = time.Second
	// againPause is the time to the look that has to agree with one that found something
	// new.
	againPause = 5 * time.Millisecond
	// eventPause is the least time between two looks that events asked for.
	eventPause = 100 * time.Millisecond
)

// guard watches one cluster.
type guard struct {
	w      *Watcher
	id     string
	look   looker
	memory ha.Memory
	// records are what was read last.
	records records
	// watched are the records by which the eyes are, as [records.changed] tells them apart.
	watched <-chan struct{}
	clock   clock
	// mine is the last operation that the guard has begun.
	mine string
	// said is what was logged last.
	said string
	// eyes watch the members' machines, by the member's name.
	eyes map[string]context.CancelFunc
	wg   sync.WaitGroup
	wake chan struct{}
}

// watch looks at the cluster at each tick and at each event, and acts, until ctx ends.
func (w *Watcher) watch(ctx context.Context, c appliance.Cluster) {
	provider, ok := w.cfg.Providers[c.Spec.Provider]
	if !ok {
		return
	}
	every, limit := localTick, localLook
	if !c.SharesMachine() {
		every, limit = machineTick, machineLook
	}
	g := &guard{
		w: w, id: c.UUID, look: looker{sessions: w.sessions, provider: provider, limit: limit, fresh: map[string]time.Time{}},
		eyes: map[string]context.CancelFunc{}, wake: make(chan struct{}, 1), clock: newClock(),
	}
	ctx, stop := context.WithCancel(ctx)
	g.look.crew = newCrew(ctx.Done())
	defer g.look.crew.wg.Wait()
	defer g.look.writes.wg.Wait()
	defer g.wg.Wait()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	due, event := time.Now(), false
	var asked time.Time // when the last look that an event asked for has ended
	for {
		next := every
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-g.wake:
			next, event = eventPause, true
			if due = woken(due, asked); time.Until(due) > 0 {
				timer.Reset(time.Until(due))
				continue
			}
		}
		if g.turn(ctx, c.Name) {
			next = againPause
		}
		ended := time.Now()
		if event {
			asked, event = ended, false
		}
		due = ended.Add(next)
		g.clock.due(next)
		timer.Reset(next)
	}
}

// woken is when the next look begins after an event, where the last one that an event asked
// for has ended then: an event brings a look closer and never puts it off. One death makes
// several events, and the look that has to agree with the first one must not wait for the
// last of them.
func woken(due, asked time.Time) time.Time {
	if early := asked.Add(eventPause); early.Before(due) {
		return early
	}
	return due
}

// turn looks once and acts; on a cluster that pgapp does not keep by itself it only
// looks. It tells whether another look should follow at once, since something was seen
// for the first time.
func (g *guard) turn(ctx context.Context, name string) (again bool) {
	was, err := g.read(ctx, name)
	c := was.cluster
	if err != nil || c.UUID != g.id || ctx.Err() != nil {
		return false
	}
	r := appliance.Watching{State: appliance.AutomaticOn}
	defer func() { g.w.report(name, r) }()
	// A start that failed leaves a stopped cluster, of which the user may start member after
	// member: the endpoints lead to what is seen of them.
	if c.WantStopped || c.Phase != appliance.PhaseReady && c.Phase != appliance.PhaseStopped {
		g.memory = ha.Memory{}
		return false
	}
	if was.changed == nil || was.changed != g.watched {
		g.watched = was.changed
		g.watchMachines(ctx, c)
	}
	before, stood := g.held(c, was.hold)
	g.clock.begin()
	began := time.Now()
	v := g.look.look(ctx, c, was.secrets)
	if ctx.Err() != nil {
		return false
	}
	g.w.cfg.Looked(c.UUID, began, v.members)
	if !keeps(c) {
		r.State, g.memory = appliance.AutomaticOff, ha.Memory{}
		return false
	}
	if c.Phase != appliance.PhaseReady {
		g.memory = ha.Memory{}
		return false
	}
	now, err := g.read(ctx, name)
	if err != nil {
		return false
	}
	held, state := g.held(c, now.hold)
	if r.State = state; stood == appliance.AutomaticOn { // an operation that has ended since may explain what was seen
		held = held.With(before)
	}
	if now.cluster.Epoch != c.Epoch || now.cluster.Primary != c.Primary {
		return true // the primary has moved during the look, which says nothing any more
	}
	s := ha.Situation{
		Known: v.known, Members: v.members, Took: g.clock.took(), Stalled: g.clock.stalled(),
		Held: held.All, HeldReplace: held.Replace, HeldFence: held.Fence, Moves: held.Moves, Quorum: c.Spec.Quorum(), Degrades: c.Spec.Degrades(), Shared: c.SharesMachine(),
	}
	s.Failovers, s.Since = ha.Failovers(c, time.Now())
	var acts []ha.Act
	known := g.memory
	g.memory, acts = ha.Decide(known, s, paceOf(c), g.clock.now())
	for _, a := range acts {
		if a.Withheld != "" && a.Withheld == held.Moves {
			continue // what pgapp does right now is no doubt
		}
		g.act(ctx, c, &a)
		r.Doubts = append(r.Doubts, appliance.Doubt{Member: a.Member, Deed: string(a.Deed), Evidence: a.Evidence, Withheld: a.Withheld})
	}
	return g.memory.Fresh(known)
}

func paceOf(c appliance.Cluster) ha.Pace {
	if c.SharesMachine() {
		return ha.LocalPace()
	}
	return ha.MachinePace()
}

// act begins the operation of an act that is not withheld.
func (g *guard) act(ctx context.Context, c appliance.Cluster, a *ha.Act) {
	log := g.w.cfg.Log.With("cluster", c.Name, "member", a.Member, "deed", string(a.Deed), "evidence", a.Evidence)
	if a.Withheld != "" {
		if said := string(a.Deed) + a.Member; said != g.said {
			g.said = said
			log.Warn("not done", "withheld", a.Withheld)
		}
		return
	}
	kind, p := appliance.OpStart, appliance.OperationParams{KeepStopped: true, Fence: a.Fence, Reason: a.Evidence}
	switch a.Deed {
	case ha.Replace:
		kind, p = appliance.OpFailover, appliance.OperationParams{Reason: a.Evidence}
	case ha.Return:
		kind, p = appliance.OpRejoin, appliance.OperationParams{Member: a.Member, Mark: a.Mark, Reason: a.Evidence}
	case ha.Settle, ha.Degrade:
		kind, p = appliance.OpRejoin, appliance.OperationParams{Force: a.Deed == ha.Degrade, Reason: a.Evidence}
	case ha.Revive:
		if a.Only {
			p.Member = a.Member
		}
	}
	if a.Deed == ha.Replace {
		g.lend(ctx, c, g.w.sessions, g.w.cfg.Lend)
	}
	o, err := g.w.cfg.Submit(ctx, c.Name, kind, p)
	if err != nil {
		g.lend(ctx, c, g.w.cfg.Lend, g.w.sessions) // back: a member may take no new ones
		a.Withheld = err.Error()
		g.memory = g.memory.NotBegun(*a, g.clock.now())
		log.Warn("not begun", "error", err)
		return
	}
	g.mine, g.said = o.ID, ""
	log.Info("begun", "operation", o.ID, "kind", string(kind))
}

// lend gives the kept sessions with the members away: to the operation that is to begin, which
// would spend some of a failover's time on new ones.
func (g *guard) lend(ctx context.Context, c appliance.Cluster, from, to *postgres.Sessions) {
	if g.w.cfg.Lend == nil {
		return
	}
	for _, m := range c.Members {
		from.Give(ctx, to, postgres.SessionKey(c, m.Name))
	}
}

// watchMachines has the provider wake the guard at what happens to the members.
func (g *guard) watchMachines(ctx context.Context, c appliance.Cluster) {
	w, ok := g.look.provider.(appliance.Watched)
	if !ok {
		return
	}
	for name, end := range g.eyes {
		if _, ok := c.Member(name); !ok {
			end()
			delete(g.eyes, name)
		}
	}
	for _, m := range c.Members {
		if _, ok := g.eyes[m.Name]; ok {
			continue
		}
		own, end := context.WithCancel(ctx)
		g.eyes[m.Name] = end
		g.wg.Go(func() {
			w.Watch(own, c, m, func(string) {
				select {
				case g.wake <- struct{}{}:
				default: // it is awake
				}
			})
		})
	}
}
