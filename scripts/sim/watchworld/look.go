package watchworld

import (
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

const (
	// freshEvery is the interval of new connections to members without a doubt.
	freshEvery = 5 * time.Second
	// late is the delay of a look that makes it worthless, and longestLook how long one may take.
	late        = time.Second
	longestLook = 3 * time.Second
	// writeEvery is how long the primary's position may stand still before pgapp writes
	// itself, and writeAgain the interval of writes to the others' disks while that waits.
	writeEvery = 3 * time.Second
	writeAgain = 2 * time.Second
)

// watcher is what the watching process holds in memory. A kill loses it.
type watcher struct {
	memory ha.Memory
	// next is when the next look is due.
	next time.Duration
	// look is under way.
	look *look
	// until is when the process goes on that is held up or dead.
	until  time.Duration
	fresh  map[string]time.Duration
	seen   appliance.LSN
	epoch  uint64
	writes writes
	// acts are those of the last look.
	acts []ha.Act
}

// look is one look at all members, which takes its time.
type look struct {
	s           ha.Situation
	truth       truth
	began, ends time.Duration
	// held is the operation that held acts when the look began.
	held ha.Holds
	// late is set where the look began late, frozen where the process was held up in its
	// middle.
	late, frozen bool
	// dropped are the members whose answers were lost by that.
	dropped map[string]bool
}

// eyes look at the members.
type eyes struct{ *World }

// writes are those that find out whether a disk takes them.
type writes struct {
	epoch        uint64
	at           appliance.LSN
	moved, began time.Duration
	others       map[string]time.Duration
}

func (v *watcher) away(now time.Duration) bool { return now < v.until }

// sees tells what a look at the member shows.
func (w eyes) sees(m *server, due bool) ha.Sighting {
	r := w.recorded(m.name)
	out := ha.Sighting{Member: m.name, Session: ha.Silent, Standing: ha.Standing{Member: m.name, Return: r.Return, Line: w.record.Line()}}
	out.Sign.Vital = w.vital(m)
	up := m.up(w.now)
	starts := m.running && !m.frozen() && !up
	switch {
	case m.cut:
	case up:
		out.Session = ha.Answers
		st := m.standing(r.Return)
		st.Line, st.Answered = w.record.Line(), true
		out.Standing = st
		out.Quiet = ha.NoReceiver
		if m.streams {
			out.Quiet = w.now - m.heard
		}
		if m.writes() {
			w.seesStandbys(m, &out)
		}
	case starts:
		out.Session = ha.Denies
	}
	out.Clean = !m.running && m.clean
	if due || out.Session != ha.Answers || out.Sign.Vital == appliance.VitalHalted {
		out.Fresh = w.greets(m)
	}
	return out
}

// seesStandbys adds the primary's word on its standbys.
func (w eyes) seesStandbys(m *server, out *ha.Sighting) {
	for _, s := range w.servers {
		switch {
		case s.streams && s.upstream == m.name:
			out.Connected = append(out.Connected, s.name)
			if !s.behind {
				out.Streams = append(out.Streams, s.name)
			}
		case s.lost:
			out.Lost = append(out.Lost, s.name)
		}
	}
}

func (w *World) vital(m *server) appliance.Vital {
	switch {
	case m.mute:
		return appliance.VitalUnknown
	case !m.running || m.ails == ghost:
		return appliance.VitalGone
	case m.ails == frozen || m.ails == stopped || m.ails == mistaken:
		return appliance.VitalHalted
	case m.ails == debugged:
		return appliance.VitalDebugged
	case m.ails == unwritable:
		return appliance.VitalDisk
	}
	return appliance.VitalRunning
}

// greets is how the member meets a new connection.
func (w *World) greets(m *server) ha.Answer {
	switch {
	case m.cut:
		return ha.Silent
	case !m.running && w.shared:
		return ha.Refuses
	case !m.running:
		return ha.Silent
	case m.ails == frozen || m.ails == unwritable || m.ails == stopped || m.ails == debugged || m.ails == closed:
		return ha.Silent
	case w.now < m.starting:
		return ha.Starts
	case m.ails == crowded:
		return ha.Denies
	}
	return ha.Answers
}

// begin begins a look at all members that shall run.
func (w eyes) beginLook() {
	v := &w.watcher
	l := &look{began: w.now, ends: w.now, late: w.now-v.next > late, dropped: map[string]bool{}}
	l.s = ha.Situation{Quorum: w.quorum, Degrades: w.degrades, Shared: w.shared}
	for _, m := range w.servers {
		if w.recorded(m.name).WantStopped {
			continue
		}
		o := w.sees(m, w.now-v.fresh[m.name] >= freshEvery || v.fresh[m.name] == 0)
		if o.Fresh == ha.Answers {
			v.fresh[m.name] = w.now
		}
		if o.Session == ha.Silent && o.Fresh == ha.Silent { // nobody says that it is not there
			l.ends = w.now + w.limit()
		}
		l.s.Members = append(l.s.Members, o)
	}
	w.writeDisks(l)
	if v.epoch != w.record.Epoch {
		v.epoch, v.seen = w.record.Epoch, 0
	}
	for _, o := range l.s.Members {
		if o.Member == w.record.Primary && o.Standing.Answered && o.Standing.Primary {
			v.seen = max(v.seen, o.Standing.Received)
		}
	}
	l.s.Known = ha.Known{Identifier: "1", Line: w.record.Line(), Promise: w.record.Promise, Primary: w.record.Primary, Epoch: w.record.Epoch, Seen: v.seen}
	l.truth = w.truly()
	if held, was := ha.HeldBy(w.record, w.hold(), w.clock()); was == appliance.AutomaticOn {
		l.held = held
	}
	v.look = l
}

// limit is how long a look waits for an answer.
func (w eyes) limit() time.Duration {
	if w.shared {
		return time.Second
	}
	return 2 * time.Second
}

// writeDisks notes whether writes get to the disk of a primary that answers, and if they
// don't, whether they do elsewhere.
func (w eyes) writeDisks(l *look) {
	i := slices.IndexFunc(l.s.Members, func(o ha.Sighting) bool { return o.Member == w.record.Primary })
	if i < 0 || !l.s.Members[i].Standing.Answered || !l.s.Members[i].Standing.Primary {
		return
	}
	p, x := &l.s.Members[i], &w.watcher.writes
	switch stalled := w.server(p.Member).stalled; {
	case x.epoch != w.record.Epoch || p.Standing.Received > x.at:
		*x = writes{epoch: w.record.Epoch, at: p.Standing.Received, moved: w.now, others: map[string]time.Duration{}}
		p.Write = ha.Answers
		return
	case x.began > x.moved && stalled:
		p.Write, p.Waits = ha.Silent, "IO WalSync"
	case w.now-x.moved >= writeEvery && w.now-x.began >= writeEvery:
		if x.began = w.now; !stalled {
			w.server(p.Member).wal.end++ // pgapp's own write
		}
		return
	default:
		return
	}
	for j := range l.s.Members {
		o := &l.s.Members[j]
		if o.Member == p.Member || !o.Standing.Answered || o.Standing.Primary {
			continue
		}
		began, stalled := x.others[o.Member], w.server(o.Member).stalled
		switch {
		case began > 0 && stalled:
			o.Write = ha.Silent
		case began > 0:
			o.Write = ha.Answers
		}
		if w.now-began >= writeAgain {
			x.others[o.Member] = w.now
		}
	}
}

// endLook adds what is asked after the members, and tells whether the look proves nothing.
func (w eyes) endLook(l *look) ha.Situation {
	s := l.s
	s.Took = w.now - l.began
	s.Stalled = l.late || s.Took > longestLook+late
	for i := range s.Members {
		if o := &s.Members[i]; (l.frozen || s.Stalled) && w.rng.IntN(2) == 0 { // its time is over before an answer is read
			o.Fresh, o.Session, o.Standing.Answered, o.Streams, o.Connected, o.Write = ha.Silent, ha.Silent, false, nil, nil, ""
			l.dropped[o.Member] = true
		}
	}
	held, _ := ha.HeldBy(w.record, w.hold(), w.clock())
	held = held.With(l.held)
	s.Held, s.HeldReplace, s.HeldFence, s.Moves = held.All, held.Replace, held.Fence, held.Moves
	s.Failovers, s.Since = ha.Failovers(w.record, w.clock())
	return s
}

// hold is what may keep the watching process from acting.
func (w eyes) hold() ha.Hold {
	h := ha.Hold{Observing: w.home.observing}
	if o := w.op; o != nil {
		p := appliance.OperationParams{Member: o.member, Fence: o.fences}
		h.Running, h.Own = &appliance.Operation{ID: "7", Kind: o.kind, Params: p, CreatedAt: time.Unix(0, int64(o.begins))}, o.mine
	}
	return h
}

// clock is the time of day.
func (w *World) clock() time.Time { return time.Unix(0, int64(w.now)) }

func (w *World) pace() ha.Pace {
	if w.shared {
		return ha.LocalPace()
	}
	return ha.MachinePace()
}

// watch looks if it is time, and acts at the look's end.
func (w eyes) watch() {
	v := &w.watcher
	if v.fresh == nil {
		v.fresh = map[string]time.Duration{}
	}
	if v.look == nil && w.now >= v.next {
		w.beginLook()
	}
	l := v.look
	if l == nil || w.now < l.ends {
		return
	}
	v.look = nil
	every := 2 * step
	if !w.shared {
		every = 4 * step
	}
	if l.s.Known.Epoch != w.record.Epoch { // the primary has moved during the look
		v.next = w.now + step
		return
	}
	s := w.endLook(l)
	before := v.memory
	v.memory, v.acts = ha.Decide(before, s, w.pace(), w.now)
	if v.memory.Fresh(before) {
		every = step
	}
	v.next = w.now + every
	w.judge.looked(s, l, w.now)
	w.judge.says(w.World, s, l)
	for i := range v.acts {
		if a := &v.acts[i]; a.Withheld == "" {
			w.say("%s %s: %s", a.Deed, a.Member, a.Evidence)
			w.judge.acts(w.World, *a, l)
			if a.Withheld = w.begin(*a); a.Withheld != "" {
				v.memory = v.memory.NotBegun(*a, w.now)
				w.judge.refused[try{a.Member, a.Deed}] = w.now
			}
		}
	}
}
