//go:build integration

package cli_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

// longRecord is the length of a WAL record that spans several segments of 16 MiB.
const longRecord = 160 << 20

// hasHalfARecord has each standby receive the beginning of a long record of node0, up to
// the end of a segment, and no more. That is what a standby has whose primary dies while it
// writes such a record: WAL gets to the disk at each segment's end.
func (b *box) hasHalfARecord(segments int, standbys ...string) {
	b.t.Helper()
	b.super("node0", "CHECKPOINT")
	if n := b.signal(syscall.SIGSTOP, "node0: walwriter"); n != 1 { // it would write some pages more
		b.t.Fatalf("stopped %d writers of WAL, want 1", n)
	}
	url := strings.TrimSpace(b.ok("url", "--role", "rw", "--only", "members", "--driver", "libpq", "--show-password").out)
	c, writer := b.connect(url), b.connect(url)
	var pid int
	b.must(writer.QueryRow(b.t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	var end string
	b.must(c.QueryRow(b.t.Context(), "SELECT '0/0'::pg_lsn + (trunc((pg_current_wal_insert_lsn() - '0/0') / 16777216) + $1::int) * 16777216", segments).Scan(&end))
	written := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	b.t.Cleanup(func() { cancel(); <-written })
	go func() {
		_, err := writer.Exec(ctx, "SELECT pg_logical_emit_message(false, 'test', repeat('x', $1))", pgx.QueryExecModeExec, longRecord)
		written <- err
	}()
	for there := false; !there; {
		b.must(c.QueryRow(b.t.Context(), "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn", pgx.QueryExecModeExec, end).Scan(&there))
		select {
		case err := <-written:
			written <- err
			b.t.Fatalf("the record has ended too early: %v", err)
		default:
		}
	}
	b.must(syscall.Kill(pid, syscall.SIGSTOP))
	b.must(c.QueryRow(b.t.Context(), "SELECT pg_current_wal_flush_lsn()").Scan(&end))
	// The walsenders send what is on the disk as soon as something wakes them. A new session
	// could wait for room after the record.
	b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGHUP))
	for _, m := range standbys {
		half := ""
		b.eventually(m+" has half a record", func() bool {
			half = b.answer(m, "SELECT pg_last_wal_receive_lsn() >= '"+end+"' AND pg_last_wal_replay_lsn() < '"+end+"'")
			return half == "t"
		})
	}
	var cut bool
	b.must(c.QueryRow(b.t.Context(), "SELECT mod(pg_current_wal_flush_lsn() - '0/0', 16777216) = 0 AND pg_current_wal_flush_lsn() = $1::text::pg_lsn", pgx.QueryExecModeExec, end).Scan(&cut))
	if !cut {
		b.t.Fatal("node0 has flushed more than whole segments")
	}
}

// answer asks the member as its superuser.
func (b *box) answer(member, sql string) string {
	b.t.Helper()
	out, err := b.superuser(member, sql)
	b.must(err)
	return strings.TrimSpace(out)
}

// TestFailoverInTheMiddleOfARecord kills a primary that has written one or two segments of
// a longer record. The new timeline begins where the record did, so its WAL ends before the
// segment for which the other standby asks.
func TestFailoverInTheMiddleOfARecord(t *testing.T) {
	t.Parallel()
	for name, segments := range map[string]int{"one segment": 1, "two segments": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newAutomaticBox(t)
			b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
			b.rows("CREATE TABLE kept AS SELECT n FROM generate_series(1, 1000) n")
			b.hasHalfARecord(segments, "node1", "node2")
			start := time.Now()
			b.hold("node0") // so that none of its processes writes more while others end
			b.killServer("node0")
			b.replaced("node0")
			t.Logf("all stream after %s", time.Since(start).Round(time.Millisecond))
			b.rows("CREATE TABLE later AS SELECT 1 AS n")
			for _, m := range []string{"node0", "node1", "node2"} {
				b.eventually(m+" has all rows", func() bool { return b.rows("SELECT count(*) FROM kept, later", m) == "1000" })
				if out := b.ok("logs", m).out; strings.Contains(out, "PANIC") {
					t.Errorf("%s has crashed:\n%s", m, out)
				}
			}
			o := b.begun(appliance.OpFailover)
			if len(o) != 1 || !strings.Contains(o[0].Note, "had received the beginning of a record") {
				t.Errorf("the failovers are %+v, want one that says that a standby had half a record", o)
			}
			b.verified()
		})
	}
}
