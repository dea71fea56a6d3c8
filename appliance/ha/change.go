package ha

import (
	"slices"

	"pgapp/appliance"
)

// Server is what is known of one server by looking at its machine too.
type Server struct {
	// Gone is set where it is proven that nothing of the server runs.
	Gone bool
	// Ended is the end of its WAL where it was shut down cleanly, else 0. It is read
	// after the server has gone.
	Ended appliance.LSN
	// Writes is set where the server takes writes, or would if it were
	// started: its control file says that it was promoted.
	Writes bool
	Line   appliance.Line
}

// Facts are what a caller has found since the last step.
type Facts struct {
	Known     Known
	Standings []Standing
	// Lag is what an asynchronous candidate may be behind.
	Lag appliance.LSN
	// Old is the primary that is replaced, Candidate the member to be promoted.
	Old, Candidate Server
	// Cancelled is set where a person wants the change to end.
	Cancelled bool
	// Expired is set where the phase has taken longer than it may.
	Expired bool
}

// Verb is what a command does.
type Verb string

// The verbs. Each may be repeated.
const (
	// Checkpoint has the member write a checkpoint, so that its stop is short.
	Checkpoint Verb = "checkpoint"
	// Stop stops the member's server cleanly, never immediately.
	Stop Verb = "stop"
	// Fence ends whatever runs of the member.
	Fence Verb = "fence"
	// Detach ends the member's receiver.
	Detach Verb = "detach"
	// Promote has the member leave recovery.
	Promote Verb = "promote"
	// Mark keeps the ended member from ever starting as a primary by itself: it
	// gets its standby.signal. It fails while the member runs.
	Mark Verb = "mark"
	// Point has the member follow the candidate.
	Point Verb = "point"
	// Start starts the member as the primary that it is by its own files.
	Start Verb = "start"
	// Attach has the member follow the recorded primary.
	Attach Verb = "attach"
	// Rejoin brings the member back as a standby.
	Rejoin Verb = "rejoin"
)

// Command is one thing to be done to a member.
type Command struct {
	Verb   Verb
	Member string
}

// Step is what comes next. The change, and the record where Known is set, are
// saved in one transaction before any command is carried out.
type Step struct {
	Change   appliance.PrimaryChange
	Known    *Known
	Commands []Command
}

// Next returns the next step of a change. It depends on what is saved and found
// alone, so a caller that was killed asks again with the saved change.
func Next(c appliance.PrimaryChange, f Facts) Step {
	for _, r := range rules() {
		if r.phase != c.Phase || r.kind != "" && r.kind != c.Kind || !r.when(c, f) {
			continue
		}
		s := Step{Change: c}
		s.Change.Phase = r.next
		if r.note != nil {
			r.note(&s, f)
		}
		for _, verb := range r.old {
			s.Commands = append(s.Commands, Command{verb, c.From})
		}
		if s.Change.To != "" {
			for _, verb := range r.candidate {
				s.Commands = append(s.Commands, Command{verb, s.Change.To})
			}
		}
		for _, st := range f.Standings {
			follows := r.others != Point || slices.Contains(s.Change.Followers, st.Member)
			if r.others != "" && follows && st.Member != s.Change.To && st.Member != c.From {
				s.Commands = append(s.Commands, Command{r.others, st.Member})
			}
		}
		return s
	}
	return Step{Change: c}
}

// rule is a line of the table: in this phase, when the facts are so, the change
// goes on to the next phase, and the commands are given to the old primary, the
// candidate and the others.
type rule struct {
	kind      appliance.OperationKind // empty for both
	phase     appliance.ChangePhase
	when      func(appliance.PrimaryChange, Facts) bool
	next      appliance.ChangePhase
	note      func(*Step, Facts)
	old       []Verb
	candidate []Verb
	others    Verb
}

func always(appliance.PrimaryChange, Facts) bool { return true }

// rules is the table. The first rule that fits counts, and each phase that is
// not final ends with one that always fits.
func rules() []rule {
	return slices.Concat(lookingRules(), oldRules(), candidateRules(), []rule{
		{phase: appliance.ChangeReturning, when: oldServes, next: appliance.ChangeCancelled, note: refusedIfWhy, others: Attach},
		// A primary that doesn't start is no reason to wait for ever.
		{phase: appliance.ChangeReturning, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Expired }, next: appliance.ChangeCancelled, note: refusedIfWhy, others: Attach},
		{phase: appliance.ChangeReturning, when: always, next: appliance.ChangeReturning, old: []Verb{Start}},
		{phase: appliance.ChangeDone, when: always, next: appliance.ChangeDone},
		{phase: appliance.ChangeCancelled, when: always, next: appliance.ChangeCancelled},
		{phase: appliance.ChangeRefused, when: always, next: appliance.ChangeRefused},
	})
}

func lookingRules() []rule {
	return []rule{
		{phase: appliance.ChangeLooking, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Cancelled }, next: appliance.ChangeCancelled},
		{phase: appliance.ChangeLooking, when: func(c appliance.PrimaryChange, f Facts) bool {
			return rehearse(c, f).Refusal == nil && c.Kind == appliance.OpSwitchover
		}, next: appliance.ChangeStopping, old: []Verb{Checkpoint}},
		{phase: appliance.ChangeLooking, when: func(c appliance.PrimaryChange, f Facts) bool {
			return rehearse(c, f).Refusal == nil && (f.Expired || !settling(c, f))
		}, next: appliance.ChangeFencing},
		{phase: appliance.ChangeLooking, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Expired }, next: appliance.ChangeRefused, note: func(s *Step, f Facts) {
			s.Change.Why = rehearse(s.Change, f).Refusal
		}},
		{phase: appliance.ChangeLooking, when: always, next: appliance.ChangeLooking},
	}
}

// oldRules end the old primary.
func oldRules() []rule {
	return []rule{
		{phase: appliance.ChangeStopping, when: handedOver, next: appliance.ChangePromoting, note: choose},
		{phase: appliance.ChangeStopping, when: givenUp, next: appliance.ChangeReturning},
		{phase: appliance.ChangeStopping, when: always, next: appliance.ChangeStopping, old: []Verb{Stop}},

		{phase: appliance.ChangeFencing, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Old.Gone }, next: appliance.ChangeElecting, others: Detach},
		{phase: appliance.ChangeFencing, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Cancelled }, next: appliance.ChangeReturning},
		{phase: appliance.ChangeFencing, when: always, next: appliance.ChangeFencing, old: []Verb{Fence}, others: Detach},
	}
}

// candidateRules bring a candidate to be the primary.
func candidateRules() []rule {
	return []rule{
		{phase: appliance.ChangeElecting, when: func(_ appliance.PrimaryChange, f Facts) bool { return !f.Old.Gone }, next: appliance.ChangeFencing, old: []Verb{Fence}},
		{phase: appliance.ChangeElecting, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Cancelled }, next: appliance.ChangeReturning},
		{phase: appliance.ChangeElecting, when: elected, next: appliance.ChangePromoting, note: choose},
		{phase: appliance.ChangeElecting, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Expired }, next: appliance.ChangeReturning, note: func(s *Step, f Facts) {
			s.Change.Why = elect(s.Change, f).Refusal
		}},
		{phase: appliance.ChangeElecting, when: always, next: appliance.ChangeElecting, others: Detach},

		{phase: appliance.ChangePromoting, when: promoted, next: appliance.ChangeDone, note: record, old: []Verb{Rejoin}, others: Point},
		{phase: appliance.ChangePromoting, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Expired }, next: appliance.ChangeRetracting, candidate: []Verb{Fence}},
		// Somebody started it again. It must not meet a second primary.
		{phase: appliance.ChangePromoting, when: func(_ appliance.PrimaryChange, f Facts) bool { return !f.Old.Gone && !f.Candidate.Writes }, next: appliance.ChangePromoting, old: []Verb{Fence}},
		{phase: appliance.ChangePromoting, when: always, next: appliance.ChangePromoting, old: []Verb{Mark}, candidate: []Verb{Promote}, others: Point},

		// One that was promoted to the end may have acknowledged commits.
		{phase: appliance.ChangeRetracting, when: func(c appliance.PrimaryChange, f Facts) bool { return f.Candidate.Gone && f.Candidate.Writes }, next: appliance.ChangePromoting, candidate: []Verb{Start}},
		{phase: appliance.ChangeRetracting, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Candidate.Gone }, next: appliance.ChangeElecting, note: giveUp, others: Detach},
		{phase: appliance.ChangeRetracting, when: always, next: appliance.ChangeRetracting, candidate: []Verb{Fence}},
	}
}

// rehearse elects among standbys that may still stream: whom would the change
// promote if the old primary ended now? Their positions were not read at one
// moment. A switchover needs no quorum, since nothing is promoted before it has
// all of the old primary's WAL.
func rehearse(c appliance.PrimaryChange, f Facts) Choice {
	e := election{known: f.Known, change: c, lag: f.Lag, slack: max(f.Lag, 1)}
	e.exact = c.Kind == appliance.OpFailover && f.Lag != ^appliance.LSN(0)
	if c.Kind == appliance.OpSwitchover {
		e.known.Promise = appliance.Promise{}
	}
	return e.hold(f.Standings)
}

// settling tells whether one more look may show that the member that was asked for lacks
// what another one has. Then the change is refused while nothing has been ended.
func settling(c appliance.PrimaryChange, f Facts) bool {
	return c.Wanted != "" && slices.ContainsFunc(f.Standings, func(s Standing) bool { return s.Answered && s.Detached && !s.Settled })
}

// elect elects with the old primary ended. Where the member that was asked for can't be
// promoted any more, the best of the others is: else nobody would be the primary.
func elect(c appliance.PrimaryChange, f Facts) Choice {
	choice := electWanted(c, f)
	if choice.Refusal == nil || c.Wanted == "" || !wantedIsOut(c, f) {
		return choice
	}
	c.Wanted = ""
	if other := electWanted(c, f); other.Refusal == nil {
		return other
	}
	return choice
}

// wantedIsOut tells whether what rules out the member that was asked for will not pass.
func wantedIsOut(c appliance.PrimaryChange, f Facts) bool {
	final := slices.ContainsFunc(f.Standings, func(s Standing) bool { return s.Member == c.Wanted && s.Answered && s.final() })
	return final || f.Expired || slices.Contains(c.Tried, c.Wanted)
}

// electWanted elects among those whose position can't move any more. One that takes writes
// counts as well, since its position always moves.
func electWanted(c appliance.PrimaryChange, f Facts) Choice {
	still := slices.Clone(f.Standings)
	for i := range still {
		still[i].Answered = still[i].Answered && (still[i].final() || still[i].Primary)
	}
	choice := Elect(f.Known, still, c, f.Lag)
	if choice.Refusal == nil {
		return choice
	}
	for i, s := range f.Standings {
		switch {
		case !s.Answered || still[i].Answered || choice.Refusal.Unfit[s.Member] != "":
		case !s.Detached:
			choice.Refusal.Unfit[s.Member] = "has a WAL receiver that does not end"
		default:
			choice.Refusal.Unfit[s.Member] = "still replays"
		}
	}
	return choice
}

// elected waits for all members in reach, so that none with more WAL comes late. One
// whose answer is missing for a moment is waited for where only it may have commits:
// a quorum that is promised rules that out.
func elected(c appliance.PrimaryChange, f Facts) bool {
	waits := f.Known.Promise.None() && !c.AllowDataLoss
	for _, s := range f.Standings {
		if s.Awaited && waits && s.Return == "" && !f.Expired {
			return false
		}
		if s.Answered && !s.final() && s.Return == "" && !f.Expired {
			return false
		}
	}
	return elect(c, f).Refusal == nil
}

// handOver chooses among the standbys on the recorded timeline that have replayed
// all of the old primary's WAL, which has ended: then nothing can be lost,
// whatever the promise says.
func handOver(c appliance.PrimaryChange, f Facts) Choice {
	k := f.Known
	k.Promise = appliance.Promise{}
	all := slices.DeleteFunc(slices.Clone(f.Standings), func(s Standing) bool {
		return !s.Primary && (s.Replayed < f.Old.Ended || s.Line.Timeline != k.Line.Timeline)
	})
	return Elect(k, all, c, f.Lag)
}

func handedOver(c appliance.PrimaryChange, f Facts) bool {
	return f.Old.Gone && f.Old.Ended != 0 && !f.Cancelled && handOver(c, f).Refusal == nil
}

func givenUp(_ appliance.PrimaryChange, f Facts) bool { return f.Cancelled || f.Expired }

func oldServes(c appliance.PrimaryChange, f Facts) bool { return f.Old.Writes && !f.Old.Gone }

// promoted tells whether the candidate takes writes on a timeline that a promotion
// began. Its number may be the recorded one's: no WAL of the recorded timeline may
// have reached the candidate.
func promoted(_ appliance.PrimaryChange, f Facts) bool {
	return f.Candidate.Writes && !f.Candidate.Gone && len(f.Candidate.Line.Ancestors) > 0
}

// choose puts the candidate on record.
func choose(s *Step, f Facts) {
	choice := handOver(s.Change, f)
	if s.Change.Kind == appliance.OpFailover {
		choice = elect(s.Change, f)
	}
	if s.Change.Wanted != "" && choice.Member != s.Change.Wanted {
		s.Change.Why = electWanted(s.Change, f).Refusal
	}
	s.Change.To, s.Change.LSN = choice.Member, choice.LSN
	s.Change.Followers = followers(s.Change.Kind, choice, f.Standings)
	s.Change.Epoch = f.Known.Epoch + 1 + uint64(len(s.Change.Tried))
}

// giveUp keeps the candidate from being tried again.
func giveUp(s *Step, _ Facts) {
	s.Change.Tried = append(slices.Clone(s.Change.Tried), s.Change.To)
	s.Change.To, s.Change.LSN, s.Change.Followers, s.Change.Why = "", 0, nil, nil
	s.Change.Kind = appliance.OpFailover
}

// record makes the candidate the primary on record. The promise goes on without
// it: what the old timeline acknowledged is in the new one, and what the new one
// acknowledges is promised from its first commit on.
func record(s *Step, f Facts) {
	k := f.Known
	k.Primary, k.Line = s.Change.To, f.Candidate.Line
	k.Promise = Without(k.Promise, s.Change.To)
	k.Epoch = s.Change.Epoch
	s.Known = &k
}

func refusedIfWhy(s *Step, _ Facts) {
	if s.Change.Why != nil {
		s.Change.Phase = appliance.ChangeRefused
	}
}
