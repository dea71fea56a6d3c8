//go:build integration

package cli_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// changeRefused wants the command to fail with the problem and to say each of the texts.
func (b *box) changeRefused(id appliance.ErrorID, args []string, says ...string) {
	b.t.Helper()
	code, _ := id.Codes()
	start := time.Now()
	r := b.want(code, args...)
	b.t.Logf("refused after %s: %s", time.Since(start).Round(time.Millisecond), strings.TrimSpace(r.err))
	for _, text := range append(says, "error["+string(id)+"]") {
		if !strings.Contains(r.err, text) {
			b.t.Errorf("%q doesn't say %q: %s", args, text, r.err)
		}
	}
}

// TestFailoverNamesReceiversThatDoNotEnd stops the receivers of all standbys. What they
// would still write is unknown, so none is promoted, and the old primary comes back.
func TestFailoverNamesReceiversThatDoNotEnd(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	t.Cleanup(func() { b.signal(syscall.SIGCONT, ": walreceiver") })
	b.killServer("node0")
	b.changeRefused(appliance.ErrNoCandidate, []string{"failover", "--yes"},
		"node1 has a WAL receiver that does not end", "node2 has a WAL receiver that does not end")
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		t.Errorf("%s is on timeline %d, want its own", s.Primary, s.Timeline)
	}
	b.killServer("node0")
	b.ok("failover", "--yes")
	b.led(b.ps().Primary)
}

// TestStandbyThatIsAheadOfTheSwitchComesBack promotes a standby that lacks what another
// one has, where the dead primary's WAL can't be read. The other one is no standby of the
// new primary before a rejoin.
func TestStandbyThatIsAheadOfTheSwitchComesBack(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	b.rows("CREATE TABLE late (n int, filler text)")
	if n := b.signal(syscall.SIGSTOP, "node1: walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.rows("INSERT INTO late SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
	b.eventually("node2 has all rows", func() bool { return b.rows("SELECT count(*) FROM late", "node2") == "30000" })
	b.killServer("node0")
	b.signal(syscall.SIGCONT, "node1: walreceiver")
	wal := b.dataDir("node0") + "/pg_wal"
	b.must(os.Rename(wal, wal+".away"))
	r := b.ok("failover", "--to", "node1", "--allow-data-loss", "--yes")
	if !strings.Contains(r.err+r.out, "could not be read") {
		t.Errorf("the failover doesn't say what is lost: %s%s", r.out, r.err)
	}
	if m := memberOf(b.ps(), "node2"); m.State == appliance.StateStreaming {
		t.Errorf("node2 is %s, and has WAL of its own", m.State)
	}
	b.rows("INSERT INTO late VALUES (-1)")
	b.ok("rejoin", "node2")
	b.led("node1")
	want := b.rows("SELECT count(*), min(n) FROM late")
	for _, m := range []string{"node0", "node2"} {
		b.eventually(m+" has the primary's rows", func() bool { return b.rows("SELECT count(*), min(n) FROM late", m) == want })
	}
	b.verified()
}

// TestFailoverRefusesACandidateWithLowerLimits has a standby pause its replay, since the
// primary's max_connections was raised behind pgapp's back. A promotion would end it.
func TestFailoverRefusesACandidateWithLowerLimits(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	b.super("node0", "ALTER SYSTEM SET max_connections = 400")
	b.pgCtl("node0", "restart", "-m", "fast")
	b.eventually("node1 pauses its replay", func() bool {
		out, err := b.superuser("node1", "SELECT pg_get_wal_replay_pause_state()")
		return err == nil && strings.TrimSpace(out) == "paused"
	})
	b.killServer("node0")
	b.changeRefused(appliance.ErrNoCandidate, []string{"failover", "--yes"}, "node1 has paused its replay")
	b.ok("start")
	if s := b.ps(); s.Primary != "node0" || s.Timeline != 1 {
		t.Errorf("the primary is %s on timeline %d, want node0 on 1", s.Primary, s.Timeline)
	}
}

// TestSwitchoverGoesBackWhereTheTargetHangsInTheStop stops the target's receiver when the
// old primary is already stopping. The old primary serves again on its timeline.
func TestSwitchoverGoesBackWhereTheTargetHangsInTheStop(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	run := b.writing()
	thaw := b.freeze("node0", "autovacuum launcher") // a checkpoint has to go on before the stop
	_, wait := b.background("switchover")
	b.phase("stopping node0")
	if n := b.signal(syscall.SIGSTOP, "node1: walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	t.Cleanup(func() { b.signal(syscall.SIGCONT, "node1: walreceiver") })
	start := time.Now()
	thaw()
	b.phase("starting node0 again")
	t.Logf("the stop was given up after %s", time.Since(start).Round(time.Millisecond))
	b.signal(syscall.SIGCONT, "node1: walreceiver")
	if r := wait(); r.code == 0 {
		t.Errorf("the switchover succeeded: %s", r.out)
	}
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		t.Errorf("node0 is on timeline %d, want its own", s.Timeline)
	}
	b.moreWritten(run)
	b.kept(run)
}

// TestFailoverGivesUpACandidateThatIsNotPromotedInTime stops the startup process of the
// first candidate. The second one is tried when the first can't be promoted late.
func TestFailoverGivesUpACandidateThatIsNotPromotedInTime(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	run := b.writing()
	b.killServer("node0")
	b.freeze("node1", "startup")
	start := time.Now()
	b.ok("failover", "--yes")
	t.Logf("the failover took %s", time.Since(start).Round(time.Millisecond))
	s := b.ps()
	if s.Primary != "node2" {
		t.Errorf("the primary is %s, want node2", s.Primary)
	}
	b.moreWritten(run)
	b.ok("rejoin")
	b.led(s.Primary)
	b.kept(run)
}
