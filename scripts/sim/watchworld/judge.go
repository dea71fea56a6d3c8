package watchworld

import (
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// trouble is what may truly be wrong with a primary.
type trouble string

const (
	dead   trouble = "dead"
	halted trouble = "halted"
	silent trouble = "silent"
	hung   trouble = "hung"
)

// bout is a trouble that lasts, as looks could see it.
type bout struct {
	first time.Duration
	looks int
}

// judge holds what the world itself knows of the troubles. It is independent of
// package ha.
type judge struct {
	primary string
	bouts   map[trouble]bout
	begun   map[string][]time.Duration
	// stale is since when the promise names one that doesn't stream, 0 if none.
	stale time.Duration
}

const (
	// hammer is how many acts on a member within a minute are too many.
	hammer = 12
	// shrink is how long a promise may name a standby that is away.
	shrink = 20 * time.Second
	hourly = 3
)

func newJudge() judge { return judge{bouts: map[trouble]bout{}, begun: map[string][]time.Duration{}} }

// forget begins all windows anew.
func (j *judge) forget() { clear(j.bouts) }

// looked notes what a look at the primary could see.
func (j *judge) looked(w *World, s ha.Situation) {
	if j.primary != w.record.Primary {
		j.primary = w.record.Primary
		j.forget()
	}
	everybody := len(s.Members) > 1
	for _, o := range s.Members {
		reacts := o.Session != ha.Silent || o.Fresh == ha.Answers || o.Fresh == ha.Denies || o.Fresh == ha.Starts
		everybody = everybody && !reacts && o.Sign.Vital != appliance.VitalGone && o.Fresh != ha.Refuses
	}
	if s.Stalled || everybody {
		j.forget()
		return
	}
	for t, is := range w.troubles(w.server(j.primary)) {
		b := j.bouts[t]
		switch {
		case !is:
			delete(j.bouts, t)
			continue
		case b.looks == 0:
			b.first = w.now
		}
		b.looks++
		j.bouts[t] = b
	}
}

// troubles are those that the primary truly has.
func (w *World) troubles(m *server) map[trouble]bool {
	excused := !m.mute && (m.ails == debugged || m.ails == unwritable) || !m.cut && (m.ails == crowded || m.running && w.now < m.starting && !m.frozen())
	greets := w.greets(m)
	return map[trouble]bool{
		dead:   w.vital(m) == appliance.VitalGone && (!m.running && !m.clean || m.running && greets == ha.Silent && !m.reacts(w.now)),
		halted: w.vital(m) == appliance.VitalHalted && greets == ha.Silent,
		silent: !excused && !m.reacts(w.now) && (m.running || !m.clean || m.mute),
		hung:   !excused && m.running && greets == ha.Silent,
	}
}

// lasted tells whether the looks that found the trouble are enough.
func (j *judge) lasted(w *World, t trouble, limit time.Duration, looks int) bool {
	b := j.bouts[t]
	return b.looks >= looks && w.now-b.first >= limit
}

// proven tells whether two signals say that the primary has to be replaced.
func (j *judge) proven(w *World) bool {
	p := w.pace()
	unheard, others := true, false
	answering := 0
	for _, m := range w.servers {
		if m.name == w.record.Primary || w.recorded(m.name).WantStopped {
			continue
		}
		others = others || w.greets(m) == ha.Answers
		if m.reacts(w.now) {
			answering++
			unheard = unheard && (!m.streams || w.now-m.heard >= p.Unheard)
		}
	}
	return j.lasted(w, dead, 0, 2) || j.lasted(w, halted, p.Silent, 3) ||
		j.lasted(w, silent, p.Silent, 3) && unheard && answering > 0 || j.lasted(w, hung, p.Hung, 3) && others
}

// acts judges an act that is about to begin.
func (j *judge) acts(w *World, a ha.Act) {
	c := w.record.Change
	m := w.server(a.Member)
	switch {
	case w.watcher.paused:
		w.fail("%s of %s while a user has paused it", a.Deed, a.Member)
	case c != nil && !c.Phase.Final() && c.OneWay():
		w.fail("%s of %s past the point of no return of a change of primary", a.Deed, a.Member)
	case w.op != nil && !w.op.mine, w.op != nil && a.Deed != ha.Replace && (!a.Fence || w.op.fence):
		w.fail("%s of %s while %s runs", a.Deed, a.Member, w.op.kind)
	case a.Deed == ha.Revive && a.Member == w.record.Primary && m.running && !a.Fence:
		w.fail("%s is to be started in place, and is neither gone nor ended first", a.Member)
	case a.Fence && !j.proven(w):
		w.fail("%s is to be ended without two signals (%v): %s", a.Member, j.bouts, a.Evidence)
	case a.Deed == ha.Revive && a.Member != w.record.Primary && m.writes() && !w.server(w.record.Primary).writes():
		w.fail("%s is to be ended, and takes writes alone", a.Member)
	case a.Deed == ha.Replace:
		j.replaces(w, a)
	}
	recent := slices.DeleteFunc(j.begun[a.Member], func(at time.Duration) bool { return w.now-at > time.Minute })
	j.begun[a.Member] = append(recent, w.now)
	if n := len(j.begun[a.Member]); n > hammer {
		w.fail("%d acts on %s in a minute", n, a.Member)
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
	n := 0
	var last time.Duration
	for _, p := range w.record.Promotions {
		if at := time.Duration(p.At.UnixNano()); p.Reason == string(appliance.OpFailover) && w.now-at < time.Hour {
			n, last = n+1, at
		}
	}
	switch {
	case n >= hourly:
		w.fail("failover %d within an hour", n+1)
	case n > 0 && w.quorum && w.record.Promise.None():
		w.fail("a failover, though nothing is promised since the last one")
	case n > 0 && !w.quorum && w.now-last < time.Minute:
		w.fail("a failover %s after the last one", w.now-last)
	}
}

// after wants what has to hold after each step.
func (j *judge) after(w *World) {
	p := w.server(w.record.Primary)
	if !w.quorum || !p.writes() || !p.reacts(w.now) || w.op != nil || w.watcher.paused || w.watcher.away(w.now) {
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
