//go:build integration

package plan_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// TestStartEndsWithTheServerItWaitsFor starts a standby that the primary lets not in, and
// kills it while the start waits for it to stream. The start ends, long before its time.
func TestStartEndsWithTheServerItWaitsFor(t *testing.T) {
	t.Parallel()
	h := newHome(t, 233, packed(t))
	h.create(1)
	h.must(h.machine("node1").StopServer(t.Context(), appliance.StopFast))
	secret := h.sql("node0", "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'replicator'")
	h.sql("node0", "postgres", "ALTER ROLE replicator PASSWORD 'another'")
	c, r := h.daemon(nil)
	defer r.Close()
	o, err := c.Submit(t.Context(), "main", appliance.OpStart, appliance.OperationParams{Member: "node1"})
	h.must(err)
	states, err := r.Watch(t.Context(), o.ID)
	h.must(err)
	for o = range states { // until it waits for node1 to stream
		if slices.ContainsFunc(o.Steps, func(s appliance.StepRecord) bool { return s.Kind == "streaming" && s.State == appliance.StepRunning }) {
			break
		}
	}
	h.halt("node1", syscall.SIGKILL)
	o = follow(t, r, o.ID)
	if o.State != appliance.OpFailed || o.Error.ID != appliance.ErrReplication || !strings.Contains(o.Error.Message, "the server of node1 has ended") {
		t.Fatalf("the start is %s: %v", o.State, o.Error)
	}
	h.sql("node0", "postgres", "ALTER ROLE replicator PASSWORD '"+secret+"'")
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{Member: "node1"}))
	h.streaming("node1")
}
