// Package routeworld is the world of changes of primary with its endpoints: the real router
// leads a process that is killed, frozen and started with an old file, and a daemon that is
// killed. The endpoint for writes must never lead to a member that the record doesn't call
// primary, nor be open while the primary changes. In every second game the kernel leads the
// connections over the process.
package routeworld

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/routing"
	"pgapp/scripts/sim/world"
)

// game is one world's endpoints.
type game struct {
	world *world.World
	rng   *rand.Rand
	// known draws whether it is known that the process lives.
	known   *rand.Rand
	router  *routing.Router
	process *process
	// kernel leads the connections, nil where the process does alone.
	kernel *table
	// daemons counts the daemons, whose states have numbers of their own.
	daemons uint64
	// settled is the phase of a change that the endpoints have followed.
	settled appliance.ChangePhase
	opened  int
	// served has the epochs whose primary was found to take writes.
	served map[uint64]bool
	// shut is set while a new primary does not let the application in.
	shut bool
	// over is set once nothing of the endpoints fails any more.
	over bool
	// dead is set from the end of a daemon in the middle of what it does until another one
	// goes on.
	dead bool
}

// Result is what was played.
type Result struct {
	// Changes counts the changes of primary, Opened how often rw opened.
	Changes, Opened int
}

// Run plays the seed and returns what went wrong, nil if nothing did.
func Run(seed uint64, log io.Writer) (Result, error) {
	var g *game
	w, err := world.Play(seed, log, func(w *world.World) world.Part {
		g = &game{world: w, served: map[uint64]bool{}}
		g.rng, g.known = rand.New(rand.NewPCG(seed, 22)), rand.New(rand.NewPCG(seed, 23)) //nolint:gosec // a game, not a secret
		g.process = &process{game: g}
		if seed%2 == 0 {
			g.kernel = &table{game: g}
		}
		g.restart()
		return g
	})
	if err == nil {
		err = g.ends(seed)
	}
	return Result{w.Changes, g.opened}, err
}

// ends wants rw open once no more faults come and the primary serves.
func (g *game) ends(seed uint64) error {
	g.process.full, g.process.frozen, g.over = false, false, true
	for range 3 {
		g.work() // the last one counts
	}
	c := g.Record()
	to, open := g.process.rw()
	if at, serves := g.kernel.rw(); serves && open {
		to, open = at, at != nil && len(g.kernel.leads[rw].To) > 0
	}
	if !changing(c) && g.serves(c) && !open {
		return fmt.Errorf("seed %d: in the end rw leads to %v and is closed, and %s, the primary, serves", seed, to, c.Primary)
	}
	return nil
}

func (g *game) chance(n int) bool { return g.rng.IntN(100) < n && !g.over && !g.world.Calm() }

// restart has a new daemon go on, which remembers nothing.
func (g *game) restart() {
	const states = 1_000_000
	g.daemons++
	var process routing.Process = g.process
	if g.kernel != nil {
		process = routing.Over(process, g.kernel)
	}
	g.router = routing.New(routing.Config{
		Store: records{g}, Process: process, Log: slog.New(slog.DiscardHandler), Ports: ports{}, Build: build, First: g.daemons * states,
		Observing: func(context.Context) (string, error) { return "", nil },
		Serves: func(_ context.Context, c appliance.Cluster) bool {
			serves := g.serves(c)
			g.served[c.Epoch] = g.served[c.Epoch] || serves
			return serves
		},
	})
}

// Record is the cluster as the router reads it.
func (g *game) Record() appliance.Cluster {
	c := g.world.Record()
	c.Name, c.UUID, c.Phase, c.Endpoints, c.EndpointsHeld = "main", "1", appliance.PhaseReady, &appliance.Endpoints{RW: 5000, RO: 5001}, true
	c.Spec.Endpoint = appliance.EndpointOn
	if g.kernel != nil {
		c.Spec.Endpoint = appliance.EndpointKernel
	}
	members := make([]appliance.Member, len(c.Members))
	for i, m := range c.Members {
		m.Host, m.Port = fmt.Sprintf("127.0.122.%d", i+1), 5432
		members[i] = m
	}
	c.Members = members
	return c
}

func (g *game) serves(c appliance.Cluster) bool {
	writes, _, cut := g.world.Seen(c.Primary)
	return writes && !cut && !g.shut
}

// Ticked lets something of the endpoints happen.
func (g *game) Ticked() {
	p := g.process
	g.check()
	switch {
	case g.chance(2):
		p.end()
	case g.chance(2):
		p.frozen = p.runs
	case p.frozen && (g.rng.IntN(3) == 0 || g.world.Calm()):
		p.frozen = false
		g.check()
	case g.chance(2):
		p.full = !p.full
	case g.chance(1) && !p.runs: // somebody copies an old file back, or edits it
		p.file = p.older
		p.file.Number += uint64(g.rng.IntN(2)) * 1_000_000_000 //nolint:gosec // 0 or 1
	case g.chance(1):
		g.Killed()
	}
	p.full = p.full && !g.world.Calm()
	if g.rng.IntN(4) == 0 {
		g.look()
	}
	if g.rng.IntN(3) == 0 {
		g.work()
	}
	if g.kernel != nil {
		g.kernel.ticked()
	}
	g.check()
}

// work has the daemon look at the records. One that dies in it is followed by another.
func (g *game) work() {
	_ = g.router.Work(context.Background()) // the next one goes on
	g.bury()
}

// bury has another daemon go on where one has died.
func (g *game) bury() (died bool) {
	if died = g.dead; died {
		g.dead = false
		g.world.Say("  the daemon dies in the middle")
		g.Killed()
	}
	return died
}

// look tells the router what a look at the members has seen.
func (g *game) look() {
	began := time.Now()
	var seen []ha.Sighting
	for _, m := range g.Record().Members {
		writes, standby, cut := g.world.Seen(m.Name)
		s := ha.Sighting{Member: m.Name, Fresh: ha.Silent, Session: ha.Silent}
		switch {
		case cut:
		case writes || standby:
			s.Fresh, s.Session, s.Standing.Answered, s.Standing.Primary = ha.Answers, ha.Answers, true, writes
		default:
			s.Fresh, s.Sign.Vital = ha.Refuses, appliance.VitalGone
		}
		seen = append(seen, s)
	}
	g.router.Looked("1", began, seen)
}

// Saved finds where rw leads by the new record, before anybody has been told of it.
func (g *game) Saved() {
	g.settled, g.shut = "", g.world.Record().Change.Phase == appliance.ChangeDone
	g.check()
}

// Settle has the endpoints follow the phase.
func (g *game) Settle(verified bool) {
	if g.chance(10) { // another daemon goes on with the phase
		g.Killed()
		g.work() // it settles the phase after
	}
	if g.shut = false; verified { // the change has let the application in
		g.served[g.Record().Epoch] = true
	}
	err := g.router.Settle(context.Background(), "main", verified)
	for g.bury() { // the next daemon goes on with the phase
		err = g.router.Settle(context.Background(), "main", verified)
	}
	c := g.Record()
	g.world.Say("  endpoints: %s: %v", c.Change.Phase, err)
	g.settled = c.Change.Phase
	g.check()
}

// Killed has another daemon go on.
func (g *game) Killed() { g.restart() }

// check finds an endpoint that leads where it must not. One that is frozen leads on as
// soon as it is let go.
func (g *game) check() {
	to, open := g.process.rw()
	g.judge("the process", to, open)
	if to, serves := g.kernel.rw(); serves {
		g.judge("the kernel", to, len(g.kernel.leads[rw].To) > 0)
	}
	g.kernel.check()
	if at, serves := g.kernel.rw(); open && (!serves || at != nil) {
		g.opened++
	}
}

// judge finds an rw of one of the two that leads where it must not.
func (g *game) judge(who string, to *appliance.RouteMember, open bool) {
	c := g.Record()
	switch {
	case to == nil:
	case to.Address != memberOf(c, c.Primary).Address:
		g.world.Fail(fmt.Errorf("%s: rw leads to %s, and %s is the primary on record", who, to.Name, c.Primary))
	case open && !g.served[c.Epoch]:
		g.world.Fail(fmt.Errorf("%s: rw is open to %s, which nobody has seen take writes in epoch %d", who, to.Name, c.Epoch))
	case open && changing(c) && g.settled == c.Change.Phase:
		g.world.Fail(fmt.Errorf("%s: rw is open to %s in phase %s", who, to.Name, c.Change.Phase))
	}
}

// changing tells whether rw has to be closed. It is the game's own rule, independent of
// package routing.
func changing(c appliance.Cluster) bool {
	return c.Change != nil && !c.Change.Phase.Final() && c.Change.Phase != appliance.ChangeLooking
}

// records is the store.
type records struct{ *game }

// Cluster returns the cluster.
func (r records) Cluster(context.Context, string) (appliance.Cluster, error) { return r.Record(), nil }

// Clusters returns all clusters.
func (r records) Clusters(context.Context) ([]appliance.Cluster, error) {
	return []appliance.Cluster{r.Record()}, nil
}

// Secrets returns none: nobody connects.
func (records) Secrets(context.Context, string) (appliance.Secrets, error) {
	return appliance.Secrets{}, nil
}

// ports are the cluster's, which it has.
type ports struct{}

// Allot, Hold and Move have nothing to do.
func (ports) Allot(context.Context) error                             { return nil }
func (ports) Hold(context.Context, string, appliance.Endpoints) error { return nil }
func (ports) Move(context.Context, string, appliance.Endpoints) error { return nil }
