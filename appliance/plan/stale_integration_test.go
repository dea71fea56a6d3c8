//go:build integration

package plan_test

import (
	"testing"
	"time"

	"pgapp/appliance"
)

// TestFailoverOfAPrimaryThatIsWellAgainIsNotMade has the daemon end when a failover has
// begun and done nothing, and come back when the primary works.
func TestFailoverOfAPrimaryThatIsWellAgainIsNotMade(t *testing.T) {
	t.Parallel()
	h := newHome(t, 237, packed(t))
	h.create(1)
	before := h.began("node0")
	p := &points{only: "before change"}
	c, r := h.daemon(p.crash)
	o, err := c.Submit(t.Context(), "main", appliance.OpFailover, appliance.OperationParams{Reason: "node0 is silent"})
	h.must(err)
	follow(t, r, o.ID)
	r.Close()
	if !p.down {
		t.Fatalf("the daemon did not crash among %q", p.all)
	}
	h.eventually("the evidence is old", func() bool { return time.Since(o.CreatedAt) > 5*time.Second })
	c, r = h.daemon(nil)
	defer r.Close()
	h.must(c.Recover(t.Context()))
	if o = follow(t, r, o.ID); o.State != appliance.OpFailed || o.Error.ID != appliance.ErrConflict {
		t.Errorf("the failover is %s: %v", o.State, o.Error)
	}
	record := h.record()
	if record.Primary != "node0" || record.Epoch != 1 || h.began("node0") != before || !record.Change.Phase.Final() {
		t.Errorf("the primary is %s in epoch %d after %+v, want node0, which was not ended", record.Primary, record.Epoch, record.Change)
	}
	h.streaming("node1")
}
