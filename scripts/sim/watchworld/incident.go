package watchworld

import (
	"time"
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
	if w.op != nil || len(w.plans) > 0 || w.rng.IntN(3) == 0 || !w.whole() || w.record.Pause != nil || w.home.real != nil || w.watcher.away(w.now) {
		return
	}
	d := time.Duration(w.rng.IntN(1500)) * time.Second
	w.now += d
	w.watcher.next += d
	w.watcher.look = nil
	w.watcher.writes.moved += d
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
	switch w.rng.IntN(14) {
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
	case 11:
		w.everybody(takes)
	default:
		w.stall(m, takes)
	}
}

// stall has no write get to the member's disk, or to any member's, for a while, or again and
// again.
func (w life) stall(m *server, takes time.Duration) {
	which, again := []*server{m}, time.Duration(0)
	switch w.rng.IntN(4) {
	case 0:
		which = w.servers
	case 1:
		again = time.Duration(4+w.rng.IntN(40)) * step
	}
	w.say("%d disks, first that of %s, stall for %s, again after %s", len(which), which[0].name, takes, again)
	for _, m := range which {
		m.stalled = true
		w.in(takes, func() { m.stalled = false })
		if again > 0 {
			w.in(takes+step, func() { m.stalled = true })
			w.in(takes+step+again, func() { m.stalled = false })
		}
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
