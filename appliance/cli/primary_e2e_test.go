//go:build e2e

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// led wants that member to be the primary, and all others to stream from it.
func (l *lab) led(by string) appliance.ClusterStatus {
	l.t.Helper()
	s := l.status()
	if s.Primary != by || s.Phase != appliance.PhaseReady {
		l.t.Errorf("the primary is %s and the phase %s, want %s and ready", s.Primary, s.Phase, by)
	}
	for _, m := range s.Members {
		want := appliance.StateStreaming
		if m.Name == by {
			want = appliance.StateRunning
		}
		if m.State != want {
			l.t.Errorf("%s is %s (%s), want %s", m.Name, m.State, m.Detail, want)
		}
	}
	return s
}

// wrote inserts a row through the connection that clients get.
func (l *lab) wrote(n int) {
	l.t.Helper()
	l.ok("psql", "--", "-Xqc", fmt.Sprintf("CREATE TABLE IF NOT EXISTS moved (n int); INSERT INTO moved VALUES (%d)", n))
}

// hasRows wants the rows 1 to n on every member, once the members have replayed.
func (l *lab) hasRows(n int) {
	l.t.Helper()
	for _, m := range l.status().Members {
		l.until(l.limit, fmt.Sprintf("%s has %d rows", m.Name, n), func() bool {
			o := l.run(l.limit, "psql", m.Name, "--", "-XAtc", "SELECT count(DISTINCT n) FROM moved")
			return strings.TrimSpace(o.out) == fmt.Sprint(n)
		})
	}
}

// movesPrimary moves the primary from the host to a machine and back.
func (l *lab) movesPrimary() {
	l.t.Helper()
	l.wrote(1)
	l.ok("switchover", "--to", "node1")
	l.led("node1")
	l.wrote(2)
	l.ok("switchover", "--to", "node0")
	l.led("node0")
	l.wrote(3)
	l.hasRows(3)
	l.ok("psql", "--", "-Xqc", "DROP TABLE moved")
}

// TestPrimary moves and replaces the primary among the host and machines: by a
// switchover with a daemon that is killed in the middle, and by failovers of a machine
// that was destroyed, of the host's own primary, and of a machine while libvirtd is
// stopped.
func TestPrimary(t *testing.T) {
	l := newLab(t)
	l.importImage()
	if o := l.firstUp(upWith("--standbys", "2", "--dataset", "none")...); o.code != 0 {
		t.Fatalf("up: exit code %d\n%s", o.code, o.err)
	}
	s := l.led("node0")
	l.wrote(1)

	moving := l.start(l.limit, "switchover", "--to", "node1")
	l.until(l.limit, "the switchover is under way", func() bool {
		o := l.lastOperation()
		return o.Kind == appliance.OpSwitchover && len(o.Steps) > 0 && o.Steps[0].State == appliance.StepRunning
	})
	l.killDaemon()
	moving.kill()
	<-moving.ended
	l.ok("info") // starts a daemon, which goes on
	l.until(l.limit, "the switchover has ended", func() bool { return l.lastOperation().State.Final() })
	if o := l.lastOperation(); o.State != appliance.OpSucceeded {
		t.Fatalf("the switchover whose daemon was killed: %s, %v", o.State, o.Error)
	}
	l.led("node1")
	l.wrote(2)

	l.virsh("destroy", "pgapp-main-node1")
	l.ok("failover", "--to", "node0", "--yes")
	l.led("node0")
	l.wrote(3)
	l.hasRows(3)

	l.killsHostPrimary()
	l.ok("failover", "--to", "node2", "--yes")
	l.led("node2")
	l.wrote(4)

	l.ok("ssh", "node2", "--", "sudo pkill -KILL -x postgres || true")
	l.must("pkill", "-STOP", "-x", "libvirtd")
	l.later("pkill", "-CONT", "-x", "libvirtd")
	// The rejoin of node2's machine needs libvirtd, the promotion doesn't.
	l.run(l.limit, "failover", "--to", "node0", "--yes")
	if by := l.status().Primary; by != "node0" {
		t.Errorf("the primary is %s while libvirtd is stopped, want node0", by)
	}
	l.must("pkill", "-CONT", "-x", "libvirtd")
	l.ok("rejoin")
	l.led("node0")
	l.wrote(5)
	l.hasRows(5)

	l.rewindsInGuest()
	l.ok("verify")
	l.gone(s)
}

// killsHostPrimary kills the server processes of node0, which is a process.
func (l *lab) killsHostPrimary() {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.home, "clusters", "main", "node0", "data", "postmaster.pid"))
	if err != nil {
		l.t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(text), "\n")
	l.must("kill", "-KILL", pid)
}

// rewindsInGuest makes node1 the primary, writes what no standby gets, and destroys
// node1: it comes back without what only it had.
func (l *lab) rewindsInGuest() {
	l.t.Helper()
	l.ok("switchover", "--to", "node1")
	l.led("node1")
	receivers := func(signal string) {
		l.must("pkill", "-"+signal, "-f", "main/node0: walreceiver")
		l.ok("ssh", "node2", "--", "sudo pkill -"+signal+" -f 'main/node2: walreceiver'")
	}
	receivers("STOP")
	l.wrote(6)
	l.virsh("destroy", "pgapp-main-node1")
	receivers("CONT")
	l.ok("failover", "--to", "node0", "--yes")
	l.led("node0")
	o := l.lastOperation()
	if len(o.Discarded) != 1 || o.Discarded[0].Member != "node1" || o.Discarded[0].Commits == 0 {
		l.t.Errorf("the failover says %+v of what was dropped, want node1's commits", o.Discarded)
	}
	l.hasRows(5)
}
