package watchworld

import (
	"slices"
	"time"

	"pgapp/appliance"
)

// home is where the watching process keeps the record.
type home struct {
	// full is until when nothing can be written to it.
	full time.Duration
	// old are earlier records. Real is the true one while an old one was copied back.
	old  []appliance.Cluster
	real *appliance.Cluster
	// observing says why nothing may be changed.
	observing string
	// unread is set where a new process has not looked at the members' data yet.
	unread bool
}

// snapshot is the record as it is now.
func snapshot(c appliance.Cluster) appliance.Cluster {
	c.Members, c.Promotions = slices.Clone(c.Members), slices.Clone(c.Promotions)
	if c.Change != nil {
		change := *c.Change
		c.Change = &change
	}
	return c
}

// genuine is the record that belongs to the servers as they are.
func (w *World) genuine() *appliance.Cluster {
	if w.home.real != nil {
		return w.home.real
	}
	return &w.record
}

// keepRecord keeps the record of before a change of primary.
func (w *World) keepRecord() {
	old := snapshot(w.record)
	old.Change = nil
	w.home.old = append(w.home.old, old)
}

// copyBack ends the watching process and copies an older home in the place of this one.
func (w life) copyBack() {
	if len(w.home.old) == 0 || w.home.real != nil || w.op != nil || w.changing() {
		return
	}
	w.say("the home is copied back from epoch %d", w.home.old[len(w.home.old)-1].Epoch)
	w.die(time.Duration(1+w.rng.IntN(20)) * step)
	genuine := snapshot(w.record)
	w.home.real, w.record = &genuine, snapshot(w.home.old[w.rng.IntN(len(w.home.old))])
	w.record.Pause, w.record.Resumed = genuine.Pause, genuine.Resumed
	w.in(time.Duration(w.rng.IntN(120))*step, w.adopt)
}

// adopt has a person take the cluster over as it is.
func (w *World) adopt() {
	if w.home.real == nil {
		return
	}
	w.say("a person adopts the cluster as it is")
	pause, resumed := w.record.Pause, w.record.Resumed
	w.record, w.home.real, w.home.observing = *w.home.real, nil, ""
	w.record.Pause, w.record.Resumed = pause, resumed
}

// recover has a new process look at the members' data before anything is done.
func (w *World) recover() {
	if !w.home.unread {
		return
	}
	w.home.unread = false
	for _, m := range w.servers {
		if w.home.real != nil && m.wal.fork.line.Timeline > w.record.Timeline {
			w.home.observing = "the record is older than the data of " + m.name
		}
	}
}

// changing tells whether a change of primary is under way.
func (w *World) changing() bool { return w.record.Change != nil && !w.record.Change.Phase.Final() }
