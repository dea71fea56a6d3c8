//go:build integration

package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestRejoinOutlastsABusyPrimary has the new primary write and recycle WAL while a former
// primary is rewound, which may take long. Its slot holds the WAL since the promotion. Where
// a limit takes that WAL all the same, the rewound member never accepts a session, and is
// cloned. It doesn't use its slot then: whether the slot would lose WAL by that use depends on
// which of two processes is quicker.
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
		h.keepLittle(now, c.limit)
		h.promote(now)
		h.sql(old, "shop", "INSERT INTO public.goods VALUES (1)")
		h.fence(old)
		h.recordPrimary(now)
		h.mark(old)
		fork := filepath.Join(h.machine(now).Layout().DataDir, "pg_wal", h.sql(now, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())"))
		h.around = func(after bool) error {
			if m, _ := h.record().Member(old); after && m.Return == appliance.WayRewind {
				h.recycleWAL(now)
				if _, err := os.Stat(fork); (err != nil) != c.cloned {
					t.Errorf("with a limit of %s the primary's WAL since the promotion: %v", c.limit, err)
				}
			}
			return nil
		}
		rewound := c.cloned
		h.starting = func(appliance.Member) {
			if rewound {
				h.withoutSlot(old)
			}
			rewound = false
		}
		before := h.dataDir(old)
		h.rejoins(old, &points{dry: true})
		h.around, h.starting = nil, nil
		if cloned := !os.SameFile(before, h.dataDir(old)); cloned != c.cloned {
			t.Errorf("with a limit of %s, %s was cloned: %v, want %v", c.limit, old, cloned, c.cloned)
		}
		h.streaming(old)
		old, now = now, old
	}
	h.succeeded(h.do(appliance.OpDestroy, appliance.OperationParams{}))
}

// TestRejoinClonesAnewWhereACloneLacksWAL has the primary remove WAL between a clone and its
// start. The operation ends and says what helps; the next one makes another clone.
func TestRejoinClonesAnewWhereACloneLacksWAL(t *testing.T) {
	t.Parallel()
	const member = "node1"
	h := newHome(t, 244, packed(t))
	h.create(1)
	h.sql("node0", "shop", "CREATE TABLE public.goods (id int)")
	h.streaming(member)
	h.keepLittle("node0", "'1MB'")
	h.edit(func(c *appliance.Cluster) { c.Members[1].Return = appliance.WayClone })
	h.starting = func(m appliance.Member) {
		h.recycleWAL("node0")
		h.withoutSlot(m.Name)
	}
	o := h.do(appliance.OpRejoin, appliance.OperationParams{Member: member})
	h.starting = nil
	if o.State != appliance.OpFailed || o.Error.ID != appliance.ErrReplication ||
		!strings.Contains(o.Error.Message, "no longer has the WAL") || !strings.Contains(o.Error.Hint, "max_slot_wal_keep_size") {
		t.Fatalf("the rejoin of a clone that lacks WAL is %s: %+v", o.State, o.Error)
	}
	first := h.dataDir(member)
	h.rejoins(member, &points{dry: true})
	if os.SameFile(first, h.dataDir(member)) {
		t.Error("the clone that lacks WAL was started again, want another clone")
	}
	h.streaming(member)
	h.succeeded(h.do(appliance.OpDestroy, appliance.OperationParams{}))
}

// keepLittle has the primary keep WAL for slots only, and no more than the limit.
func (h *home) keepLittle(primary, limit string) {
	h.t.Helper()
	for _, sql := range []string{"ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_slot_wal_keep_size = " + limit, "SELECT pg_reload_conf()"} {
		h.sql(primary, "postgres", sql)
	}
}

// recycleWAL has the primary begin segments, and remove those that nothing keeps.
func (h *home) recycleWAL(primary string) {
	h.t.Helper()
	for range 3 {
		h.switchWAL(primary)
		h.sql(primary, "postgres", "CHECKPOINT")
	}
}

// withoutSlot has the stopped standby connect without its slot at its next start.
func (h *home) withoutSlot(member string) {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.machine(member).Layout().DataDir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	h.must(err)
	_, err = f.WriteString("primary_slot_name = ''\n")
	h.must(errors.Join(err, f.Close()))
}
