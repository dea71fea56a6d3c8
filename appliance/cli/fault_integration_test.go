//go:build integration

package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/scripts/build/overlay"
)

// fault is a fault in the program, which the check finds in a cluster to which the
// scenario happens.
type fault struct {
	edit overlay.Edit
	// scenario returns the writers. With a faulty program it may leave a failover that
	// goes on.
	scenario func(b *box, faulty bool) *drill.Run
	// finds is the rule that the faulty program breaks, and what the finding says.
	finds drill.Rule
	says  string
}

func faults() map[string]fault {
	return map[string]fault{
		"no fence": {
			overlay.Edit{File: "provisioner/local/fence.go", Old: "ctx, cancel := context.WithTimeout(ctx, fenceTimeout)", New: "return nil\n\tctx, cancel := context.WithTimeout(ctx, fenceTimeout)"},
			(*box).hungPrimary, drill.RuleOne, "node0 acknowledged row",
		},
		"a gate without k": {
			overlay.Edit{File: "appliance/ha/promise.go", Old: "return r+p.K > len(p.Set)", New: "return r > 0"},
			(*box).onlyStaleStandbyLeft, drill.RuleKept, "node2 lacks",
		},
		"the lower position is chosen": {
			overlay.Edit{File: "appliance/ha/elect.go", Old: "best := slices.MaxFunc(all", New: "best := slices.MinFunc(all"},
			(*box).oneStaleStandby, drill.RuleKept, "node2 lacks",
		},
		"the promise is strengthened early": {
			overlay.Edit{File: "appliance/ha/promise.go", Old: "case inForce.Equal(want) && (flushed || Implies(stored, want)):", New: "case inForce.Equal(want):"},
			(*box).promiseBeforeStandbysHaveTheRows, drill.RuleKept, "node1 lacks",
		},
	}
}

// TestCheckFindsFaults has four faults in the program, and each happens to a cluster in
// which it matters. The program without the fault passes the same check.
func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t).shareTree()
			b.kept(f.scenario(b, false))
		})
		t.Run(name+", put into the program", func(t *testing.T) {
			t.Parallel()
			b := newBox(t).shareTree()
			sound := b.bin
			b.bin = filepath.Join(t.TempDir(), "pgapp")
			buildEdited(t, b.bin, f.edit)
			defer func() { // before the box is closed
				b.killDaemon()
				b.bin = sound
			}()
			h := f.scenario(b, true).Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			found := drill.Check(ctx, b.drilled(), h)
			for _, finding := range found {
				t.Log(finding)
				if finding.Rule == f.finds && strings.Contains(finding.Detail, f.says) {
					return
				}
			}
			t.Errorf("the check finds no %q in %q", f.says, found)
		})
	}
}

// postmaster returns the process of the member's server.
func (b *box) postmaster(member string) int {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dataDir(member), "postmaster.pid"))
	b.must(err)
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	b.must(err)
	return pid
}

// hungPrimary has a primary that takes no new sessions, but whose sessions go on. A
// failover that doesn't end it leaves two primaries.
func (b *box) hungPrimary(faulty bool) *drill.Run {
	b.t.Helper()
	b.up("--standbys", "1", "--dataset", "none")
	run := b.writing()
	b.must(syscall.Kill(b.postmaster("node0"), syscall.SIGSTOP))
	b.eventually("pgapp's sessions have ended", func() bool { return b.signal(syscall.SIGTERM, "node0: pgapp ") == 0 })
	if !faulty {
		b.ok("failover", "--yes")
		b.led("node1")
		b.moreWritten(run)
		return run
	}
	b.failsOver("node1")
	b.must(syscall.Kill(b.sessions("node0: app ")[0], syscall.SIGTERM))
	for _, member := range []string{"node1", "node0"} {
		want := run.Acknowledged(member) + 10
		b.eventually(member+" acknowledges rows", func() bool { return run.Acknowledged(member) >= want })
	}
	return run
}

// onlyStaleStandbyLeft ends all members but the standby that lacks acknowledged rows.
func (b *box) onlyStaleStandbyLeft(faulty bool) *drill.Run {
	b.t.Helper()
	run := b.staleStandby()
	b.killServer("node0")
	b.killServer("node1")
	b.dropReceiver("node2")
	if faulty {
		b.failsOver("node2")
		return run
	}
	code, _ := appliance.ErrQuorumLost.Codes()
	b.want(code, "failover", "--yes")
	b.ok("start")
	b.led("node0")
	return run
}

// oneStaleStandby ends the primary, and leaves a standby that has all acknowledged rows
// and one that lacks some.
func (b *box) oneStaleStandby(faulty bool) *drill.Run {
	b.t.Helper()
	run := b.staleStandby()
	b.killServer("node0")
	b.dropReceiver("node2")
	if faulty {
		b.failsOver("node2")
		return run
	}
	b.ok("failover", "--yes")
	b.led("node1")
	return run
}

// staleStandby has a cluster with a quorum of one standby, and rows that only node1
// confirms.
func (b *box) staleStandby() *drill.Run {
	b.t.Helper()
	b.up("--standbys", "2", "--dataset", "none", "--durability", "quorum")
	run := b.writing()
	b.must(syscall.Kill(b.sessions("node2: walreceiver")[0], syscall.SIGSTOP))
	b.moreWritten(run)
	run.Stop()
	return run
}

// promiseBeforeStandbysHaveTheRows asks for a quorum while commits don't wait yet, and no
// standby gets the latest of them. Then it ends the primary.
func (b *box) promiseBeforeStandbysHaveTheRows(faulty bool) *drill.Run {
	b.t.Helper()
	b.up("--standbys", "2", "--dataset", "none")
	run := b.writing()
	thaw := b.freeze("node0", "checkpointer") // it tells the sessions to wait
	_, wait := b.background("up", "--durability", "quorum")
	b.eventually("the setting is in force", func() bool {
		out, err := b.superuser("node0", "SHOW synchronous_standby_names")
		return err == nil && strings.HasPrefix(out, "ANY 1 ")
	})
	stop := func(member string) {
		if n := b.signal(syscall.SIGSTOP, member+": walreceiver"); n != 1 {
			b.t.Fatalf("stopped %d receivers of %s, want 1", n, member)
		}
	}
	stop("node2")
	b.eventually("node1, which is to be promoted, has more than node2", func() bool {
		has, err := b.superuser("node2", "SELECT pg_last_wal_receive_lsn()")
		b.must(err)
		more, err := b.superuser("node1", "SELECT pg_last_wal_receive_lsn() > '"+strings.TrimSpace(has)+"'")
		return err == nil && strings.TrimSpace(more) == "t"
	})
	stop("node1")
	b.moreWritten(run)
	thaw()
	b.promiseStands(faulty)
	b.killServer("node0")
	b.dropReceiver("node1")
	b.dropReceiver("node2")
	for _, id := range strings.Fields(b.running()) {
		b.ok("ops", id, "--cancel")
	}
	wait()
	run.Stop()
	if faulty {
		b.failsOver("node1", "--to", "node1")
		return run
	}
	b.ok("failover", "--yes", "--to", "node1")
	b.led("node1")
	return run
}

// promiseStands waits until a faulty program has the promise on record. Another one
// has none, however often it is asked.
func (b *box) promiseStands(faulty bool) {
	b.t.Helper()
	promised := func() bool { p := b.ps().Promise; return p != nil && !p.None() }
	if faulty {
		b.eventually("the promise is on record", promised)
		return
	}
	for range 20 {
		if promised() {
			b.t.Fatal("a promise is on record before a standby has the rows")
		}
	}
}

// sessions are the box's processes whose title contains the text, at least one.
func (b *box) sessions(title string) []int {
	b.t.Helper()
	var out []int
	for _, pid := range b.processes() {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.Contains(string(text), title) {
			out = append(out, pid)
		}
	}
	if len(out) == 0 {
		b.t.Fatalf("no process is a %q", title)
	}
	return out
}

// dropReceiver kills the standby's stopped receiver, and with it what the connection
// still held. The standby's server starts again by itself.
func (b *box) dropReceiver(member string) {
	b.t.Helper()
	killAndWait(b.t, b.sessions(member + ": walreceiver")[0])
	b.eventually(member+" answers again", func() bool {
		out, err := b.superuser(member, "SELECT count(*) FROM pg_stat_wal_receiver")
		return err == nil && strings.TrimSpace(out) == "0"
	})
}

// failsOver begins a failover, and leaves it to itself once the member is the primary.
func (b *box) failsOver(member string, args ...string) {
	b.t.Helper()
	cmd, wait := b.background(append([]string{"failover", "--yes"}, args...)...)
	b.eventually(member+" is the primary", func() bool { return b.ps().Primary == member })
	_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
	wait()
}
