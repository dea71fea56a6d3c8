//go:build e2e

package cli_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/scripts/build/overlay"
)

// alone is a cluster that pgapp keeps by itself while a writer writes.
type alone struct {
	*moved
	// epoch is the one that the faults and commands so far have led to.
	epoch uint64
}

// TestAutomatic takes one cluster of the host and two machines through what can happen to
// its primary. Each time all members stream again without a person, and no acknowledged
// row is lost. The endpoints follow, and cut off a session that waits for an answer. Numbers
// are of the cases in the design.
func TestAutomatic(t *testing.T) {
	l := newLab(t)
	l.unlimited()
	l.env = []string{"PGAPP_AUTOMATIC=on"}
	l.importImage()
	if o := l.firstUp(upWith("--standbys", "2", "--dataset", "none", "--durability", "quorum")...); o.code != 0 {
		t.Fatalf("up: exit code %d\n%s", o.code, o.err)
	}
	s := l.led("node0")
	d := &alone{moved: l.writing(), epoch: s.Epoch}
	d.onMachine()
	d.survives("03: machine destroyed", d.destroys, nil)
	d.onMachine()
	d.shrugs()
	d.survives("49: machine suspended, later resumed", func(p string) { d.virsh("suspend", "pgapp-main-"+p) },
		func(p string) { d.tries("virsh", "-q", "-c", "qemu:///system", "resume", "pgapp-main-"+p) })
	d.onMachine()
	d.survives("daemon killed in the failover", d.destroysAndKillsDaemon, nil)
	d.leadsAlone("node0")
	d.survives("host's primary killed", func(string) { d.killsHostServer() }, nil)
	d.onMachine()
	d.survives("51: libvirtd down, machine ends", d.endsWithoutLibvirt, func(string) { d.libvirtReturns() })
	d.onMachine()
	d.survives("guest's kernel panics", d.panics, d.toldOfPanic)
	d.onMachine()
	d.survives("14: machine cut off", d.cutsOff, nil)
	d.onMachine()
	d.survives("09: machine and libvirtd hang", d.hangsWithLibvirt, func(string) { d.must("pkill", "-CONT", "-x", "libvirtd") })
	d.onMachine()
	d.survives("31: machine destroyed, started at once", func(p string) { d.destroys(p); d.virsh("start", "pgapp-main-"+p) }, nil)
	d.onMachine()
	d.survives("39: machine saved, thawed after the change", d.savesWithoutPgapp, d.thawsWithoutPgapp)
	d.kept()
	l.ok("verify")
	l.ok("state", "check")
	l.gone(s)
}

// unlimited has a program that replaces a primary more than three times an hour.
func (l *lab) unlimited() {
	l.t.Helper()
	l.bin = filepath.Join(filepath.Dir(l.home), "pgapp") // removed after the cluster
	buildEdited(l.t, l.bin, overlay.Edit{File: "appliance/ha/decide.go", Old: "hourly = 3", New: "hourly = 1000"})
}

// tries runs another program, which may fail.
func (l *lab) tries(name string, args ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	l.t.Logf("%s %q: %v: %s", name, args, err, out)
}

// whole tells whether all members stream, nothing is left to do, and both standbys are
// promised.
func (d *alone) whole() (appliance.ClusterStatus, bool) {
	s, err := d.client.Status(d.t.Context(), "main")
	if err != nil || s.Phase != appliance.PhaseReady || s.Operation != "" || s.Change != nil || len(s.Doubts) > 0 || s.Promise == nil || len(s.Promise.Set) != 2 {
		return s, false
	}
	return s, !slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
		return m.Name == s.Primary && m.State != appliance.StateRunning || m.Name != s.Primary && m.State != appliance.StateStreaming
	})
}

// heals waits until the cluster is whole, in the epoch that is expected.
func (d *alone) heals() appliance.ClusterStatus {
	d.t.Helper()
	var s appliance.ClusterStatus
	defer func() {
		if d.t.Failed() {
			d.t.Logf("the cluster: %+v", s)
			d.tries(d.bin, "--home", d.home, "ops")
		}
	}()
	d.until(d.limit, "all members stream without a person", func() (ok bool) {
		s, ok = d.whole()
		return ok
	})
	if s.Epoch != d.epoch {
		d.t.Errorf("the cluster is in epoch %d, want %d: %+v", s.Epoch, d.epoch, s.Promotions)
		d.epoch = s.Epoch
	}
	return s
}

// leadsAlone makes the member the primary by a switchover, unless it is.
func (d *alone) leadsAlone(member string) {
	d.t.Helper()
	if d.heals().Primary != member {
		d.epoch++
		d.leads(member)
		d.heals()
	}
}

// onMachine makes a machine's member the primary, unless one is.
func (d *alone) onMachine() {
	d.t.Helper()
	if d.heals().Primary == "node0" {
		d.leadsAlone("node1")
	}
}

// survives does the fault to the primary, and wants pgapp to replace it and to bring it
// back. What happens afterwards comes once another member has acknowledged a row.
func (d *alone) survives(what string, fault, afterwards func(primary string)) {
	d.t.Helper()
	d.heals()
	m := d.begins(what)
	others := slices.DeleteFunc([]string{"node0", "node1", "node2"}, func(name string) bool { return name == m.from })
	was := d.Acknowledged(others...)
	d.t.Logf("--- %s: %s", what, m.from)
	held := d.holds()
	m.at, m.began = time.Now(), d.Since()
	fault(m.from)
	d.until(d.limit, what+": another member than "+m.from+" acknowledges a row", func() bool { return d.Acknowledged(others...) > was })
	if afterwards != nil {
		afterwards(m.from)
	}
	d.epoch++
	s := d.heals()
	m.to, m.ended = s.Primary, d.Since()
	select {
	case at := <-held:
		m.cut = at.Sub(m.at)
	case <-time.After(d.limit):
		d.t.Fatalf("%s: a session through the endpoint for writes still waits for %s", what, m.from)
	}
	d.leadsThrough(s)
	last := s.Promotions[len(s.Promotions)-1]
	m.promoted = last.At.Sub(m.at)
	d.moves = append(d.moves, m)
	if last.Evidence == "" || last.Reason != string(appliance.OpFailover) {
		d.t.Errorf("%s: the last promotion is %+v, want a failover by pgapp itself", what, last)
	}
	d.t.Logf("--- %s: %s to %s after %.1f s, a session through the endpoint cut after %.1f s, all stream after %.1f s: %s", what, m.from, m.to,
		m.promoted.Seconds(), m.cut.Seconds(), (m.ended - m.began).Seconds(), last.Evidence)
	d.written()
}

// shrugs suspends the primary's machine for 2 s, as a backup does: nothing is done. A
// pause that this busy host made longer doesn't count.
func (d *alone) shrugs() {
	d.t.Helper()
	const asLong, longest = 2 * time.Second, 3 * time.Second
	d.heals()
	for range 5 {
		m := d.begins("49: machine suspended for 2 s")
		m.at, m.began = time.Now(), d.Since()
		d.virsh("suspend", "pgapp-main-"+m.from)
		d.until(asLong, "2 s are over", func() bool { return time.Since(m.at) > asLong-pollEvery })
		d.virsh("resume", "pgapp-main-"+m.from)
		took := time.Since(m.at)
		d.t.Logf("%s was suspended for at most %s", m.from, took)
		d.written()
		if took < longest {
			if s := d.heals(); s.Primary != m.from {
				d.t.Errorf("%s was replaced by %s", m.from, s.Primary)
			}
			m.ended = d.Since()
			d.moves = append(d.moves, m)
			return
		}
		s, _ := d.whole()
		d.epoch = s.Epoch
		d.heals()
	}
	d.t.Fatalf("virsh took longer than %s five times", longest)
}

func (d *alone) destroys(member string) {
	d.t.Helper()
	d.virsh("destroy", "pgapp-main-"+member)
}

func (d *alone) destroysAndKillsDaemon(member string) {
	d.t.Helper()
	d.destroys(member)
	d.until(d.limit, "pgapp replaces the primary", func() bool {
		o := d.lastOperation()
		return o.Kind == appliance.OpFailover && !o.State.Final() && step(o, "change").State == appliance.StepRunning
	})
	d.killDaemon()
	d.ok("info") // starts a daemon, which goes on
}

// endsWithoutLibvirt ends libvirtd, and then the machine.
func (d *alone) endsWithoutLibvirt(member string) {
	d.t.Helper()
	qemu := d.qemu(member)
	d.endsLibvirt()
	d.must("kill", "-KILL", qemu)
}

func (d *alone) endsLibvirt() {
	d.t.Helper()
	d.later(filepath.Join("..", "..", "scripts", "lab"), "restart")
	d.must("pkill", "-KILL", "-x", "libvirtd")
}

func (d *alone) libvirtReturns() {
	d.t.Helper()
	d.must(filepath.Join("..", "..", "scripts", "lab"), "restart")
}

// panics crashes the guest's kernel, once the command for that has ended.
func (d *alone) panics(member string) {
	d.t.Helper()
	d.ok("ssh", member, "--", `sudo sh -c 'echo 1 >/proc/sys/kernel/sysrq; (sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &'`)
}

// toldOfPanic wants the machine's word as the evidence, and not its silence.
func (d *alone) toldOfPanic(member string) {
	d.t.Helper()
	p := d.status().Promotions
	if evidence := p[len(p)-1].Evidence; !strings.Contains(evidence, "crashed") {
		d.t.Errorf("%s was replaced because %s, want because it crashed", member, evidence)
	}
}

// cutsOff takes the machine's network link down. pgapp's fence ends the machine.
func (d *alone) cutsOff(member string) {
	d.t.Helper()
	for line := range strings.Lines(d.virsh("domiflist", "pgapp-main-"+member)) {
		if f := strings.Fields(line); len(f) > 0 {
			d.virsh("domif-setlink", "pgapp-main-"+member, f[0], "down")
			return
		}
	}
	d.t.Fatalf("%s has no network card", member)
}

func (d *alone) hangsWithLibvirt(member string) {
	d.t.Helper()
	d.stopsMachine(member)
	d.later("pkill", "-CONT", "-x", "libvirtd")
	d.must("pkill", "-STOP", "-x", "libvirtd")
}

// savesWithoutPgapp saves the machine to disk while no daemon runs. The next daemon has no
// libvirtd, so that it can't remove what was saved.
func (d *alone) savesWithoutPgapp(member string) {
	d.t.Helper()
	d.killDaemon()
	d.virsh("managedsave", "pgapp-main-"+member)
	d.endsLibvirt()
	d.ok("info")
}

// thawsWithoutPgapp has the old primary go on where it was saved, as libvirt-guests does
// at the host's start, before there is a daemon.
func (d *alone) thawsWithoutPgapp(member string) {
	d.t.Helper()
	d.killDaemon()
	d.libvirtReturns()
	d.virsh("start", "pgapp-main-"+member)
	if how := d.virsh("domstate", "--reason", "pgapp-main-"+member); !strings.Contains(how, "restored") && !strings.Contains(how, "unpaused") {
		d.t.Errorf("%s was not thawed: it is %s", member, how)
	}
	d.ok("info")
}
