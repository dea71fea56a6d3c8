package plan

import (
	"context"
	"errors"
	"testing"
	"time"

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

// blind is a machine whose files nobody can read.
type blind struct{ appliance.Machine }

var errBlind = errors.New("nobody can read it")

func (blind) Layout() appliance.Layout { return appliance.Layout{} }

func (blind) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{}, errBlind
}

// TestEndThatWasReadBeforeCountsWhereItProvesEnough asks for the end of the dead primary's WAL
// for a standby, after it was read from another position. Where it is read again, that fails.
func TestEndThatWasReadBeforeCountsWhereItProvesEnough(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		from, end, replayed, want appliance.LSN
		unread                    error
		age                       time.Duration
		again                     bool
	}{
		"it goes on, and the standby is behind":          {from: 20, end: 30, replayed: 10, want: 30},
		"it goes on, and the standby is there":           {from: 20, end: 30, replayed: 30, want: 30},
		"it ends there, and so does the standby":         {from: 20, end: 20, replayed: 20, want: 20},
		"it ends there, and the standby is beyond":       {from: 20, end: 20, replayed: 25, want: 25},
		"it may end before, where the standby is behind": {from: 20, end: 20, replayed: 10, again: true},
		"it was read long ago":                           {from: 20, end: 30, replayed: 10, age: readFresh, again: true},
		"it could not be read":                           {from: 20, unread: errors.New("no file"), replayed: 20, again: true},
	} {
		r := remainder{from: tt.from, began: time.Now().Add(-tt.age), cancel: func() {}, end: func(context.Context) (appliance.LSN, error) { return tt.end, tt.unread }}
		got, err := r.endFor(t.Context(), blind{}, "", 1, tt.replayed)
		if errors.Is(err, errBlind) != tt.again || !tt.again && (err != nil || got != tt.want) {
			t.Errorf("%s: got %d, %v; want %d, read again: %t", name, got, err, tt.want, tt.again)
		}
	}
	var none remainder
	if none.read(t.Context(), blind{}, "", 1); none.end != nil {
		t.Error("the WAL is read from its beginning, where no standby was seen")
	}
	none.from = 20
	none.read(t.Context(), blind{}, "", 1)
	if _, err := none.end(t.Context()); !errors.Is(err, errBlind) {
		t.Errorf("a read that fails: %v", err)
	}
	if none.stop(); none.end != nil {
		t.Error("a reading that was stopped goes on")
	}
}

// TestEndThatIsStillReadIsWaitedForAgain has the time of one standby end before the WAL is read.
func TestEndThatIsStillReadIsWaitedForAgain(t *testing.T) {
	t.Parallel()
	r := remainder{from: 20, cancel: func() {}, end: func(ctx context.Context) (appliance.LSN, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.endFor(late, blind{}, "", 1, 20); !errors.Is(err, context.Canceled) || r.end == nil {
		t.Errorf("the reading was given up: %v", err)
	}
}
