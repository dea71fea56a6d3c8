package watchworld

import (
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// spoiltCopies is how many copies for a member come to nothing in a scant world.
const spoiltCopies = 2

// keeper starts members and brings them back.
type keeper struct{ *World }

// startAll starts every member that should run in its role, as a start does.
func (w keeper) startAll() (done bool) {
	p := w.server(w.record.Primary)
	if !w.recorded(p.name).WantStopped && !p.running && !w.writer(p.name) && !p.unable && !p.stalled {
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
func (w keeper) writer(than string) bool {
	return slices.ContainsFunc(w.servers, func(m *server) bool { return m.name != than && m.writes() && m.up(w.now) && !m.cut })
}

func (w keeper) startStandby(m, p *server, r *appliance.Member) (done bool) {
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
	case !m.running && !m.unable && !m.stalled:
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
func (w keeper) returnAll(only string) (done bool) {
	p := w.server(w.record.Primary)
	if !p.writes() || !p.reacts(w.now) {
		for _, m := range w.servers { // a copy of a primary that has gone comes to nothing
			m.cloned = 0
		}
		return false
	}
	done = true
	for _, m := range w.servers {
		r := w.recorded(m.name)
		if m == p || r.WantStopped || r.Return == "" || only != "" && m.name != only {
			continue
		}
		if m.unable || m.stalled || m.cut || m.apart || p.apart || m.cloned == 0 && w.rng.IntN(3) > 0 {
			done = false
			continue
		}
		done = w.rejoin(m, p, r) && done
	}
	return done
}

// cloning tells whether a copy of the primary is being made.
func (w *World) cloning() bool {
	return slices.ContainsFunc(w.servers, func(m *server) bool { return m.cloned > 0 })
}

// rejoin brings a member back in the way that package ha names. A copy of all data takes
// its time, and one is made at a time.
func (w keeper) rejoin(m, p *server, r *appliance.Member) (done bool) {
	m.kill()
	way := appliance.WayClone
	if m.cloned == 0 {
		way = w.wayOf(m, r)
	}
	switch {
	case way != appliance.WayClone:
		w.say("  %s returns: %s", m.name, way)
	case m.cloned == 0 && w.cloning():
		return false
	case m.cloned == 0:
		m.cloned = w.now + time.Duration(4+w.rng.IntN(80))*step
		w.say("  %s is cloned", m.name)
		return false
	case w.now < m.cloned:
		return false
	case w.scant && m.spoilt < spoiltCopies:
		w.say("  the copy for %s comes to nothing", m.name)
		m.spoilt++
		m.cloned, w.op.failed = 0, true
		return false
	}
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
	m.lost, m.faulty, m.cloned = false, false, 0
	m.start(w.now, w.recovery())
	return true
}

// wayOf is how the member returns. Where the primary no longer has WAL that the member
// needs, it is cloned.
func (w keeper) wayOf(m *server, r *appliance.Member) appliance.WayBack {
	s := ha.Standing{Identifier: "1", Line: m.wal.fork.line, Received: m.wal.lsn(), Return: r.Return}
	if r.Return == appliance.WayClone || m.lost || ha.Foreign(w.record.Promotions, r.Epoch, m.wal.fork.line) != 0 {
		return appliance.WayClone
	}
	return ha.WayOf(ha.Known{Identifier: "1", Line: w.record.Line()}, s)
}
