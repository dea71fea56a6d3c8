package watchworld

import (
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// life is what happens to a world.
type life struct{ *World }

// incident lets something go wrong, and more beside it, and wants the cluster whole
// again once nothing does any more.
func (w life) incident() {
	w.calm = false
	w.idle()
	w.trouble(w.server(w.record.Primary))
	for range 8 + w.rng.IntN(150) {
		w.fault()
		w.pass()
		if w.broken != nil {
			return
		}
	}
	if w.rng.IntN(4) == 0 {
		return // the next one comes before all is whole
	}
	w.converge()
}

// idle lets a long time pass in which nothing happens.
func (w life) idle() {
	if w.op != nil || len(w.plans) > 0 || w.rng.IntN(3) == 0 || !w.whole() || w.watcher.paused || w.watcher.away(w.now) {
		return
	}
	d := time.Duration(w.rng.IntN(1500)) * time.Second
	w.now += d
	w.watcher.next += d
	for _, m := range w.servers {
		m.heard += d
	}
	for range 8 {
		w.pass()
	}
}

// trouble makes the member ill for a while.
func (w life) trouble(m *server) {
	if !m.running {
		return
	}
	takes := time.Duration(1+w.rng.IntN(90)) * step
	if w.rng.IntN(4) == 0 {
		takes = time.Duration(1+w.rng.IntN(12)) * step
	}
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.say("%s is killed", m.name)
		m.kill()
	case 3:
		w.ail(m, frozen, takes)
	case 4:
		w.ail(m, stopped, takes)
	case 5:
		w.ail(m, closed, takes)
	case 6, 7:
		w.ail(m, []ailment{debugged, unwritable, crowded, mistaken, ghost}[w.rng.IntN(5)], takes)
	case 8:
		w.say("%s is cut off from all for %s", m.name, takes)
		m.cut, m.apart = true, true
		w.in(takes, func() { m.cut, m.apart = false, false })
	case 9:
		w.say("%s is cut off from pgapp for %s", m.name, takes)
		m.cut = true
		w.in(takes, func() { m.cut = false })
	case 10:
		w.say("%s is shut down by hand", m.name)
		m.kill()
		m.clean = true
		if w.rng.IntN(2) == 0 {
			w.restartedByHand(m)
		}
	default:
		w.everybody(takes)
	}
}

// restartedByHand has a person restart the member. A look in the middle may find the
// files as they are after the start.
func (w life) restartedByHand(m *server) {
	m.clean = w.rng.IntN(2) == 0
	w.in(step, func() {
		if w.op == nil && !m.running {
			m.start(w.now, 0)
		}
	})
}

// everybody cuts pgapp off from all members, or freezes them, and lets them come back
// one by one.
func (w life) everybody(takes time.Duration) {
	freezes := w.rng.IntN(2) == 0
	w.say("all members are cut off or frozen (%v) for %s", freezes, takes)
	for _, m := range w.servers {
		own := takes + time.Duration(w.rng.IntN(8))*step
		if freezes {
			w.ail(m, frozen, own)
			continue
		}
		m.cut, m.apart = true, true
		w.in(own, func() { m.cut, m.apart = false, false })
	}
}

func (w life) ail(m *server, a ailment, takes time.Duration) {
	if !m.running {
		return
	}
	w.say("%s is %s for %s", m.name, a, takes)
	m.ails = a
	w.in(takes, func() {
		if m.ails == a {
			w.say("%s is no longer %s", m.name, a)
			m.ails = well
		}
	})
}

// fault does something else that goes wrong, or that a person does.
func (w life) fault() {
	m := w.servers[w.rng.IntN(len(w.servers))]
	r := w.recorded(m.name)
	switch {
	case w.chance(6):
		w.trouble(m)
	case w.chance(4):
		m.mute = !m.mute
	case w.chance(4) && m.signal:
		w.say("%s is killed", m.name)
		m.kill()
	case w.chance(4) && m.signal:
		w.say("%s can't be started for a while", m.name)
		m.unable = true
		m.kill()
		w.in(time.Duration(w.rng.IntN(240))*step, func() { m.unable = false })
	case w.chance(6) && !m.running && !r.WantStopped && r.Return == "" && !m.unable:
		w.say("a person starts %s", m.name)
		m.start(w.now, 0)
		m.byHand = m.writes() && (m.name != w.record.Primary || w.changing())
	case w.chance(2) && m.running && m.signal && w.op == nil && !m.promoting && m.reacts(w.now):
		w.say("a person promotes %s", m.name)
		m.byHand, m.promoting = true, true
		m.setting = ha.Without(w.record.Promise, m.name)
	default:
		w.upset()
	}
}

// changing tells whether a change of primary is under way.
func (w life) changing() bool { return w.record.Change != nil && !w.record.Change.Phase.Final() }

// upset holds up the watching process, or has a user do something.
func (w life) upset() {
	switch v := &w.watcher; {
	case w.chance(5) && !v.away(w.now):
		d := time.Duration(1+w.rng.IntN(40)) * step
		w.say("the daemon is held up for %s", d)
		v.until, v.frozenLook = w.now+d, w.rng.IntN(2) == 0 && d > 2*late
	case w.chance(2):
		w.die(time.Duration(1+w.rng.IntN(20)) * step)
	case w.chance(3):
		v.paused = !v.paused
		w.say("a user pauses or resumes: %v", v.paused)
	case w.chance(3) && w.op == nil:
		w.user()
	}
}

// user has a user begin an operation.
func (w life) user() {
	m := w.servers[w.rng.IntN(len(w.servers))]
	r := w.recorded(m.name)
	switch w.rng.IntN(4) {
	case 0:
		w.submit(&operation{kind: appliance.OpSwitchover})
	case 1:
		w.say("a user stops %s", m.name)
		r.WantStopped = true
		w.submit(&operation{kind: appliance.OpStop, rest: func(int) bool {
			if m.up(w.now) {
				m.kill()
				m.clean = true
			}
			return !m.running
		}})
		w.in(time.Duration(w.rng.IntN(120))*step, func() { r.WantStopped = false })
	case 2:
		w.say("a user restarts %s", m.name)
		w.submit(&operation{kind: appliance.OpRestart, rest: func(age int) bool {
			switch {
			case age == 2 && m.up(w.now):
				m.kill()
				m.clean = true
			case age > 4 && !m.running && !m.unable && r.Return == "":
				m.start(w.now, w.recovery())
			}
			return age > 5 && m.running
		}})
	default:
		n := w.rng.IntN(60)
		w.submit(&operation{kind: appliance.OpScale, rest: func(age int) bool { return age > n }})
	}
}

// whole tells whether all members are in their roles and the promise is over all.
func (w life) whole() bool {
	p := w.server(w.record.Primary)
	if w.op != nil || !p.writes() || !p.reacts(w.now) || p.byHand || w.quorum && !w.record.Promise.Equal(ha.Over(w.streaming()...)) {
		return false
	}
	return len(w.streaming()) == len(w.servers)-1 && !slices.ContainsFunc(w.servers, func(m *server) bool {
		return m.wal.fork.line.Timeline != p.wal.fork.line.Timeline && m.wal.end > m.wal.fork.at
	})
}

// converge ends all faults and wants the cluster whole, or to hear why it is not.
func (w life) converge() {
	w.calm = true
	w.plans = nil
	w.watcher.paused = false
	for _, m := range w.servers {
		m.cut, m.apart, m.mute, m.unable, m.ails = false, false, false, false, well
		w.recorded(m.name).WantStopped = false
	}
	for range 3 {
		for range 800 {
			w.pass()
			if w.broken != nil || w.whole() {
				return
			}
		}
		if !w.refuses() {
			w.fail("the cluster is not whole, and nobody says why: %+v", w.watcher.acts)
			return
		}
		w.person()
	}
	w.fail("the cluster is not whole, though a person has done what was asked for: %+v", w.watcher.acts)
}

// refuses tells whether the last look says what a person has to do.
func (w life) refuses() bool {
	return slices.ContainsFunc(w.watcher.acts, func(a ha.Act) bool {
		return strings.Contains(a.Withheld, "a person has to look") || strings.Contains(a.Withheld, "adopt") || strings.Contains(a.Withheld, "nothing is promised")
	})
}

// person does what the last look asks for.
func (w life) person() {
	w.say("a person acts: %+v", w.watcher.acts)
	for _, m := range w.servers {
		if m.name != w.record.Primary && m.writes() {
			m.kill()
			w.recorded(m.name).Return = appliance.WayClone
		}
	}
	if p := w.server(w.record.Primary); w.op == nil && !p.writes() {
		w.submit(&operation{kind: appliance.OpFailover})
	}
}
