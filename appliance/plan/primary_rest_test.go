package plan

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// TestRemainderGoesToTheNextThatHasNotFailed asks who takes the dead primary's WAL, and whether
// all have failed to.
func TestRemainderGoesToTheNextThatHasNotFailed(t *testing.T) {
	t.Parallel()
	standby := func(name string, at appliance.LSN, answered bool) ha.Standing {
		return ha.Standing{Member: name, Answered: answered, Awaited: !answered, Identifier: "7", Line: appliance.Line{Timeline: 1}, Received: at, Replayed: at, Detached: true, Settled: true}
	}
	known := ha.Known{Identifier: "7", Line: appliance.Line{Timeline: 1}, Primary: "node0"}
	for name, tt := range map[string]struct {
		wanted  string
		failed  map[string]bool
		silent  string
		expired bool
		want    string
		over    bool
	}{
		"the furthest":                                   {want: "node1"},
		"the next":                                       {failed: map[string]bool{"node1": true}, want: "node2"},
		"all have failed":                                {failed: map[string]bool{"node1": true, "node2": true}, over: true},
		"one that runs gives no answer":                  {failed: map[string]bool{"node1": true}, silent: "node2"},
		"it has given none for long":                     {failed: map[string]bool{"node1": true}, silent: "node2", expired: true, over: true},
		"the one that was asked for":                     {wanted: "node2", want: "node2"},
		"the one that was asked for has failed":          {wanted: "node2", failed: map[string]bool{"node2": true}, want: "node1"},
		"the one that was asked for gives no answer":     {wanted: "node2", silent: "node2"},
		"the one that was asked for is silent for long":  {wanted: "node2", silent: "node2", expired: true, want: "node1"},
		"the one that was asked for and others have all": {wanted: "node2", failed: map[string]bool{"node1": true, "node2": true}, over: true},
	} {
		seen := ha.Facts{Known: known, Expired: tt.expired, Standings: []ha.Standing{
			standby("node1", 200, tt.silent != "node1"), standby("node2", 100, tt.silent != "node2"),
		}}
		r := remainder{failed: tt.failed}
		choice := r.next(seen, appliance.PrimaryChange{Kind: appliance.OpFailover, From: "node0", Wanted: tt.wanted})
		if over := choice.Member == "" && r.roundOver(seen); choice.Member != tt.want || over != tt.over {
			t.Errorf("%s: %q takes it, and all have failed: %t, want %q and %t", name, choice.Member, over, tt.want, tt.over)
		}
	}
}
