package ha

import (
	"slices"
	"testing"

	"pgapp/appliance"
)

// cases calls check with every combination of phase, kind and facts that the table
// asks for, over two standbys of which node1 is the better candidate.
func cases(check func(c appliance.PrimaryChange, f Facts)) {
	line := appliance.Line{Timeline: 1}
	next := appliance.Line{Timeline: 2, Ancestors: []appliance.Switch{{Timeline: 1, At: 100}}}
	bools := []bool{false, true}
	for _, kind := range []appliance.OperationKind{appliance.OpSwitchover, appliance.OpFailover} {
		for _, phase := range phases() {
			for _, answered := range bools {
				for _, still := range bools {
					for _, gone := range bools {
						for _, ended := range []appliance.LSN{0, 100, 200} {
							for _, cancelled := range bools {
								for _, expired := range bools {
									for _, candidate := range []Server{{}, {Gone: true}, {Gone: true, Writes: true}, {Writes: true, Line: next}} {
										c := appliance.PrimaryChange{Kind: kind, Phase: phase, From: "node0"}
										if phase.Committed() {
											c.To, c.LSN, c.Epoch = "node1", 100, 2
										}
										standing := func(name string, at appliance.LSN) Standing {
											return Standing{Member: name, Answered: answered, Identifier: "7", Line: line, Received: at, Replayed: at, Detached: still, Settled: still}
										}
										check(c, Facts{
											Known:     Known{Identifier: "7", Line: line, Primary: "node0", Epoch: 1},
											Standings: []Standing{standing("node1", 100), standing("node2", 90)},
											Lag:       DefaultLag, Cancelled: cancelled, Expired: expired,
											Old: Server{Gone: gone, Ended: ended}, Candidate: candidate,
										})
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

func phases() []appliance.ChangePhase {
	return []appliance.ChangePhase{
		appliance.ChangeLooking, appliance.ChangeStopping, appliance.ChangeFencing, appliance.ChangeElecting,
		appliance.ChangePromoting, appliance.ChangeRetracting, appliance.ChangeReturning,
		appliance.ChangeDone, appliance.ChangeCancelled, appliance.ChangeRefused,
	}
}

func TestEveryPhaseHasAnAnswer(t *testing.T) {
	t.Parallel()
	for _, phase := range phases() {
		for _, kind := range []appliance.OperationKind{appliance.OpSwitchover, appliance.OpFailover} {
			covered := slices.ContainsFunc(rules(), func(r rule) bool {
				return r.phase == phase && (r.kind == "" || r.kind == kind) && r.when(appliance.PrimaryChange{Kind: kind, Phase: phase, From: "node0", To: "node1"}, Facts{})
			})
			if !covered {
				t.Errorf("phase %s of a %s: no rule fits where nothing is known", phase, kind)
			}
		}
	}
}

func TestPromotionNeedsRecordedCandidateAndEndedPrimary(t *testing.T) {
	t.Parallel()
	promoted := 0
	cases(func(c appliance.PrimaryChange, f Facts) {
		s := Next(c, f)
		mark := slices.Index(s.Commands, Command{Mark, "node0"})
		for i, cmd := range s.Commands {
			if cmd.Verb != Promote {
				continue
			}
			promoted++
			if c.Phase != appliance.ChangePromoting || cmd.Member != c.To {
				t.Errorf("%+v: %s is promoted, and not on record", c, cmd.Member)
			}
			if !f.Old.Gone && !f.Candidate.Writes {
				t.Errorf("%+v with %+v: a promotion without proof that the old primary has ended", c, f)
			}
			if mark < 0 || mark > i {
				t.Errorf("%+v with %+v: the old primary isn't marked before the promotion", c, f)
			}
		}
	})
	if promoted == 0 {
		t.Error("no case promotes anybody")
	}
}

func TestNothingIsEndedBeforeSomebodyCouldBePromoted(t *testing.T) {
	t.Parallel()
	cases(func(c appliance.PrimaryChange, f Facts) {
		s := Next(c, f)
		if c.Phase == appliance.ChangeLooking && len(s.Commands) > 0 && rehearse(c, f).Refusal != nil {
			t.Errorf("%+v with %+v: %v, though nobody can be promoted", c, f, s.Commands)
		}
		if c.Phase == appliance.ChangeLooking && slices.ContainsFunc(s.Commands, func(cmd Command) bool { return cmd.Verb == Fence || cmd.Verb == Stop }) {
			t.Errorf("%+v with %+v: %v before the phase is on record", c, f, s.Commands)
		}
	})
}

// TestPhasesGoOneWay holds that a change goes back to no earlier phase, but for a
// candidate that is given up, or one that turns out to be in production.
func TestPhasesGoOneWay(t *testing.T) {
	t.Parallel()
	may := map[appliance.ChangePhase][]appliance.ChangePhase{
		appliance.ChangeLooking:    {appliance.ChangeStopping, appliance.ChangeFencing, appliance.ChangeCancelled, appliance.ChangeRefused},
		appliance.ChangeStopping:   {appliance.ChangePromoting, appliance.ChangeReturning},
		appliance.ChangeFencing:    {appliance.ChangeElecting, appliance.ChangeReturning},
		appliance.ChangeElecting:   {appliance.ChangeFencing, appliance.ChangePromoting, appliance.ChangeReturning},
		appliance.ChangePromoting:  {appliance.ChangeDone, appliance.ChangeRetracting},
		appliance.ChangeRetracting: {appliance.ChangePromoting, appliance.ChangeElecting},
		appliance.ChangeReturning:  {appliance.ChangeCancelled, appliance.ChangeRefused},
	}
	cases(func(c appliance.PrimaryChange, f Facts) {
		if to := Next(c, f).Change.Phase; to != c.Phase && !slices.Contains(may[c.Phase], to) {
			t.Errorf("%+v with %+v: phase %s", c, f, to)
		}
	})
}

func TestCommittedChangeIsNotCancelled(t *testing.T) {
	t.Parallel()
	cases(func(c appliance.PrimaryChange, f Facts) {
		if s := Next(c, f); c.Phase.Committed() && c.Phase != appliance.ChangeRetracting && (s.Change.Phase == appliance.ChangeCancelled || s.Change.Phase == appliance.ChangeReturning) {
			t.Errorf("%+v with %+v: phase %s", c, f, s.Change.Phase)
		}
	})
}

func TestReturnThatTakesTooLongEnds(t *testing.T) {
	t.Parallel()
	c := appliance.PrimaryChange{Kind: appliance.OpFailover, Phase: appliance.ChangeReturning, From: "node0"}
	if s := Next(c, Facts{Expired: true}); s.Change.Phase != appliance.ChangeCancelled {
		t.Errorf("got phase %s", s.Change.Phase)
	}
	c.Why = &appliance.ElectionRefusal{Reason: appliance.ErrNoCandidate}
	if s := Next(c, Facts{Expired: true}); s.Change.Phase != appliance.ChangeRefused {
		t.Errorf("with a reason, got phase %s", s.Change.Phase)
	}
	if s := Next(c, Facts{}); s.Change.Phase != appliance.ChangeReturning || !slices.Contains(s.Commands, Command{Start, "node0"}) {
		t.Errorf("in time, got phase %s and %v", s.Change.Phase, s.Commands)
	}
}

// TestWriterRulesOutAnElection has a person promote a standby while a failover elects. Its
// position moves all the time, and the record may say that it has to be brought back.
func TestWriterRulesOutAnElection(t *testing.T) {
	t.Parallel()
	line := appliance.Line{Timeline: 1}
	for _, back := range []appliance.WayBack{"", appliance.WayLook} {
		for _, expired := range []bool{false, true} {
			s := Next(appliance.PrimaryChange{Kind: appliance.OpFailover, Phase: appliance.ChangeElecting, From: "node0"}, Facts{
				Known: Known{Identifier: "7", Line: line, Primary: "node0", Epoch: 1}, Lag: DefaultLag, Expired: expired, Old: Server{Gone: true},
				Standings: []Standing{
					{Member: "node1", Answered: true, Identifier: "7", Line: line, Received: 100, Detached: true, Settled: true},
					{Member: "node2", Answered: true, Identifier: "7", Line: line, Received: 100, Detached: true, Primary: true, Return: back},
				},
			})
			if s.Change.Phase == appliance.ChangePromoting {
				t.Errorf("%s is to be promoted beside node2, which takes writes (way back %q, expired %v)", s.Change.To, back, expired)
			}
		}
	}
}

func TestElectionRefusesWhatMayLackAcknowledgedCommits(t *testing.T) {
	t.Parallel()
	line := appliance.Line{Timeline: 1}
	at := func(name string, lsn appliance.LSN) Standing {
		return Standing{Member: name, Answered: true, Identifier: "7", Line: line, Received: lsn, Replayed: lsn, Detached: true, Settled: true}
	}
	quorum := appliance.Promise{Set: []string{"node1", "node2", "node3"}, K: 2}
	one := appliance.Promise{Set: []string{"node1", "node2"}, K: 1}
	for name, tc := range map[string]struct {
		promise   appliance.Promise
		standings []Standing
		change    appliance.PrimaryChange
		want      string
		why       appliance.ErrorID
	}{
		"the furthest":                      {one, []Standing{at("node1", 90), at("node2", 100)}, appliance.PrimaryChange{}, "node2", ""},
		"one of two is missing":             {one, []Standing{at("node1", 90)}, appliance.PrimaryChange{}, "", appliance.ErrQuorumLost},
		"one of two is missing, loss is ok": {one, []Standing{at("node1", 90)}, appliance.PrimaryChange{AllowDataLoss: true}, "node1", ""},
		"one of three is missing, two hold": {quorum, []Standing{at("node1", 90), at("node3", 95)}, appliance.PrimaryChange{}, "node3", ""},
		"two of three are missing":          {quorum, []Standing{at("node1", 90)}, appliance.PrimaryChange{}, "", appliance.ErrQuorumLost},
		"the wanted one is behind":          {one, []Standing{at("node1", 90), at("node2", 100)}, appliance.PrimaryChange{Wanted: "node1"}, "", appliance.ErrNoCandidate},
		"far behind the last look":          {appliance.Promise{}, []Standing{at("node1", 90)}, appliance.PrimaryChange{}, "", appliance.ErrNoCandidate},
		"nobody answers":                    {appliance.Promise{}, nil, appliance.PrimaryChange{}, "", appliance.ErrNoCandidate},
	} {
		k := Known{Identifier: "7", Line: line, Primary: "node0", Promise: tc.promise}
		if tc.promise.None() {
			k.Seen = 90 + DefaultLag + 1
		}
		got := Elect(k, tc.standings, tc.change, DefaultLag)
		if got.Member != tc.want || tc.why != "" && (got.Refusal == nil || got.Refusal.Reason != tc.why) {
			t.Errorf("%s: got %+v, %+v", name, got, got.Refusal)
		}
	}
}

func TestRefusalNamesReceiversThatDoNotEnd(t *testing.T) {
	t.Parallel()
	still := Standing{Member: "node1", Answered: true, Identifier: "7", Line: appliance.Line{Timeline: 1}, Received: 100, Replayed: 100}
	replays := still
	replays.Member, replays.Detached = "node2", true
	s := Next(appliance.PrimaryChange{Kind: appliance.OpFailover, Phase: appliance.ChangeElecting, From: "node0"}, Facts{
		Known:     Known{Identifier: "7", Line: appliance.Line{Timeline: 1}, Primary: "node0", Epoch: 1},
		Standings: []Standing{still, replays}, Lag: DefaultLag, Expired: true, Old: Server{Gone: true},
	})
	if s.Change.Why == nil || s.Change.Why.Unfit["node1"] != "has a WAL receiver that does not end" || s.Change.Why.Unfit["node2"] != "still replays" {
		t.Errorf("the refusal is %+v", s.Change.Why)
	}
}

// TestElectionWaitsForAnAnswerThatIsMissingForAMoment has a standby whose answer is
// missing, and which may have commits that nobody else has.
func TestElectionWaitsForAnAnswerThatIsMissingForAMoment(t *testing.T) {
	t.Parallel()
	line := appliance.Line{Timeline: 1}
	for name, tt := range map[string]struct {
		missing Standing
		promise appliance.Promise
		loss    bool
		expired bool
		waits   bool
	}{
		"it runs":                     {missing: Standing{Awaited: true}, waits: true},
		"it is not known to run":      {},
		"it has to be brought back":   {missing: Standing{Awaited: true, Return: appliance.WayClone}},
		"the time is over":            {missing: Standing{Awaited: true}, expired: true},
		"the loss is accepted":        {missing: Standing{Awaited: true}, loss: true},
		"the quorum is there without": {missing: Standing{Awaited: true}, promise: appliance.Promise{Set: []string{"node1", "node2"}, K: 2}},
	} {
		tt.missing.Member = "node2"
		next := Next(appliance.PrimaryChange{Kind: appliance.OpFailover, Phase: appliance.ChangeElecting, From: "node0", AllowDataLoss: tt.loss}, Facts{
			Known: Known{Identifier: "7", Line: line, Primary: "node0", Epoch: 1, Promise: tt.promise},
			Standings: []Standing{
				{Member: "node1", Answered: true, Identifier: "7", Line: line, Received: 100, Replayed: 100, Detached: true, Settled: true},
				tt.missing,
			},
			Lag: DefaultLag, Old: Server{Gone: true}, Expired: tt.expired,
		}).Change
		if waits := next.Phase == appliance.ChangeElecting; waits != tt.waits {
			t.Errorf("%s: the phase is %s", name, next.Phase)
		}
	}
}

// TestMemberThatStillReplaysIsNoFollower has the time of an election end while a restarted
// standby replays: its WAL may reach beyond the candidate's.
func TestMemberThatStillReplaysIsNoFollower(t *testing.T) {
	t.Parallel()
	for kind, follows := range map[appliance.OperationKind]bool{appliance.OpFailover: false, appliance.OpSwitchover: true} {
		f := Facts{Known: Known{Identifier: "7", Line: line(1), Primary: "node0", Epoch: 1}, Lag: DefaultLag, Expired: true, Old: Server{Gone: true, Ended: 100}}
		for _, name := range []string{"node1", "node2"} {
			f.Standings = append(f.Standings, Standing{Member: name, Answered: true, Identifier: "7", Line: line(1), Replayed: 100, Detached: true, Settled: name == "node1"})
		}
		phase := appliance.ChangeElecting
		if kind == appliance.OpSwitchover {
			phase = appliance.ChangeStopping
		}
		c := Next(appliance.PrimaryChange{Kind: kind, Phase: phase, From: "node0"}, f).Change
		if c.To != "node1" || slices.Contains(c.Followers, "node2") != follows {
			t.Errorf("%s: the candidate is %q, and its followers are %q", kind, c.To, c.Followers)
		}
	}
}

// TestOnlyMembersWithoutOtherWALFollow has a change put its candidate on record.
func TestOnlyMembersWithoutOtherWALFollow(t *testing.T) {
	t.Parallel()
	first, second := line(1), line(2, appliance.Switch{Timeline: 1, At: 100})
	for name, tt := range map[string]struct {
		other   Standing
		follows bool
	}{
		"less of the same":      {Standing{Answered: true, Line: first, Received: 90}, true},
		"all of the same":       {Standing{Answered: true, Line: first, Received: 100}, true},
		"no answer":             {Standing{}, false},
		"more of the same":      {Standing{Answered: true, Line: first, Received: 101}, false},
		"a later timeline":      {Standing{Answered: true, Line: second, Received: 100}, false},
		"another cluster's WAL": {Standing{Answered: true, Identifier: "8", Line: first, Received: 90}, false},
	} {
		for phase, kind := range map[appliance.ChangePhase]appliance.OperationKind{appliance.ChangeElecting: appliance.OpFailover, appliance.ChangeStopping: appliance.OpSwitchover} {
			f := Facts{
				Known: Known{Identifier: "7", Line: first, Primary: "node0", Epoch: 1}, Lag: DefaultLag, Old: Server{Gone: true, Ended: 100},
				Standings: []Standing{{Member: "node1", Answered: true, Identifier: "7", Line: first, Received: 100, Replayed: 100}, tt.other},
			}
			for i := range f.Standings {
				f.Standings[i].Detached, f.Standings[i].Settled = true, true
			}
			f.Standings[1].Member = "node2"
			if f.Standings[1].Identifier == "" {
				f.Standings[1].Identifier = "7"
			}
			c := Next(appliance.PrimaryChange{Kind: kind, Phase: phase, From: "node0", Wanted: "node1", AllowDataLoss: true}, f).Change
			if c.To != "node1" || slices.Contains(c.Followers, "node2") != tt.follows {
				t.Errorf("%s: the candidate is %q, and its followers are %q", name, c.To, c.Followers)
			}
			f.Candidate = Server{Writes: true, Line: second}
			for _, seen := range []Facts{{Standings: f.Standings, Old: f.Old}, f} {
				if points := slices.Contains(Next(c, seen).Commands, Command{Point, "node2"}); points != tt.follows {
					t.Errorf("%s: pointed to the candidate: %t", name, points)
				}
			}
		}
	}
}
