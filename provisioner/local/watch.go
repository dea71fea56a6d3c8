package local

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"pgapp/appliance"
)

// glanceEvery is the interval of looks for what makes no event: a stop by a
// signal, and any change on a machine without inotify, pidfds or cgroups.
const glanceEvery = 500 * time.Millisecond

// afterSign is when the next look is due where somebody has asked for the member's sign, and
// it runs: a daemon at rest asks twice a second.
const afterSign = 2 * glanceEvery

var _ appliance.Watched = (*Provider)(nil)

// Watch follows the member's postmaster by a pidfd, its pid file and its cgroup by
// inotify, and looks at its state twice a second, or after a second in which nobody has found
// it running by [Provider.Sign]. Watch finds each new postmaster.
func (p *Provider) Watch(ctx context.Context, c appliance.Cluster, m appliance.Member, wake func(detail string)) {
	w := &watch{m: p.machine(c, m), wake: wake, poked: make(chan struct{}, 1)}
	w.notes = openNotes(w.poke)
	defer w.notes.close()
	defer func() { w.hold.close() }()
	tick := time.NewTimer(glanceEvery)
	defer tick.Stop()
	if w.notes.file != nil {
		defer p.glances.add(w.m, tick)()
	}
	for event := "the watch began"; ; {
		w.look(event)
		select {
		case <-ctx.Done():
			return
		case <-w.poked:
			event = "its files or its cgroup changed"
		case <-tick.C:
			event = ""
			tick.Reset(glanceEvery)
		}
	}
}

// watch follows one member.
type watch struct {
	m     *machine
	wake  func(detail string)
	notes *notes
	// poked gets a value after each event. One value stands for all events before
	// the next look.
	poked chan struct{}
	// hold is the postmaster, or nil if there is none.
	hold *hold
	// events is the file that changes when the postmaster's cgroup is frozen, empty if
	// there is none.
	events string
	seen   appliance.Sign
}

func (w *watch) poke() {
	select {
	case w.poked <- struct{}{}:
	default:
	}
}

// look wakes if there was an event or if the sign has changed. look subscribes to
// what it looks at before it looks, so that no change falls between. The directories
// of a postmaster that runs stay.
func (w *watch) look(event string) {
	if event != "" {
		w.m.p.glances.event(w.m)
	}
	if event != "" || !w.hold.pinned() {
		if w.notes.cover(w.paths()) && event == "" {
			event = "its directories changed"
		}
	}
	sign := w.sign(event != "")
	changed := sign != w.seen
	w.seen = sign
	switch {
	case changed:
		w.wake(string(sign.Vital) + ": " + sign.Detail)
	case event != "":
		w.wake(event)
	}
}

// sign looks cheaply at a postmaster that it knows: while inotify tells of its cgroup, only
// at the process. After an event it looks for the postmaster anew.
func (w *watch) sign(event bool) appliance.Sign {
	if !event && w.hold.pinned() {
		if w.seen.Vital == appliance.VitalRunning && w.notes.follow(w.events) && w.hold.p.runs() {
			return w.seen
		}
		return w.m.p.cgroups.signOf(w.hold.p)
	}
	find := w.m.namedPostmaster
	if event || w.hold != nil {
		find = w.m.postmaster
	}
	pm, ok, err := find()
	if err != nil {
		w.release()
		return appliance.Sign{Detail: err.Error()}
	}
	if !ok {
		w.release()
		return noPostmaster()
	}
	if w.hold == nil || w.hold.p != pm || w.hold.ended() {
		w.release()
		w.hold = holdProc(pm, w.poke)
		w.notes.cover(w.paths())
	}
	return w.m.p.cgroups.signOf(pm)
}

func (w *watch) release() {
	w.hold.close()
	w.hold = nil
}

// paths lists what inotify follows: the member's directory, because the data
// directory may be renamed into place, the data directory, because of the pid file,
// and the cgroups.
func (w *watch) paths() []string {
	paths := []string{w.m.dir, filepath.Join(w.m.dir, dataName)}
	for _, g := range w.m.p.cgroups.existing(w.m.tag()) {
		paths = append(paths, filepath.Join(g.dir, eventsFile))
	}
	w.events = ""
	if w.hold != nil {
		if dir := w.m.p.cgroups.ofProc(w.hold.p); dir != "" {
			w.events = filepath.Join(dir, eventsFile)
		}
		if w.events != "" && !slices.Contains(paths, w.events) {
			paths = append(paths, w.events)
		}
	}
	return paths
}
