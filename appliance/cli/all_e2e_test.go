//go:build e2e

package cli_test

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// killPoint is a moment of up at which everything of pgapp is killed.
type killPoint struct {
	name string
	// meanwhile is what else befalls up on its way there.
	meanwhile func(l *lab, up command)
	at        func(o appliance.Operation) bool
	// after looks at what the kill left.
	after func(l *lab)
}

// TestFaults takes one cluster of machines only through what can happen to it
// while it is made and afterwards. It comes first, since it makes the golden
// image that the tests after it use.
func TestFaults(t *testing.T) {
	l := newLab(t)
	unchanged := l.foreign()
	l.importImage()
	l.noImages()
	want := shape{standbys: 1, primaryVM: true, first: "192.168.122.101"}
	up := upWith("--primary", "vm", "--standbys", "1")
	var node1 int
	for _, p := range []killPoint{
		{
			name: "while the image is uploaded",
			at: func(o appliance.Operation) bool {
				s := step(o, "image")
				return s.State == appliance.StepRunning && s.Progress.BytesDone > 0 && strings.HasPrefix(s.Progress.Detail, "uploading")
			},
			after: func(l *lab) {
				if ready := l.poolFiles("base-*.ready"); len(ready) > 0 {
					l.t.Errorf("an upload that was cut off counts as complete: %q", ready)
				}
			},
		},
		{
			name: "while the golden image boots", at: booting("golden-image"),
			after: func(l *lab) {
				if ready := l.poolFiles("golden-*.ready"); len(ready) > 0 {
					l.t.Errorf("a golden image that was never made counts as complete: %q", ready)
				}
			},
		},
		{
			name: "while a machine boots", meanwhile: (*lab).measureBoot,
			at: booting("machine/node1"), after: func(l *lab) { node1 = l.domainID("node1") },
		},
		{
			name: "while the standby is cloned", meanwhile: (*lab).libvirtRestarts,
			at: func(o appliance.Operation) bool {
				s := step(o, "clone/node1")
				return s.State == appliance.StepRunning && s.Progress.BytesDone > 0
			},
		},
	} {
		l.killedAt(p, up)
	}
	l.ok(up...)
	s := l.streaming(want)
	l.verified(want)
	if now := l.domainID("node1"); now != node1 {
		t.Errorf("node1's machine was started anew: its id was %d and is %d", node1, now)
	}
	l.everythingKilled(want)
	l.wentDownInside(want, "reboot", "poweroff")
	l.scaled(want)
	l.lostHome(want)
	l.gone(s)
	unchanged()
}

// noImages removes what earlier tests left in the pool.
func (l *lab) noImages() {
	l.t.Helper()
	l.ok("image", "prune")
	if left := append(l.poolFiles("golden-*"), l.poolFiles("base-*")...); len(left) > 0 {
		l.t.Fatalf("image prune left %q: does a machine use them?", left)
	}
}

func (l *lab) poolFiles(pattern string) []string {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(imagesPool, pattern))
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}

// killedAt runs the command until the moment has come, and kills both the
// command and the daemon: nobody is left to start it again.
func (l *lab) killedAt(p killPoint, args []string) {
	l.t.Helper()
	up := l.start(l.limit, args...)
	if p.meanwhile != nil {
		p.meanwhile(l, up)
	}
	l.until(l.limit, "up was to be killed "+p.name, func() bool {
		select {
		case <-up.ended:
			l.t.Fatalf("up ended before it could be killed %s", p.name)
		default:
		}
		return p.at(l.lastOperation())
	})
	up.kill()
	l.killDaemon()
	up.wait()
	l.t.Logf("killed %s", p.name)
	if p.after != nil {
		p.after(l)
	}
}

// killDaemon kills the daemon as the kernel would, and waits for its end.
func (l *lab) killDaemon() {
	l.t.Helper()
	info, err := l.client.Info(l.t.Context())
	if err != nil {
		l.t.Fatalf("there is no daemon to kill: %v", err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
	l.until(10*time.Second, "the killed daemon is silent", func() bool {
		_, err := l.client.Info(l.t.Context())
		return appliance.IsProblem(err, appliance.ErrDaemonUnreachable)
	})
}

// libvirtRestarts ends libvirtd and starts it again while up waits for machines
// to boot. Neither they nor up may notice.
func (l *lab) libvirtRestarts(command) {
	l.t.Helper()
	l.until(l.limit, "machines boot", func() bool {
		o := l.lastOperation()
		return booting("machine/node0")(o) || booting("machine/node1")(o)
	})
	l.must(filepath.Join("..", "..", "scripts", "lab"), "restart")
	l.t.Log("libvirtd was restarted")
}

// everythingKilled leaves nothing running: a member was suspended to disk, as
// libvirt-guests does it, the other's plug was pulled, and the daemon is dead.
// A daemon alone brings it all back, and nothing is thawed.
func (l *lab) everythingKilled(want shape) {
	l.t.Helper()
	l.virsh("managedsave", "pgapp-main-node1")
	l.killDaemon()
	l.virsh("destroy", "pgapp-main-node0")
	begun := time.Now()
	l.ok("info")
	l.until(l.limit, "the daemon brings the cluster back", l.well)
	l.t.Logf("the cluster was back after %s", time.Since(begun).Round(time.Second))
	if reason := l.virsh("domstate", "--reason", "pgapp-main-node1"); !strings.Contains(reason, "running (booted)") {
		l.t.Errorf("node1, which was saved, is now %s", reason)
	}
	if saved := l.virsh("list", "--all", "--with-managed-save", "--name"); strings.Contains(saved, "pgapp-main") {
		l.t.Errorf("a saved image is left: %s", saved)
	}
	l.streaming(want)
	l.verified(want)
}

// well tells whether every member runs and streams.
func (l *lab) well() bool {
	s, err := l.client.Status(l.t.Context(), "main")
	return err == nil && s.Phase == appliance.PhaseReady && !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
		return m.State != appliance.StateStreaming && m.State != appliance.StateRunning
	})
}

// wentDownInside has a guest reboot itself, or power itself off, and starts the
// cluster at once: the machine answers for a moment still. It comes back as the
// machine it was, without PostgreSQL until pgapp starts it.
func (l *lab) wentDownInside(want shape, ways ...string) {
	l.t.Helper()
	const identity = "cat /etc/ssh/ssh_host_*.pub; uname -n; ip -4 -o address show scope global | cut -d ' ' -f 7"
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before := l.ok("ssh", "node1", "--", identity)
	for _, how := range ways {
		boot, machine := l.ok("ssh", "node1", "--", bootID), l.domainID("node1")
		l.run(l.limit, "ssh", "node1", "--", "sudo systemctl "+how) // whose connection ends with it
		l.ok("start")
		if now := l.domainID("node1"); (now == machine) != (how == "reboot") {
			l.t.Errorf("%s: the machine's id was %d and is %d", how, machine, now)
		}
		if now := l.ok("ssh", "node1", "--", bootID); now == boot {
			l.t.Errorf("%s: the guest is in the same boot", how)
		}
		if after := l.ok("ssh", "node1", "--", identity); after != before {
			l.t.Errorf("%s: before\n%s\nafter\n%s", how, before, after)
		}
		l.streaming(want)
	}
	l.verified(want)
}

// scaled adds a machine to the cluster and removes it again.
func (l *lab) scaled(want shape) {
	l.t.Helper()
	more := want
	more.standbys++
	l.ok("scale", "--standbys", strconv.Itoa(more.standbys))
	l.streaming(more)
	l.verified(more)
	l.ok("scale", "--standbys", strconv.Itoa(want.standbys))
	l.streaming(want)
	l.verified(want)
	if out := l.ok("image", "prune"); strings.Contains(out, "removed") {
		l.t.Errorf("of images in use: %s", out)
	}
	last := appliance.MemberName(more.standbys)
	if domains := l.virsh("list", "--all", "--name"); strings.Contains(domains, "pgapp-main-"+last) {
		l.t.Errorf("the removed machine is still there: %s", domains)
	}
	if left := l.poolFiles("pgapp-main-" + last + ".*"); len(left) > 0 {
		l.t.Errorf("left behind: %q", left)
	}
	if strings.Contains(l.virsh("net-dumpxml", "default"), more.host(more.standbys)) {
		l.t.Error("the removed machine's address is still reserved")
	}
}

// lostHome takes the cluster over in a new home, from a backup of the state.
func (l *lab) lostHome(want shape) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "state.tar")
	l.ok("state", "backup", "--plaintext", file)
	l.ok("shutdown")
	l.home = filepath.Join(filepath.Dir(l.home), "another")
	l.ok("state", "restore", "--adopt", "--yes", file)
	l.ok("adopt")
	l.streaming(want)
	l.verified(want)
}
