//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// turnedDown wants the command to fail with the problem and to say each of the texts.
func (b *box) turnedDown(id appliance.ErrorID, args []string, says ...string) {
	b.t.Helper()
	code, _ := id.Codes()
	start := time.Now()
	r := b.want(code, args...)
	b.t.Logf("refused after %s: %s", time.Since(start).Round(time.Millisecond), lastLines(r.err))
	for _, text := range append(says, "error["+string(id)+"]") {
		if !strings.Contains(r.err, text) {
			b.t.Errorf("%q doesn't say %q: %s", args, text, r.err)
		}
	}
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], " / ")
}

// TestFailoverThatIsNotPlain has failovers of one cluster with standbys that hang, that
// are ahead of the new primary, and that aren't promoted in time.
func TestFailoverThatIsNotPlain(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	receiversThatDoNotEnd(b)
	aheadOfTheSwitch(b)
	b.ok("up", "--standbys", "3", "--durability", "quorum")
	askedForAndBehind(b)
	notPromotedInTime(b)
}

// receiversThatDoNotEnd stops the receivers of all standbys. What they would still write
// is unknown, so none is promoted, and the old primary comes back.
func receiversThatDoNotEnd(b *box) {
	b.t.Helper()
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		b.t.Fatalf("stopped %d receivers, want 2", n)
	}
	goOn := func() { b.signal(syscall.SIGCONT, ": walreceiver") }
	b.t.Cleanup(goOn)
	b.killServer("node0")
	b.turnedDown(appliance.ErrNoCandidate, []string{"failover", "--yes"},
		"node1 has a WAL receiver that does not end", "node2 has a WAL receiver that does not end")
	goOn()
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		b.t.Errorf("%s is on timeline %d, want its own", s.Primary, s.Timeline)
	}
}

// aheadOfTheSwitch promotes a standby that lacks what another one has, where the dead
// primary's WAL can't be read. The other one is no standby of the new primary before a
// rejoin, which says what the standby drops. Nor is the old primary: its clone fails, when
// the failover is done.
func aheadOfTheSwitch(b *box) {
	b.t.Helper()
	b.rows("CREATE TABLE late (n int, filler text)")
	if n := b.signal(syscall.SIGSTOP, "node1: walreceiver"); n != 1 {
		b.t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.rows("INSERT INTO late SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
	b.eventually("node2 has all rows", func() bool { return b.rows("SELECT count(*) FROM late", "node2") == "30000" })
	b.killServer("node0")
	b.signal(syscall.SIGCONT, "node1: walreceiver")
	wal := b.dataDir("node0") + "/pg_wal"
	b.must(os.Rename(wal, wal+".away"))
	home := filepath.Dir(b.dataDir("node0"))
	var owner syscall.Stat_t
	b.must(syscall.Stat(home, &owner))
	b.must(os.Chown(home, 0, 0)) // so that no clone can take the directory's place
	b.must(os.Chmod(home, 0o755))
	r := b.want(appliance.ExitDegraded, "failover", "--to", "node1", "--allow-data-loss", "--yes")
	for _, text := range []string{"error[degraded]", "the failover is done, and node1 is the primary", "pgapp rejoin node0"} {
		if !strings.Contains(r.err, text) {
			b.t.Errorf("the failover doesn't say %q: %s", text, r.err)
		}
	}
	b.must(os.Chown(home, int(owner.Uid), int(owner.Gid)))
	b.must(os.Chmod(home, os.FileMode(owner.Mode&0o777)))
	if !strings.Contains(r.err+r.out, "could not be read") {
		b.t.Errorf("the failover doesn't say what is lost: %s%s", r.out, r.err)
	}
	if m := memberOf(b.ps(), "node2"); m.State == appliance.StateStreaming {
		b.t.Errorf("node2 is %s, and has WAL of its own", m.State)
	}
	b.rows("INSERT INTO late VALUES (-1)")
	r = b.ok("rejoin", "node2")
	if !strings.Contains(r.err, "node2 dropped ") || !strings.Contains(r.err, "commits that the new primary lacks") {
		b.t.Errorf("the rejoin doesn't say what node2 drops: %s", r.err)
	}
	b.ok("rejoin")
	b.led("node1")
	want := b.rows("SELECT count(*), min(n) FROM late")
	for _, m := range []string{"node0", "node2"} {
		b.eventually(m+" has the primary's rows", func() bool { return b.rows("SELECT count(*), min(n) FROM late", m) == want })
	}
	b.verified()
}

// askedForAndBehind asks for a standby that lacks what the others have confirmed. With a
// dead primary that is known before anything is killed. Of one that only hangs it is known
// when it has been killed: then another standby is promoted.
func askedForAndBehind(b *box) {
	b.t.Helper()
	b.rows("CREATE TABLE confirmed (n int)")
	behind := func(n string) {
		if n := b.signal(syscall.SIGSTOP, "node2: walreceiver"); n != 1 {
			b.t.Fatalf("stopped %d receivers, want 1", n)
		}
		b.rows("INSERT INTO confirmed VALUES (" + n + ")")
	}
	behind("1")
	b.killServer("node1")
	b.dropReceiver("node2")
	b.turnedDown(appliance.ErrNoCandidate, []string{"failover", "--to", "node2", "--yes"}, "node2 lacks commits that node")
	ops, err := b.api().Operations(b.t.Context(), "main")
	b.must(err)
	if text := b.ok("ops", ops[0].ID).out; strings.Contains(text, "fencing") || strings.Contains(text, "electing") {
		b.t.Errorf("the primary was killed before the refusal: %s", text)
	}
	b.ok("start")
	b.led("node1")
	behind("2")
	b.hold("node1")
	b.dropReceiver("node2")
	r := b.ok("failover", "--to", "node2", "--yes")
	if !strings.Contains(r.err, "since node2, which was asked for, lacks commits that ") {
		b.t.Errorf("the failover doesn't say why node2 is not the primary: %s", r.err)
	}
	now := b.ps().Primary
	if now == "node1" || now == "node2" {
		b.t.Errorf("the primary is %s", now)
	}
	b.led(now)
	if rows := b.rows("SELECT string_agg(n::text, ' ' ORDER BY n) FROM confirmed"); rows != "1 2" {
		b.t.Errorf("the new primary has %q, want 1 2", rows)
	}
}

// notPromotedInTime stops the startup process of the first candidate. Another one is tried
// when it is proven that the first can't be promoted late.
func notPromotedInTime(b *box) {
	b.t.Helper()
	run := b.writing()
	old, standbys := b.standbys()
	b.killServer(old)
	first := b.furthest(standbys...)
	b.freeze(first, "startup")
	start := time.Now()
	b.ok("failover", "--yes")
	b.t.Logf("the failover took %s", time.Since(start).Round(time.Millisecond))
	s := b.ps()
	if s.Primary == first || s.Primary == old {
		b.t.Errorf("the primary is %s, which can't be promoted", s.Primary)
	}
	if tried := memberOf(s, first); tried.State == appliance.StateRunning {
		b.t.Errorf("%s, which was given up, is %s", first, tried.State)
	}
	b.moreWritten(run)
	b.ok("rejoin")
	b.led(s.Primary)
	b.kept(run)
}

// furthest returns the standby that a failover of the dead primary tries first, once
// none of them receives or replays any more.
func (b *box) furthest(standbys ...string) (first string) {
	b.t.Helper()
	const position = "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), pg_last_wal_replay_lsn(), count(*) FROM pg_stat_wal_receiver"
	var best [2]appliance.LSN
	for _, m := range standbys {
		var last string
		b.eventually(m+" stands still", func() bool {
			out, err := b.superuser(m, position)
			still := err == nil && out == last && strings.HasSuffix(strings.TrimSpace(out), "|0")
			last = out
			return still
		})
		var at [2]appliance.LSN
		for i, text := range strings.Split(last, "|")[:2] {
			lsn, err := appliance.ParseLSN(strings.TrimSpace(text))
			b.must(err)
			at[i] = lsn
		}
		if slices.Compare(at[:], best[:]) > 0 {
			first, best = m, at
		}
	}
	return first
}

// TestChangeGoesBackToThePrimary has a standby whose replay PostgreSQL has paused, and
// then one that hangs when the old primary is already stopping.
func TestChangeGoesBackToThePrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	lowerLimits(b)
	hangsInTheStop(b)
}

// lowerLimits has a standby pause its replay, since the primary's max_connections was
// raised behind pgapp's back. A promotion would end it, and a start can't wait for it.
func lowerLimits(b *box) {
	b.t.Helper()
	b.super("node0", "ALTER SYSTEM SET max_connections = 400")
	b.pgCtl("node0", "restart", "-m", "fast", "-l", "/dev/null")
	b.eventually("node1 pauses its replay", func() bool {
		out, err := b.superuser("node1", "SELECT pg_get_wal_replay_pause_state()")
		return err == nil && strings.TrimSpace(out) == "paused"
	})
	b.killServer("node0")
	b.turnedDown(appliance.ErrNoCandidate, []string{"failover", "--yes"}, "node1 has paused its replay", "pgapp restart node1 --cluster main raises its max_connections, and then pgapp failover")
	b.turnedDown(appliance.ErrReplication, []string{"start"},
		"node1 has paused its replay, since the primary's WAL asks for a max_connections of 400, and node1 has ", "pgapp restart node1")
	b.ok("restart", "node1")
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		b.t.Errorf("%s is on timeline %d, want its own", s.Primary, s.Timeline)
	}
	b.verified()
}

// hangsInTheStop stops the target's receiver when the old primary is already stopping.
// The old primary serves again on its timeline.
func hangsInTheStop(b *box) {
	b.t.Helper()
	run := b.writing()
	thaw := b.freeze("node0", "autovacuum launcher") // a checkpoint has to go on before the stop
	_, wait := b.background("switchover")
	id := b.phase("stopping node0")
	if n := b.signal(syscall.SIGSTOP, "node1: walreceiver"); n != 1 {
		b.t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.t.Cleanup(func() { b.signal(syscall.SIGCONT, "node1: walreceiver") })
	start := time.Now()
	thaw()
	// The start that follows may be over before anybody sees it.
	b.eventually("the stop of node0 is given up", func() bool { return !strings.Contains(b.ok("ops", id, "-o", "json").out, "stopping node0") })
	b.t.Logf("the stop was given up after %s", time.Since(start).Round(time.Millisecond))
	b.signal(syscall.SIGCONT, "node1: walreceiver")
	if r := wait(); r.code == 0 {
		b.t.Errorf("the switchover succeeded: %s", r.out)
	}
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		b.t.Errorf("node0 is on timeline %d, want its own", s.Timeline)
	}
	b.moreWritten(run)
	b.kept(run)
}
