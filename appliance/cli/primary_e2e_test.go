//go:build e2e

package cli_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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

// TestPrimary moves and replaces the primary among the host and machines, under
// durability quorum and while a writer writes: by switchovers, one of them with a daemon
// that is killed, and by failovers of a destroyed machine, of the host's own primary, and
// of machines that hang. No acknowledged row may be lost.
func TestPrimary(t *testing.T) {
	l := newLab(t)
	l.importImage()
	if o := l.firstUp(upWith("--standbys", "2", "--dataset", "none", "--durability", "quorum")...); o.code != 0 {
		t.Fatalf("up: exit code %d\n%s", o.code, o.err)
	}
	s := l.led("node0")
	d := l.writing()
	d.killsDaemonInSwitchover()
	d.leads("node0")
	d.leads("node1")
	d.destroysMachine()
	d.killsHostPrimary()
	d.startsByHand(d.stopsLibvirt())
	d.resizesMachines()
	d.hangsMachine()
	d.kept()
	l.ok("verify")
	l.gone(s)
}

// killsDaemonInSwitchover moves the primary from the host to node1. The daemon is killed
// meanwhile, and the next one goes on.
func (d *moved) killsDaemonInSwitchover() {
	d.t.Helper()
	m := d.begins("switchover, the daemon killed")
	moving := d.start(d.limit, "switchover", "--to", "node1")
	d.until(d.limit, "the primary is being stopped, or the next one promoted", func() bool {
		said := step(d.lastOperation(), "change").Progress.Detail
		return strings.HasPrefix(said, "stopping") || strings.HasPrefix(said, "promoting")
	})
	d.killDaemon()
	moving.kill()
	<-moving.ended
	d.ok("info") // starts a daemon, which goes on
	d.until(d.limit, "the switchover has ended", func() bool { return d.lastOperation().State.Final() })
	if o := d.lastOperation(); o.Kind != appliance.OpSwitchover || o.State != appliance.OpSucceeded {
		d.t.Fatalf("the %s whose daemon was killed: %s, %v", o.Kind, o.State, o.Error)
	}
	d.ends(m, "node1")
}

// destroysMachine destroys the primary's machine, which has a commit that no standby
// got. The machine comes back without the commit.
func (d *moved) destroysMachine() {
	d.t.Helper()
	d.ok("ssh", "node1", "--", "sudo pkill -STOP -f '[w]alsender'")
	d.until(d.limit, "a commit waits for standbys", func() bool {
		o := d.run(d.limit, "psql", "--role", "admin", "node1", "--", "-XAtc", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return o.code == 0 && strings.TrimSpace(o.out) != "0"
	})
	d.replaces("failover, the machine destroyed", func() { d.virsh("destroy", "pgapp-main-node1") })
	d.dropped("node1")
}

// dropped wants the last operation to tell that the member came back without commits.
func (d *moved) dropped(member string) {
	d.t.Helper()
	o := d.lastOperation()
	if len(o.Discarded) != 1 || o.Discarded[0].Member != member || o.Discarded[0].Commits == 0 {
		d.t.Errorf("the %s says %+v of what was dropped, want commits of %s", o.Kind, o.Discarded, member)
	}
}

// killsHostPrimary kills the server of node0, which is a process of the host.
func (d *moved) killsHostPrimary() {
	d.t.Helper()
	d.leads("node0")
	d.replaces("failover, the host's primary killed", func() { d.killsHostServer() })
}

func (d *moved) killsHostServer() {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.home, "clusters", "main", "node0", "data", "postmaster.pid"))
	if err != nil {
		d.t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(text), "\n")
	d.must("kill", "-KILL", pid)
}

// stopsLibvirt replaces a primary whose machine hangs, while libvirtd hangs too: pgapp
// ends QEMU itself. The machine's return needs libvirtd, the promotion doesn't: the failover
// is done, and says what is left. The old primary is returned.
func (d *moved) stopsLibvirt() string {
	d.t.Helper()
	m := d.begins("failover, machine and libvirtd hang")
	d.stopsMachine(m.from)
	d.must("pkill", "-STOP", "-x", "libvirtd")
	d.later("pkill", "-CONT", "-x", "libvirtd")
	m.fence = d.failover(func(args ...string) { d.refused(appliance.ErrDegraded, args...) })
	s := d.status()
	if s.Primary == m.from {
		d.t.Fatalf("%s is still the primary while libvirtd is stopped", s.Primary)
	}
	d.must("pkill", "-CONT", "-x", "libvirtd")
	m.to, m.ended, m.promoted = s.Primary, d.Since(), s.Promotions[len(s.Promotions)-1].At.Sub(m.at)
	d.moves = append(d.moves, m)
	d.written()
	return m.from
}

// startsByHand starts the replaced primary as a person does, and writes to it. A
// start ends it, and it comes back without what was written.
func (d *moved) startsByHand(old string) {
	d.t.Helper()
	d.until(d.limit, "libvirt knows that the machine has ended", func() bool {
		return strings.TrimSpace(d.virsh("domstate", "pgapp-main-"+old)) == "shut off"
	})
	begun := time.Now()
	d.virsh("start", "pgapp-main-"+old)
	var host string
	for _, m := range d.status().Members {
		if m.Name == old {
			host = net.JoinHostPort(m.Host, "22")
		}
	}
	d.until(d.limit, "the machine has booted", func() bool {
		c, err := net.DialTimeout("tcp", host, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	d.t.Logf("%s's machine, started by hand, booted in %s", old, time.Since(begun).Round(time.Second))
	d.ok("ssh", old, "--", "sudo systemctl start pgapp-postgres.service")
	const write = "SET synchronous_commit = local; CREATE TABLE by_hand AS SELECT 1 AS n"
	d.until(d.limit, "the old primary takes a row", func() bool {
		return d.run(d.limit, "psql", "--role", "admin", old, "--", "-Xqc", write).code == 0
	})
	if s := d.status(); s.Phase == appliance.PhaseReady || s.Primary == old {
		d.t.Errorf("with a second server that takes writes, the phase is %s and the primary %s", s.Phase, s.Primary)
	}
	d.ok("start")
	if state := strings.TrimSpace(d.virsh("domstate", "pgapp-main-"+old)); state != "shut off" {
		d.t.Errorf("the machine of the second primary is %s", state)
	}
	begun = time.Now()
	d.ok("rejoin")
	d.t.Logf("%s was back %s after the rejoin began", old, time.Since(begun).Round(time.Second))
	d.dropped(old)
	d.led(d.status().Primary)
	if there := d.ok("psql", "--role", "admin", old, "--", "-XAtc", "SELECT count(*) FROM pg_class WHERE relname = 'by_hand'"); strings.TrimSpace(there) != "0" {
		d.t.Errorf("%s still has what was written to it by hand", old)
	}
	d.written()
}

// resizesMachines gives the machines more memory. Each restarts, and meanwhile commits
// wait for the other.
func (d *moved) resizesMachines() {
	d.t.Helper()
	d.leads("node0")
	m := d.begins("resize of both machines")
	d.ok("up", "--memory", "640", "--durability", "quorum")
	m.ended = d.Since()
	d.moves = append(d.moves, m)
	for _, member := range []string{"node1", "node2"} {
		if now := d.virsh("dominfo", "pgapp-main-"+member); !strings.Contains(now, strconv.Itoa(640<<10)) {
			d.t.Errorf("%s has other memory: %s", member, now)
		}
	}
	s := d.led("node0")
	if want := (appliance.Promise{K: 1, Set: []string{"node1", "node2"}}); s.Promise == nil || !s.Promise.Equal(want) {
		d.t.Errorf("promised is %v, want %s", s.Promise, want)
	}
	d.written()
}

// hangsMachine stops the QEMU process of the primary, as a host's failure may.
func (d *moved) hangsMachine() {
	d.t.Helper()
	d.leads("node1")
	d.replaces("failover, the machine hangs", func() { d.stopsMachine("node1") })
}

// stopsMachine stops the member's QEMU process.
func (d *moved) stopsMachine(member string) {
	d.t.Helper()
	d.must("kill", "-STOP", d.qemu(member))
}

// qemu is the member's QEMU process.
func (d *moved) qemu(member string) string {
	d.t.Helper()
	pid, err := os.ReadFile("/run/libvirt/qemu/pgapp-main-" + member + ".pid")
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(pid))
}
