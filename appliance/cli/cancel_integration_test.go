//go:build integration

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// freeze stops a background process of the member's server where it is, and returns
// the function by which it goes on.
func (b *box) freeze(member, backend string) (thaw func()) {
	b.t.Helper()
	text, err := b.superuser(member, "SELECT pid FROM pg_stat_activity WHERE backend_type = '"+backend+"'")
	b.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	b.must(err)
	b.must(syscall.Kill(pid, syscall.SIGSTOP))
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	b.t.Cleanup(thaw)
	return thaw
}

// phase waits until the running operation reports it, and returns the operation's id.
func (b *box) phase(detail string) (id string) {
	b.t.Helper()
	b.eventually("the operation reports "+detail, func() bool {
		if id = b.running(); id == "" {
			return false
		}
		return strings.Contains(b.ok("ops", id, "-o", "json").out, detail)
	})
	return id
}

// requests counts what the daemon has logged of its clients' requests.
func (b *box) requests() int {
	data, _ := os.ReadFile(filepath.Join(b.home, "pgapp.log"))
	return strings.Count(string(data), `"msg":"request"`)
}

// TestCancelBringsTheOldPrimaryBack cancels a switchover whose old primary is held up
// in its shutdown.
func TestCancelBringsTheOldPrimaryBack(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	cancelsSwitchover(b)
	b.ok("up", "--durability", "quorum") // the application is let in when the standby has all
	cancelsSwitchover(b)
	b.ok("switchover")
	b.verified()
}

// cancelsSwitchover cancels a switchover from node0, which takes the application's writes
// again.
func cancelsSwitchover(b *box) {
	b.t.Helper()
	thaw := b.freeze("node0", "autovacuum launcher") // a checkpoint has to go on before the stop
	_, wait := b.background("switchover")
	id := b.phase("stopping node0")
	before := b.requests()
	_, cancelled := b.background("ops", id, "--cancel", "-o", "json")
	b.eventually("the client has reached the daemon", func() bool { return b.requests() > before })
	thaw()
	r := cancelled()
	var o appliance.Operation
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.State != appliance.OpCancelled {
		b.t.Fatalf("the cancel: %v, exit code %d\n%s%s", err, r.code, r.out, r.err)
	}
	if r := wait(); r.code != appliance.ExitInterrupted {
		b.t.Errorf("the switchover: exit code %d\n%s", r.code, r.err)
	}
	if s := b.ps(); s.Primary != "node0" || s.Timeline != 1 {
		b.t.Errorf("primary %s on timeline %d", s.Primary, s.Timeline)
	}
	b.rows("INSERT INTO kept VALUES (8)")
	b.verified()
}

// TestCancelIsRefusedWithACandidateOnRecord holds up the promotion.
func TestCancelIsRefusedWithACandidateOnRecord(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	if r := b.want(appliance.ExitConflict, "failover", "--yes"); !strings.Contains(r.err, "pgapp switchover") {
		t.Errorf("a failover of a healthy primary: %s", r.err)
	}
	b.pgCtl("node0", "stop", "-m", "immediate")
	thaw := b.freeze("node1", "startup")
	_, wait := b.background("failover", "--yes")
	id := b.phase("promoting node1")
	if r := b.want(appliance.ExitConflict, "ops", id, "--cancel"); !strings.Contains(r.err, "down --volumes") {
		t.Errorf("the refused cancel: %s", r.err)
	}
	thaw()
	if r := wait(); r.code != 0 {
		t.Errorf("the failover: exit code %d\n%s", r.code, r.err)
	}
	if s := b.ps(); s.Primary != "node1" {
		t.Errorf("primary %s", s.Primary)
	}
	b.verified()
}
