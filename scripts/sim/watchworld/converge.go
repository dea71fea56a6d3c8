package watchworld

import (
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

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
	w.adopt()
	w.idleUntil, w.home.full = 0, 0
	if w.record.Pause != nil && w.record.Pause.Until == nil { // others end by themselves
		w.resume()
	}
	for _, m := range w.servers {
		m.cut, m.apart, m.mute, m.unable, m.stalled, m.ails = false, false, false, false, false, well
		w.recorded(m.name).WantStopped = false
	}
	for range 3 {
		for range 1600 { // several members' copies, each after some that came to nothing, and the pauses between
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
	if slices.ContainsFunc(w.watcher.acts, func(a ha.Act) bool { return strings.Contains(a.Withheld, "after pgapp resume pgapp does") }) {
		w.resume()
		return
	}
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
