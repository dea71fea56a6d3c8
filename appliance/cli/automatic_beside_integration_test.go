//go:build integration

package cli_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// TestAutomaticReplacesAPrimaryBesideOperations kills the primary while a reinit and a
// restart of a standby run, which end for the failover, and while a scale runs, which ends
// first.
func TestAutomaticReplacesAPrimaryBesideOperations(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	for _, args := range [][]string{{"reinit", "node2"}, {"restart", "node2"}, {"scale", "--standbys", "3"}} {
		old := b.ps().Primary
		if slices.Contains(args, old) {
			b.ok("switchover")
			old = b.ps().Primary
		}
		b.eventually("the cluster is whole", func() bool { return len(drill.Whole(b.ps())) == 0 })
		b.ok("resume")
		_, wait := b.background(args...)
		b.eventually("the operation runs", func() bool { return b.ps().Operation != "" })
		b.killServer(old)
		wait()
		b.eventually(args[0]+" has ended and the primary is replaced", func() bool {
			s := b.ps()
			return s.Operation == "" && s.Primary != old && memberOf(s, s.Primary).State == appliance.StateRunning
		})
		b.moreWritten(run)
	}
	b.eventually("the scale succeeds", func() bool { return b.run("scale", "--standbys", "3").code == 0 })
	b.eventually("the cluster is whole", func() bool { return len(drill.Whole(b.ps())) == 0 })
	if o := b.begun(appliance.OpFailover); len(o) != 3 {
		t.Errorf("the failovers are %q, want 3", reasons(o))
	}
	b.kept(run)
	b.verified()
}

// TestAutomaticGoesOnAfterTheDaemonWasStopped stops the daemon in the middle of a failover
// for longer than any doubt has to last.
func TestAutomaticGoesOnAfterTheDaemonWasStopped(t *testing.T) {
	t.Parallel()
	b := newAutomaticBox(t)
	b.up("--standbys", "2", "--durability", "quorum", "--dataset", "none")
	run := b.writing()
	if n := b.signal(syscall.SIGSTOP, ": startup"); n != 2 {
		t.Fatalf("stopped %d startup processes, want 2", n)
	}
	b.killServer("node0")
	daemon := b.pid()
	b.eventually("a failover has begun, and waits for a standby", func() bool { return b.ps().Change != nil })
	b.must(syscall.Kill(daemon, syscall.SIGSTOP))
	stopped := time.Now()
	b.signal(syscall.SIGCONT, ": startup")
	b.eventually("the daemon was stopped for long", func() bool { return time.Since(stopped) > 12*time.Second })
	b.must(syscall.Kill(daemon, syscall.SIGCONT))
	b.replaced("node0")
	if o := b.begun(appliance.OpFailover); len(o) != 1 {
		t.Errorf("the failovers are %q, want one", reasons(o))
	}
	b.moreWritten(run)
	b.kept(run)
	b.verified()
}
