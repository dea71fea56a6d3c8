//go:build integration

package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestCandidateThatDiesIsStartedAgain kills the candidate while it is on record: before it is
// promoted, or when it has been promoted and has taken a write that it alone has. It is the
// one that becomes the primary all the same, without the time that a promotion may take.
func TestCandidateThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		block    byte
		promoted bool
		// over is set where the time of the promotion is over.
		over bool
	}{
		"before its promotion":             {block: 231},
		"promoted":                         {block: 235, promoted: true},
		"promoted, and after a long while": {block: 236, promoted: true, over: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, tt.block, packed(t))
			h.create(2)
			h.sql("node0", "shop", "CREATE TABLE public.goods AS SELECT 1 AS id")
			h.replayed("node0", "node1")
			h.replayed("node0", "node2")
			h.fence("node0")
			candidate, want := "", "1"
			h.at(map[appliance.ChangePhase]func(){appliance.ChangePromoting: func() {
				candidate = h.record().Change.To
				if tt.promoted {
					h.promote(candidate)
					h.sql(candidate, "shop", "SET synchronous_commit = local; INSERT INTO public.goods VALUES (2)")
					want = "2"
				}
				h.fence(candidate)
				if tt.over {
					h.edit(func(c *appliance.Cluster) { c.Change.Phase = appliance.ChangeRetracting })
				}
			}})
			h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{}))
			h.around = nil
			c := h.record()
			if c.Primary != candidate || c.Epoch != 2 || len(c.Change.Tried) != 0 {
				t.Fatalf("the primary is %s in epoch %d after %+v, want %s", c.Primary, c.Epoch, c.Change, candidate)
			}
			if got := h.sql(candidate, "shop", "SELECT max(id) FROM public.goods"); got != want {
				t.Errorf("the new primary has %s, want %s", got, want)
			}
			h.wantOne()
			for _, m := range c.Standbys() {
				h.streaming(m.Name)
			}
		})
	}
}

// halt stops all processes of the member, or has them go on.
func (h *home) halt(member string, signal syscall.Signal) {
	h.t.Helper()
	dir := h.machine(member).Layout().DataDir
	for _, pid := range h.processes() {
		if cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err != nil || cwd != dir {
			continue
		}
		if err := syscall.Kill(pid, signal); !errors.Is(err, syscall.ESRCH) { // it may have ended
			h.must(err)
		}
	}
}

// TestStandbyAheadOfTheNewPrimaryIsNotPointedToIt has a standby halted while one that is
// behind it is promoted with a loss. It goes on when the change is done, with WAL that the
// new primary does not have: pointed to that one, it could not follow, and would confirm
// positions that it reached with other WAL.
func TestStandbyAheadOfTheNewPrimaryIsNotPointedToIt(t *testing.T) {
	t.Parallel()
	h := newHome(t, 232, packed(t))
	h.create(2)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.replayed("node0", "node1")
	h.must(h.machine("node1").StopServer(t.Context(), appliance.StopFast))
	h.sql("node0", "shop", "INSERT INTO public.goods VALUES (-1)")
	h.replayed("node0", "node2")
	h.fence("node0")
	h.byHand("node1")
	defer h.halt("node2", syscall.SIGCONT)
	h.at(map[appliance.ChangePhase]func(){
		appliance.ChangeFencing: func() { h.halt("node2", syscall.SIGSTOP) },
		appliance.ChangeDone:    func() { h.halt("node2", syscall.SIGCONT) },
	})
	h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{AllowDataLoss: true}))
	h.around = nil
	c := h.record()
	ahead, _ := c.Member("node2")
	if c.Primary != "node1" || ahead.Return != appliance.WayLook {
		t.Fatalf("the primary is %s, and the way back of node2 is %q, want node1 and %q", c.Primary, ahead.Return, appliance.WayLook)
	}
	if seen := h.seen("node2"); seen.UpstreamPort == c.PrimaryMember().Port && seen.UpstreamHost == c.PrimaryMember().Host {
		t.Error("node2 was pointed to the new primary")
	}
	h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{Member: "node2"}))
	h.wantBack("node2")
}

// TestMemberThatIsMarkedIsNotWaitedFor has a standby halted once another one is promoted,
// and marks it while the failover waits for it to stream.
func TestMemberThatIsMarkedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	h := newHome(t, 219, packed(t))
	h.create(2)
	h.fence("node0")
	defer h.halt("node2", syscall.SIGCONT)
	h.at(map[appliance.ChangePhase]func(){appliance.ChangeDone: func() { h.halt("node2", syscall.SIGSTOP) }})
	c, r := h.daemon(nil)
	defer r.Close()
	o, err := c.Submit(t.Context(), "main", appliance.OpFailover, appliance.OperationParams{To: "node1"})
	h.must(err)
	h.eventually("the failover waits for node2", func() bool {
		now, err := r.Operation(t.Context(), o.ID)
		h.must(err)
		waits := slices.ContainsFunc(now.Steps, func(s appliance.StepRecord) bool { return s.ID == "streaming" && s.State == appliance.StepRunning })
		return waits && h.sql("node1", "postgres",
			"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgapp' AND query LIKE '%pg_stat_replication%'") != "0"
	})
	h.mark("node2")
	marked := time.Now()
	o = follow(t, r, o.ID)
	h.around = nil
	h.succeeded(o)
	const limit = 30 * time.Second // of the wait for a standby to stream
	for _, s := range o.Steps {
		if s.ID == "streaming" && s.EndedAt.Sub(marked) > limit/2 {
			t.Errorf("a member that has a way back on record was waited for until %s after that", s.EndedAt.Sub(marked))
		}
	}
	if m, _ := h.record().Member("node2"); m.Return != appliance.WayLook {
		t.Errorf("node2 has the way back %q, want %q", m.Return, appliance.WayLook)
	}
}
