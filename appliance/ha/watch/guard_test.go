package watch

import (
	"testing"
	"time"

	"pgapp/appliance"
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
	if n, since := failovers(c, now); n != 3 || since != 10*time.Minute {
		t.Errorf("%d failovers, the last one %s ago; want 3 and 10m", n, since)
	}
	resumed := ago(15 * time.Minute)
	c.Resumed = &resumed
	if n, since := failovers(c, now); n != 1 || since != 10*time.Minute {
		t.Errorf("since resume %d failovers, the last one %s ago; want 1 and 10m", n, since)
	}
	resumed = now
	if n, _ := failovers(c, now); n != 0 {
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
		h := holdsBeside(c, tt.op, tt.mine)
		if h.all == "" || (h.replace != "") != tt.replace || (h.fence != "") != tt.fence || (h.moves != "") != tt.move {
			t.Errorf("%s holds %+v", tt.name, h)
		}
	}
}
