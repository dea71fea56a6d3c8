//go:build integration

package plan_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgapp/appliance"
	"pgapp/scripts/pacetest"
)

// TestRejoinClonesWhereWALIsMissing removes WAL of a killed former primary: changes in its
// blocks are unknown then, to pg_rewind too.
func TestRejoinClonesWhereWALIsMissing(t *testing.T) {
	t.Parallel()
	h := newHome(t, 204, packed(t))
	h.create(1)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	primary, other := "node0", "node1"
	for _, c := range []struct {
		name string
		// remove is the index of the segment that is removed, among those since the last
		// checkpoint; more is how many segments the former primary begins after the switch.
		remove, more int
	}{
		{"the segment of the switch, the last one", 1, 0},
		{"the segment of the switch", 1, 1},
		{"the last segment", 2, 1},
		{"a segment in the middle", 2, 2},
	} {
		h.sql(primary, "postgres", "CHECKPOINT")
		first := h.sql(primary, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")
		h.sql(primary, "shop", "INSERT INTO public.goods VALUES (1)")
		h.switchWAL(primary)
		h.streaming(other)
		h.replayed(primary, other)
		h.promote(other)
		h.sql(primary, "shop", "INSERT INTO public.goods VALUES (2)")
		for range c.more {
			h.switchWAL(primary)
		}
		last := h.sql(primary, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")
		h.fence(primary)
		h.recordPrimary(other)
		h.mark(primary)
		wal := filepath.Join(h.machine(primary).Layout().DataDir, "pg_wal")
		names, err := filepath.Glob(filepath.Join(wal, first[:8]+"????????????????"))
		h.must(err)
		slices.Sort(names)
		names = slices.DeleteFunc(names, func(n string) bool { return filepath.Base(n) < first || filepath.Base(n) > last })
		if len(names) != 2+c.more {
			t.Fatalf("%s: segments %v", c.name, names)
		}
		h.must(os.Remove(names[c.remove]))
		before := h.dataDir(primary)
		o := h.rejoins(primary, &points{dry: true})
		if os.SameFile(before, h.dataDir(primary)) {
			t.Errorf("%s: %s was not cloned", c.name, primary)
		}
		if len(o.Discarded) != 1 || o.Discarded[0].Unknown == "" || o.Discarded[0].Commits != 0 {
			t.Errorf("%s: the operation discarded %+v, want that nobody knows", c.name, o.Discarded)
		} else {
			t.Logf("%s: %s", c.name, o.Discarded[0].Unknown)
		}
		primary, other = other, primary
	}
	h.succeeded(h.do(appliance.OpDestroy, appliance.OperationParams{}))
}

// switchWAL has the primary begin a segment, with a commit in it.
func (h *home) switchWAL(primary string) {
	h.t.Helper()
	h.sql(primary, "postgres", "SELECT pg_switch_wal()")
	h.sql(primary, "shop", "INSERT INTO public.goods VALUES (3)")
}

func (h *home) eventually(what string, holds func() bool) {
	h.t.Helper()
	if !pacetest.Until(patience, holds) {
		h.t.Fatalf("not in %s: %s", patience, what)
	}
}

// replayed waits until the standby has replayed what the primary has written.
func (h *home) replayed(primary, standby string) {
	h.t.Helper()
	at := h.sql(primary, "postgres", "SELECT pg_current_wal_lsn()")
	h.eventually(standby+" has replayed "+at, func() bool {
		return h.sql(standby, "postgres", "SELECT pg_last_wal_replay_lsn() >= '"+at+"'") == "t"
	})
}
