//go:build integration

package plan_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgapp/appliance"
)

// at calls the functions when a change of the record has brought the change of primary to
// their phase, each once.
func (h *home) at(todo map[appliance.ChangePhase]func()) {
	h.around = func(after bool) error {
		ch := h.record().Change
		if !after || ch == nil || todo[ch.Phase] == nil {
			return nil
		}
		do := todo[ch.Phase]
		delete(todo, ch.Phase)
		do()
		return nil
	}
}

// wantOne checks that nobody but the recorded primary takes writes.
func (h *home) wantOne() {
	h.t.Helper()
	c := h.record()
	for _, m := range c.Standbys() {
		running, err := h.machine(m.Name).ServerRunning(h.t.Context())
		h.must(err)
		if running && h.sql(m.Name, "postgres", "SELECT pg_is_in_recovery()") != "t" {
			h.t.Errorf("%s takes writes beside %s", m.Name, c.Primary)
		}
	}
}

// TestChangesEndAnOldPrimaryThatIsStartedByHand has a person start the old primary when
// its end is proven and the candidate is on record, but before it has standby.signal.
func TestChangesEndAnOldPrimaryThatIsStartedByHand(t *testing.T) {
	t.Parallel()
	h := newHome(t, 205, packed(t))
	h.create(2)
	for i, kind := range []appliance.OperationKind{appliance.OpFailover, appliance.OpSwitchover} {
		old := h.record().Primary
		started := false
		h.at(map[appliance.ChangePhase]func(){
			appliance.ChangePromoting: func() {
				h.byHand(old)
				started = h.sql(old, "postgres", "SELECT pg_is_in_recovery()") == "f"
			},
			appliance.ChangeDone: h.wantOne,
		})
		if kind == appliance.OpFailover {
			h.fence(old)
		}
		h.succeeded(h.do(kind, appliance.OperationParams{}))
		h.around = nil
		c := h.record()
		if !started || c.Primary == old || c.Epoch != uint64(i)+2 {
			t.Fatalf("%s: %s took writes: %t, the primary is %s in epoch %d", kind, old, started, c.Primary, c.Epoch)
		}
		h.wantOne()
		h.streaming(old)
	}
}

// TestSecondFailoverTakesTheSameTimeline kills the new primary when it is on record, but
// no standby has followed it, and its directory can't be read: the next primary takes the
// same number. Nobody may follow the foreign fork.
func TestSecondFailoverTakesTheSameTimeline(t *testing.T) {
	t.Parallel()
	h := newHome(t, 206, packed(t))
	h.create(2)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.sql("node0", "shop", "INSERT INTO public.goods VALUES (1)")
	h.replayed("node0", "node1")
	h.replayed("node0", "node2")
	h.fence("node0")
	h.must(h.machine("node2").StopServer(t.Context(), appliance.StopFast))
	h.at(map[appliance.ChangePhase]func(){appliance.ChangeDone: func() {
		h.sql("node1", "shop", "INSERT INTO public.goods VALUES (-1)")
		h.fence("node1")
	}})
	first := h.do(appliance.OpFailover, appliance.OperationParams{To: "node1", AllowDataLoss: true})
	h.around = nil
	if c := h.record(); c.Primary != "node1" || c.Timeline != 2 {
		t.Fatalf("after %+v the primary is %s on timeline %d", first.Error, c.Primary, c.Timeline)
	}
	wal := filepath.Join(h.machine("node1").Layout().DataDir, "pg_wal")
	h.must(os.Rename(wal, wal+".away"))
	h.byHand("node2")
	before := h.dataDir("node1")
	h.at(map[appliance.ChangePhase]func(){appliance.ChangeDone: func() { h.must(os.Rename(wal+".away", wal)) }})
	h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{To: "node2", AllowDataLoss: true}))
	h.around = nil
	c := h.record()
	if c.Primary != "node2" || c.Timeline != 2 || c.Epoch != 3 {
		t.Fatalf("the primary is %s on timeline %d in epoch %d, want node2 on timeline 2 in epoch 3", c.Primary, c.Timeline, c.Epoch)
	}
	h.sql("node2", "shop", "INSERT INTO public.goods VALUES (2)")
	h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{}))
	if os.SameFile(before, h.dataDir("node1")) {
		t.Error("node1, on a timeline of the same number, was not cloned")
	}
	h.streaming("node0", "node1")
	for _, name := range []string{"node0", "node1"} {
		h.replayed("node2", name)
		if got := h.sql(name, "shop", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.goods"); got != "1 2" {
			t.Errorf("%s has %q, want 1 2", name, got)
		}
	}

	t.Log("a standby that the user had stopped before the second promotion")
	h.succeeded(h.do(appliance.OpStop, appliance.OperationParams{Member: "node1"}))
	h.succeeded(h.do(appliance.OpSwitchover, appliance.OperationParams{To: "node0"}))
	h.streaming("node2")
	h.sql("node0", "shop", "INSERT INTO public.goods VALUES (-2)")
	h.replayed("node0", "node2")
	h.succeeded(h.do(appliance.OpStop, appliance.OperationParams{Member: "node2", Force: true}))
	h.edit(func(c *appliance.Cluster) {
		for i := range c.Members {
			c.Members[i].WantStopped = c.Members[i].Name == "node2"
		}
	})
	h.fence("node0")
	h.byHand("node1")
	wal = filepath.Join(h.machine("node0").Layout().DataDir, "pg_wal")
	h.must(os.Rename(wal, wal+".away"))
	h.at(map[appliance.ChangePhase]func(){appliance.ChangeDone: func() { h.must(os.Rename(wal+".away", wal)) }})
	h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{To: "node1", AllowDataLoss: true}))
	h.around = nil
	if c := h.record(); c.Primary != "node1" || c.Timeline != 3 {
		t.Fatalf("the primary is %s on timeline %d, want node1 on timeline 3", c.Primary, c.Timeline)
	}
	h.conflict(h.do(appliance.OpStart, appliance.OperationParams{Member: "node2"}), "pgapp rejoin node2")
	h.sql("node1", "shop", "INSERT INTO public.goods VALUES (3)")
	h.succeeded(h.do(appliance.OpRejoin, appliance.OperationParams{}))
	h.streaming("node0", "node2")
	for _, name := range []string{"node0", "node2"} {
		h.replayed("node1", name)
		if got := h.sql(name, "shop", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.goods"); got != "1 2 3" {
			t.Errorf("%s has %q, want 1 2 3", name, got)
		}
	}
}

// TestElectionWaitsForWALThatIsNotReplayed has an acknowledged commit in the directory of
// one standby only, which was restarted and has not replayed it yet.
func TestElectionWaitsForWALThatIsNotReplayed(t *testing.T) {
	t.Parallel()
	h := newHome(t, 208, packed(t))
	h.create(2)
	set := func(member, setting string) {
		h.sql(member, "postgres", "ALTER SYSTEM "+setting)
		h.sql(member, "postgres", "SELECT pg_reload_conf()")
	}
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.replayed("node0", "node2")
	set("node2", "SET recovery_min_apply_delay = '1h'")
	h.sql("node0", "shop", "INSERT INTO public.goods VALUES (1)")
	h.replayed("node0", "node1")
	set("node1", "SET primary_conninfo = ''")
	h.eventually("node1 receives nothing", func() bool {
		return h.sql("node0", "postgres", "SELECT string_agg(application_name, ' ') FROM pg_stat_replication") == "node2"
	})
	h.sql("node0", "shop", "SET synchronous_commit = on; INSERT INTO public.goods VALUES (2)") // only node2 can acknowledge it
	promised := h.record().Promise
	h.fence("node0")
	h.must(h.machine("node2").StopServer(t.Context(), appliance.StopFast))
	h.byHand("node2")
	set("node1", "RESET primary_conninfo")
	h.at(map[appliance.ChangePhase]func(){appliance.ChangeElecting: func() {
		time.AfterFunc(500*time.Millisecond, func() { set("node2", "RESET recovery_min_apply_delay") })
	}})
	failover := h.do(appliance.OpFailover, appliance.OperationParams{})
	h.succeeded(failover)
	h.around = nil
	if got := h.sql(h.record().Primary, "shop", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.goods"); got != "1 2" {
		t.Errorf("%s, the new primary, has %q, want both acknowledged rows; promised: %s; %+v", h.record().Primary, got, promised, failover.Steps)
		for _, m := range []string{"node0", "node1", "node2"} {
			log, err := os.ReadFile(h.machine(m).Layout().LogFile)
			t.Logf("the log of %s, %v:\n%s", m, err, log)
		}
	}
}

// TestPrimaryThatDiedInItsPromotionGetsItsOwnTimeline ends a server after PostgreSQL has
// removed standby.signal, and before the new timeline is in pg_control: PostgreSQL alone goes
// on as a primary on the timeline of the old one, whose WAL may go on otherwise.
func TestPrimaryThatDiedInItsPromotionGetsItsOwnTimeline(t *testing.T) {
	t.Parallel()
	h := newHome(t, 251, packed(t))
	h.create(1)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.replayed("node0", "node1")
	half := func() {
		h.fence("node1")
		h.must(os.Remove(h.signal("node1")))
	}

	t.Log("the candidate of a failover")
	h.fence("node0")
	h.at(map[appliance.ChangePhase]func(){appliance.ChangePromoting: half})
	h.succeeded(h.do(appliance.OpFailover, appliance.OperationParams{AllowDataLoss: true}))
	h.around = nil
	if c, seen := h.record(), h.seen("node1"); c.Primary != "node1" || c.Timeline != 2 || seen.Timeline != 2 {
		t.Fatalf("the primary is %s on timeline %d, and node1 says %d; want node1 on 2", c.Primary, c.Timeline, seen.Timeline)
	}
	h.sql("node1", "shop", "INSERT INTO public.goods VALUES (1)")
	h.streaming("node0")

	t.Log("a member that was stopped there, and whose record calls it the primary")
	h.succeeded(h.do(appliance.OpSwitchover, appliance.OperationParams{To: "node0"}))
	h.replayed("node0", "node1")
	h.must(h.machine("node0").StopServer(t.Context(), appliance.StopFast))
	half()
	h.recordPrimary("node1")
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{}))
	if c, seen := h.record(), h.seen("node1"); c.Timeline != 4 || seen.Timeline != 4 || seen.InRecovery {
		t.Errorf("the primary is %s on timeline %d, and node1 says %+v; want it on 4", c.Primary, c.Timeline, seen)
	}
}
