//go:build integration

package postgres_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// keepLittle has the primary keep WAL for slots only, and no more than two segments.
func (c *cluster) keepLittle(t *testing.T) {
	t.Helper()
	for _, sql := range []string{"ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'", "SELECT pg_reload_conf()"} {
		c.sql(t, 0, "postgres", sql)
	}
}

// recycleWAL has the primary begin a segment, and remove those that nothing keeps.
func (c *cluster) recycleWAL(t *testing.T) {
	t.Helper()
	for _, sql := range []string{"SELECT pg_switch_wal()", "SELECT pg_create_restore_point('filled')", "CHECKPOINT"} {
		c.sql(t, 0, "postgres", sql)
	}
}

// TestServerLogTellsRemovedWAL starts a standby that needs WAL which the primary has removed.
func TestServerLogTellsRemovedWAL(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.addStandby(t)
	removed := func(l *postgres.ServerLog) string {
		segment, err := l.RemovedWAL(t.Context())
		must(t, err)
		return segment
	}
	before := &postgres.ServerLog{Shell: m}
	for range 2 {
		if got := removed(before); got != "" {
			t.Errorf("a standby that streams asks for the removed segment %s", got)
		}
	}
	m.stop(t)
	needs := c.sql(t, 0, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")
	c.keepLittle(t)
	must(t, c.control(t, 0, "postgres").DropSlot(t.Context(), name(1)))
	must(t, c.control(t, 0, "postgres").EnsureSlot(t.Context(), name(1)))
	waitFor(t, func() bool {
		c.recycleWAL(t)
		_, err := os.Stat(filepath.Join(c.members[0].layout.DataDir, "pg_wal", needs))
		return err != nil
	})
	m.start(t)
	waitFor(t, func() bool { return removed(before) == needs })
	m.stop(t)
	after := &postgres.ServerLog{Shell: m}
	for range 2 {
		if got := removed(after); got != "" {
			t.Errorf("the log of before names segment %s, want none", got)
		}
	}
	log, err := os.ReadFile(m.layout.LogFile)
	must(t, err)
	must(t, os.Rename(m.layout.LogFile, m.layout.LogFile+".1"))
	must(t, os.WriteFile(m.layout.LogFile, log, 0o600))
	m.chown(t, m.layout.LogFile)
	if got := removed(after); got != needs {
		t.Errorf("a log that was replaced names segment %q, want %q", got, needs)
	}
}

// TestCloneRenewsALostSlot has the slot lose WAL during each of a clone's attempts.
func TestCloneRenewsALostSlot(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.keepLittle(t)
	// A walsender ends only when it can send its last message, or can't for that long.
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET tcp_user_timeout = '3s'")
	c.sql(t, 0, "postgres", "SELECT pg_reload_conf()")
	m, i := c.newStandby(t)
	var slow atomic.Bool
	var pid atomic.Int64
	slow.Store(true)
	slowBackup(m, &slow, &pid)
	o := c.cloneOptions(i)
	o.Primary = c.control(t, 0, "postgres")
	looks := c.control(t, 0, "postgres")
	lost := func() bool {
		is, err := postgres.SlotLost(t.Context(), looks, name(i))
		must(t, err)
		return is
	}
	// loseSlot stops what streams the WAL of the attempt under way, which is another than
	// the one before, until its slot has lost WAL. What it returns kills the attempt.
	var before int64
	loseSlot := func() (kill func()) {
		waitFor(t, func() bool { return pid.Load() != before && len(backups(t, m)) == 2 })
		before = pid.Load()
		streams := 0
		for _, file := range backups(t, m) {
			p, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(file))
			must(t, err)
			if int64(p) != before {
				streams = p
			}
		}
		must(t, syscall.Kill(streams, syscall.SIGSTOP))
		waitFor(t, func() bool { c.recycleWAL(t); return lost() })
		return func() {
			must(t, syscall.Kill(streams, syscall.SIGKILL))
			must(t, syscall.Kill(int(before), syscall.SIGKILL))
		}
	}
	done := make(chan error, 1)
	clone := func() { done <- postgres.Clone(t.Context(), m, o, nil) }

	go clone()
	for range 2 {
		loseSlot()()
	}
	if p := appliance.AsProblem(<-done); p == nil || p.ID != appliance.ErrClone || p.Hint != postgres.MoreWALHint {
		t.Errorf("a clone whose slot loses WAL at each attempt: %+v, want the hint %q", p, postgres.MoreWALHint)
	}

	go clone()
	kill := loseSlot()
	slow.Store(false)
	kill()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("the clone does not end")
	}
	if lost() {
		t.Error("the clone's slot has lost WAL, and keeps none")
	}
	must(t, postgres.Configure(t.Context(), m, c.config(i)))
	m.start(t)
	must(t, postgres.WaitStreaming(t.Context(), c.control(t, 0, "postgres"), []string{name(i)}))
}
