package watchworld

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// judge holds what the world itself knows of the troubles. It is independent of
// package ha.
type judge struct {
	primary string
	// bouts are the troubles of the primary, and of its standbys by their names.
	bouts map[ill]bout
	begun map[string][]time.Duration
	// tries are the attempts of each kind on each member.
	tries map[try]tries
	// refused is when an act last could not begin.
	refused map[try]time.Duration
	// stale is since when the promise names one that doesn't stream, 0 if none.
	stale time.Duration
	// truth is that of the last look.
	truth truth
	// failovers are those that were made without a person since the last one that resumed.
	failovers []time.Duration
	// paused is set while a user wants nothing done, until that time, and pauses since when.
	paused, pauses time.Duration
}

type try struct {
	member string
	deed   ha.Deed
}

// tries are attempts that followed each other soon.
type tries struct {
	n            int
	began, ended time.Duration
	runs         bool
	// lasted is the last look at which the operation ran: a watch that is held up learns
	// late of its end.
	lasted time.Duration
}

const (
	// hammer is how many acts on a member within a minute are too many.
	hammer = 12
	// shrink is how long a promise may name a standby that is away.
	shrink = 20 * time.Second
	hourly = 3
	// rested is how long no attempt was made before attempts are counted anew.
	rested = 30 * time.Second
	// forever is longer than any world.
	forever = time.Duration(1<<63 - 1)
)

func newJudge() judge {
	return judge{bouts: map[ill]bout{}, begun: map[string][]time.Duration{}, tries: map[try]tries{}, refused: map[try]time.Duration{}}
}

// restart has the watching process forget what it saw.
func (j *judge) restart() {
	clear(j.bouts)
	clear(j.tries)
}

// holds tells whether a pause holds, and held at that time.
func (j *judge) holds(now time.Duration) bool { return now >= j.pauses && now < j.paused }

// acts judges an act that is about to begin after the look.
func (j *judge) acts(w *World, a ha.Act, l *look) {
	m := w.server(a.Member)
	switch {
	case j.holds(w.now) && j.holds(l.began):
		w.fail("%s of %s while a user has paused it", a.Deed, a.Member)
	case w.home.real != nil:
		w.fail("%s of %s with a record of before", a.Deed, a.Member)
	case w.changing() && w.record.Change.OneWay():
		w.fail("%s of %s past the point of no return of a change of primary", a.Deed, a.Member)
	case w.op != nil && !w.op.yields(a):
		w.fail("%s of %s while %s runs", a.Deed, a.Member, w.op.kind)
	case a.Deed == ha.Revive && a.Member == w.record.Primary && l.truth.runs && !a.Fence:
		w.fail("%s is to be started in place, and is neither gone nor ended first", a.Member)
	case a.Fence && !j.proven(w):
		w.fail("%s is to be ended without two signals (%v): %s", a.Member, j.bouts, a.Evidence)
	case a.Fence && !j.dies(w):
		w.fail("%s is to be ended and started, which mends no disk: %s", a.Member, a.Evidence)
	case a.Deed == ha.Revive && a.Member != w.record.Primary && m.writes() && !w.server(w.record.Primary).writes():
		w.fail("%s is to be ended, and takes writes alone", a.Member)
	case a.Deed == ha.Replace:
		j.replaces(w, a)
	case a.Deed == ha.Degrade:
		j.degrades(w)
	case a.Deed != ha.Settle && a.Member != w.record.Primary:
		j.helps(w, a, l)
	}
}

// yields tells whether the act may take the operation's place: what waits for the primary
// itself, and pgapp's own start. A user's start or restart of a standby yields to a new
// primary only.
func (o *operation) yields(a ha.Act) bool {
	own := o.mine && o.kind == appliance.OpStart
	waits := o.kind == appliance.OpRejoin || o.kind == appliance.OpReinit
	return a.Deed == ha.Replace && (o.alone || own || waits) || a.Fence && (own && !o.fences || waits)
}

// begins counts an attempt.
func (j *judge) begins(w *World, a ha.Act) {
	recent := slices.DeleteFunc(j.begun[a.Member], func(at time.Duration) bool { return w.now-at > time.Minute })
	j.begun[a.Member] = append(recent, w.now)
	if n := len(j.begun[a.Member]); n > hammer {
		w.fail("%d acts on %s in a minute", n, a.Member)
	}
	this := try{a.Member, a.Deed}
	t := j.recent(this, w.now)
	if t.n > 0 {
		j.rests(w, this, t)
	}
	j.tries[this] = tries{n: t.n + 1, began: w.now, runs: true}
}

// recent are the attempts so far, none if no attempt was made for a while.
func (j *judge) recent(this try, now time.Duration) tries {
	if t := j.tries[this]; now-max(t.began, t.ended) < rested {
		return t
	}
	return tries{}
}

// rests wants a pause after an attempt that grows with each, and after a copy of all data one
// as long as the copy took.
func (j *judge) rests(w *World, this try, t tries) {
	longest := time.Minute
	if this.deed == ha.Settle || this.deed == ha.Degrade {
		longest = 4 * time.Second
	}
	pause := min(time.Second<<min(t.n-1, 6), longest)
	if since := w.now - t.began; since < pause {
		w.fail("attempt %d at %s of %s comes %s after the last one, want %s", t.n+1, this.deed, this.member, since, pause)
	}
	seen := max(t.began, t.lasted)
	if this.deed == ha.Return && t.n > 1 {
		pause = max(pause, seen-t.began)
	}
	if since := w.now - seen; since < pause {
		w.fail("attempt %d at %s of %s comes %s after the end of the last one, which took %s; want %s", t.n+1, this.deed, this.member, since, seen-t.began, pause)
	}
}

// lasts notes a look at which the operation that runs still ran.
func (j *judge) lasts(now time.Duration) {
	for this, t := range j.tries {
		if t.runs {
			t.lasted = now
			j.tries[this] = t
		}
	}
}

// ended notes that the operation that ran runs no more.
func (j *judge) ended(w *World) {
	for this, t := range j.tries {
		if t.runs {
			t.runs, t.ended = false, w.now
			j.tries[this] = t
		}
	}
}

// replaces judges a failover that is about to begin.
func (j *judge) replaces(w *World, a ha.Act) {
	if a.Member != w.record.Primary {
		w.fail("%s is to be replaced, and is not the primary", a.Member)
	}
	if !j.proven(w) {
		w.fail("%s is to be replaced without two signals (%v): %s", a.Member, j.bouts, a.Evidence)
	}
	n, last := j.hour(w)
	switch {
	case n >= hourly:
		w.fail("failover %d within an hour", n+1)
	case n > 0 && w.quorum && w.record.Promise.None():
		w.fail("a failover, though nothing is promised since the last one")
	case n > 0 && !w.quorum && w.now-last < time.Minute:
		w.fail("a failover %s after the last one", w.now-last)
	}
}

// hour returns how many failovers were made without a person in the last hour, and when the last one was.
func (j *judge) hour(w *World) (n int, last time.Duration) {
	for _, at := range j.failovers {
		if w.now-at < time.Hour {
			n, last = n+1, at
		}
	}
	return n, last
}

// degrades judges the end of a promise.
func (j *judge) degrades(w *World) {
	if !w.degrades || !j.lasted(w, ill{w.record.Primary, alone}, w.pace().Left, 3) {
		w.fail("the promise is to end (%v), which shall be so: %v", j.bouts, w.degrades)
	}
}

// helps judges an act on a standby: that it needs one, and that one.
func (j *judge) helps(w *World, a ha.Act, l *look) {
	is := func(t trouble) bool { return l.truth.ills[ill{a.Member, t}] }
	switch {
	case a.Deed == ha.Revive && is(apart) && j.recent(try{a.Member, a.Deed}, w.now).n > 1 && !is(dead) && !is(closedDown):
		w.fail("%s receives nothing, and is started again, though a start did not help", a.Member)
	case is(dead) || is(closedDown) || is(marked) || is(lost) || is(writer) || is(apart):
	default:
		w.fail("%s of %s, and nothing is wrong with it (%v): %s", a.Deed, a.Member, j.bouts, a.Evidence)
	}
}

// says judges what a look has led to: whether all is said, and whether what is not done is
// rightly withheld.
func (j *judge) says(w *World, s ha.Situation, l *look) {
	if s.Stalled || j.primary == "" {
		return
	}
	for _, a := range w.watcher.acts {
		j.withholds(w, a, l)
	}
	said := func(member string, deeds ...ha.Deed) bool {
		return slices.ContainsFunc(w.watcher.acts, func(a ha.Act) bool { return a.Member == member && slices.Contains(deeds, a.Deed) })
	}
	p := j.primary
	if w.recorded(p).WantStopped || s.Known.Epoch != w.record.Epoch {
		return
	}
	if j.obvious(w) && !said(p, ha.Replace, ha.Revive) {
		w.fail("%s has to be replaced (%v), and nobody says so: %+v", p, j.bouts, w.watcher.acts)
	}
	if len(w.watcher.acts) > 0 && (w.watcher.acts[0].Member == p && w.watcher.acts[0].Deed != ha.Degrade || w.watcher.acts[0].Deed == ha.Revive && j.bouts[ill{w.watcher.acts[0].Member, writer}].looks > 0) {
		return // first things first
	}
	for _, what := range []trouble{dead, halted, silent, hung, stuck} {
		if j.bouts[ill{p, what}].looks > 0 {
			return
		}
	}
	if j.bouts[ill{p, serving}].looks < 2 {
		return
	}
	if w.degrades && !s.Known.Promise.None() && j.lasted(w, ill{p, alone}, w.pace().Left, 3) && !said(p, ha.Degrade) {
		w.fail("no standby streams (%v), and nobody ends the promise: %+v", j.bouts, w.watcher.acts)
	}
	for _, m := range w.servers {
		if deeds := j.needs(w, m.name); m.name != p && !w.recorded(m.name).WantStopped && len(deeds) > 0 && !said(m.name, deeds...) {
			w.fail("%s needs one of %v (%v), and nobody says so: %+v", m.name, deeds, j.bouts, w.watcher.acts)
		}
	}
}

// needs are the deeds of which one has to be done about a standby of a primary that serves.
func (j *judge) needs(w *World, name string) []ha.Deed {
	seen := func(t trouble, limit time.Duration, looks int) bool { return j.lasted(w, ill{name, t}, limit, looks) }
	switch {
	case seen(marked, 0, 2), seen(lost, 0, 2):
		return []ha.Deed{ha.Return}
	case j.bouts[ill{name, marked}].looks > 0, j.bouts[ill{name, lost}].looks > 0:
		return nil
	case seen(dead, 0, 2), seen(closedDown, w.pace().Left, 2):
		return []ha.Deed{ha.Revive}
	case seen(apart, w.pace().Hung, 3):
		return []ha.Deed{ha.Revive, ha.Return}
	}
	return nil
}

// withholds judges why an act is not done. An operation holds the acts of each look that
// it was there for.
func (j *judge) withholds(w *World, a ha.Act, l *look) {
	n, _ := j.hour(w)
	said := func(text string) bool { return strings.Contains(a.Withheld, text) }
	wrong := ""
	switch {
	case a.Withheld == "":
	case said("paused") && !j.holds(w.now):
		wrong = "no pause holds"
	case said("older than") && w.home.real == nil:
		wrong = "the record is not older"
	case said("operation") && w.op == nil && l.held.All == "":
		wrong = "none runs"
	case said("operation") && a.Deed == ha.Replace && w.op != nil && w.op.alone && l.held.Replace == "":
		wrong = "it waits for the primary itself"
	case said("in the last hour") && n < hourly:
		wrong = fmt.Sprintf("%d have been made", n)
	case said("since the last failover") && n == 0:
		wrong = "there was none"
	case said("tried") && j.tries[try{a.Member, a.Deed}].n == 0 && w.now-j.refused[try{a.Member, a.Deed}] > 5*time.Second:
		wrong = "it was not tried"
	}
	if wrong != "" {
		w.fail("%s of %s is withheld: %q, but %s", a.Deed, a.Member, a.Withheld, wrong)
	}
}

// after wants what has to hold after each step.
func (j *judge) after(w *World) {
	p := w.server(w.record.Primary)
	if n := slices.DeleteFunc(slices.Clone(w.servers), func(m *server) bool { return m.cloned == 0 }); len(n) > 1 {
		w.fail("%s and %s are cloned at once", n[0].name, n[1].name)
	}
	if !w.quorum || !p.writes() || !p.reacts(w.now) || p.stalled || w.op != nil || j.holds(w.now) || w.watcher.away(w.now) || w.home.real != nil || w.now < w.home.full {
		j.stale = 0
		return
	}
	streaming := w.streaming()
	if len(streaming) == 0 || ha.Over(streaming...).Equal(w.record.Promise) {
		j.stale = 0
		return
	}
	if j.stale == 0 {
		j.stale = w.now
	}
	if w.now-j.stale > shrink {
		w.fail("%s is promised for %s, and %v stream", w.record.Promise, w.now-j.stale, streaming)
	}
}
