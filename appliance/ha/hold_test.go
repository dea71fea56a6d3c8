package ha_test

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

func TestFailoversCountThoseOfTheLastHourSinceResume(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	own := func(d time.Duration) appliance.Promotion {
		return appliance.Promotion{Reason: string(appliance.OpFailover), Evidence: "node0 died", At: ago(d)}
	}
	c := appliance.Cluster{Promotions: []appliance.Promotion{
		own(2 * time.Hour), own(50 * time.Minute), own(30 * time.Minute),
		{Reason: string(appliance.OpFailover), At: ago(20 * time.Minute)}, // a user's
		own(10 * time.Minute),
	}}
	if n, since := ha.Failovers(c, now); n != 3 || since != 10*time.Minute {
		t.Errorf("%d failovers, the last one %s ago; want 3 and 10m", n, since)
	}
	resumed := ago(15 * time.Minute)
	c.Resumed = &resumed
	if n, since := ha.Failovers(c, now); n != 1 || since != 10*time.Minute {
		t.Errorf("since resume %d failovers, the last one %s ago; want 1 and 10m", n, since)
	}
	resumed = now
	if n, _ := ha.Failovers(c, now); n != 0 {
		t.Errorf("after resume %d failovers, want 0", n)
	}
}

func TestHoldsBesideAnOperation(t *testing.T) {
	t.Parallel()
	c := appliance.Cluster{Primary: "node0", Change: &appliance.PrimaryChange{Operation: "restarts", Phase: appliance.ChangeElecting}}
	of := func(kind appliance.OperationKind, p appliance.OperationParams) appliance.Operation {
		return appliance.Operation{ID: "7", Kind: kind, Params: p}
	}
	standby := appliance.OperationParams{Member: "node1"}
	for _, tt := range []struct {
		name                 string
		op                   appliance.Operation
		mine                 bool
		replace, fence, move bool // held
	}{
		{"a user's start", of(appliance.OpStart, appliance.OperationParams{}), false, true, true, false},
		{"a user's start of a standby", of(appliance.OpStart, standby), false, false, true, false},
		{"an own start", of(appliance.OpStart, appliance.OperationParams{KeepStopped: true}), true, false, false, false},
		{"an own start of a standby that takes long", of(appliance.OpStart, standby), true, false, false, false},
		{"an own start of a standby", appliance.Operation{ID: "7", Kind: appliance.OpStart, Params: standby, CreatedAt: time.Now()}, true, false, true, false},
		{"an own start in place", of(appliance.OpStart, appliance.OperationParams{KeepStopped: true, Fence: true}), true, false, true, false},
		{"a rejoin", of(appliance.OpRejoin, standby), false, false, false, false},
		{"a reinit", of(appliance.OpReinit, standby), false, false, false, false},
		{"an own failover", of(appliance.OpFailover, appliance.OperationParams{}), true, true, true, true},
		{"a switchover", of(appliance.OpSwitchover, appliance.OperationParams{}), false, true, true, true},
		{"a restart that moves the primary", appliance.Operation{ID: "restarts", Kind: appliance.OpRestart}, false, true, true, true},
		{"an up", of(appliance.OpUp, appliance.OperationParams{}), false, true, true, false},
	} {
		h, _ := ha.HeldBy(c, ha.Hold{Running: &tt.op, Own: tt.mine}, time.Now())
		if h.All == "" || (h.Replace != "") != tt.replace || (h.Fence != "") != tt.fence || (h.Moves != "") != tt.move {
			t.Errorf("%s holds %+v", tt.name, h)
		}
	}
}

func TestHeldBy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	until := func(d time.Duration) *appliance.Pause {
		at := now.Add(d)
		return &appliance.Pause{Since: now.Add(-time.Hour), Until: &at}
	}
	runs := func(kind appliance.OperationKind, member string) ha.Hold {
		return ha.Hold{Running: &appliance.Operation{ID: "9", Kind: kind, Params: appliance.OperationParams{Member: member}}}
	}
	own := func(h ha.Hold) ha.Hold { h.Own = true; return h }
	const all, some = "all", "not a failover" // what is held
	for _, tt := range []struct {
		name  string
		pause *appliance.Pause
		hold  ha.Hold
		holds string
		says  string
		state appliance.Automatic
	}{
		{name: "nothing", hold: ha.Hold{}},
		{name: "observing", hold: ha.Hold{Observing: "the record is older"}, holds: all, says: "older", state: appliance.AutomaticObserving},
		{name: "observing, and paused", pause: &appliance.Pause{}, hold: ha.Hold{Observing: "the record is older"}, holds: all, says: "older", state: appliance.AutomaticObserving},
		{name: "paused", pause: &appliance.Pause{}, hold: ha.Hold{}, holds: all, says: "a user has paused it", state: appliance.AutomaticPaused},
		{name: "paused for a while", pause: until(time.Minute), hold: ha.Hold{}, holds: all, says: "paused it until", state: appliance.AutomaticPaused},
		{name: "paused until now", pause: until(0), hold: ha.Hold{}},
		{name: "paused, while an operation runs", pause: &appliance.Pause{}, hold: runs(appliance.OpRejoin, "node1"), holds: all, says: "paused", state: appliance.AutomaticPaused},
		{name: "a pause that is over, while an operation runs", pause: until(-time.Second), hold: runs(appliance.OpScale, ""), holds: all, says: "operation 9 (scale)"},
		{name: "nobody knows what runs", hold: ha.Hold{Unknown: "can't be read"}, holds: all, says: "can't be read"},
		{name: "a rejoin", hold: runs(appliance.OpRejoin, "node1"), holds: some, says: "operation 9 (rejoin) runs"},
		{name: "a promise that is settled", hold: runs(appliance.OpRejoin, ""), holds: some, says: "rejoin"},
		{name: "a reinit", hold: runs(appliance.OpReinit, "node1"), holds: some, says: "reinit"},
		{name: "the start of a standby", hold: runs(appliance.OpStart, "node1"), holds: some, says: "start"},
		{name: "the restart of a standby", hold: runs(appliance.OpRestart, "node1"), holds: some, says: "restart"},
		{name: "the start of the primary", hold: runs(appliance.OpStart, "node0"), holds: all, says: "start"},
		{name: "the restart of the primary", hold: runs(appliance.OpRestart, "node0"), holds: all, says: "restart"},
		{name: "a user's start of all", hold: runs(appliance.OpStart, ""), holds: all, says: "start"},
		{name: "a start of all by pgapp itself", hold: own(runs(appliance.OpStart, "")), holds: some, says: "start"},
		{name: "a failover by pgapp itself", hold: own(runs(appliance.OpFailover, "")), holds: all, says: "failover"},
		{name: "a stop of one member", hold: runs(appliance.OpStop, "node1"), holds: all, says: "stop"},
		{name: "a switchover", hold: runs(appliance.OpSwitchover, ""), holds: all, says: "switchover"},
	} {
		c := appliance.Cluster{Primary: "node0", Epoch: 3, Pause: tt.pause}
		got, state := ha.HeldBy(c, tt.hold, now)
		if tt.state == "" {
			tt.state = appliance.AutomaticOn
		}
		if (got.All != "") != (tt.holds != "") || (got.Replace != "") != (tt.holds == all) || !strings.Contains(got.All, tt.says) || state != tt.state {
			t.Errorf("%s: got %+v, %s", tt.name, got, state)
		}
	}
}

// TestDecideHearsWhatAStandbyLastSaid: the answer of the only standby that hears a silent
// primary doesn't come once.
func TestDecideHearsWhatAStandbyLastSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		missing int // looks without an answer of that standby
		deed    ha.Deed
	}{{"once", 1, ""}, {"for longer than a primary may be unheard", 20, ha.Replace}} {
		c := newScene()
		c.deaf("node0", ha.Silent)
		c.s.Known.Promise = appliance.Promise{}
		c.s.Quorum = false
		c.unheard("node2")
		answers := *c.member("node1")
		_, act, last := c.acts(12+tt.missing, func(look int) {
			if *c.member("node1") = answers; look >= 12 {
				c.deaf("node1", ha.Silent)
			}
		})
		if act.Deed != tt.deed {
			t.Errorf("%s: got %+v, %+v", tt.name, act, last)
		}
	}
}

// TestDecideCountsFromTheLooksBegin has a look be held up for so long that the lost answer
// would be too old at its end.
func TestDecideCountsFromTheLooksBegin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		took time.Duration
		deed ha.Deed
	}{{3500 * time.Millisecond, ""}, {0, ha.Replace}} {
		c := newScene()
		c.deaf("node0", ha.Silent)
		c.s.Known.Promise, c.s.Quorum = appliance.Promise{}, false
		c.unheard("node2")
		var m ha.Memory
		var acts []ha.Act
		now := time.Duration(0)
		for range 12 {
			now += tick
			m, _ = ha.Decide(m, c.s, ha.LocalPace(), now)
		}
		c.deaf("node1", ha.Silent)
		c.s.Took = tt.took
		_, acts = ha.Decide(m, c.s, ha.LocalPace(), now+7*time.Second)
		if got := len(acts) > 0 && acts[0].Deed == ha.Replace; got != (tt.deed == ha.Replace) {
			t.Errorf("a look of %s leads to %+v", tt.took, acts)
		}
	}
}

// TestDecideTriesAgainSoonWhatCouldNotBegin has a standby be dead while nothing can be begun,
// as with a home whose disk is full.
func TestDecideTriesAgainSoonWhatCouldNotBegin(t *testing.T) {
	t.Parallel()
	c := newScene()
	c.gone("node1")
	c.member("node0").Streams, c.s.Known.Promise = []string{"node2"}, ha.Over("node2")
	var m ha.Memory
	var last, longest time.Duration
	for i := range 400 {
		now := time.Duration(i) * tick
		var acts []ha.Act
		if m, acts = ha.Decide(m, c.s, ha.LocalPace(), now); len(acts) > 0 && acts[0].Withheld == "" {
			acts[0].Withheld = "the disk is full"
			m = m.NotBegun(acts[0], now)
			last, longest = now, max(longest, now-last)
		} else if last > 0 && (len(acts) == 0 || !strings.HasSuffix(acts[0].Withheld, "did not begin: the disk is full")) {
			t.Fatalf("at %s the acts are %+v, want the reason of the last attempt", now, acts)
		}
	}
	if last < 190*time.Second || longest > 5*time.Second {
		t.Errorf("the last attempt was at %s, the longest pause %s", last, longest)
	}
}
