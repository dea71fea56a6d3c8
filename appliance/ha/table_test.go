package ha

import (
	"fmt"
	"slices"
	"testing"

	"pgapp/appliance"
)

var ( // the table's dimensions
	openPhases = []appliance.ChangePhase{
		appliance.ChangeLooking, appliance.ChangeStopping, appliance.ChangeFencing, appliance.ChangeElecting,
		appliance.ChangePromoting, appliance.ChangeRetracting, appliance.ChangeReturning,
	}
	kinds = []appliance.OperationKind{appliance.OpSwitchover, appliance.OpFailover}
)

func b(n, i int) bool { return n>>i&1 == 1 }

// factClasses are all combinations of what the table asks.
func factClasses() []Facts {
	var all []Facts
	for n := range 1 << 9 {
		f := Facts{
			Known: Known{Identifier: "1", Line: line(1), Primary: "a", Epoch: 4, Promise: Over("b", "c")}, Lag: DefaultLag,
			Old:       Server{Gone: b(n, 0), Writes: b(n, 1)},
			Candidate: Server{Gone: b(n, 2), Writes: b(n, 3), Line: line(2, appliance.Switch{Timeline: 1, At: 100})},
			Cancelled: b(n, 4), Expired: b(n, 5),
		}
		if b(n, 6) {
			f.Old.Ended = 100
		}
		for _, m := range []string{"b", "c"} {
			f.Standings = append(f.Standings, Standing{
				Member: m, Answered: b(n, 7), Identifier: "1", Line: line(1), Received: 100, Replayed: 100, Detached: b(n, 8), Settled: b(n, 8),
			})
		}
		all = append(all, f)
	}
	return all
}

func openChange(kind appliance.OperationKind, p appliance.ChangePhase) appliance.PrimaryChange {
	c := appliance.PrimaryChange{Kind: kind, Phase: p, From: "a"}
	if p == appliance.ChangePromoting || p == appliance.ChangeRetracting {
		c.To, c.LSN, c.Epoch = "b", 100, 5
	}
	return c
}

// TestNextHasALineForEachPhaseAndFact finds gaps: a phase without a command and
// without a next phase would stand still for ever.
func TestNextHasALineForEachPhaseAndFact(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, p := range openPhases {
			for _, f := range factClasses() {
				s := Next(openChange(kind, p), f)
				if s.Change.Phase == p && len(s.Commands) == 0 && p != appliance.ChangeLooking {
					t.Fatalf("%s %s with %+v: nothing to do and nowhere to go", kind, p, f)
				}
				if s.Change.Phase == "" {
					t.Fatalf("%s %s with %+v: no line of the table fits", kind, p, f)
				}
			}
		}
	}
}

func TestNextPromotesOnlyAfterTheProof(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, p := range openPhases {
			for _, f := range factClasses() {
				s := Next(openChange(kind, p), f)
				promotes := slices.IndexFunc(s.Commands, func(c Command) bool { return c.Verb == Promote })
				marks := slices.IndexFunc(s.Commands, func(c Command) bool { return c.Verb == Mark })
				if promotes >= 0 && (marks < 0 || marks > promotes || p != appliance.ChangePromoting) {
					t.Fatalf("%s %s with %+v: promotes without a mark before: %v", kind, p, f, s.Commands)
				}
				if s.Change.To != "" && !p.Committed() && !f.Old.Gone {
					t.Fatalf("%s %s with %+v: a candidate is on record before the old primary has ended", kind, p, f)
				}
			}
		}
	}
}

// TestNextGoesOneWay lists the only ways between phases.
func TestNextGoesOneWay(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{}
	for _, way := range []string{
		"looking stopping", "looking fencing", "looking cancelled", "looking refused",
		"stopping promoting", "stopping returning", "fencing electing", "fencing returning",
		"electing fencing", "electing promoting", "electing returning",
		"promoting done", "promoting retracting", "retracting electing", "retracting promoting",
		"returning cancelled",
	} {
		allowed[way] = true
	}
	taken := map[string]bool{}
	for _, kind := range kinds {
		for _, p := range openPhases {
			for _, f := range factClasses() {
				s := Next(openChange(kind, p), f)
				way := fmt.Sprintf("%s %s", p, s.Change.Phase)
				if p != s.Change.Phase && !allowed[way] {
					t.Fatalf("%s with %+v: went %s", kind, f, way)
				}
				taken[way] = true
				if s.Change.Phase == appliance.ChangeDone && (s.Known == nil || s.Known.Epoch != 5 || s.Known.Primary != "b") {
					t.Fatalf("%s: done without the new record: %+v", way, s.Known)
				}
			}
		}
	}
	for way := range allowed {
		if !taken[way] {
			t.Errorf("no facts lead %s", way)
		}
	}
}

// TestNextLeavesEachPhaseThatIsCancelledOrTakesTooLong but for the fence, which
// is tried until it is cancelled, and the proof that a candidate has ended.
func TestNextLeavesEachPhaseThatIsCancelledOrTakesTooLong(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, p := range openPhases {
			if p == appliance.ChangeRetracting {
				continue
			}
			f := Facts{Known: Known{Identifier: "1", Line: line(1), Primary: "a"}, Expired: p != appliance.ChangeFencing, Cancelled: !p.Committed()}
			if s := Next(openChange(kind, p), f); s.Change.Phase == p {
				t.Errorf("%s %s: stays for ever", kind, p)
			}
		}
	}
}

func standing(member string, at appliance.LSN) Standing {
	return Standing{Member: member, Answered: true, Identifier: "1", Line: line(1), Received: at, Replayed: at, Detached: true, Settled: true}
}

func TestElect(t *testing.T) {
	t.Parallel()
	sw := appliance.Switch{Timeline: 1, At: 100}
	on := func(s Standing, l appliance.Line) Standing { s.Line = l; return s }
	marked := standing("c", 200)
	marked.Return = appliance.WayLook
	writer := standing("c", 90)
	writer.Primary = true
	quorum := Known{Identifier: "1", Line: line(1), Primary: "a", Promise: Over("b", "c")}
	async := Known{Identifier: "1", Line: line(1), Primary: "a"}
	repeated := Known{Identifier: "1", Line: line(2, sw), Primary: "a", Seen: 110}
	repeatedQuorum := repeated
	repeatedQuorum.Promise = Over("b")
	for _, tc := range []struct {
		name  string
		known Known
		all   []Standing
		loss  bool
		want  string
	}{
		{"the furthest", quorum, []Standing{standing("b", 90), standing("c", 100)}, false, "c"},
		{"half of the quorum", quorum, []Standing{standing("b", 90)}, false, "quorum-lost"},
		{"half of the quorum, with the loss allowed", quorum, []Standing{standing("b", 90)}, true, "b"},
		{"a member that has to be brought back is no part of the quorum", quorum, []Standing{standing("b", 90), marked}, false, "quorum-lost"},
		{"a member that has to be brought back is not the furthest", async, []Standing{standing("b", 90), marked}, false, "b"},
		{"nobody beside one that takes writes", async, []Standing{standing("b", 90), writer}, true, "no-candidate"},
		{"a second failover before the new timeline reached a standby", repeated, []Standing{standing("b", 100)}, false, "b"},
		{"the same under a quorum, with all of the old timeline", repeatedQuorum, []Standing{standing("b", 100)}, false, "b"},
		{"the same under a quorum, with less", repeatedQuorum, []Standing{standing("b", 99)}, false, "quorum-lost"},
		{"one that is ahead of the switch", repeated, []Standing{standing("b", 101)}, false, "no-candidate"},
		{"a later timeline that left before commits of another", async, []Standing{standing("b", 120), on(standing("c", 110), line(2, sw))}, false, "no-candidate"},
		{"a later timeline that has them", async, []Standing{standing("b", 100), on(standing("c", 110), line(2, sw))}, false, "c"},
	} {
		got := Elect(tc.known, tc.all, appliance.PrimaryChange{AllowDataLoss: tc.loss}, DefaultLag)
		answer := got.Member
		if got.Refusal != nil {
			answer = string(got.Refusal.Reason)
		}
		if answer != tc.want {
			t.Errorf("%s: got %s (%+v), want %s", tc.name, answer, got.Refusal, tc.want)
		}
	}
}

// TestNextSwitchesOverUnderLoad has positions that were read at different moments,
// and a quorum that lacks a member: a switchover needs neither.
func TestNextSwitchesOverUnderLoad(t *testing.T) {
	t.Parallel()
	f := Facts{
		Known: Known{Identifier: "1", Line: line(1), Primary: "a", Promise: Over("b", "c", "d")}, Lag: DefaultLag,
		Standings: []Standing{standing("b", 1000), standing("c", 2000)},
	}
	c := openChange(appliance.OpSwitchover, appliance.ChangeLooking)
	c.Wanted = "b"
	if s := Next(c, f); s.Change.Phase != appliance.ChangeStopping {
		t.Fatalf("looking went to %s (%+v)", s.Change.Phase, s.Change.Why)
	}
	c.Phase, f.Old = appliance.ChangeStopping, Server{Gone: true, Ended: 2000}
	if s := Next(c, f); s.Change.Phase != appliance.ChangeStopping {
		t.Fatalf("b lacks the end of the WAL, but stopping went to %s", s.Change.Phase)
	}
	f.Standings[0] = standing("b", 2100)
	if s := Next(c, f); s.Change.To != "b" || s.Change.Phase != appliance.ChangePromoting {
		t.Fatalf("b has all WAL, but got %+v", s.Change)
	}
}

// TestNextEndsWhereTheTimelinesNumberRepeats has a candidate that nothing of the
// recorded timeline had reached: its promotion takes the same number.
func TestNextEndsWhereTheTimelinesNumberRepeats(t *testing.T) {
	t.Parallel()
	second := line(2, appliance.Switch{Timeline: 1, At: 100})
	for _, own := range []appliance.Line{second, line(2, appliance.Switch{Timeline: 1, At: 90})} {
		f := Facts{Known: Known{Identifier: "1", Line: second, Primary: "a", Epoch: 4}, Old: Server{Gone: true}, Candidate: Server{Writes: true, Line: own}}
		if s := Next(openChange(appliance.OpFailover, appliance.ChangePromoting), f); s.Change.Phase != appliance.ChangeDone {
			t.Errorf("a promotion to %v ends in phase %s", own, s.Change.Phase)
		}
	}
}
