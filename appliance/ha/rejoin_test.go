package ha

import (
	"testing"

	"pgapp/appliance"
)

func line(timeline uint32, ancestors ...appliance.Switch) appliance.Line {
	return appliance.Line{Timeline: timeline, Ancestors: ancestors}
}

func TestForkedIsTheEndOfWhatBothLinesShare(t *testing.T) {
	t.Parallel()
	one, early, two := appliance.Switch{Timeline: 1, At: 100}, appliance.Switch{Timeline: 1, At: 80}, appliance.Switch{Timeline: 2, At: 200}
	for _, tc := range []struct {
		name    string
		primary appliance.Line
		member  appliance.Line
		foreign uint32
		want    appliance.LSN
	}{
		{"a former primary", line(2, one), line(1), 0, 100},
		{"a former primary, two switches later", line(3, one, two), line(1), 0, 100},
		{"a former primary of the middle", line(3, one, two), line(2, one), 0, 200},
		{"a candidate that was given up", line(3, one), line(2, one), 0, 100},
		{"a candidate that was promoted earlier", line(3, one), line(2, early), 0, 80},
		{"the same number from another position", line(2, one), line(2, early), 0, 80},
		{"the same number and position from another promotion", line(2, one), line(2, one), 2, 100},
		{"a foreign timeline in the middle", line(3, one, two), line(2, one), 2, 100},
		{"a foreign ancestor of the same number and position", line(2, one), line(3, one, two), 2, 100},
		{"a line of its own", line(3), line(2), 0, 0},
	} {
		if got := Forked(tc.primary, tc.member, tc.foreign); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestForeignComparesTheEpochOfTheTimeline(t *testing.T) {
	t.Parallel()
	repeated := []appliance.Promotion{
		{Epoch: 2, Member: "node1", Timeline: 2, Reason: "failover"},
		{Epoch: 3, Member: "node2", Timeline: 2, Reason: "failover"},
		{Epoch: 4, Member: "node2", Timeline: 2, Reason: appliance.ReasonAdopted},
		{Epoch: 5, Member: "node0", Timeline: 3, Reason: "switchover"},
	}
	adopted := []appliance.Promotion{{Epoch: 2, Timeline: 1, Reason: appliance.ReasonAdopted}, {Epoch: 3, Timeline: 7, Reason: appliance.ReasonAdopted}}
	for _, tc := range []struct {
		name       string
		promotions []appliance.Promotion
		epoch      uint64
		line       appliance.Line
		want       uint32
	}{
		{"the first timeline was begun by no promotion", adopted, 1, line(1), 0},
		{"a member that knows the first promotion only", repeated, 2, line(2), 2},
		{"a member that streamed from the second", repeated, 3, line(2), 0},
		{"an adoption begins no timeline that was there", repeated, 3, line(2), 0},
		{"a member whose epoch is unknown", repeated, 0, line(3), 3},
		{"a timeline that no promotion on record began", repeated, 1, line(9), 0},
		{"a foreign ancestor of a timeline that no promotion on record began", repeated, 2, line(9, appliance.Switch{Timeline: 1, At: 100}, appliance.Switch{Timeline: 2, At: 200}), 2},
		{"an ancestor that the member streamed", repeated, 3, line(9, appliance.Switch{Timeline: 1, At: 100}, appliance.Switch{Timeline: 2, At: 200}), 0},
		{"a timeline that came with an adoption", adopted, 2, line(7), 7},
	} {
		if got := Foreign(tc.promotions, tc.epoch, tc.line); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestWriterOnAnothersTimelineIsAlien(t *testing.T) {
	t.Parallel()
	promotions := []appliance.Promotion{
		{Epoch: 2, Timeline: 2, Member: "node1", Reason: "switchover"},
		{Epoch: 3, Timeline: 2, Member: "node1", Reason: appliance.ReasonAdopted},
		{Epoch: 4, Timeline: 3, Member: "node2", Reason: "failover"},
		{Epoch: 5, Timeline: 3, Member: "node0", Reason: "failover"}, // the number repeats
		{Epoch: 6, Timeline: 4, Member: "node1", Reason: "switchover"},
	}
	for name, c := range map[string]struct {
		member   string
		timeline uint32
		want     bool
	}{
		"the recorded primary's timeline":          {"node0", 4, true},
		"its own, when it was the primary":         {"node1", 2, false},
		"the timeline of the primary before":       {"node2", 2, true},
		"its own":                                  {"node0", 3, false},
		"its own, and another took the number too": {"node2", 3, true},
		"the first, of which nothing is on record": {"node0", 1, false},
		"one of its own promotion by hand":         {"node0", 5, false},
	} {
		if got := Alien(4, promotions, c.member, c.timeline); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
	if !Alien(1, nil, "node1", 1) {
		t.Error("a standby that took writes on the first timeline is not alien")
	}
}
