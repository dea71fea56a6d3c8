package ha

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgapp/appliance"
)

const (
	// restPause is the time after a failover before the next one, where no promise
	// shows that the cluster is whole.
	restPause = time.Minute
	// hourly is the number of failovers in an hour after which a person has to look.
	hourly = 3
	// vainly is the number of failovers without a new primary after which the primary is
	// started in its place.
	vainly = 2
	// certain is the number of looks that have to agree on a death.
	certain = 2
	// patient is the number of looks that have to agree on a silence.
	patient = 3
	// maybeReal is why a writer is not ended where the recorded primary doesn't serve.
	maybeReal = "may be the real primary: pgapp adopt takes it over"
	// longestPause bounds the pauses between attempts on the same member.
	longestPause = time.Minute
	// longestReturnPause bounds those between attempts that may copy all data. An attempt
	// is followed by a pause that is at least as long as the attempt was.
	longestReturnPause = 10 * time.Minute
	// longestSettlePause bounds those for the promise: writes may wait for it.
	longestSettlePause = 4 * time.Second
	// healthy is how long a member has to be well before its attempts are forgotten.
	healthy = 30 * time.Second
)

// symptom is what is wrong with a member.
type symptom string

const (
	gone      symptom = "gone"
	closed    symptom = "closed" // shut down cleanly
	halted    symptom = "halted"
	silent    symptom = "silent"
	hung      symptom = "hung"
	stuck     symptom = "stuck" // writes don't get to its disk
	bare      symptom = "bare"  // a primary that has lost its files, and lets nobody in
	stray     symptom = "stray"
	marked    symptom = "marked"
	apart     symptom = "apart" // a standby that receives nothing
	lost      symptom = "lost"  // a standby whose slot has lost WAL that it needs
	unsettled symptom = "unsettled"
	alone     symptom = "alone" // a primary that promises, and no standby streams
)

// doubt is a symptom that each look since then has found.
type doubt struct {
	since time.Duration
	looks int
}

func (d doubt) lasted(now, limit time.Duration, looks int) bool {
	return d.looks >= looks && now-d.since >= limit
}

// try is a deed to a member.
type try struct {
	member string
	deed   Deed
}

// attempts are the acts of one kind on one member.
type attempts struct {
	count int
	// at is when the last one began, and begun is set while its operation may still run.
	at    time.Duration
	begun bool
	// why is set if the last one could not begin.
	why string
	// next is when the next one may begin, well since when the member is well.
	next, well time.Duration
}

// Memory is what earlier looks have found. The zero value has seen nothing.
type Memory struct {
	doubts   map[key]doubt
	attempts map[try]attempts
	// heard is when a standby has last heard from its upstream, by its own word.
	heard map[string]time.Duration
}

// Fresh tells whether a look has found something that the memory before it didn't have.
func (m Memory) Fresh(before Memory) bool {
	for k := range m.doubts {
		if before.doubts[k].looks == 0 {
			return true
		}
	}
	return false
}

type key struct {
	member  string
	symptom symptom
}

// Decide returns what is to be done after a look, and what to remember for the next
// one. Now is a monotonic time. A death needs no window: two looks have to agree.
// Everything else that replaces a primary needs two signals over a time.
func Decide(m Memory, s Situation, p Pace, now time.Duration) (Memory, []Act) {
	d := decision{s: s, pace: p, now: now, memory: Memory{doubts: map[key]doubt{}, attempts: map[try]attempts{}, heard: map[string]time.Duration{}}}
	maps.Copy(d.memory.attempts, m.attempts)
	maps.Copy(d.memory.heard, m.heard)
	for _, o := range s.Members {
		if o.Standing.Answered && !o.Standing.Primary && o.Quiet != NoReceiver {
			d.memory.heard[o.Member] = now - s.Took - o.Quiet
		}
	}
	// Looks that came late, or a host on which nobody answers, are the looker's own
	// trouble. All windows begin anew.
	if s.Stalled || d.allSilent() {
		return d.memory, nil
	}
	for _, o := range s.Members {
		for _, found := range d.symptoms(o) {
			before := m.doubts[key{o.Member, found}]
			if before.looks == 0 {
				before.since = now - s.Took
			}
			before.looks++
			d.memory.doubts[key{o.Member, found}] = before
		}
	}
	acts := d.primary()
	if len(acts) == 0 {
		acts = d.others()
	} else if _, ok := d.writer(); !ok {
		acts = append(acts, d.dead()...) // the primary may have to wait for them
	}
	d.prolong()
	d.restrainAll(acts)
	d.forget()
	return d.memory, acts
}

// decision is one decision under way.
type decision struct {
	s      Situation
	pace   Pace
	now    time.Duration
	memory Memory
}

func (d decision) sighting(member string) (Sighting, bool) {
	for _, o := range d.s.Members {
		if o.Member == member {
			return o, true
		}
	}
	return Sighting{}, false
}

// allSilent tells whether several members were asked and none reacts, though none is
// gone by its machine's word.
func (d decision) allSilent() bool {
	for _, o := range d.s.Members {
		if o.reacts() || o.Sign.Vital == appliance.VitalGone || o.Fresh == Refuses {
			return false
		}
	}
	return len(d.s.Members) > 1
}

// symptoms are the member's in this look.
func (d decision) symptoms(o Sighting) []symptom {
	out := []symptom{}
	deaf := o.Fresh != Answers && o.Fresh != Denies && o.Fresh != Starts && o.Fresh != ""
	// A kept session that answers contradicts a machine that says the server is gone.
	over := o.Sign.Vital == appliance.VitalGone && deaf && o.Session != Answers && o.Session != Denies
	switch {
	case over && o.Clean:
		out = append(out, closed)
	case over:
		out = append(out, gone)
	case o.Sign.Vital == appliance.VitalHalted && deaf: // sessions may go on where the first process alone is stopped
		out = append(out, halted)
	case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:
	case deaf && o.Session != Answers && o.Session != Denies:
		out = append(out, silent)
	case o.Fresh == Silent || o.Fresh == Refuses:
		out = append(out, hung)
	}
	if o.Member == d.s.Known.Primary {
		return append(out, d.primarySymptoms(o)...)
	}
	switch {
	case o.Standing.Return != "":
		out = append(out, marked)
	case !o.Standing.Answered:
	case o.Standing.Primary && o.Standing.Identifier == d.s.Known.Identifier:
		out = append(out, stray)
	case o.Standing.Detached || d.streamsElsewhere(o):
		out = append(out, apart)
	}
	if p, ok := d.sighting(d.s.Known.Primary); ok && o.Standing.Return == "" && slices.Contains(p.Lost, o.Member) && !slices.Contains(p.Connected, o.Member) {
		out = append(out, lost)
	}
	return out
}

// primarySymptoms are those that only a primary has.
func (d decision) primarySymptoms(o Sighting) (out []symptom) {
	if o.Write == Silent && o.Sign.Vital != appliance.VitalDebugged && o.Sign.Vital != appliance.VitalDisk {
		out = append(out, stuck)
	}
	if o.Missing != "" {
		out = append(out, bare)
	}
	switch streams := d.streams(o); {
	case !d.s.Quorum || !o.Standing.Answered || !o.Standing.Primary:
	case len(streams) > 0 && (!Over(streams...).Equal(d.s.Known.Promise) || !d.inForce(o)):
		out = append(out, unsettled)
	case len(streams) == 0 && d.s.Degrades && !d.s.Known.Promise.None():
		out = append(out, alone)
	}
	return out
}

// streamsElsewhere tells whether the primary that serves has no such standby, as where
// the standby was halted while the others were pointed to a new primary. One that
// catches up is connected.
func (d decision) streamsElsewhere(o Sighting) bool {
	p, ok := d.sighting(d.s.Known.Primary)
	return ok && p.Standing.Answered && p.Standing.Primary && !slices.Contains(p.Streams, o.Member) && !slices.Contains(p.Connected, o.Member)
}

// streams are the standbys that stream, shall run and don't have to be brought back.
func (d decision) streams(primary Sighting) (out []string) {
	for _, name := range primary.Streams {
		if o, ok := d.sighting(name); ok && o.Standing.Return == "" {
			out = append(out, name)
		}
	}
	return out
}

func (d decision) doubt(member string, s symptom) doubt { return d.memory.doubts[key{member, s}] }

// primary returns what is to be done about the primary, if anything.
func (d decision) primary() []Act {
	p, ok := d.sighting(d.s.Known.Primary)
	if !ok { // a person has stopped it
		return nil
	}
	evidence, how := d.verdict(p)
	if evidence == "" {
		return nil
	}
	if alone, ok := d.writer(); ok {
		return []Act{{Deed: Revive, Member: p.Member, Evidence: evidence, Withheld: d.leaves(alone + " takes writes and ")}}
	}
	if p.Full { // a standby on the same host can't write either
		return []Act{{
			Deed: Replace, Member: p.Member, Evidence: evidence,
			Withheld: "the file system of its data directory is full: make room, and pgapp goes on",
		}}
	}
	if how == closed {
		return []Act{{Deed: Revive, Member: p.Member, Evidence: evidence}}
	}
	if how == stuck && d.othersWrite() == "" {
		return []Act{{
			Deed: Replace, Member: p.Member, Evidence: evidence,
			Withheld: "no other member is seen to write to its disk either",
		}}
	}
	choice := d.rehearse()
	useless := map[symptom]string{stuck: "a restart mends no disk", bare: "a restart brings no files back"}[how]
	vain := d.vain(p.Member) && useless == ""
	if choice.Refusal == nil && !vain {
		return []Act{{Deed: Replace, Member: p.Member, Evidence: evidence}}
	}
	why := fmt.Sprintf("%d failovers have come to nothing", d.tries(p.Member, Replace))
	if choice.Refusal != nil {
		why = "nobody can be promoted (" + string(choice.Refusal.Reason) + ")"
	}
	if useless != "" {
		return []Act{{Deed: Replace, Member: p.Member, Evidence: evidence, Withheld: why + ", and " + useless}}
	}
	return []Act{{
		Deed: Revive, Member: p.Member, Fence: true,
		Evidence: evidence + "; " + why + ", so it is started again",
	}}
}

// vain tells whether it is time to start the primary in its place although somebody seems
// fit to be promoted: failovers have found out otherwise, and ended without a new primary.
func (d decision) vain(primary string) bool {
	return d.tries(primary, Replace) >= vainly+d.tries(primary, Revive)
}

func (d decision) tries(member string, deed Deed) int {
	return d.memory.attempts[try{member, deed}].count
}

// leaves says why a writer that is not the recorded primary is left alone. One that pgapp
// promotes right now is no riddle.
func (d decision) leaves(writer string) string {
	if d.s.Moves != "" {
		return d.s.Moves
	}
	return writer + maybeReal
}

// writer returns a member that takes writes and is not the recorded primary.
func (d decision) writer() (string, bool) {
	for _, o := range d.s.Members {
		if o.Member != d.s.Known.Primary && o.Standing.Answered && o.Standing.Primary && o.Standing.Identifier == d.s.Known.Identifier {
			return o.Member, true
		}
	}
	return "", false
}

// rehearse elects among the standbys as they are.
func (d decision) rehearse() Choice {
	f := Facts{Known: d.s.Known, Lag: DefaultLag}
	if d.s.Shared && d.s.Known.Promise.None() {
		f.Lag = ^appliance.LSN(0)
	}
	for _, o := range d.s.Members {
		if o.Member != d.s.Known.Primary {
			f.Standings = append(f.Standings, o.Standing)
		}
	}
	return rehearse(appliance.PrimaryChange{Kind: appliance.OpFailover, From: d.s.Known.Primary}, f)
}
