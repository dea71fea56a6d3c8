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
		foreign bool
		want    appliance.LSN
	}{
		{"a former primary", line(2, one), line(1), false, 100},
		{"a former primary, two switches later", line(3, one, two), line(1), false, 100},
		{"a former primary of the middle", line(3, one, two), line(2, one), false, 200},
		{"a candidate that was given up", line(3, one), line(2, one), false, 100},
		{"a candidate that was promoted earlier", line(3, one), line(2, early), false, 80},
		{"the same number from another position", line(2, one), line(2, early), false, 80},
		{"the same number and position from another promotion", line(2, one), line(2, one), true, 100},
		{"a foreign timeline in the middle", line(3, one, two), line(2, one), true, 100},
		{"a line of its own", line(3), line(2), false, 0},
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
		timeline   uint32
		want       bool
	}{
		{"the first timeline was begun by no promotion", adopted, 1, 1, false},
		{"a member that knows the first promotion only", repeated, 2, 2, true},
		{"a member that streamed from the second", repeated, 3, 2, false},
		{"an adoption begins no timeline that was there", repeated, 3, 2, false},
		{"a member whose epoch is unknown", repeated, 0, 3, true},
		{"a timeline that no promotion on record began", repeated, 1, 9, false},
		{"a timeline that came with an adoption", adopted, 2, 7, true},
	} {
		if got := Foreign(tc.promotions, tc.epoch, tc.timeline); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}
