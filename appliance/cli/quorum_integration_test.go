//go:build integration

package cli_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

// promised wants ps to show the promise.
func (b *box) promised(k int, set ...string) {
	b.t.Helper()
	want := appliance.Promise{K: k, Set: set}
	s := b.ps()
	if s.Promise == nil || !s.Promise.Equal(want) || s.Durability != appliance.DurabilityQuorum {
		b.t.Fatalf("durability %s, promise %v, want %s", s.Durability, s.Promise, want)
	}
}

// application opens a session of the application to the primary itself, since an endpoint
// would cut it with a change of primary. Warnings of the server get into the channel.
func (b *box) application() (*pgx.Conn, chan string, error) {
	b.t.Helper()
	warnings := make(chan string, 10)
	cfg, err := pgx.ParseConfig(strings.TrimSpace(b.ok("url", "--role", "rw", "--only", "members", "--show-password").out))
	b.must(err)
	cfg.DialFunc = b.dial
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings <- n.Code }
	c, err := pgx.ConnectConfig(b.t.Context(), cfg)
	if err == nil {
		b.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(b.t.Context())) })
	}
	return c, warnings, err
}

// waitsForStandby wants a commit of the application to wait for standbys.
func (b *box) waitsForStandby(primary string) {
	b.t.Helper()
	b.eventually("a commit waits for standbys", func() bool {
		out, err := b.superuser(primary, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep'")
		return err == nil && strings.TrimSpace(out) == "1"
	})
}

// insert begins to insert a row, and returns the channel of its end.
func (b *box) insert(c *pgx.Conn, n int) chan error {
	end := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.WithoutCancel(b.t.Context()), "INSERT INTO awaited VALUES ($1)", n)
		end <- err
	}()
	return end
}

// ended waits for the end of an insert.
func (b *box) ended(insert chan error) {
	b.t.Helper()
	select {
	case err := <-insert:
		b.must(err)
	case <-time.After(commandTimeout):
		b.t.Fatal("the insert doesn't end")
	}
}

// TestQuorumCommitWaitsForStandby stops the receivers of all standbys: a commit is not
// acknowledged. A cancelled wait ends with warning 01000, and its row is there: whether
// a standby has the row is unknown.
func TestQuorumCommitWaitsForStandby(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	b.promised(1, "node1", "node2")
	b.rows("CREATE TABLE awaited (n int)")
	c, warnings, err := b.application()
	b.must(err)
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	t.Cleanup(func() { b.signal(syscall.SIGCONT, ": walreceiver") })
	first := b.insert(c, 1)
	b.waitsForStandby("node0")
	b.super("node0", "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	b.ended(first)
	if code := <-warnings; code != "01000" {
		t.Errorf("the cancelled wait ended with warning %s, want 01000", code)
	}
	second := b.insert(c, 2)
	b.waitsForStandby("node0")
	select {
	case err := <-second:
		t.Errorf("a commit was acknowledged without a standby: %v", err)
	default:
	}
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.ended(second)
	if len(warnings) > 0 {
		t.Errorf("the acknowledged commit had warning %s", <-warnings)
	}
	if n := b.rows("SELECT count(*) FROM awaited"); n != "2" {
		t.Errorf("%s rows, want 2", n)
	}
	b.verified()
}

// TestRestartedPrimaryShowsRowsThatStandbysHave kills a primary while a commit waits for
// standbys. Crash recovery completes the commit, and the application must not see its
// row before a standby has it.
func TestRestartedPrimaryShowsRowsThatStandbysHave(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	b.rows("CREATE TABLE awaited (n int)")
	c, _, err := b.application()
	b.must(err)
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	t.Cleanup(func() { b.signal(syscall.SIGCONT, ": walreceiver") })
	b.insert(c, 1)
	b.waitsForStandby("node0")
	b.killServer("node0")
	_, wait := b.background("start")
	b.eventually("the primary has recovered the row", func() bool {
		out, err := b.superuserOf("node0", "pagila", "SELECT count(*) FROM awaited")
		return err == nil && strings.TrimSpace(out) == "1"
	})
	if _, _, err := b.application(); err == nil || !strings.Contains(err.Error(), "pg_hba.conf rejects connection") {
		t.Errorf("the application gets in before a standby has the row: %v", err)
	}
	b.signal(syscall.SIGCONT, ": walreceiver")
	if r := wait(); r.code != 0 {
		t.Fatalf("start: exit code %d: %s", r.code, r.err)
	}
	if n := b.rows("SELECT count(*) FROM awaited"); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
	b.promised(1, "node1", "node2")
	b.verified()
}

// TestPromiseFollowsMembers changes members and the primary while writers write.
func TestPromiseFollowsMembers(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	b.ok("stop", "node2")
	b.promised(1, "node1")
	if r := b.want(appliance.ExitConflict, "stop", "node1"); !strings.Contains(r.err, "--force") {
		t.Errorf("the refusal names no way: %s", r.err)
	}
	if r := b.want(appliance.ExitConflict, "reinit", "node1"); !strings.Contains(r.err, "--force") {
		t.Errorf("the refusal names no way: %s", r.err)
	}
	b.moreWritten(run)
	b.ok("start", "node2")
	b.promised(1, "node1", "node2")
	b.ok("reinit", "node1")
	b.promised(1, "node1", "node2")
	b.ok("scale", "--standbys", "3")
	b.promised(2, "node1", "node2", "node3")
	b.ok("restart", "node3")
	b.promised(2, "node1", "node2", "node3")
	b.moreWritten(run)
	b.ok("switchover", "--to", "node1")
	b.promised(2, "node0", "node2", "node3")
	b.moreWritten(run)
	b.ok("scale", "--standbys", "2")
	b.promised(1, "node0", "node2")
	b.killServer("node1")
	b.ok("failover", "--yes")
	b.led(b.ps().Primary)
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestForceEndsPromise stops the last standby of a promise. The promise ends on record,
// and comes back with the standby.
func TestForceEndsPromise(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none", "--durability", "quorum")
	b.ok("restart")
	b.promised(1, "node0")
	b.ok("restart")
	b.promised(1, "node1")
	b.ok("restart", "--in-place")
	b.promised(1, "node1")
	b.ok("stop", "node1", "--force")
	s := b.ps()
	if s.Promise == nil || !s.Promise.None() || s.Phase != appliance.PhaseDegraded {
		t.Errorf("phase %s, promise %v, want degraded and none", s.Phase, s.Promise)
	}
	b.rows("CREATE TABLE alone AS SELECT 1 AS n")
	b.ok("start", "node1")
	b.promised(1, "node1")
	b.super("node0", "ALTER SYSTEM SET synchronous_standby_names = ''")
	b.super("node0", "SELECT pg_reload_conf()")
	b.eventually("verify sees the setting", func() bool {
		_, v := b.verify()
		for _, c := range v.Checks {
			if c.Name == "durability" && !c.OK {
				return true
			}
		}
		return false
	})
	b.super("node0", "ALTER SYSTEM RESET synchronous_standby_names")
	b.ok("up", "--durability", "quorum")
	b.promised(1, "node1")
	b.want(appliance.ExitUsage, "up", "--standbys", "0", "--durability", "quorum")
	b.ok("stop")
	b.promised(1, "node1")
	b.ok("start")
	b.verified()
}

// TestDurabilityChangesUnderWriters changes the durability again and again, and kills
// the daemon meanwhile.
func TestDurabilityChangesUnderWriters(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "3")
	run := b.writing()
	const rounds = 8
	for i := range rounds {
		durability := []string{"quorum", "async"}[i%2]
		_, wait := b.background("up", "--durability", durability)
		time.Sleep(time.Duration(i) * 60 * time.Millisecond)
		b.killDaemon()
		wait()
		b.ok("up", "--durability", durability)
		if durability == "quorum" {
			b.promised(2, "node1", "node2", "node3")
		} else if s := b.ps(); s.Promise != nil {
			t.Errorf("promise %s under async", s.Promise)
		}
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}
