//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// stallWrites stops a process that holds the lock on the primary's WAL, so that no write
// gets to the disk, and all else goes on. A flush takes far less than a millisecond, so
// commit_delay has that process sleep with the lock before each of its own.
func (b *box) stallWrites() {
	b.t.Helper()
	b.super("node0", "GRANT SET ON PARAMETER commit_delay TO app")
	// The sessions are with the primary itself: by way of an endpoint the answer would come
	// when the process has the disk already.
	url := strings.TrimSpace(b.ok("url", "--role", "rw", "--only", "members", "--driver", "libpq", "--show-password").out)
	holder, c := b.connect(url), b.connect(url)
	_, err := holder.Exec(b.t.Context(), "SELECT set_config('commit_delay', '100000', false), set_config('commit_siblings', '0', false)")
	b.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = holder.Exec(ctx, "SELECT pg_logical_emit_message(false, '', '', true) FROM generate_series(1, 1000)") // until the primary ends
	}()
	b.t.Cleanup(func() { cancel(); <-ended })
	pid := int(holder.PgConn().PID())
	// awaited tells whether others wait for the lock, and the process itself doesn't.
	look := func() (flushed string, awaited bool) {
		b.must(c.QueryRow(b.t.Context(), `SELECT pg_current_wal_flush_lsn()::text, count(*) > 0 AND coalesce(bool_and(pid <> $1), true)
FROM pg_stat_activity WHERE wait_event_type = 'LWLock' AND wait_event = 'WALWrite'`, pid).Scan(&flushed, &awaited))
		return flushed, awaited
	}
	b.eventually("a process is stopped that holds the lock on the WAL", func() bool {
		if _, awaited := look(); !awaited {
			return false
		}
		b.must(syscall.Kill(pid, syscall.SIGSTOP))
		b.eventually("it is stopped", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			b.must(err)
			return stat[bytes.LastIndexByte(stat, ')')+2] == 'T'
		})
		// Writers that wait for the lock get it at once, unless the process has it.
		began, since := time.Now(), time.Time{}
		for at, _ := look(); time.Since(began) < time.Second; time.Sleep(5 * time.Millisecond) {
			flushed, awaited := look()
			switch {
			case flushed != at || !awaited:
				at, since = flushed, time.Time{}
			case since.IsZero():
				since = time.Now()
			case time.Since(since) > 500*time.Millisecond:
				return true
			}
		}
		b.must(syscall.Kill(pid, syscall.SIGCONT))
		return false
	})
}

// TestAutomaticReplacesAPrimaryWhoseDiskStalls has no write get to the primary's disk
// while sessions and new connections go on.
func TestAutomaticReplacesAPrimaryWhoseDiskStalls(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	b.stallWrites()
	b.replaced("node0")
	if o := b.begun(appliance.OpFailover); len(o) != 1 || !strings.Contains(o[0].Params.Reason, "no write gets to its disk") {
		t.Errorf("the failovers are %+v, want one that says that no write gets to the disk", o)
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}

// TestAutomaticLeavesAWriteThatWaitsForAStandbyAlone has no standby stream, so that
// commits wait, for longer than a disk may stall.
func TestAutomaticLeavesAWriteThatWaitsForAStandbyAlone(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	b.rows("CREATE TABLE awaited (n int)")
	c, _, err := b.application()
	b.must(err)
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	insert := b.insert(c, 1)
	b.waitsForStandby("node0")
	b.stays("node0", 16*time.Second, "a commit waits for a standby")
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.ended(insert)
	if o := b.begun(appliance.OpFailover); len(o) > 0 {
		t.Errorf("there were failovers: %+v", o)
	}
}

// TestAutomaticClonesStandbysThatLackWAL takes from the primary the WAL that both standbys
// need. One has a slot that says so, the other one has none at first.
func TestAutomaticClonesStandbysThatLackWAL(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "async", "--dataset", "none")
	b.rows("CREATE TABLE kept AS SELECT 1 AS n")
	b.ok("pause")
	b.killServer("node1")
	b.killServer("node2")
	for _, sql := range []string{
		"ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "ALTER SYSTEM SET wal_keep_size = 0",
		"ALTER SYSTEM SET min_wal_size = '32MB'", "ALTER SYSTEM SET max_wal_size = '48MB'",
		"SELECT pg_reload_conf()", "SELECT pg_drop_replication_slot('node2')",
	} {
		b.super("node0", sql)
	}
	b.eventually("node1's slot is lost", func() bool {
		b.super("node0", "CREATE TABLE IF NOT EXISTS filler (n int, t text)")
		b.super("node0", "INSERT INTO filler SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
		b.super("node0", "SELECT pg_switch_wal()")
		b.super("node0", "CHECKPOINT")
		text, err := b.superuser("node0", "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'node1'")
		b.must(err)
		return strings.TrimSpace(text) == "lost"
	})
	b.ok("resume")
	b.eventually("both standbys stream", func() bool {
		s := b.ps()
		return s.Operation == "" && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
			return m.Role == appliance.RoleStandby && m.State != appliance.StateStreaming
		})
	})
	said := ""
	for _, o := range b.begun(appliance.OpRejoin) {
		said += o.Params.Member + " " + string(o.State) + ": " + o.Params.Reason + "\n"
	}
	for _, want := range []string{"node1 succeeded: the primary no longer has WAL that node1 needs", "node2 succeeded: "} {
		if !strings.Contains(said, want) {
			t.Errorf("the operations leave out %q:\n%s", want, said)
		}
	}
	for _, m := range []string{"node1", "node2"} {
		b.eventually(m+" has the row", func() bool { return b.rows("SELECT n FROM kept", m) == "1" })
	}
	for _, name := range []string{"max_slot_wal_keep_size", "wal_keep_size", "min_wal_size", "max_wal_size"} {
		b.super("node0", "ALTER SYSTEM RESET "+name)
	}
	b.super("node0", "SELECT pg_reload_conf()")
	b.verified()
}

// TestLastStandbyBlocksOrDegrades stops the receiver of the only standby: by default a
// commit waits for it. With degrade the promise ends by itself, the commit goes on, and
// ps and ops say so; the promise is back when the standby streams again.
func TestLastStandbyBlocksOrDegrades(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "1", "--durability", "quorum", "--dataset", "none")
	b.promised(1, "node1")
	b.rows("CREATE TABLE awaited (n int)")
	c, _, err := b.application()
	b.must(err)
	b.super("node0", "ALTER SYSTEM SET wal_sender_timeout = '2s'")
	b.super("node0", "SELECT pg_reload_conf()")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	t.Cleanup(func() { b.signal(syscall.SIGCONT, ": walreceiver") })
	insert := b.insert(c, 1)
	b.waitsForStandby("node0")
	b.eventually("the standby no longer streams", func() bool { return memberOf(b.ps(), "node1").State != appliance.StateStreaming })
	b.promised(1, "node1")
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.ended(insert)
	b.ok("up", "--durability", "quorum", "--on-last-standby", "degrade")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.ended(b.insert(c, 2))
	s := b.ps()
	if s.Promise == nil || !s.Promise.None() || s.Spec.OnLastStandby != appliance.OnLastStandbyDegrade {
		t.Errorf("promised: %v, spec %+v", s.Promise, s.Spec)
	}
	if r := b.run("ps"); !strings.Contains(r.err, "commits don't wait for one: on-last-standby is degrade") {
		t.Errorf("ps says nothing of the promise that ended:\n%s", r.err)
	}
	noted := ""
	for _, o := range b.begun(appliance.OpRejoin) {
		noted += o.Note
	}
	if !strings.Contains(noted, "from now on commits don't wait") {
		t.Errorf("the operations note %q", noted)
	}
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.eventually("the promise is back", func() bool { s := b.ps(); return s.Promise != nil && s.Promise.Has("node1") })
	b.super("node0", "ALTER SYSTEM RESET wal_sender_timeout")
	b.super("node0", "SELECT pg_reload_conf()")
	b.verified()
}
