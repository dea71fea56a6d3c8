// Package world is a small world of PostgreSQL servers, a controller that may be
// killed, and a store that may fail, in which package ha changes the primary. All is
// drawn from one seed.
package world

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// lag is what an asynchronous candidate may be behind, in records.
const lag = 4

// World is one run. It is not safe for concurrent use.
type World struct {
	rng     *rand.Rand
	log     io.Writer
	members []*member
	record  appliance.Cluster
	quorum  bool
	// acked are the acknowledged commits that must not be lost.
	acked  []int
	serial int
	// calm is set once no more faults come.
	calm bool
	// calmFor counts the turns of the change since then.
	calmFor int
	// saves counts what the change has saved since the fence. A detour, such as a second
	// fence, takes more.
	saves  int
	detour bool
	driver driver
	part   Part
	broken error
	// Changes counts the changes of primary that were asked for.
	Changes int
}

// Run plays the seed and returns what went wrong, nil if nothing did.
func Run(seed uint64, log io.Writer) (*World, error) { return Play(seed, log, nil) }

// Play is [Run] with a part in the world, which join makes if it is given.
func Play(seed uint64, log io.Writer, join func(*World) Part) (*World, error) {
	w := &World{rng: rand.New(rand.NewPCG(seed, 20)), log: log} //nolint:gosec // a game, not a secret
	w.quorum = w.rng.IntN(3) > 0
	for i := range 3 + w.rng.IntN(2) {
		w.members = append(w.members, &member{name: appliance.MemberName(i), line: appliance.Line{Timeline: 1}, running: true, signal: i > 0, upstream: "node0"})
		w.record.Members = append(w.record.Members, appliance.Member{Name: appliance.MemberName(i), Epoch: 1})
	}
	w.members[0].production, w.members[0].upstream = true, ""
	w.record.SystemIdentifier, w.record.Primary, w.record.Epoch, w.record.Timeline = "1", "node0", 1, 1
	w.part = alone{}
	if join != nil {
		w.part = join(w)
	}
	w.live(20)
	for range 1 + w.rng.IntN(3) {
		w.change()
		if w.broken != nil {
			return w, fmt.Errorf("seed %d: %w", seed, w.broken)
		}
	}
	return w, nil
}

// chance is true n times in a hundred while faults come.
func (w *World) chance(n int) bool { return w.rng.IntN(100) < n && !w.calm }

func (w *World) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.log, format+"\n", args...)
}

func (w *World) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.say("BROKEN: %v", w.broken)
	}
}

func (w *World) member(name string) *member {
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.name == name })
	if i < 0 {
		return &member{name: name, cut: true}
	}
	return w.members[i]
}

func (w *World) recorded(name string) *appliance.Member {
	i := slices.IndexFunc(w.record.Members, func(m appliance.Member) bool { return m.Name == name })
	return &w.record.Members[i]
}

// live lets the world go on for some time without a change of primary.
func (w *World) live(ticks int) {
	for range ticks {
		w.stopped()
		w.tick()
		w.settle()
	}
}

// stopped has a person stop a standby now and then, and start it later.
func (w *World) stopped() {
	for _, m := range w.members {
		m.away = max(m.away-1, 0)
	}
	m := w.members[w.rng.IntN(len(w.members))]
	if w.chance(10) && m.signal && m.running {
		m.kill()
		m.away = 2 + w.rng.IntN(4)
	}
}

// tick lets each server do something.
func (w *World) tick() {
	for _, m := range w.members {
		if m.writes() && w.rng.IntN(3) > 0 {
			w.serial++
			m.wal = append(slices.Clone(m.wal), w.serial)
			m.replayed = len(m.wal)
		}
		if m.running && !m.blocked && !m.writes() {
			m.replayed = min(m.replayed+w.rng.IntN(5), len(m.wal))
		}
		if m.running && m.promoting && m.waits() && w.rng.IntN(2) == 0 {
			w.serial++
			m.becomePrimary(w.serial)
			if c := w.record.Change; c != nil && c.To == m.name {
				w.lost(*c, m)
			}
			w.say("  %s is promoted to timeline %d at %d", m.name, m.line.Timeline, len(m.wal)-1)
		}
	}
	for _, m := range w.members {
		up := w.member(m.upstream)
		if m.running && m.signal && !m.promoting && up.running && w.rng.IntN(4) > 0 && m.receive(up, 1+w.rng.IntN(4)) {
			w.fail("%s streams from %s, a foreign fork", m.name, up.name)
		}
	}
	for _, m := range w.members {
		if m.writes() {
			w.acknowledge(m)
		}
	}
	w.part.Ticked()
}

// acknowledge answers the writer's clients: each record that the setting's members
// have. Commits of a server that a person started or promoted are that person's.
func (w *World) acknowledge(m *member) {
	if m.byHand {
		return
	}
	end := len(m.wal)
	if !m.setting.None() {
		var flushed []int
		for _, name := range m.setting.Set {
			s := w.member(name)
			if s.running && s.signal && s.upstream == m.name {
				flushed = append(flushed, shared(s.wal, m.wal))
			}
		}
		slices.Sort(flushed)
		if len(flushed) < m.setting.K {
			return
		}
		end = flushed[len(flushed)-m.setting.K]
	}
	for _, r := range w.acked {
		if !slices.Contains(m.wal, r) {
			w.fail("%s acknowledges commits, but lacks commit %d, which was acknowledged before", m.name, r)
			return
		}
	}
	if n := len(w.acked); n < end {
		w.kept(m, end)
		w.acked = slices.Clone(m.wal[:end])
	}
}

// settle brings marked members back and settles the promise, as the steps after a
// change do.
func (w *World) settle() {
	p := w.member(w.record.Primary)
	if !p.running && (w.record.Change == nil || w.record.Change.Phase.Final()) && w.calm {
		p.start()
	}
	if !p.writes() {
		return
	}
	var streaming []string
	for _, m := range w.members {
		if m == p || m.cut || m.away > 0 {
			continue
		}
		w.mark(m, p)
		w.rejoin(m, p)
		if m.running && m.upstream == p.name && follows(ha.Standing{Line: m.line, Received: m.end()}, p.line) {
			streaming = append(streaming, m.name)
			if m.end() > 0 && m.line.Timeline == p.line.Timeline {
				w.recorded(m.name).Epoch = w.record.Epoch
			}
		}
	}
	want := appliance.Promise{}
	if w.quorum {
		want = ha.Over(streaming...)
	}
	flushed := 0
	for _, name := range want.Set {
		if shared(w.member(name).wal, p.wal) == len(p.wal) {
			flushed++
		}
	}
	switch move := ha.Moves(w.record.Promise, p.setting, want, flushed >= want.K); {
	case move.Store != nil:
		w.record.Promise = *move.Store
	case move.Set != nil:
		p.setting = *move.Set
	}
}

// mark marks a member that takes writes beside the primary, or that can't follow it.
func (w *World) mark(m, p *member) {
	r := w.recorded(m.name)
	stale := r.Epoch != w.record.Epoch && ha.Foreign(w.record.Promotions, r.Epoch, m.line) != 0
	apart := m.running && m.upstream == p.name && !follows(ha.Standing{Line: m.line, Received: m.end()}, p.line)
	if r.Return == "" && (m.writes() || apart || stale && (!m.running || m.upstream != p.name)) {
		r.Return = appliance.WayLook
	}
}

// rejoin brings a member back in the way that package ha names.
func (w *World) rejoin(m, p *member) {
	r := w.recorded(m.name)
	if r.Return == "" && m.running && m.upstream == p.name && m.signal {
		return
	}
	if r.Return == "" && m.signal {
		m.upstream = p.name
		m.start()
		return
	}
	m.kill()
	s := ha.Standing{Identifier: "1", Line: m.line, Received: m.end(), Return: r.Return}
	way := appliance.WayClone
	if r.Return != appliance.WayClone && ha.Foreign(w.record.Promotions, r.Epoch, m.line) == 0 {
		way = ha.WayOf(ha.Known{Identifier: "1", Line: w.record.Line()}, s)
	}
	w.say("  %s returns: %s", m.name, way)
	switch way {
	case appliance.WayFollow:
		if shared(m.wal, p.wal) < min(len(m.wal), len(p.wal)) {
			w.fail("%s follows without a rewind, with WAL of its own", m.name)
		}
	case appliance.WayRewind:
		at := int(ha.Forked(w.record.Line(), m.line, 0)) //nolint:gosec // small
		if at > shared(m.wal, p.wal) {
			w.fail("%s is rewound to %d, but left the primary's WAL at %d", m.name, at, shared(m.wal, p.wal))
		}
		m.wal, m.line = slices.Clone(p.wal[:min(at, len(p.wal))]), p.line
		m.wal = slices.Clone(p.wal)
	default:
		m.wal, m.line = slices.Clone(p.wal), p.line
	}
	r.Return, m.signal, m.production, m.upstream, m.byHand, m.blocked = "", true, false, p.name, false, false
	m.start()
	m.replayed = len(m.wal)
}

var errFault = errors.New("a fault")
