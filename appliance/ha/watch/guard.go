package watch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

const (
	localTick   = 500 * time.Millisecond
	machineTick = time.Second
	// againPause is the time to the look that has to agree with one that found something
	// new.
	againPause = 20 * time.Millisecond
	// eventPause is the least time between two looks that events asked for.
	eventPause = 100 * time.Millisecond
	// startPatience is how long a standby that is being started may become a candidate
	// before its primary is started again in place.
	startPatience = 10 * time.Second
)

// guard watches one cluster.
type guard struct {
	w      *Watcher
	id     string
	look   looker
	memory ha.Memory
	clock  clock
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
	defer g.look.writes.wg.Wait()
	defer g.wg.Wait()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := time.Now()
	for {
		next := every
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-g.wake:
			next = eventPause
			if early := eventPause - time.Since(ended); early > 0 {
				timer.Reset(early)
				continue
			}
		}
		if g.turn(ctx, c.Name) {
			next = againPause
		}
		ended = time.Now()
		g.clock.due(next)
		timer.Reset(next)
	}
}

// turn looks once and acts; on a cluster that pgapp does not keep by itself it only
// looks. It tells whether another look should follow at once, since something was seen
// for the first time.
func (g *guard) turn(ctx context.Context, name string) (again bool) {
	c, err := g.w.cfg.Store.Cluster(ctx, name)
	if err != nil || c.UUID != g.id || ctx.Err() != nil {
		return false
	}
	r := appliance.Watching{State: appliance.AutomaticOn}
	defer func() { g.w.report(name, r) }()
	if c.Phase != appliance.PhaseReady || c.WantStopped {
		g.memory = ha.Memory{}
		return false
	}
	g.watchMachines(ctx, c)
	secrets, err := g.w.cfg.Store.Secrets(ctx, name)
	if err != nil {
		return false
	}
	g.clock.begin()
	began := time.Now()
	v := g.look.look(ctx, c, secrets)
	if ctx.Err() != nil {
		return false
	}
	g.w.cfg.Looked(c.UUID, began, v.members)
	if !keeps(c) {
		r.State, g.memory = appliance.AutomaticOff, ha.Memory{}
		return false
	}
	held, state := g.held(ctx, c)
	r.State = state
	if now, err := g.w.cfg.Store.Cluster(ctx, name); err != nil || now.Epoch != c.Epoch || now.Primary != c.Primary {
		return err == nil // the primary has moved during the look, which says nothing any more
	}
	s := ha.Situation{
		Known: v.known, Members: v.members, Took: g.clock.took(), Stalled: g.clock.stalled(),
		Held: held.all, HeldReplace: held.replace, HeldFence: held.fence, Moves: held.moves, Quorum: c.Spec.Quorum(), Degrades: c.Spec.Degrades(), Shared: c.SharesMachine(),
	}
	s.Failovers, s.Since = failovers(c, time.Now())
	var acts []ha.Act
	before := g.memory
	g.memory, acts = ha.Decide(before, s, paceOf(c), g.clock.now())
	for _, a := range acts {
		if a.Withheld != "" && a.Withheld == held.moves {
			continue // what pgapp does right now is no doubt
		}
		g.act(ctx, c, &a)
		r.Doubts = append(r.Doubts, appliance.Doubt{Member: a.Member, Deed: string(a.Deed), Evidence: a.Evidence, Withheld: a.Withheld})
	}
	return g.memory.Fresh(before)
}

func paceOf(c appliance.Cluster) ha.Pace {
	if c.SharesMachine() {
		return ha.LocalPace()
	}
	return ha.MachinePace()
}

// failovers returns how many changes of primary pgapp has made by itself in the hour
// before now and since a user last resumed the cluster, and how long ago the last one
// was.
func failovers(c appliance.Cluster, now time.Time) (n int, since time.Duration) {
	for _, p := range c.Promotions {
		if c.Resumed != nil && !p.At.After(*c.Resumed) {
			continue
		}
		if age := now.Sub(p.At); p.Reason == string(appliance.OpFailover) && p.Evidence != "" && age >= 0 && age < time.Hour {
			n, since = n+1, age
		}
	}
	return n, since
}

// holds are the reasons for doing nothing, as in [ha.Situation].
type holds struct{ all, replace, fence, moves string }

func holdsAll(why string) holds { return holds{all: why, replace: why, fence: why} }

// held says why nothing may be done now, and what the cluster's automatic state is.
func (g *guard) held(ctx context.Context, c appliance.Cluster) (holds, appliance.Automatic) {
	if why, err := g.w.cfg.Observing(ctx); err != nil || why != "" {
		if err != nil {
			why = "the state can't be read: " + err.Error()
		}
		return holdsAll(why), appliance.AutomaticObserving
	}
	if p := c.Pause; p.Holds(time.Now()) {
		why := "a user has paused it"
		if p.Until != nil {
			why += " until " + p.Until.Format(time.RFC3339)
		}
		return holdsAll(why), appliance.AutomaticPaused
	}
	o, err := g.w.cfg.Store.Running(ctx, c.Name)
	switch {
	case appliance.IsProblem(err, appliance.ErrNotFound):
		return holds{}, appliance.AutomaticOn
	case err != nil:
		return holdsAll(err.Error()), appliance.AutomaticOn
	}
	return holdsBeside(c, o, o.ID == g.mine), appliance.AutomaticOn
}

// holdsBeside are the reasons beside an operation that runs. Mine tells whether the guard
// has begun it.
func holdsBeside(c appliance.Cluster, o appliance.Operation, mine bool) holds {
	h := holdsAll(fmt.Sprintf("operation %s (%s) runs", o.ID, o.Kind))
	own := mine && o.Kind == appliance.OpStart
	if own || waitsForPrimary(c, o) {
		h.replace = ""
	}
	// A start in place would end a user's start or restart of a standby, which a failover
	// does for a new primary only. It also waits a while for the own start of a standby
	// that may be promoted then.
	waits := o.Params.Fence || o.Params.Member != "" && time.Since(o.CreatedAt) < startPatience
	if own && !waits || o.Kind == appliance.OpRejoin || o.Kind == appliance.OpReinit {
		h.fence = ""
	}
	ch := c.Change
	if o.Kind == appliance.OpFailover || o.Kind == appliance.OpSwitchover || ch != nil && ch.Operation == o.ID {
		h.moves = h.all
	}
	return h
}

// waitsForPrimary tells whether the operation works on a standby alone. It never keeps
// the primary down, and waits for one that has died meanwhile, so a failover supersedes
// it.
func waitsForPrimary(c appliance.Cluster, o appliance.Operation) bool {
	switch o.Kind {
	case appliance.OpRejoin, appliance.OpReinit:
		return true
	case appliance.OpStart, appliance.OpRestart:
		return o.Params.Member != "" && o.Params.Member != c.Primary
	}
	return false
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
	o, err := g.w.cfg.Submit(ctx, c.Name, kind, p)
	if err != nil {
		a.Withheld = err.Error()
		log.Warn("not begun", "error", err)
		return
	}
	g.mine, g.said = o.ID, ""
	log.Info("begun", "operation", o.ID, "kind", string(kind))
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
