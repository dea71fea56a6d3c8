package watchworld

import (
	"errors"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

var errFault = errors.New("a fault")

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
	// The old primary is never asked for its position, as where it doesn't answer within the
	// time that package plan gives a primary that was found dead: the change has to be right
	// with what the watch has seen.
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
	if f.Lag > ha.DefaultLag && c.Phase == appliance.ChangeElecting && !old.running && m.reacts(w.now) && m.upstream == "" && m.signal && !m.lost && !m.stalled && m.wal.streams(old.wal) && m.wal.shared(old.wal) == m.wal.end {
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
	w.keepRecord()
	evidence := ""
	if w.op != nil && c.Kind == appliance.OpFailover {
		if evidence = w.op.evidence; evidence != "" {
			w.judge.failovers = append(w.judge.failovers, w.now)
		}
	}
	w.record.Primary, w.record.Epoch, w.record.Promise = k.Primary, k.Epoch, k.Promise
	w.record.Timeline, w.record.Ancestors = k.Line.Timeline, k.Line.Ancestors
	w.record.Promotions = append(w.record.Promotions, appliance.Promotion{
		Epoch: k.Epoch, Member: k.Primary, Timeline: k.Line.Timeline, Reason: string(c.Kind), At: w.clock(), Evidence: evidence,
	})
	w.server(k.Primary).byHand = false
	for _, m := range w.servers { // it keeps other WAL than the one before
		m.lost = false
	}
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
		if m.stalled {
			return errFault
		}
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
		if !m.running && !m.unable && !m.stalled {
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
