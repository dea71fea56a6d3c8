//go:build e2e

package cli_test

import (
	"path/filepath"
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
	meanwhile func(l *lab)
	at        func(o appliance.Operation) bool
	// after looks at what the kill left.
	after func(l *lab)
}

func booting(id string) func(appliance.Operation) bool {
	return func(o appliance.Operation) bool {
		s := step(o, id)
		return s.State == appliance.StepRunning && strings.HasPrefix(s.Progress.Detail, "booting")
	}
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
		{name: "while a machine boots", at: booting("machine/node1"), after: func(l *lab) { node1 = l.domainID("node1") }},
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
	l.gone(s)
	unchanged()
}

// noImages removes what earlier tests left in the pool.
func (l *lab) noImages() {
	l.t.Helper()
	for _, pattern := range []string{"golden-*", "base-*"} {
		for _, f := range l.poolFiles(pattern) {
			l.virsh("vol-delete", "--pool", "pgapp", filepath.Base(f))
		}
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
		p.meanwhile(l)
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
	info, err := l.api().Info(l.t.Context())
	if err != nil {
		l.t.Fatalf("there is no daemon to kill: %v", err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
	l.until(10*time.Second, "the killed daemon is silent", func() bool {
		_, err := l.api().Info(l.t.Context())
		return appliance.IsProblem(err, appliance.ErrDaemonUnreachable)
	})
}

// libvirtRestarts ends libvirtd and starts it again while up waits for machines
// to boot. Neither they nor up may notice.
func (l *lab) libvirtRestarts() {
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
	l.until(l.limit, "the daemon brings the cluster back", func() bool {
		s, err := l.api().Status(l.t.Context(), "main")
		if err != nil || s.Phase != appliance.PhaseReady {
			return false
		}
		for _, m := range s.Members {
			if m.State != appliance.StateStreaming && m.State != appliance.StateRunning {
				return false
			}
		}
		return true
	})
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
