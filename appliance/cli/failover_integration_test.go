//go:build integration

package cli_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// signal sends the signal to the box's processes whose title contains the text, and
// returns their number.
func (b *box) signal(sig syscall.Signal, title string) int {
	b.t.Helper()
	n := 0
	for _, pid := range b.processes() {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.Contains(string(text), title) && syscall.Kill(pid, sig) == nil {
			n++
		}
	}
	return n
}

// killServer kills the member's postmaster; its children end by themselves.
func (b *box) killServer(member string) {
	b.t.Helper()
	killAndWait(b.t, b.postmaster(member))
}

// TestFailoverTakesWhatOnlyTheDeadPrimaryHas writes more than the connections hold while
// no standby takes anything, and kills the primary: its directory has the rest.
func TestFailoverTakesWhatOnlyTheDeadPrimaryHas(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	b.rows("CREATE TABLE late (n int, filler text)")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	b.rows("INSERT INTO late SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
	b.killServer("node0")
	b.signal(syscall.SIGCONT, ": walreceiver")
	b.ok("failover", "--to", "node2", "--yes")
	b.led("node2")
	for _, m := range []string{"node0", "node1", "node2"} {
		b.eventually(m+" has all rows", func() bool { return b.rows("SELECT count(*) FROM late", m) == "30000" })
	}
	if out := b.rows("SHOW restore_command", "node2"); out != "" {
		t.Errorf("the new primary still has restore_command %q", out)
	}
	b.verified()
}

// TestFailoverToAMemberThatIsBehind asks for a standby that lacks what another standby
// and the dead primary's directory have.
func TestFailoverToAMemberThatIsBehind(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	b.rows("CREATE TABLE late (n int, filler text)")
	if n := b.signal(syscall.SIGSTOP, "node2: walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.rows("INSERT INTO late SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
	b.eventually("node1 has all rows", func() bool { return b.rows("SELECT count(*) FROM late", "node1") == "30000" })
	b.killServer("node0")
	b.signal(syscall.SIGCONT, "node2: walreceiver")
	b.ok("failover", "--to", "node2", "--yes")
	b.led("node2")
	if n := b.rows("SELECT count(*) FROM late"); n != "30000" {
		t.Errorf("the new primary has %s rows, want 30000", n)
	}
	b.verified()
}

// TestFailoverTakesWALBesideSegmentsMadeInAdvance has a dead primary with rows that no
// standby has, and with segments that it had made in advance, which are empty.
func TestFailoverTakesWALBesideSegmentsMadeInAdvance(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none")
	b.rows("CREATE TABLE late (n int)")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 1 {
		t.Fatalf("stopped %d receivers, want 1", n)
	}
	b.rows("INSERT INTO late VALUES (7)")
	b.killServer("node0")
	b.dropReceiver("node1")
	wal := filepath.Join(b.dataDir("node0"), "pg_wal")
	var owner syscall.Stat_t
	b.must(syscall.Stat(wal, &owner))
	for n := range 8 {
		segment := filepath.Join(wal, fmt.Sprintf("0000000100000000000000%02X", 0x80+n))
		b.must(os.WriteFile(segment, nil, 0o600))
		b.must(os.Truncate(segment, 16<<20))
		b.must(os.Chown(segment, int(owner.Uid), int(owner.Gid)))
	}
	b.ok("failover", "--yes")
	b.led("node1")
	if out := b.rows("SELECT n FROM late"); out != "7" {
		t.Errorf("what only the dead primary had is %q", out)
	}
	b.verified()
}

// TestFailoverFreesReplayThatAQueryBlocks is of a standby whose queries may hold up
// replay for ever.
func TestFailoverFreesReplayThatAQueryBlocks(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	spec := filepath.Join(t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(spec, []byte("parameters:\n  max_standby_streaming_delay: \"-1\"\n  max_standby_archive_delay: \"-1\"\n"), 0o600))
	b.up("-f", spec, "--standbys", "1")
	b.rows("CREATE TABLE held (n int)")
	b.rows("CREATE TABLE after (n int)")
	b.verified()
	c := b.drillConfig()
	at := c.Members[slices.IndexFunc(c.Members, func(h appliance.HostPort) bool { return h.Member == "node1" })]
	reader := b.connect(fmt.Sprintf("postgres://%s:%s@%s:%d/%s", c.User, url.QueryEscape(c.Password.Reveal()), at.Host, at.Port, c.Database))
	if _, err := reader.Exec(t.Context(), "BEGIN; SELECT * FROM held"); err != nil {
		t.Fatal(err)
	}
	b.rows("DROP TABLE held")
	b.rows("INSERT INTO after VALUES (1)")
	b.killServer("node0")
	b.ok("failover", "--yes")
	b.led("node1")
	ops, err := b.api().Operations(t.Context(), "main")
	b.must(err)
	took := regexp.MustCompile(`promoting \d+ ms`).FindString(b.ok("ops", ops[0].ID).out)
	if t.Log(took); took == "" {
		t.Error("the operation doesn't say how long the promotion took")
	}
	if n := b.rows("SELECT count(*) FROM after"); n != "1" {
		t.Errorf("what came after the blocked change is gone: %s rows", n)
	}
	if v := b.rows("SHOW max_standby_archive_delay", "node0"); v != "-1" {
		t.Errorf("max_standby_archive_delay is %s, want the user's -1", v)
	}
}

// TestSwitchoverRefusesAStandbyThatTakesNothing stops the standby's receiver, which
// still looks connected.
func TestSwitchoverRefusesAStandbyThatTakesNothing(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	run := b.writing()
	b.signal(syscall.SIGSTOP, "node1: walreceiver")
	code, _ := appliance.ErrNoCandidate.Codes()
	r := b.want(code, "switchover")
	b.signal(syscall.SIGCONT, "node1: walreceiver")
	if !strings.Contains(r.err, "error["+string(appliance.ErrNoCandidate)+"]") || !strings.Contains(r.err, "node1") {
		t.Errorf("the refusal doesn't say who can't: %s", r.err)
	}
	b.led("node0")
	b.moreWritten(run)
	b.ok("switchover")
	b.led("node1")
	b.moreWritten(run)
	b.kept(run)
}

// TestKilledDaemonGoesOnWithFailover kills the daemon at different moments of failovers
// of a killed primary.
func TestKilledDaemonGoesOnWithFailover(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	const rounds = 6
	for i := range rounds {
		old := b.ps().Primary
		before, err := b.api().Operations(t.Context(), "main")
		b.must(err)
		b.killServer(old)
		_, wait := b.background("failover", "--yes")
		b.eventually("the failover has begun", func() bool {
			ops, err := b.api().Operations(t.Context(), "main")
			return err == nil && len(ops) > len(before) && ops[0].Kind == appliance.OpFailover
		})
		time.Sleep(time.Duration(i) * 100 * time.Millisecond)
		b.killDaemon()
		wait()
		b.ok("info")
		b.eventually("no operation runs", func() bool { return b.ps().Operation == "" })
		now := b.ps().Primary
		if now == old {
			t.Fatalf("round %d: the primary is still %s", i, old)
		}
		b.led(now)
		b.moreWritten(run)
	}
	b.kept(run)
	b.ok("state", "check")
}
