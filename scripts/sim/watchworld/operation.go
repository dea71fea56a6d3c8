package watchworld

import (
	"errors"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

var errFault = errors.New("a fault")

const (
	// patience is how many turns each phase of a change may take.
	patience = 25
	// longest is how many steps the rest of an operation may take.
	longest = 80
	// follows is how many steps a standby has to follow a new primary.
	follows = 40
)

// operation is one that runs. What is said of seen and phase is in the process's
// memory alone.
type operation struct {
	kind appliance.OperationKind
	mine bool
	// fence has the primary ended before it is started.
	fence bool
	age   int
	// phase of the change, and the turns in it.
	phase     appliance.ChangePhase
	turns     int
	seen      map[string]appliance.LSN
	cancelled bool
	// only is the standby that a start starts, empty for all members.
	only string
	// settles is set where a rejoin only has the promise follow; member is whom it returns.
	settles bool
	member  string
	// rest is what a user's operation does until it is done.
	rest func(age int) (done bool)
}

// begin begins the operation of an act.
func (w *World) begin(a ha.Act) {
	w.Acts++
	o := &operation{kind: appliance.OpStart, mine: true, fence: a.Fence}
	switch a.Deed {
	case ha.Replace:
		w.Failovers++
		o.kind = appliance.OpFailover
	case ha.Return:
		o.kind, o.member = appliance.OpRejoin, a.Member
		if r := w.recorded(a.Member); r.Return == "" {
			r.Return = a.Mark
		}
	case ha.Settle, ha.Degrade:
		o.kind, o.settles = appliance.OpRejoin, true
	case ha.Revive:
		if a.Only {
			o.only = a.Member
		}
	}
	w.submit(o)
}

// submit begins an operation, in the place of one that runs.
func (w *World) submit(o *operation) {
	w.op = o
	if o.kind != appliance.OpFailover && o.kind != appliance.OpSwitchover {
		return
	}
	w.record.Change = &appliance.PrimaryChange{Kind: o.kind, From: w.record.Primary, Phase: appliance.ChangeLooking, Seen: w.watcher.seen}
	w.say("%s from %s, promised %s", o.kind, w.record.Primary, w.record.Promise)
}

// operate goes on with the operation that runs.
func (w *World) operate() {
	o := w.op
	if o == nil {
		return
	}
	c := w.record.Change
	if (o.kind == appliance.OpFailover || o.kind == appliance.OpSwitchover) && !c.Phase.Final() {
		for range 3 {
			if w.turn(o); w.record.Change.Phase.Final() || w.watcher.away(w.now) {
				return
			}
		}
		return
	}
	o.age++
	var done bool
	switch {
	case o.rest != nil:
		done = o.rest(o.age)
	case o.only != "":
		m, r := w.server(o.only), w.recorded(o.only)
		done = r.WantStopped || w.startStandby(m, w.server(w.record.Primary), r) || m.up(w.now)
	case o.kind == appliance.OpStart:
		if o.fence && !w.chance(200) {
			w.server(w.record.Primary).kill()
			o.fence = false
		}
		done = !o.fence && w.startAll()
	case o.settles:
		done = true
	default:
		done = w.returnAll(o.member)
		if o.kind != appliance.OpRejoin {
			done = w.followed(o.age) && done
		}
	}
	if p := w.server(w.record.Primary); o.only == "" && (o.rest == nil || p.writes() && p.reacts(w.now)) {
		done = w.settle() && done
	}
	if done || o.age > longest || w.chance(3) {
		w.say("  %s ends, done %v", o.kind, done)
		w.op = nil
	}
}

// followed tells whether the others stream from a new primary. Those that don't in time
// are marked.
func (w *World) followed(age int) bool {
	streaming, want := w.streaming(), 0
	for i := range w.record.Members {
		if m := &w.record.Members[i]; m.Name != w.record.Primary && !m.WantStopped && m.Return == "" {
			want++
		}
	}
	if len(streaming) == want || age < follows {
		return len(streaming) == want
	}
	for _, m := range w.servers {
		if r := w.recorded(m.name); m.name != w.record.Primary && !r.WantStopped && !slices.Contains(streaming, m.name) {
			r.Return = appliance.WayLook
		}
	}
	return true
}

// startAll starts every member that should run in its role, as a start does.
func (w *World) startAll() (done bool) {
	p := w.server(w.record.Primary)
	if !w.recorded(p.name).WantStopped && !p.running && !w.writer(p.name) && !p.unable {
		p.start(w.now, w.recovery())
		p.byHand = false
		w.say("  %s is started in place", p.name)
	}
	if p.running && p.signal { // a switchover left it so
		p.promoting = true
	}
	done = p.writes()
	for _, m := range w.servers {
		r := w.recorded(m.name)
		if m == p || r.WantStopped {
			continue
		}
		done = w.startStandby(m, p, r) && done
	}
	return done
}

// writer tells whether another member takes writes.
func (w *World) writer(than string) bool {
	return slices.ContainsFunc(w.servers, func(m *server) bool { return m.name != than && m.writes() && m.up(w.now) && !m.cut })
}

func (w *World) startStandby(m, p *server, r *appliance.Member) (done bool) {
	switch {
	case m.writes():
		if p.writes() && p.reacts(w.now) {
			r.Return = appliance.WayLook
			m.kill()
			w.say("  %s is ended, since it takes writes", m.name)
		}
		return false
	case r.Return != "":
		return true
	case !m.running && m.production && !m.signal:
		r.Return = appliance.WayLook
		return true
	case !m.running && !m.unable:
		m.upstream = p.name
		m.start(w.now, w.recovery())
		return false
	case m.reacts(w.now) && m.upstream != p.name && !m.promoting:
		m.upstream = p.name
	}
	return m.streams
}

func (w *World) recovery() time.Duration { return time.Duration(w.rng.IntN(8)) * step }

// returnAll brings back the members that have to be, as a rejoin does, or only one.
func (w *World) returnAll(only string) (done bool) {
	p := w.server(w.record.Primary)
	if !p.writes() || !p.reacts(w.now) {
		return false
	}
	done = true
	for _, m := range w.servers {
		r := w.recorded(m.name)
		if m == p || r.WantStopped || r.Return == "" || only != "" && m.name != only {
			continue
		}
		if m.unable || m.cut || m.apart || p.apart || w.rng.IntN(3) > 0 {
			done = false
			continue
		}
		w.rejoin(m, p, r)
	}
	return done
}

// rejoin brings a member back in the way that package ha names.
func (w *World) rejoin(m, p *server, r *appliance.Member) {
	m.kill()
	s := ha.Standing{Identifier: "1", Line: m.wal.fork.line, Received: m.wal.lsn(), Return: r.Return}
	way := appliance.WayClone
	if r.Return != appliance.WayClone && ha.Foreign(w.record.Promotions, r.Epoch, m.wal.fork.line) == 0 {
		way = ha.WayOf(ha.Known{Identifier: "1", Line: w.record.Line()}, s)
	}
	w.say("  %s returns: %s", m.name, way)
	switch way {
	case appliance.WayFollow:
		if m.wal.shared(p.wal) < min(m.wal.end, p.wal.end) {
			w.fail("%s follows without a rewind, with WAL of its own", m.name)
		}
	case appliance.WayRewind:
		at := int(ha.Forked(w.record.Line(), m.wal.fork.line, 0) / record) //nolint:gosec // small
		if at > m.wal.shared(p.wal) {
			w.fail("%s is rewound to %d, but left the primary's WAL at %d", m.name, at, m.wal.shared(p.wal))
		}
		m.wal = p.wal
	default:
		m.wal = p.wal
	}
	r.Return, r.Epoch, m.signal, m.production, m.upstream = "", w.record.Epoch, true, false, p.name
	m.start(w.now, w.recovery())
}

// turn is one look, decision, save and set of commands of a change of primary.
func (w *World) turn(o *operation) {
	c := *w.record.Change
	if o.phase != c.Phase {
		o.phase, o.turns = c.Phase, 0
	}
	o.turns++
	f := w.facts(o, c)
	s := ha.Next(c, f)
	if w.chance(4) || w.killed(2) { // the store fails, or the process dies
		return
	}
	w.save(c, s)
	for _, command := range s.Commands {
		if w.killed(2) {
			return
		}
		if err := w.carryOut(command, s.Change.To); err != nil && command.Verb == ha.Mark {
			return
		}
	}
}

func (w *World) facts(o *operation, c appliance.PrimaryChange) ha.Facts {
	old := w.server(c.From)
	if o.seen == nil {
		o.seen = map[string]appliance.LSN{}
	}
	f := ha.Facts{
		Known: ha.Known{Identifier: "1", Line: w.record.Line(), Promise: w.record.Promise, Primary: c.From, Epoch: w.record.Epoch, Seen: c.Seen},
		Lag:   ha.DefaultLag, Cancelled: o.cancelled, Expired: o.turns > patience && c.Phase != appliance.ChangeFencing && c.Phase != appliance.ChangeRetracting,
		Old: ha.Server{Gone: !old.running, Writes: old.writes()},
	}
	if w.shared && w.record.Promise.None() && c.Kind == appliance.OpFailover {
		f.Lag = ^appliance.LSN(0)
	}
	if old.clean && !old.running {
		f.Old.Ended = old.wal.lsn()
	}
	for _, m := range w.servers {
		if m == old {
			continue
		}
		w.takeRest(m, old, c, f)
		s := m.standing(w.recorded(m.name).Return)
		s.Answered = m.reacts(w.now)
		last, known := o.seen[m.name]
		s.Settled = known && last == s.Position()
		o.seen[m.name] = s.Position()
		f.Standings = append(f.Standings, s)
	}
	if c.To != "" {
		to := w.server(c.To)
		f.Candidate = ha.Server{Gone: !to.running, Writes: to.production, Line: to.wal.fork.line}
		if to.running {
			f.Candidate.Writes = to.writes() && to.reacts(w.now)
		}
	}
	return f
}

// takeRest gives a detached standby what the dead primary's directory holds.
func (w *World) takeRest(m, old *server, c appliance.PrimaryChange, f ha.Facts) {
	if f.Lag > ha.DefaultLag && c.Phase == appliance.ChangeElecting && !old.running && m.reacts(w.now) && m.upstream == "" && m.signal && m.wal.streams(old.wal) && m.wal.shared(old.wal) == m.wal.end {
		m.wal = old.wal
	}
}

func (w *World) save(c appliance.PrimaryChange, s ha.Step) {
	if s.Change.Phase != c.Phase {
		w.say("  %s -> %s %s %v", c.Phase, s.Change.Phase, s.Change.To, s.Commands)
	}
	w.record.Change = &s.Change
	if s.Change.Phase == appliance.ChangeCancelled || s.Change.Phase == appliance.ChangeRefused {
		w.server(c.From).byHand = false // it is the primary again, whoever started it
	}
	for _, name := range s.Change.Tried {
		if name != s.Change.To {
			w.recorded(name).Return = appliance.WayClone
		}
	}
	if s.Known == nil {
		return
	}
	k := *s.Known
	w.record.Primary, w.record.Epoch, w.record.Promise = k.Primary, k.Epoch, k.Promise
	w.record.Timeline, w.record.Ancestors = k.Line.Timeline, k.Line.Ancestors
	w.record.Promotions = append(w.record.Promotions, appliance.Promotion{
		Epoch: k.Epoch, Member: k.Primary, Timeline: k.Line.Timeline, Reason: string(c.Kind), At: time.Unix(0, int64(w.now)),
	})
	w.server(k.Primary).byHand = false
	w.recorded(k.Primary).Epoch, w.recorded(k.Primary).Return = k.Epoch, ""
	for _, m := range w.servers {
		if m.name != k.Primary && (m.name == c.From || !m.running || m.cut) && w.recorded(m.name).Return == "" {
			w.recorded(m.name).Return = appliance.WayLook
		}
	}
}

// carryOut does one command, or fails.
func (w *World) carryOut(c ha.Command, to string) error {
	m := w.server(c.Member)
	machine := c.Verb == ha.Fence || c.Verb == ha.Mark || c.Verb == ha.Start
	if w.chance(60) || !machine && !m.reacts(w.now) && c.Verb != ha.Stop || c.Verb == ha.Mark && m.running {
		return errFault
	}
	switch c.Verb {
	case ha.Stop:
		if m.up(w.now) {
			m.kill()
			m.clean = m.production
		}
	case ha.Fence: // one that lies says so too, but ends nothing
		if !w.chance(200) {
			m.kill()
		}
	case ha.Detach:
		if m.signal && !m.promoting {
			m.upstream, m.streams = "", false
		}
	case ha.Promote:
		if m.signal {
			m.setting, m.promoting = ha.Without(w.record.Promise, m.name), true
		}
	case ha.Mark:
		m.signal = true
	case ha.Point, ha.Attach:
		if to == "" || c.Verb == ha.Attach {
			to = w.record.Primary
		}
		if m.signal && !m.promoting && w.recorded(m.name).Return == "" {
			m.upstream = to
		}
	case ha.Start:
		if !m.running && !m.unable {
			if m.name == w.record.Change.From {
				m.signal = false
			}
			m.start(w.now, 0)
			m.byHand = false
		}
	case ha.Checkpoint, ha.Rejoin:
	}
	return nil
}
