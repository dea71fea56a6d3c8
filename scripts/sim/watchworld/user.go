package watchworld

import (
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// fault does something else that goes wrong, or that a person does.
func (w life) fault() {
	m := w.servers[w.rng.IntN(len(w.servers))]
	r := w.recorded(m.name)
	switch {
	case w.chance(6):
		w.trouble(m)
	case w.chance(4):
		m.mute = !m.mute
	case w.chance(4) && m.signal:
		w.say("%s is killed", m.name)
		m.kill()
	case w.chance(4) && m.signal:
		w.say("%s can't be started for a while", m.name)
		m.unable = true
		m.kill()
		w.in(time.Duration(w.rng.IntN(240))*step, func() { m.unable = false })
	case w.chance(6) && !m.running && !r.WantStopped && r.Return == "" && !m.unable && !m.stalled && w.home.real == nil:
		w.say("a person starts %s", m.name)
		m.start(w.now, 0)
		m.byHand = m.writes() && (m.name != w.record.Primary || w.changing())
	case w.chance(2) && m.running && m.signal && w.op == nil && !m.promoting && m.reacts(w.now) && w.home.real == nil:
		w.say("a person promotes %s", m.name)
		m.byHand, m.promoting = true, true
		m.setting = ha.Without(w.record.Promise, m.name)
	case w.chance(4) && m.signal:
		w.say("%s can't stream any more, by its own files", m.name)
		m.faulty = true
	case w.chance(6):
		w.idleUntil = w.now + time.Duration(w.rng.IntN(80))*step
	default:
		w.upset()
	}
}

// upset holds up the watching process, or has a user do something.
func (w life) upset() {
	switch v := &w.watcher; {
	case w.chance(5) && !v.away(w.now):
		d := time.Duration(1+w.rng.IntN(40)) * step
		if v.look == nil && w.rng.IntN(2) == 0 && v.fresh != nil { // in the middle of a look
			eyes(w).beginLook()
		}
		if v.look != nil {
			v.look.frozen, v.look.ends = true, max(v.look.ends, w.now+d)
		}
		w.say("the daemon is held up for %s, in a look: %v", d, v.look != nil)
		v.until = w.now + d
	case w.chance(2):
		w.die(time.Duration(1+w.rng.IntN(20)) * step)
	case w.chance(1):
		w.copyBack()
	case w.chance(2):
		w.home.full = w.now + time.Duration(w.rng.IntN(80))*step
		w.say("the home's disk is full until %s", w.home.full)
	case w.chance(4) && w.home.real == nil && w.now >= w.home.full:
		w.pause()
	case w.chance(5) && w.op == nil && w.home.real == nil && w.now >= w.home.full:
		w.user()
	}
}

// pause has a user pause for a while, or until further notice, or resume.
func (w life) pause() {
	j := &w.judge
	if w.rng.IntN(3) == 0 {
		w.resume()
		return
	}
	p := &appliance.Pause{Since: w.clock()}
	j.pauses, j.paused = w.now, forever
	if w.rng.IntN(2) == 0 {
		j.paused = w.now + time.Duration(1+w.rng.IntN(240))*step
		until := time.Unix(0, int64(j.paused))
		p.Until = &until
	}
	w.say("a user pauses until %s", j.paused)
	w.record.Pause = p
}

func (w *World) resume() {
	w.say("a user resumes")
	now := w.clock()
	w.record.Pause, w.record.Resumed = nil, &now
	w.judge.pauses, w.judge.paused, w.judge.failovers = 0, 0, nil
}

// user has a user begin an operation.
func (w life) user() {
	m := w.servers[w.rng.IntN(len(w.servers))]
	r := w.recorded(m.name)
	switch w.rng.IntN(6) {
	case 0:
		w.submit(&operation{kind: appliance.OpSwitchover})
	case 4, 5:
		w.userOnStandby(m)
	case 1:
		w.say("a user stops %s", m.name)
		r.WantStopped = true
		w.submit(&operation{kind: appliance.OpStop, rest: func(int) bool {
			if m.up(w.now) {
				m.kill()
				m.clean = true
			}
			return !m.running
		}})
		w.in(time.Duration(w.rng.IntN(120))*step, func() { r.WantStopped = false })
	case 2:
		w.say("a user restarts %s", m.name)
		w.submit(&operation{kind: appliance.OpRestart, rest: func(age int) bool {
			switch {
			case age == 2 && m.up(w.now):
				m.kill()
				m.clean = true
			case age > 4 && !m.running && !m.unable && r.Return == "":
				m.start(w.now, w.recovery())
			}
			return age > 5 && m.running
		}})
	default:
		n := w.rng.IntN(60)
		w.submit(&operation{kind: appliance.OpScale, rest: func(age int) bool { return age > n }})
	}
}

// userOnStandby has a user begin an operation that works on a standby alone, and that waits
// for a primary which has died.
func (w life) userOnStandby(m *server) {
	r := w.recorded(m.name)
	if m.name == w.record.Primary || r.WantStopped {
		return
	}
	o := &operation{member: m.name, alone: true}
	streams := func(int) bool {
		p := w.server(w.record.Primary)
		return p.writes() && p.reacts(w.now) && (keeper(w).startStandby(m, p, r) || r.Return != "")
	}
	switch w.rng.IntN(4) {
	case 0:
		o.kind, o.rest = appliance.OpStart, streams
	case 1:
		o.kind, o.rest = appliance.OpRestart, func(age int) bool {
			if age == 1 && m.up(w.now) && !m.writes() {
				m.kill()
				m.clean = true
			}
			return streams(age)
		}
	default:
		o.kind = appliance.OpRejoin
		if w.rng.IntN(2) == 0 {
			o.kind = appliance.OpReinit
		}
		o.rest = func(int) bool {
			if p := w.server(w.record.Primary); o.kind == appliance.OpReinit && !o.begun && p.writes() && p.reacts(w.now) {
				o.begun, r.Return = true, appliance.WayClone
			}
			return keeper(w).returnAll(m.name) && (o.begun || o.kind == appliance.OpRejoin)
		}
	}
	w.say("a user's %s of %s", o.kind, m.name)
	w.submit(o)
}
