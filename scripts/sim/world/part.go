package world

import (
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// Part is something beside the servers and the controller. It draws from a seed of its
// own, so that the world stays the same with it and without it.
type Part interface {
	// Ticked is told that the servers have gone on, and Saved that the record has changed.
	Ticked()
	Saved()
	// Settle has the part follow the phase on record before the phase's commands are
	// carried out. Verified is set once the new primary is on record.
	Settle(verified bool)
	// Killed is told that the controller has died and another one goes on.
	Killed()
}

// alone is the part of a world that has none.
type alone struct{}

func (alone) Ticked()     {}
func (alone) Saved()      {}
func (alone) Settle(bool) {}
func (alone) Killed()     {}

// route has the part follow a phase that it has not been told, as the driver of a change
// does: not while a checkpoint is written, and not a change that came to nothing.
func (w *World) route(s ha.Step) {
	phase := s.Change.Phase
	for _, c := range s.Commands {
		if c.Verb == ha.Checkpoint {
			return
		}
	}
	if phase == appliance.ChangeLooking || phase == w.driver.routed || phase.Final() && phase != appliance.ChangeDone {
		return
	}
	w.closed()
	w.driver.routed = phase
	// Endpoints are closed while the old primary is killed: before that or after it, and before
	// the next phase.
	if phase == appliance.ChangeFencing && w.record.Epoch%2 == 1 {
		w.driver.closing = true
		return
	}
	w.part.Settle(phase == appliance.ChangeDone)
}

// closed has the part follow the fence's phase, if it has not yet.
func (w *World) closed() {
	if w.driver.closing {
		w.driver.closing = false
		w.part.Settle(false)
	}
}

// Record is what is on record now.
func (w *World) Record() appliance.Cluster { return w.record }

// Calm tells whether no more faults come.
func (w *World) Calm() bool { return w.calm }

// Fail says what is wrong.
func (w *World) Fail(err error) { w.fail("%w", err) }

// Say says what happens.
func (w *World) Say(format string, args ...any) { w.say("%s", fmt.Sprintf(format, args...)) }

// Seen is how a look finds the member: writes is set where it takes writes, standby where
// it runs and takes none, and neither where it is gone. No look reaches one that is cut off.
func (w *World) Seen(name string) (writes, standby, cut bool) {
	m := w.member(name)
	return m.writes(), m.running && !m.writes(), m.cut
}
