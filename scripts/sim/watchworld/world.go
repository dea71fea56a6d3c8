// Package watchworld is a small world of PostgreSQL servers with time in it, in which
// package ha watches a cluster and keeps it by itself. Servers die, freeze and are cut
// off, the watching process is held up or killed, and users stop, pause and restart. All
// is drawn from one seed.
package watchworld

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// step is how far time goes at once.
const step = 250 * time.Millisecond

// World is one run. It is not safe for concurrent use.
type World struct {
	rng     *rand.Rand
	log     io.Writer
	now     time.Duration
	servers []*server
	record  appliance.Cluster
	quorum  bool
	// degrades is set where commits shall not wait if no standby streams.
	degrades bool
	// shared is set where members are processes of one host.
	shared bool
	// scant is set where the first copies for each member come to nothing at their very end, as
	// on a disk that is too small: long attempts follow each other. The seed alone chooses it,
	// so that what is drawn in all other worlds stays.
	scant bool
	// acked is what was acknowledged and must not be lost.
	acked wal
	// calm is set once no more faults come.
	calm    bool
	plans   []event
	op      *operation
	watcher watcher
	judge   judge
	broken  error
	// idleUntil is when users write again.
	idleUntil time.Duration
	home      home
	// Failovers counts those that were begun without a person, Acts all that was begun.
	Failovers, Acts int
}

// event is something that happens later.
type event struct {
	at   time.Duration
	what func()
}

// Run plays the seed and returns what went wrong, nil if nothing did.
func Run(seed uint64, log io.Writer) (*World, error) {
	w := &World{rng: rand.New(rand.NewPCG(seed, 21)), log: log, judge: newJudge()} //nolint:gosec // a game, not a secret
	w.quorum, w.shared = w.rng.IntN(3) > 0, w.rng.IntN(2) == 0
	w.degrades = w.quorum && w.rng.IntN(2) == 0
	w.scant = seed%11 == 8
	root := &fork{line: appliance.Line{Timeline: 1}}
	w.acked = wal{fork: root}
	for i := range 3 + w.rng.IntN(3) {
		name := appliance.MemberName(i)
		w.servers = append(w.servers, &server{name: name, wal: wal{fork: root}, running: true, production: i == 0, signal: i > 0, upstream: "node0"})
		w.record.Members = append(w.record.Members, appliance.Member{Name: name, Epoch: 1})
	}
	w.servers[0].upstream = ""
	w.record.SystemIdentifier, w.record.Primary, w.record.Epoch, w.record.Timeline = "1", "node0", 1, 1
	w.say("quorum %v, degrades %v, shared %v, %d members", w.quorum, w.degrades, w.shared, len(w.servers))
	life{w}.converge()
	for range 3 + w.rng.IntN(4) {
		life{w}.incident()
		if w.broken != nil {
			return w, fmt.Errorf("seed %d: %w", seed, w.broken)
		}
	}
	return w, nil
}

// chance is true n times in a thousand while faults come.
func (w *World) chance(n int) bool { return !w.calm && w.rng.IntN(1000) < n }

func (w *World) say(format string, args ...any) {
	if w.log != io.Discard {
		_, _ = fmt.Fprintf(w.log, "%8.2f "+format+"\n", append([]any{w.now.Seconds()}, args...)...)
	}
}

func (w *World) fail(format string, args ...any) {
	if w.broken == nil {
		w.say("BROKEN: "+format, args...)
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *World) server(name string) *server {
	for _, m := range w.servers {
		if m.name == name {
			return m
		}
	}
	return &server{name: name, cut: true}
}

func (w *World) recorded(name string) *appliance.Member {
	i := slices.IndexFunc(w.record.Members, func(m appliance.Member) bool { return m.Name == name })
	return &w.record.Members[i]
}

// in has something happen after a time.
func (w *World) in(d time.Duration, what func()) {
	w.plans = append(w.plans, event{w.now + d, what})
}

// pass lets one step of time pass.
func (w *World) pass() {
	w.now += step
	for i := 0; i < len(w.plans); i++ {
		if e := w.plans[i]; e.at <= w.now {
			w.plans = slices.Delete(w.plans, i, i+1)
			i--
			e.what()
		}
	}
	w.live()
	if !w.watcher.away(w.now) {
		w.recover()
		w.operate()
		eyes{w}.watch()
	}
	w.judge.after(w)
}

// live lets each server do something.
func (w *World) live() {
	for _, m := range w.servers {
		switch {
		case !m.up(w.now):
		case m.stalled:
		case m.writes() && w.now < w.idleUntil:
		case m.writes():
			m.wal.end += w.rng.IntN(4)
		case m.promoting && m.ails != stopped && m.ails != debugged && w.rng.IntN(2) == 0:
			m.becomePrimary()
			w.say("  %s is promoted to timeline %d at %d", m.name, m.wal.fork.line.Timeline, m.wal.fork.at)
			w.lost(m)
		}
	}
	for _, m := range w.servers {
		if m.up(w.now) && m.signal && w.receive(m) {
			w.fail("%s streams from %s, a foreign fork", m.name, m.upstream)
		}
	}
	w.recycle()
	acknowledged := ""
	for _, m := range w.servers {
		if m.up(w.now) && m.writes() && !m.byHand && w.acknowledge(m) {
			if acknowledged != "" {
				w.fail("%s and %s acknowledge commits at once", acknowledged, m.name)
			}
			acknowledged = m.name
		}
	}
}

// acknowledge answers the writer's clients: each record that the setting's members
// have. It tells whether there was one.
func (w *World) acknowledge(m *server) bool {
	end := m.wal.end
	if !m.setting.None() {
		var flushed []int
		for _, name := range m.setting.Set {
			if s := w.server(name); s.up(w.now) && s.inStep() && s.upstream == m.name && !s.apart && !m.apart {
				flushed = append(flushed, s.wal.shared(m.wal))
			}
		}
		slices.Sort(flushed)
		if len(flushed) < m.setting.K {
			return false
		}
		end = flushed[len(flushed)-m.setting.K]
	}
	if !m.wal.has(w.acked) {
		w.fail("%s acknowledges commits, but lacks commits that were acknowledged before", m.name)
	}
	if end <= w.acked.end {
		return false
	}
	has := 0
	promise := w.genuine().Promise
	for _, name := range promise.Set {
		if w.server(name).wal.shared(m.wal) >= end {
			has++
		}
	}
	if has < promise.K {
		w.fail("%s acknowledges commits that %d standbys have, and %s is promised", m.name, has, promise)
	}
	w.acked = m.wal.upTo(end)
	return true
}

// lost takes from the acknowledged commits what an asynchronous failover may lose.
func (w *World) lost(m *server) {
	c := w.record.Change
	if c == nil || c.To != m.name || c.Phase.Final() {
		return
	}
	old := w.server(c.From)
	if old.writes() && !old.byHand {
		w.fail("%s is promoted while %s is not proven gone", m.name, c.From)
	}
	if m.wal.has(w.acked) {
		return
	}
	n := w.acked.end - m.wal.shared(w.acked)
	if c.Kind == appliance.OpSwitchover || w.quorum && !w.record.Promise.None() {
		w.fail("the change to %s loses %d acknowledged commits", m.name, n)
	}
	w.acked = w.acked.upTo(m.wal.shared(w.acked))
}

// settle makes one move towards the promise that the streaming standbys can keep. Without
// one it ends the promise if it may.
func (w *World) settle(ends bool) (settled bool) {
	p := w.server(w.record.Primary)
	if !p.writes() || !p.reacts(w.now) || p.stalled {
		return false
	}
	streaming := w.streaming()
	want := appliance.Promise{}
	if w.quorum {
		if want = ha.Over(streaming...); want.None() && !ends {
			return true
		}
	}
	flushed := 0
	for _, name := range want.Set {
		if w.server(name).wal.shared(p.wal) == p.wal.end {
			flushed++
		}
	}
	switch move := ha.Moves(w.record.Promise, p.setting, want, flushed >= want.K); {
	case move.Store != nil:
		w.record.Promise = *move.Store
	case move.Set != nil:
		p.setting = *move.Set
	default:
		return p.setting.Equal(want) && w.record.Promise.Equal(want)
	}
	return false
}

// streaming are the standbys that stream by the primary's word and may stay.
func (w *World) streaming() []string {
	var out []string
	for _, m := range w.servers {
		r := w.recorded(m.name)
		if m.name != w.record.Primary && m.inStep() && m.upstream == w.record.Primary && r.Return == "" && !r.WantStopped {
			out = append(out, m.name)
		}
	}
	return out
}
