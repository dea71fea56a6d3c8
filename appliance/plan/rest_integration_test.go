//go:build integration

package plan_test

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// rest makes a cluster whose dead primary alone has the last row.
func (h *home) rest() {
	h.t.Helper()
	h.create(2)
	h.succeeded(h.upAs(appliance.DurabilityAsync))
	h.sql("node0", "shop", "CREATE TABLE public.goods AS SELECT 1 AS id")
	for _, m := range []string{"node1", "node2"} {
		h.replayed("node0", m)
		h.must(h.machine(m).StopServer(h.t.Context(), appliance.StopFast))
	}
	h.sql("node0", "shop", "INSERT INTO public.goods VALUES (2)")
	h.fence("node0")
	h.byHand("node1")
	h.byHand("node2")
}

// haltTaker halts the first standby that is told to read the dead primary's WAL, before its
// server has reloaded the configuration. The function returns that standby.
func (h *home) haltTaker() (taker func() string) {
	var mu sync.Mutex
	first := ""
	h.written = func(member string, data []byte) {
		mu.Lock()
		defer mu.Unlock()
		if first == "" && bytes.Contains(data, []byte("restore_command")) {
			first = member
			h.halt(member, syscall.SIGSTOP)
		}
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return first
	}
}

// wantRest checks that another member than the taker is the primary and has all rows, and
// that both others stream.
func (h *home) wantRest(taker string) {
	h.t.Helper()
	c := h.record()
	if taker == "" || c.Primary == "node0" || c.Primary == taker {
		h.t.Fatalf("the primary is %s, and the taker was %q", c.Primary, taker)
	}
	for _, m := range c.Standbys() {
		if m.Return != "" {
			h.t.Errorf("%s has the way back %q", m.Name, m.Return)
		}
		h.streaming(m.Name)
	}
	if got := h.sql(c.Primary, "shop", "SELECT max(id) FROM public.goods"); got != "2" {
		h.t.Errorf("the new primary has row %s, want 2", got)
	}
	h.wantOne()
}

// TestFailoverKeepsTheSilentTaker halts the standby that was told to read what the dead
// primary's directory alone has, until another one has been promoted, until the old primary
// follows that one, or for longer than the failover takes. No row is lost, and the taker
// follows, without a rejoin if it answers in time, and without a clone.
func TestFailoverKeepsTheSilentTaker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		block byte
		until func(appliance.Cluster) bool
		back  bool // by a rejoin
	}{
		"until another one is promoted":    {238, func(c appliance.Cluster) bool { return c.Primary != "node0" }, false},
		"until the old primary follows it": {239, func(c appliance.Cluster) bool { return c.Primary != "node0" && c.Members[0].Return == "" }, false},
		"until the failover has ended":     {241, func(appliance.Cluster) bool { return false }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, tt.block, packed(t))
			h.rest()
			taker := h.haltTaker()
			goOn := sync.OnceFunc(func() { h.halt(taker(), syscall.SIGCONT) })
			defer func() {
				if taker() != "" {
					goOn()
				}
			}()
			h.around = func(after bool) error {
				if after && tt.until(h.record()) {
					goOn()
				}
				return nil
			}
			o := h.do(appliance.OpFailover, appliance.OperationParams{})
			t.Logf("the failover took %s: %s %s", o.EndedAt.Sub(o.CreatedAt), o.Steps[0].Progress.Detail, o.Note)
			h.succeeded(o)
			h.around = nil
			goOn()
			before := h.dataDir(taker())
			if tt.back {
				if m, _ := h.record().Member(taker()); m.Return != appliance.WayLook {
					t.Errorf("the way back of %s is %q, want %q", taker(), m.Return, appliance.WayLook)
				}
				h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{Member: taker()}))
			}
			h.wantRest(taker())
			if !os.SameFile(before, h.dataDir(taker())) {
				t.Errorf("%s was cloned", taker())
			}
		})
	}
}

// TestFailoverReplacesTheTakerThatIsNotPromoted halts the standby that has read what the dead
// primary's directory alone has, when it is to be promoted, for longer than a promotion may
// take. It is ended, another one reads the same and is promoted, and a rejoin clones it.
func TestFailoverReplacesTheTakerThatIsNotPromoted(t *testing.T) {
	t.Parallel()
	h := newHome(t, 240, packed(t))
	h.rest()
	taker := ""
	h.at(map[appliance.ChangePhase]func(){appliance.ChangePromoting: func() {
		taker = h.record().Change.To
		h.halt(taker, syscall.SIGSTOP)
		h.edit(func(c *appliance.Cluster) { c.Change.Phase = appliance.ChangeRetracting })
	}})
	h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{}))
	h.around = nil
	if m, _ := h.record().Member(taker); m.Return != appliance.WayClone {
		t.Errorf("the way back of %s is %q, want %q", taker, m.Return, appliance.WayClone)
	}
	h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{Member: taker}))
	h.wantRest(taker)
}
