package watchworld

import (
	"maps"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// trouble is what may truly be wrong with a member.
type trouble string

// The troubles of a primary. Serving and alone are none of them: it answers and takes
// writes, and no standby streams from it.
const (
	dead    trouble = "dead"
	halted  trouble = "halted"
	silent  trouble = "silent"
	hung    trouble = "hung"
	stuck   trouble = "stuck"
	serving trouble = "serving"
	alone   trouble = "alone"
)

// The troubles of a standby, besides dead.
const (
	closedDown trouble = "shut down"
	marked     trouble = "marked"
	lost       trouble = "lost"
	apart      trouble = "apart"
	writer     trouble = "writer"
)

// ill is a member's trouble.
type ill struct {
	member string
	trouble
}

// bout is a trouble that lasts, as looks could see it.
type bout struct {
	first time.Duration
	looks int
}

// truth is how things are when a look begins.
type truth struct {
	ills map[ill]bool
	// unheard is set where no standby has heard from the primary for long, of those that
	// answer, others where another member takes new connections, disks where another's disk
	// takes writes.
	unheard, others, disks bool
	answering              int
	// end is that of the primary's WAL, and runs is set where it runs.
	end  int
	runs bool
}

// truly is how things are now.
func (w eyes) truly() truth {
	p := w.server(w.record.Primary)
	t := truth{ills: map[ill]bool{}, unheard: true, end: p.wal.end, runs: p.running}
	if !w.recorded(p.name).WantStopped {
		w.troubles(p, t.finds(p))
		w.primaryTroubles(p, t.finds(p))
	}
	for _, m := range w.servers {
		if m == p || w.recorded(m.name).WantStopped {
			continue
		}
		t.others = t.others || w.greets(m) == ha.Answers
		if m.reacts(w.now) {
			t.answering++
			t.unheard = t.unheard && (!m.streams || w.now-m.heard >= w.pace().Unheard)
			t.disks = t.disks || !m.stalled && !m.writes()
		}
		w.troubles(m, t.finds(m))
		w.standbyTroubles(m, p, t.finds(m))
	}
	return t
}

// finds notes the member's troubles.
func (t truth) finds(m *server) func(trouble, bool) {
	return func(what trouble, is bool) {
		if is {
			t.ills[ill{m.name, what}] = true
		}
	}
}

// troubles are those of a member that is the primary or may be soon.
func (w eyes) troubles(m *server, finds func(trouble, bool)) {
	excused := !m.mute && (m.ails == debugged || m.ails == unwritable) || !m.cut && (m.ails == crowded || m.running && w.now < m.starting && !m.frozen())
	greets := w.greets(m)
	finds(halted, w.vital(m) == appliance.VitalHalted && greets == ha.Silent)
	finds(silent, !excused && !m.reacts(w.now) && (m.running || !m.clean || m.mute))
	finds(hung, !excused && m.running && greets == ha.Silent)
}

// primaryTroubles are those that only the primary has.
func (w eyes) primaryTroubles(m *server, finds func(trouble, bool)) {
	serves := m.writes() && m.reacts(w.now)
	finds(dead, w.vital(m) == appliance.VitalGone && (!m.running && !m.clean || m.running && w.greets(m) == ha.Silent && !m.reacts(w.now)))
	finds(stuck, m.stalled && serves && w.vital(m) != appliance.VitalDebugged)
	finds(serving, serves)
	finds(alone, serves && len(w.streaming()) == 0)
}

// standbyTroubles are those that a standby of the primary p truly has.
func (w eyes) standbyTroubles(m, p *server, finds func(trouble, bool)) {
	back := w.recorded(m.name).Return != ""
	gone := w.vital(m) == appliance.VitalGone && (!m.running || m.frozen() || m.cut)
	finds(dead, gone && (m.running || !m.clean))
	finds(closedDown, gone && !m.running && m.clean)
	finds(marked, back)
	finds(lost, m.lost && !m.streams && !back)
	finds(apart, m.reacts(w.now) && !m.writes() && !back && (!m.streams || m.upstream != p.name && p.writes() && p.reacts(w.now)))
	finds(writer, m.writes() && m.reacts(w.now) && !back)
}

// looked notes what the look could see.
func (j *judge) looked(s ha.Situation, l *look, now time.Duration) {
	j.primary = s.Known.Primary
	everybody := len(s.Members) > 1
	for _, o := range s.Members {
		reacts := o.Session != ha.Silent || o.Fresh == ha.Answers || o.Fresh == ha.Denies || o.Fresh == ha.Starts
		everybody = everybody && !reacts && o.Sign.Vital != appliance.VitalGone && o.Fresh != ha.Refuses
	}
	if s.Stalled || everybody {
		clear(j.bouts)
		return
	}
	if s.Held != "" {
		j.lasts(now)
	}
	if j.truth.end != l.truth.end { // a write got to the disk
		delete(j.bouts, ill{j.primary, stuck})
	}
	j.truth = l.truth
	maps.DeleteFunc(j.bouts, func(what ill, _ bout) bool { return !l.truth.ills[what] })
	for what := range l.truth.ills {
		b := j.bouts[what]
		switch {
		case what.trouble == apart && l.dropped[what.member],
			slices.Contains([]trouble{serving, alone, stuck, apart, lost}, what.trouble) && l.dropped[j.primary]:
			delete(j.bouts, what)
			continue
		case b.looks == 0:
			b.first = l.began
		}
		b.looks++
		j.bouts[what] = b
	}
}

// lasted tells whether the looks that found the trouble are enough.
func (j *judge) lasted(w *World, what ill, limit time.Duration, looks int) bool {
	b := j.bouts[what]
	return b.looks >= looks && w.now-b.first >= limit
}

// dies tells whether two signals say that the primary has to be ended.
func (j *judge) dies(w *World) bool {
	p, t := w.pace(), j.truth
	is := func(what trouble, limit time.Duration, looks int) bool {
		return j.lasted(w, ill{w.record.Primary, what}, limit, looks)
	}
	return is(dead, 0, 2) || is(halted, p.Silent, 3) || is(silent, p.Silent, 3) && t.unheard && t.answering > 0 || is(hung, p.Hung, 3) && t.others
}

// proven tells whether two signals say that the primary has to be replaced.
func (j *judge) proven(w *World) bool {
	return j.dies(w) || j.lasted(w, ill{w.record.Primary, stuck}, w.pace().Hung, 3) && j.truth.disks
}

// obvious tells whether it has to be said that the primary does not do its work. A disk
// that stalls shows only once pgapp's own write waits, too.
func (j *judge) obvious(w *World) bool {
	is := func(what trouble, limit time.Duration, looks int) bool {
		return j.lasted(w, ill{w.record.Primary, what}, limit, looks)
	}
	asks := writeEvery + 4*eyes{w}.limit()
	return is(dead, 0, 2) || is(halted, w.pace().Silent, 3) || is(stuck, w.pace().Hung+asks, 3)
}
