//go:build integration

package cli_test

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// newAutomaticBox makes a box whose clusters pgapp keeps by itself.
func newAutomaticBox(t *testing.T) *box {
	t.Helper()
	b := newBox(t).shareTree()
	b.env = append(b.env, "PGAPP_AUTOMATIC=on")
	return b
}

// replaced waits until another member than old is the primary and all others stream,
// and returns the new primary's name.
func (b *box) replaced(old string) string {
	b.t.Helper()
	now, begun := "", time.Now()
	b.eventually("another member than "+old+" is the primary and all others stream", func() bool {
		s := b.ps()
		now = s.Primary
		return now != old && s.Operation == "" && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
			return m.Name == now && m.State != appliance.StateRunning || m.Name != now && m.State != appliance.StateStreaming
		})
	})
	b.t.Logf("another member than %s is the primary and all others stream: waited %s for it", old, time.Since(begun).Round(100*time.Millisecond))
	return now
}

// begun are the operations of the kind that pgapp began by itself, newest first.
func (b *box) begun(kind appliance.OperationKind) []appliance.Operation {
	b.t.Helper()
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	return slices.DeleteFunc(list, func(o appliance.Operation) bool { return o.Kind != kind || o.Params.Reason == "" })
}

// reasons are those of the operations.
func reasons(ops []appliance.Operation) (out []string) {
	for _, o := range ops {
		out = append(out, o.Params.Member+": "+o.Params.Reason)
	}
	return out
}

// TestAutomaticReplacesAPrimary kills the primary's server, then stops it where it is,
// while writers write. Nobody types a command.
func TestAutomaticReplacesAPrimary(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{"async", "quorum"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			b := newAutomaticBox(t)
			b.up("--standbys", "2", "--durability", durability)
			run := b.writing()
			b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGKILL))
			second := b.replaced("node0")
			if o := b.begun(appliance.OpFailover); len(o) != 1 || !strings.Contains(o[0].Params.Reason, "node0 died") {
				t.Errorf("the failovers are %+v, want one that says that node0 died", o)
			}
			b.moreWritten(run)
			if durability == "quorum" { // under async the next one has to wait for a minute
				b.eventually("a quorum is promised again", func() bool { s := b.ps(); return s.Promise != nil && len(s.Promise.Set) == 2 })
				if n := b.signal(syscall.SIGSTOP, second+"/data"); n == 0 {
					t.Fatal("no server was stopped")
				}
				b.replaced(second)
				if o := b.begun(appliance.OpFailover); len(o) != 2 || !strings.Contains(o[0].Params.Reason, second+" is halted") {
					t.Errorf("the failovers are %+v, want a second one that says that %s is halted", o, second)
				}
				b.moreWritten(run)
			}
			b.kept(run)
			b.verified()
			b.ok("state", "check")
			for line := range strings.Lines(b.ok("logs").out) {
				if strings.Contains(line, "ERROR:") && strings.Contains(line, "does not exist") {
					t.Errorf("pgapp asked for what isn't there: %s", line)
				}
			}
		})
	}
}

// TestAutomaticBringsBackStandbys kills one standby and stops another by command: the
// user's stays stopped.
func TestAutomaticBringsBackStandbys(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "3", "--durability", "quorum", "--dataset", "none")
	b.ok("stop", "node3")
	b.must(syscall.Kill(b.postmaster("node1"), syscall.SIGKILL))
	b.eventually("node1 streams again", func() bool {
		return len(b.begun(appliance.OpStart)) > 0 && b.ps().Members[1].State == appliance.StateStreaming
	})
	b.eventually("two standbys are promised", func() bool { return slices.Equal(b.ps().Promise.Set, []string{"node1", "node2"}) })
	if s := b.ps(); s.Primary != "node0" || s.Members[3].State != appliance.StateStopped {
		t.Errorf("got %+v, want node0 as the primary and node3 stopped", s)
	}
	b.ok("start", "node3")
	b.verified()
}

// TestAutomaticStartsAllMembersAgain kills all servers at once, as a power failure does:
// no standby is promoted.
func TestAutomaticStartsAllMembersAgain(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	pids := []int{b.postmaster("node1"), b.postmaster("node2"), b.postmaster("node0")}
	for _, pid := range pids {
		b.must(syscall.Kill(pid, syscall.SIGKILL))
	}
	b.led("node0")
	if s := b.ps(); s.Timeline != 1 {
		t.Errorf("timeline %d, want 1: %+v", s.Timeline, b.begun(appliance.OpFailover))
	}
	b.verified()
}

// TestAutomaticStartsAFrozenPrimaryAgain has a primary that nobody can replace.
func TestAutomaticStartsAFrozenPrimaryAgain(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "0", "--dataset", "none")
	b.rows("CREATE TABLE kept AS SELECT 1 AS n")
	if n := b.signal(syscall.SIGSTOP, "node0/data"); n == 0 {
		t.Fatal("no server was stopped")
	}
	b.eventually("pgapp has started node0 again", func() bool { o := b.begun(appliance.OpStart); return len(o) > 0 && o[0].State == appliance.OpSucceeded })
	if o := b.begun(appliance.OpStart); !strings.Contains(o[0].Params.Reason, "node0 is halted") {
		t.Errorf("the operation's reason is %q", o[0].Params.Reason)
	}
	b.led("node0")
	if n := b.rows("SELECT n FROM kept"); n != "1" {
		t.Errorf("the row is %q", n)
	}
	b.verified()
}

// TestAutomaticStartsADeadStandbyForAFailover stops the primary's first process, whose
// sessions go on, and kills the standby without which nobody can be promoted.
func TestAutomaticStartsADeadStandbyForAFailover(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGSTOP))
	b.killServer("node1")
	b.replaced("node0")
	starts, failovers := b.begun(appliance.OpStart), b.begun(appliance.OpFailover)
	if len(starts) != 1 || len(failovers) != 1 || starts[0].Params.Member != "node1" || starts[0].CreatedAt.After(failovers[0].CreatedAt) {
		t.Errorf("the starts are %q and the failovers %q, want one of node1 before a failover", reasons(starts), reasons(failovers))
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	if strings.Contains(b.log(), "may be the real primary") {
		t.Errorf("the log doubts a primary that pgapp itself has made")
	}
}

// TestAutomaticLeavesARestartByHandAlone restarts the primary by pg_ctl, and then shuts
// it down: pgapp starts it again and promotes nobody.
func TestAutomaticLeavesARestartByHandAlone(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "1", "--dataset", "none")
	b.pgCtl("node0", "restart", "-m", "fast", "-l", "/dev/null")
	b.led("node0")
	b.pgCtl("node0", "stop", "-m", "fast")
	b.eventually("pgapp has started node0 again", func() bool { return len(b.begun(appliance.OpStart)) > 0 })
	b.led("node0")
	if o := b.begun(appliance.OpFailover); len(o) > 0 {
		t.Errorf("there were failovers: %+v", o)
	}
	b.verified()
}

// TestAutomaticStartsAPrimaryThatNoFailoverReplaces kills the primary while the only standby
// has paused its replay, as a user does it for a copy: it seems fit, and is not promoted.
func TestAutomaticStartsAPrimaryThatNoFailoverReplaces(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "1", "--dataset", "none")
	b.super("node1", "SELECT pg_wal_replay_pause()")
	b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGKILL))
	b.eventually("pgapp has begun to start node0", func() bool { return len(b.begun(appliance.OpStart)) > 0 })
	b.led("node0")
	starts := b.begun(appliance.OpStart)
	if first := starts[len(starts)-1]; !first.Params.Fence || !strings.Contains(first.Params.Reason, "2 failovers have come to nothing") {
		t.Errorf("the starts are %q", reasons(starts))
	}
	b.verified()
}
