package watchworld

import (
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

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
	// fence has the primary ended before it is started, fences is set where it ends one.
	fence, fences bool
	// begins is when the operation was begun.
	begins time.Duration
	age    int
	// failed is set where it ends with an error.
	failed bool
	// phase of the change, and the turns in it.
	phase     appliance.ChangePhase
	turns     int
	seen      map[string]appliance.LSN
	cancelled bool
	// settles is set where a rejoin only has the promise follow, and ends where it may end it.
	settles, ends bool
	// alone is set where a user's works on a standby alone, and begun where it has begun to.
	alone, begun bool
	// member is whom it starts or returns, all if it is empty.
	member string
	// evidence is why it was begun without a person.
	evidence string
	// rest is what a user's operation does until it is done.
	rest func(age int) (done bool)
}

// begin begins the operation of an act, or says why not.
func (w *World) begin(a ha.Act) (withheld string) {
	switch {
	case w.now < w.home.full:
		return "the state can't be written"
	case w.record.Pause.Holds(w.clock()): // since the look began
		return "a user has paused it"
	}
	w.Acts++
	o := &operation{kind: appliance.OpStart, mine: true, fence: a.Fence, fences: a.Fence, evidence: a.Evidence}
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
		o.kind, o.settles, o.ends = appliance.OpRejoin, true, a.Deed == ha.Degrade
	case ha.Revive:
		if a.Only {
			o.member, o.alone = a.Member, true
		}
	}
	w.submit(o) // ends the attempt whose place it takes
	w.judge.begins(w, a)
	return ""
}

// submit begins an operation, in the place of one that runs.
func (w *World) submit(o *operation) {
	w.end()
	w.op, o.begins = o, w.now
	if o.kind != appliance.OpFailover && o.kind != appliance.OpSwitchover {
		return
	}
	w.record.Change = &appliance.PrimaryChange{Kind: o.kind, From: w.record.Primary, Phase: appliance.ChangeLooking, Seen: w.watcher.seen}
	w.say("%s from %s, promised %s", o.kind, w.record.Primary, w.record.Promise)
}

// end ends the operation that runs. A copy that is not complete is dropped.
func (w *World) end() {
	for _, m := range w.servers {
		m.cloned = 0
	}
	w.op = nil
	w.judge.ended(w)
}

// operate goes on with the operation that runs.
func (w *World) operate() {
	o := w.op
	if o == nil || w.now < w.home.full {
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
	done := w.work(o)
	if p := w.server(w.record.Primary); (o.kind != appliance.OpStart || o.member == "") && (o.rest == nil || p.writes() && p.reacts(w.now)) {
		done = w.settle(o.ends) && done
	}
	if done || o.failed || o.age > longest && !w.cloning() || w.chance(3) {
		w.say("  %s ends, done %v", o.kind, done)
		w.end()
	}
}

// work does the next of what an operation does besides a change of primary.
func (w *World) work(o *operation) (done bool) {
	switch {
	case o.rest != nil:
		return o.rest(o.age)
	case o.kind == appliance.OpStart && o.member != "":
		m, r := w.server(o.member), w.recorded(o.member)
		return r.WantStopped || keeper{w}.startStandby(m, w.server(w.record.Primary), r) || m.up(w.now)
	case o.kind == appliance.OpStart:
		if o.fence && !w.chance(200) {
			w.server(w.record.Primary).kill()
			o.fence = false
		}
		return !o.fence && keeper{w}.startAll()
	case o.settles:
		return true
	}
	done = keeper{w}.returnAll(o.member)
	if o.kind != appliance.OpRejoin {
		done = w.followed(o.age) && done
	}
	return done
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
