package ha

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
)

const (
	// restPause is the time after a failover before the next one, where no promise
	// shows that the cluster is whole.
	restPause = time.Minute
	// hourly is the number of failovers in an hour after which a person has to look.
	hourly = 3
	// certain is the number of looks that have to agree on a death.
	certain = 2
	// patient is the number of looks that have to agree on a silence.
	patient = 3
	// maybeReal is why a writer is not ended where the recorded primary doesn't serve.
	maybeReal = "may be the real primary: pgapp adopt takes it over"
	// longestPause bounds the pauses between attempts on the same member.
	longestPause = time.Minute
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
	stray     symptom = "stray"
	marked    symptom = "marked"
	apart     symptom = "apart" // a standby that receives nothing
	unsettled symptom = "unsettled"
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
	// next is when the next one may begin, well since when the member is well.
	next, well time.Duration
}

// Memory is what earlier looks have found. The zero value has seen nothing.
type Memory struct {
	doubts   map[key]doubt
	attempts map[try]attempts
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
	d := decision{s: s, pace: p, now: now, memory: Memory{doubts: map[key]doubt{}, attempts: maps.Clone(m.attempts)}}
	if d.memory.attempts == nil {
		d.memory.attempts = map[try]attempts{}
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
	}
	for i := range acts {
		d.restrain(&acts[i])
	}
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
	switch {
	case o.Sign.Vital == appliance.VitalGone && deaf && o.Clean:
		out = append(out, closed)
	case o.Sign.Vital == appliance.VitalGone && deaf:
		out = append(out, gone)
	case o.Sign.Vital == appliance.VitalHalted && deaf: // sessions may go on where the first process alone is stopped
		out = append(out, halted)
	case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:
	case deaf && o.Session != Answers && o.Session != Denies:
		out = append(out, silent)
	case o.Fresh == Silent:
		out = append(out, hung)
	}
	if o.Member == d.s.Known.Primary {
		if d.unsettled(o) {
			out = append(out, unsettled)
		}
		return out
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
	return out
}

// streamsElsewhere tells whether the primary that serves has no such standby, as where
// the standby was halted while the others were pointed to a new primary.
func (d decision) streamsElsewhere(o Sighting) bool {
	p, ok := d.sighting(d.s.Known.Primary)
	return ok && p.Standing.Answered && p.Standing.Primary && !slices.Contains(p.Streams, o.Member)
}

// unsettled tells whether the promise is over other standbys than those that stream.
// With none that streams it stays, so that commits wait.
func (d decision) unsettled(primary Sighting) bool {
	if !d.s.Quorum || !primary.Standing.Answered || !primary.Standing.Primary {
		return false
	}
	var streams []string
	for _, name := range primary.Streams {
		if o, ok := d.sighting(name); ok && o.Standing.Return == "" {
			streams = append(streams, name)
		}
	}
	return len(streams) > 0 && !Over(streams...).Equal(d.s.Known.Promise)
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
		return []Act{{Deed: Revive, Member: p.Member, Evidence: evidence, Withheld: alone + " takes writes and " + maybeReal}}
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
	choice := d.rehearse()
	if choice.Refusal == nil {
		return []Act{{Deed: Replace, Member: p.Member, Evidence: evidence}}
	}
	return []Act{{
		Deed: Revive, Member: p.Member, Fence: true,
		Evidence: evidence + "; nobody can be promoted (" + string(choice.Refusal.Reason) + "), so it is started again",
	}}
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

// verdict says what is wrong with the primary and since when, if it is certain.
func (d decision) verdict(p Sighting) (evidence string, how symptom) {
	for _, how := range []symptom{gone, closed, halted, silent, hung} {
		x := d.doubt(p.Member, how)
		seen := fmt.Sprintf("seen by %d looks in %.1f s", x.looks, (d.now - x.since).Seconds())
		switch how {
		case gone:
			if x.lasted(d.now, 0, certain) {
				return fmt.Sprintf("%s died: %s, and a new connection %s; %s", p.Member, detail(p.Sign, "its server process is gone"), p.Fresh, seen), how
			}
		case closed:
			if x.lasted(d.now, d.pace.Left, certain) {
				return fmt.Sprintf("%s was shut down, and not by pgapp; %s", p.Member, seen), how
			}
		case halted:
			if x.lasted(d.now, d.pace.Silent, patient) {
				return fmt.Sprintf("%s is halted: %s, and it is silent; %s", p.Member, detail(p.Sign, "it gets no processor"), seen), how
			}
		case silent:
			if listeners := d.deafTo(); x.lasted(d.now, d.pace.Silent, patient) && len(listeners) > 0 {
				return fmt.Sprintf("%s is silent: sessions and new connections fail, and %s hear nothing from it; %s", p.Member, strings.Join(listeners, ", "), seen), how
			}
		case hung:
			if x.lasted(d.now, d.pace.Hung, patient) && d.othersAnswer() {
				return fmt.Sprintf("%s hangs: it takes no new connections, and the others do; %s", p.Member, seen), how
			}
		case stray, marked, apart, unsettled:
		}
	}
	return "", ""
}

func detail(s appliance.Sign, other string) string {
	if s.Detail != "" {
		return s.Detail
	}
	return other
}

// deafTo returns the standbys that answer if all of them have heard nothing from the
// primary for as long as it has to be silent, else none.
func (d decision) deafTo() []string {
	var out []string
	for _, o := range d.s.Members {
		if o.Member == d.s.Known.Primary || !o.Standing.Answered {
			continue
		}
		if o.Quiet < d.pace.Unheard {
			return nil
		}
		out = append(out, o.Member)
	}
	return out
}

// othersAnswer tells whether another member takes new connections.
func (d decision) othersAnswer() bool {
	return slices.ContainsFunc(d.s.Members, func(o Sighting) bool { return o.Member != d.s.Known.Primary && o.Fresh == Answers })
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

// others returns what is to be done about the standbys of a primary that serves.
func (d decision) others() []Act {
	p, ok := d.sighting(d.s.Known.Primary)
	if !ok {
		return nil
	}
	serves := p.Standing.Answered && p.Standing.Primary
	for _, o := range d.s.Members {
		if d.doubt(o.Member, stray).lasted(d.now, 0, certain) {
			act := Act{Deed: Revive, Member: o.Member, Evidence: o.Member + " takes writes beside the primary " + p.Member}
			if !serves {
				act.Evidence = o.Member + " takes writes and is not the recorded primary"
				act.Withheld = "it " + maybeReal
			}
			return []Act{act}
		}
	}
	if !serves {
		return nil
	}
	if x := d.doubt(p.Member, unsettled); x.lasted(d.now, 0, certain) {
		return []Act{{Deed: Settle, Member: p.Member, Evidence: fmt.Sprintf("streaming: %s; promised: %s", strings.Join(p.Streams, ", "), d.s.Known.Promise)}}
	}
	for _, o := range d.s.Members {
		switch {
		case d.doubt(o.Member, marked).lasted(d.now, 0, certain):
			return []Act{{Deed: Return, Member: o.Member, Evidence: o.Member + " has to be brought back as a standby"}}
		case o.Member != p.Member && d.doubt(o.Member, gone).lasted(d.now, 0, certain):
			return []Act{{Deed: Revive, Member: o.Member, Evidence: o.Member + " died: " + detail(o.Sign, "its server process is gone")}}
		case o.Member != p.Member && d.doubt(o.Member, closed).lasted(d.now, d.pace.Left, certain):
			return []Act{{Deed: Revive, Member: o.Member, Evidence: o.Member + " was shut down, and not by pgapp"}}
		case d.doubt(o.Member, apart).lasted(d.now, d.pace.Hung, patient):
			return []Act{{Deed: Revive, Member: o.Member, Evidence: o.Member + " receives nothing from the primary"}}
		}
	}
	return nil
}
