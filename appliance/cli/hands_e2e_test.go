//go:build e2e

package cli_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestHands does to machines what people do by hand: snapshots, other memory, a
// disk of their own, a suspended guest, a network card off its bridge, a disk
// that is deleted.
func TestHands(t *testing.T) {
	l := newLab(t)
	l.importImage()
	want := shape{standbys: 1, primaryVM: true, first: "192.168.122.181"}
	spec := filepath.Join(t.TempDir(), "spec.yaml")
	if err := os.WriteFile(spec, []byte("first_address: "+want.first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := l.firstUp(upWith("--primary", "vm", "--standbys", "1", "--dataset", "none", "-f", spec)...); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.err)
	}
	s := l.streaming(want)

	l.handsStopAndStart()
	l.streaming(want)
	l.verified(want)

	l.cardLoose("node1")
	l.says(l.run(l.limit, "start", "node1"), "not on the bridge", "booted in")
	l.streaming(want)
	l.cardLoose("node1")
	l.says(l.run(l.limit, "stop", "node1"), "power button")

	l.must("rm", l.diskOf("node1", "vda"))
	if o := l.refused(appliance.ErrMemberUnreachable, "start", "node1"); !strings.Contains(o.err, "pgapp reinit node1") {
		t.Errorf("start without a disk doesn't say what helps: %s", o.err)
	}
	l.ok("reinit", "node1")
	l.streaming(want)
	if left := l.poolFiles("*" + s.UUID + "*.seed.img"); len(left) > 0 {
		t.Errorf("a seed is left: %q", left)
	}

	l.refused(appliance.ErrConflict, "up", "--disk", "5")
	l.ok("up", "--memory", "640", "--disk", "12")
	for _, m := range []string{"node0", "node1"} {
		if size := l.number("ssh", m, "--", "lsblk", "-bdno", "SIZE", "/dev/vda"); size != 12<<30 {
			t.Errorf("%s has a disk of %d bytes", m, size)
		}
		if blocks := l.number("ssh", m, "--", "stat", "-fc", "%b", "/"); blocks < 11<<30/4096 {
			t.Errorf("%s has a file system of %d blocks", m, blocks)
		}
		if now := l.virsh("dominfo", "pgapp-main-"+m); !strings.Contains(now, strconv.Itoa(640<<10)) {
			t.Errorf("%s has other memory: %s", m, now)
		}
	}
	l.verified(want)
	l.gone(s)
}

// handsStopAndStart changes machines by hand, suspends them, and wants down and
// start to keep what was written and what was changed.
func (l *lab) handsStopAndStart() {
	l.t.Helper()
	const primary, standby = "pgapp-main-node0", "pgapp-main-node1"
	l.virsh("snapshot-create-as", primary, "nightly", "--disk-only", "--atomic")
	l.ok("psql", "--", "-Xqc", "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
	data := filepath.Join(l.t.TempDir(), "data.img")
	l.must("chmod", "711", filepath.Dir(data), filepath.Dir(filepath.Dir(data)))
	l.must("truncate", "-s", "64M", data)
	l.virsh("attach-disk", standby, data, "vdb", "--persistent", "--driver", "qemu", "--subdriver", "raw")
	l.virsh("setmaxmem", standby, "600M", "--config")
	l.virsh("vcpupin", standby, "0", "0", "--config")
	l.virsh("desc", standby, "--config", "the one with the disk")
	l.virsh("autostart", standby)
	defined := map[string]string{}
	for _, d := range []string{primary, standby} {
		defined[d] = l.virsh("dumpxml", "--inactive", d)
		l.virsh("suspend", d)
	}
	l.says(l.run(l.limit, "down"), "resuming")
	l.ok("start")
	if n := l.number("psql", "--", "-XAtc", "SELECT count(*) FROM kept"); n != 1000 {
		l.t.Errorf("%d of 1000 rows are there after a snapshot and a start", n)
	}
	for d, before := range defined {
		if now := l.virsh("dumpxml", "--inactive", d); now != before {
			l.t.Errorf("the start changed the definition of %s:\n%s\nbefore:\n%s", d, now, before)
		}
	}
	if !strings.Contains(l.virsh("domblklist", standby), data) {
		l.t.Errorf("the start has taken a person's disk")
	}
	if !strings.Contains(l.virsh("dominfo", standby), "enable") {
		l.t.Errorf("the machine doesn't start with the host any more")
	}
}

// says wants the command to succeed, and to tell all of this.
func (l *lab) says(o outcome, words ...string) {
	l.t.Helper()
	if o.code != 0 {
		l.t.Fatalf("exit code %d\n%s", o.code, o.err)
	}
	for _, w := range words {
		if !strings.Contains(o.err, w) {
			l.t.Errorf("doesn't say %q:\n%s", w, o.err)
		}
	}
}

// cardLoose takes the member's network card off its bridge, as destroying the
// network and making it again does.
func (l *lab) cardLoose(member string) {
	l.t.Helper()
	for line := range strings.Lines(l.virsh("domiflist", "pgapp-main-"+member)) {
		if f := strings.Fields(line); len(f) > 0 {
			l.must("ip", "link", "set", f[0], "nomaster")
			return
		}
	}
	l.t.Fatalf("%s has no network card", member)
}

func (l *lab) diskOf(member, target string) string {
	l.t.Helper()
	for line := range strings.Lines(l.virsh("domblklist", "pgapp-main-"+member)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == target {
			return f[1]
		}
	}
	l.t.Fatalf("%s has no disk %s", member, target)
	return ""
}

func (l *lab) number(args ...string) int {
	l.t.Helper()
	text := strings.TrimSpace(l.ok(args...))
	n, err := strconv.Atoi(text)
	if err != nil {
		l.t.Fatalf("pgapp %q says %q", args, text)
	}
	return n
}
