package world

import (
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// driver is what the controller holds in memory. A kill loses it.
type driver struct {
	phase appliance.ChangePhase
	age   int
	seen  map[string]appliance.LSN
	// primary is the last position that a look at the primary found.
	primary   appliance.LSN
	cancelled bool
	// routed is the phase that the part was told last.
	routed appliance.ChangePhase
	// closing is set where the part is told of the fence's phase once that has ended.
	closing bool
}

// patience is how many looks each phase may take.
const patience = 25

// change asks for a change of primary, with faults for a while.
func (w *World) change() {
	w.Changes++
	c := appliance.PrimaryChange{Kind: appliance.OpFailover, From: w.record.Primary, Phase: appliance.ChangeLooking}
	old := w.member(c.From)
	w.driver = driver{primary: old.end()}
	if w.rng.IntN(3) == 0 {
		c.Kind = appliance.OpSwitchover
	} else if w.rng.IntN(4) > 0 {
		old.kill()
	}
	if w.rng.IntN(4) == 0 {
		c.Wanted = appliance.MemberName(w.rng.IntN(len(w.members)))
		c.AllowDataLoss = c.Kind == appliance.OpFailover && w.rng.IntN(2) == 0
	}
	w.record.Change = &c
	w.saves, w.detour = 0, false
	w.say("%s from %s (quorum %v, promise %v)", c.Kind, c.From, w.quorum, w.record.Promise)
	old.stuck = old.running && w.rng.IntN(12) == 0
	faults, patient := w.rng.IntN(120), w.rng.IntN(200)
	w.calm, w.calmFor = false, 0
	for i := range 400 {
		w.calm = i > faults
		if w.calm {
			w.calmFor++
			w.heal()
		}
		if old.stuck && i >= patient {
			w.driver.cancelled = true // a person gives up on a fence that never ends
		}
		w.tick()
		w.fault()
		if w.record.Change.Phase.Final() || w.broken != nil {
			break
		}
		w.turn()
	}
	old.stuck = false
	if w.broken == nil && !w.record.Change.Phase.Final() {
		w.fail("the change stands still in phase %s", w.record.Change.Phase)
	}
	short := w.rng.IntN(2) == 0
	if short && w.record.Change.Phase == appliance.ChangeDone {
		return // the next change comes before the members are back
	}
	w.calm = true
	w.heal()
	w.live(30)
	for _, r := range w.acked {
		if p := w.member(w.record.Primary); w.broken == nil && !slices.Contains(p.wal, r) {
			w.fail("%s, the primary, lacks commit %d, which was acknowledged", p.name, r)
		}
	}
}

// heal ends what only others can end. Whatever has died or was killed stays so until
// pgapp starts it.
func (w *World) heal() {
	for _, m := range w.members {
		m.cut, m.blocked = false, false
	}
}

// fault does something that goes wrong, or that a person does.
func (w *World) fault() {
	m := w.members[w.rng.IntN(len(w.members))]
	from := w.record.Change.From
	switch {
	case w.chance(3):
		m.cut = !m.cut
	case w.chance(2):
		m.blocked = !m.blocked
	case w.chance(2) && m.signal:
		m.kill()
	case w.chance(3) && !m.running && m.signal && w.recorded(m.name).Return == "":
		m.start()
	case w.chance(1) && m.name == from:
		m.kill()
	case w.chance(4) && !w.member(from).running:
		old := w.member(from)
		old.start()
		old.byHand = old.writes()
		w.say("  a person starts %s", from)
	case w.chance(1) && w.rng.IntN(4) == 0 && m.running && m.signal && m.name != w.record.Change.To:
		// The files of a standby have the recorded promise as well.
		m.byHand, m.promoting, m.setting = true, true, ha.Without(w.record.Promise, m.name)
		w.say("  a person promotes %s", m.name)
	case w.chance(1):
		w.driver.cancelled = !w.record.Change.Phase.Committed()
	}
}

// killed tells whether the controller dies here.
func (w *World) killed() bool {
	if !w.chance(2) {
		return false
	}
	w.say("  the controller is killed")
	w.driver = driver{cancelled: w.driver.cancelled}
	w.part.Killed()
	return true
}

// turn is one look, decision, save and set of commands.
func (w *World) turn() {
	c := *w.record.Change
	if w.driver.phase != c.Phase {
		w.driver.phase, w.driver.age = c.Phase, 0
	}
	w.driver.age++
	f := w.look(c)
	if w.rng.IntN(2) == 0 {
		w.tick() // the world goes on between a look and what follows
	}
	s := ha.Next(c, f)
	w.judge(c, f, s)
	if w.killed() || w.chance(3) { // or the store fails
		return
	}
	w.save(c, s)
	w.part.Saved()
	w.route(s)
	for _, command := range s.Commands {
		if w.killed() {
			return
		}
		if err := w.carryOut(command, s.Change.To); err != nil && command.Verb == ha.Mark {
			return
		}
	}
}

func (w *World) look(c appliance.PrimaryChange) ha.Facts {
	old, d := w.member(c.From), &w.driver
	if d.seen == nil {
		d.seen = map[string]appliance.LSN{}
	}
	if old.writes() && !old.byHand && !old.cut {
		d.primary = old.end()
	}
	f := ha.Facts{
		Known: ha.Known{Identifier: "1", Line: w.record.Line(), Promise: w.record.Promise, Primary: c.From, Epoch: w.record.Epoch, Seen: d.primary},
		Lag:   lag, Cancelled: d.cancelled, Expired: d.age > patience && c.Phase != appliance.ChangeFencing && c.Phase != appliance.ChangeRetracting,
		Old: ha.Server{Gone: !old.running, Writes: old.writes()},
	}
	if old.clean && !old.running {
		f.Old.Ended = old.end()
	}
	for _, m := range w.members {
		if m.name == c.From {
			continue
		}
		s := ha.Standing{Member: m.name, Return: w.recorded(m.name).Return, Answered: m.running && !m.cut, Primary: m.writes(), Identifier: "1", Line: m.line}
		s.Received, s.Replayed, s.Detached = appliance.LSN(m.received), appliance.LSN(m.replayed), m.upstream == ""
		last, known := d.seen[m.name]
		s.Settled = s.Answered && known && last == s.Position() && (s.Received > 0 && s.Received >= s.Replayed || m.waits())
		if s.Answered {
			d.seen[m.name] = s.Position()
		} else {
			s.Awaited = known || m.running
		}
		f.Standings = append(f.Standings, s)
	}
	if c.To != "" {
		to := w.member(c.To)
		f.Candidate = ha.Server{Gone: !to.running, Writes: to.production, Line: to.line}
		if to.running {
			f.Candidate.Writes = to.writes() && !to.cut
		}
	}
	return f
}

func (w *World) save(c appliance.PrimaryChange, s ha.Step) {
	if s.Change.Phase != c.Phase {
		w.say("  %s -> %s %s %v", c.Phase, s.Change.Phase, s.Change.To, s.Commands)
	}
	w.count(c, s)
	w.record.Change = &s.Change
	if old := w.member(c.From); s.Change.Phase == appliance.ChangePromoting && !old.running && w.rng.IntN(10) == 0 {
		old.start()
		old.byHand = old.writes()
		w.say("  a person starts %s", c.From)
	}
	for _, name := range s.Change.Tried {
		if name != s.Change.To {
			w.recorded(name).Return = appliance.WayClone
		}
	}
	if s.Known == nil {
		return
	}
	k := *s.Known
	if k.Epoch <= w.record.Epoch {
		w.fail("the epoch goes from %d to %d", w.record.Epoch, k.Epoch)
	}
	w.record.Primary, w.record.Epoch, w.record.Promise = k.Primary, k.Epoch, k.Promise
	w.record.Timeline, w.record.Ancestors = k.Line.Timeline, k.Line.Ancestors
	w.record.Promotions = append(w.record.Promotions, appliance.Promotion{Epoch: k.Epoch, Member: k.Primary, Timeline: k.Line.Timeline})
	w.recorded(k.Primary).Epoch, w.recorded(k.Primary).Return = k.Epoch, ""
	w.recorded(c.From).Return = appliance.WayLook
}

// carryOut does one command, or fails.
func (w *World) carryOut(c ha.Command, to string) error {
	m := w.member(c.Member)
	machine := c.Verb == ha.Fence || c.Verb == ha.Mark || c.Verb == ha.Start
	if w.chance(10) || m.cut && !machine || c.Verb == ha.Mark && m.running {
		return errFault
	}
	switch c.Verb {
	case ha.Stop:
		if m.running && !w.chance(30) {
			m.kill()
			m.clean = m.production
		}
	case ha.Fence: // one that lies says so too, but ends nothing
		if !w.chance(20) {
			m.kill()
		}
	case ha.Detach:
		m.detach()
	case ha.Promote:
		if m.running && m.signal {
			m.setting, m.blocked, m.promoting = ha.Without(w.record.Promise, m.name), false, true
		}
	case ha.Mark:
		m.signal = true
	case ha.Point, ha.Attach:
		up := to
		if c.Verb == ha.Attach || up == "" {
			up = w.record.Primary
		}
		if m.signal && !m.promoting && w.recorded(m.name).Return == "" {
			m.upstream = up
		}
	case ha.Start:
		if !m.running {
			if m.name == w.record.Change.From {
				m.signal = false
			}
			m.start()
			m.byHand = false
		}
	}
	return nil
}

func (m *member) detach() {
	if m.signal && !m.promoting {
		m.upstream = ""
	}
}
