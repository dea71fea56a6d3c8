//go:build integration

package plan_test

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

// TestRejoinOutlastsABusyPrimary has the new primary write and recycle WAL while a former
// primary is rewound, which may take long. Its slot holds the WAL since the promotion. Where
// a limit takes that WAL all the same, the rewound member never accepts a session, and is
// cloned.
func TestRejoinOutlastsABusyPrimary(t *testing.T) {
	t.Parallel()
	h := newHome(t, 224, packed(t))
	h.create(1)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	old, now := "node0", "node1"
	h.streaming(now)
	for _, c := range []struct {
		limit  string
		cloned bool
	}{{"-1", false}, {"'1MB'", true}} {
		for _, sql := range []string{"ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_slot_wal_keep_size = " + c.limit, "SELECT pg_reload_conf()"} {
			h.sql(now, "postgres", sql)
		}
		h.promote(now)
		h.sql(old, "shop", "INSERT INTO public.goods VALUES (1)")
		h.fence(old)
		h.recordPrimary(now)
		h.mark(old)
		fork := filepath.Join(h.machine(now).Layout().DataDir, "pg_wal", h.sql(now, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())"))
		h.around = func(after bool) error {
			if m, _ := h.record().Member(old); after && m.Return == appliance.WayRewind {
				h.around = nil
				for range 3 {
					h.switchWAL(now)
					h.sql(now, "postgres", "CHECKPOINT")
				}
				if _, err := os.Stat(fork); (err != nil) != c.cloned {
					t.Errorf("with a limit of %s the primary's WAL since the promotion: %v", c.limit, err)
				}
			}
			return nil
		}
		before := h.dataDir(old)
		h.rejoins(old, &points{dry: true})
		if cloned := !os.SameFile(before, h.dataDir(old)); cloned != c.cloned {
			t.Errorf("with a limit of %s, %s was cloned: %v, want %v", c.limit, old, cloned, c.cloned)
		}
		h.streaming(old)
		old, now = now, old
	}
	h.succeeded(h.do(appliance.OpDestroy, appliance.OperationParams{}))
}
