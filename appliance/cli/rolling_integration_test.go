//go:build integration

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// startTimes returns when each member's server was started.
func (b *box) startTimes() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, m := range b.ps().Members {
		at, err := b.superuser(m.Name, "SELECT pg_postmaster_start_time()")
		b.must(err)
		out[m.Name] = at
	}
	return out
}

// restarted wants each member to have been started since the times before.
func (b *box) restarted(before map[string]string) {
	b.t.Helper()
	for name, at := range b.startTimes() {
		if at == before[name] {
			b.t.Errorf("%s was not restarted: it was started at %s", name, at)
		}
	}
}

// newest returns the newest operation.
func (b *box) newest() appliance.Operation {
	b.t.Helper()
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	return list[0]
}

// TestRollingRestartMovesPrimary restarts all members under writers, by a move of the
// primary and in place.
func TestRollingRestartMovesPrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	before := b.startTimes()
	b.ok("restart")
	b.led("node1")
	b.restarted(before)
	b.moreWritten(run)
	before = b.startTimes()
	b.ok("restart", "--in-place")
	b.led("node1")
	b.restarted(before)
	b.moreWritten(run)
	if s := b.ps(); s.Timeline != 2 || len(s.Promotions) != 1 {
		t.Errorf("timeline %d, promotions %v, want one promotion", s.Timeline, s.Promotions)
	}
	b.ok("restart")
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestKilledDaemonGoesOnWithRollingRestart kills the daemon at different moments of
// restarts under quorum durability. Each restart moves the primary once.
func TestKilledDaemonGoesOnWithRollingRestart(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	for i, step := range []string{"stop/node2", "promised", "change", "change", "rejoin/", "promise", "checkpoint"} {
		before, was := b.startTimes(), b.ps()
		if strings.HasSuffix(step, "/") {
			step += was.Primary
		}
		if r := killAtStep(t, b, step, i%2 == 0, "restart"); r.code != 0 {
			t.Fatalf("killed at %s: exit code %d\n%s", step, r.code, r.err)
		}
		s := b.ps()
		if s.Primary == was.Primary || len(s.Promotions) != len(was.Promotions)+1 {
			t.Errorf("killed at %s: the primary is %s after %s, promotions %v", step, s.Primary, was.Primary, s.Promotions)
		}
		b.led(s.Primary)
		b.restarted(before)
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestRestartedInPlaceSaysWhy restarts a cluster whose standbys replay with a delay.
func TestRestartedInPlaceSaysWhy(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(file, []byte("name: main\nparameters: {recovery_min_apply_delay: 1s}\n"), 0o600))
	b.up("--standbys", "1", "--dataset", "none", "-f", file)
	before := b.startTimes()
	b.ok("restart")
	if note := b.newest().Note; !strings.Contains(note, "node0 is restarted in place") || !strings.Contains(note, "delay") {
		t.Errorf("the note is %q", note)
	}
	b.led("node0")
	b.restarted(before)
	b.verified()
}

// TestCancelledRollingRestart cancels a restart while the primary is held up in its
// stop: the primary is the same as before, and lets the application in.
func TestCancelledRollingRestart(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none", "--durability", "quorum")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	thaw := b.freeze("node0", "autovacuum launcher")
	_, wait := b.background("restart")
	id := b.phase("stopping node0")
	_, cancelled := b.background("ops", id, "--cancel", "-o", "json")
	time.Sleep(50 * time.Millisecond)
	thaw()
	r := cancelled()
	var o appliance.Operation
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.State != appliance.OpCancelled {
		t.Fatalf("the cancel: %v, exit code %d\n%s%s", err, r.code, r.out, r.err)
	}
	if r := wait(); r.code != appliance.ExitInterrupted {
		t.Errorf("the restart: exit code %d\n%s", r.code, r.err)
	}
	if s := b.ps(); s.Primary != "node0" || s.Timeline != 1 {
		t.Errorf("primary %s on timeline %d", s.Primary, s.Timeline)
	}
	if n := b.rows("SELECT n FROM kept", "node0"); n != "7" {
		t.Errorf("the application reads %s", n)
	}
	b.verified()
	b.ok("restart")
	b.led("node1")
	b.verified()
}
