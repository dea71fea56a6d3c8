package watchworld

import (
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

const (
	// freshEvery is the interval of new connections to members without a doubt.
	freshEvery = 5 * time.Second
	// late is the delay of a look that makes it worthless.
	late = time.Second
)

// watcher is what the watching process holds in memory. A kill loses it.
type watcher struct {
	memory ha.Memory
	// next is when the next look is due.
	next time.Duration
	// until is when the process goes on that is held up or dead.
	until time.Duration
	// frozenLook is set where the process was held up in the middle of a look.
	frozenLook bool
	fresh      map[string]time.Duration
	seen       appliance.LSN
	epoch      uint64
	// acts are those of the last look.
	acts []ha.Act
	// paused is set while a user wants nothing done.
	paused bool
}

func (v *watcher) away(now time.Duration) bool { return now < v.until }

// sees tells what a look at the member shows.
func (w *World) sees(m *server, due bool) ha.Sighting {
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
			for _, s := range w.servers {
				if s.streams && s.upstream == m.name {
					out.Streams = append(out.Streams, s.name)
				}
			}
		}
	case starts:
		out.Session = ha.Denies
	}
	out.Clean = !m.running && m.clean
	if due || out.Session != ha.Answers {
		out.Fresh = w.greets(m)
	}
	return out
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

// situation looks at all members that shall run.
func (w *World) situation() ha.Situation {
	v := &w.watcher
	s := ha.Situation{
		Quorum: w.quorum, Shared: w.shared,
		Stalled: w.now-v.next > late || v.frozenLook,
	}
	for _, m := range w.servers {
		if w.recorded(m.name).WantStopped {
			continue
		}
		o := w.sees(m, w.now-v.fresh[m.name] >= freshEvery || v.fresh[m.name] == 0)
		if s.Stalled && w.rng.IntN(2) == 0 { // its time is over before an answer is read
			o.Fresh, o.Session, o.Standing.Answered, o.Streams = ha.Silent, ha.Silent, false, nil
		}
		if o.Fresh == ha.Answers {
			v.fresh[m.name] = w.now
		}
		s.Members = append(s.Members, o)
	}
	v.frozenLook = false
	if v.epoch != w.record.Epoch {
		v.epoch, v.seen = w.record.Epoch, 0
	}
	for _, o := range s.Members {
		if o.Member == w.record.Primary && o.Standing.Answered && o.Standing.Primary {
			v.seen = max(v.seen, o.Standing.Received)
		}
	}
	s.Known = ha.Known{Identifier: "1", Line: w.record.Line(), Promise: w.record.Promise, Primary: w.record.Primary, Epoch: w.record.Epoch, Seen: v.seen}
	w.held(&s)
	for _, p := range w.record.Promotions {
		if age := w.now - time.Duration(p.At.UnixNano()); p.Reason == string(appliance.OpFailover) && age < time.Hour {
			s.Failovers, s.Since = s.Failovers+1, age
		}
	}
	return s
}

// held notes why nothing may be done now, as the watching process finds it out.
func (w *World) held(s *ha.Situation) {
	if w.watcher.paused {
		s.Held = "a user has paused it"
		s.HeldReplace, s.HeldFence = s.Held, s.Held
		return
	}
	if w.op == nil {
		return
	}
	s.Held = "operation " + string(w.op.kind) + " runs"
	if !w.op.mine || w.op.kind != appliance.OpStart && w.op.kind != appliance.OpRejoin {
		s.HeldReplace, s.HeldFence = s.Held, s.Held
	}
	if w.op.fence {
		s.HeldFence = s.Held
	}
	if w.op.kind == appliance.OpFailover || w.op.kind == appliance.OpSwitchover {
		s.Moves = s.Held
	}
}

func (w *World) pace() ha.Pace {
	if w.shared {
		return ha.LocalPace()
	}
	return ha.MachinePace()
}

// watch looks if it is time, and acts.
func (w *World) watch() {
	v := &w.watcher
	if v.fresh == nil {
		v.fresh = map[string]time.Duration{}
	}
	if w.now < v.next {
		return
	}
	s := w.situation()
	every := 2 * step
	if !w.shared {
		every = 4 * step
	}
	before := v.memory
	v.memory, v.acts = ha.Decide(before, s, w.pace(), w.now)
	if v.memory.Fresh(before) {
		every = step
	}
	v.next = w.now + every
	w.judge.looked(w, s)
	for i := range v.acts {
		if a := v.acts[i]; a.Withheld == "" {
			w.say("%s %s: %s", a.Deed, a.Member, a.Evidence)
			w.judge.acts(w, a)
			w.begin(a)
		}
	}
}
