//go:build e2e

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestRefusals shows what can't be, on hosts and with images that don't do.
func TestRefusals(t *testing.T) {
	t.Run("digest", wrongDigest)
	t.Run("full pool", fullPool)
	t.Run("kvm", onlyKVM)
}

func wrongDigest(t *testing.T) {
	l := newLab(t)
	zeros := strings.Repeat("0", 64)
	wrong := "sha256:" + zeros
	before := l.poolFiles("*")
	o := l.refused(appliance.ErrImageDigest, upWith("--standbys", "1", "--image", os.Getenv("PGAPP_LAB_IMAGE"), "--image-digest", wrong)...)
	if !strings.Contains(o.err, zeros) {
		t.Error("the error doesn't name the digest that was wanted")
	}
	if after := l.poolFiles("*"); len(after) != len(before) {
		t.Errorf("the pool had %q, and now has %q", before, after)
	}
	l.keepsNothing()
	l.gone(l.status())
	l.refused(appliance.ErrImageDigest, "image", "import", os.Getenv("PGAPP_LAB_IMAGE"), "--digest", wrong, "--name", "wrong")
	l.keepsNothing()
}

// keepsNothing wants no image in the home.
func (l *lab) keepsNothing() {
	l.t.Helper()
	err := filepath.WalkDir(filepath.Join(l.home, "images"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if st, e := d.Info(); e == nil && st.Size() > 1<<20 {
				l.t.Errorf("kept: %s", path)
			}
		}
		return err
	})
	if err != nil {
		l.t.Error(err)
	}
}

// fullPool lets the upload of the image run into the end of the file system.
func fullPool(t *testing.T) {
	l := newLab(t)
	l.importImage()
	st, err := os.Stat(os.Getenv("PGAPP_LAB_IMAGE"))
	if err != nil {
		t.Fatal(err)
	}
	l.later("virsh", "-c", "qemu:///system", "pool-start", "pgapp")
	l.later("umount", imagesPool)
	l.later("virsh", "-c", "qemu:///system", "pool-destroy", "pgapp")
	precious := l.smallPool(strconv.FormatInt(st.Size()>>21, 10))
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := l.refused(appliance.ErrHostNoSpace, upWith("--standbys", "1")...)
	if !strings.Contains(o.err, "→ ") {
		t.Error("the error doesn't say what to do")
	}
	if left := l.poolFiles("*"); len(left) != 1 || left[0] != precious {
		t.Errorf("in the pool: %q", left)
	}
	l.gone(l.status())
	if text, err := os.ReadFile(precious); err != nil || string(text) != "mine" {
		t.Errorf("the foreign file: %q, %v", text, err)
	}
}

// smallPool puts a small file system in the pool's place.
func (l *lab) smallPool(mib string) (precious string) {
	l.t.Helper()
	if l.poolActive() {
		l.virsh("pool-destroy", "pgapp")
	}
	if err := os.MkdirAll(imagesPool, 0o711); err != nil {
		l.t.Fatal(err)
	}
	l.must("mount", "-t", "tmpfs", "-o", "mode=0711,size="+mib+"m", "pgapp-e2e", imagesPool)
	return filepath.Join(imagesPool, "precious.txt")
}

func (l *lab) poolActive() bool {
	l.t.Helper()
	return strings.Contains(l.virsh("pool-list", "--name"), "pgapp\n")
}

// onlyKVM wants a clear word, soon, where KVM is asked for and can't be had.
func onlyKVM(t *testing.T) {
	l := newLab(t)
	l.importImage()
	begun := time.Now()
	o := l.run(l.limit, upWith("--standbys", "1", "--accel", "kvm")...)
	took := time.Since(begun)
	s := l.status()
	if o.code == 0 {
		if kind := l.domainType("node1"); kind != "kvm" {
			t.Errorf("with --accel kvm node1 is of type %q", kind)
		}
		l.gone(s)
		t.Skip("SKIPPED: KVM runs guests on this host, so --accel kvm was tried and had nothing to refuse")
	}
	if o.code != appliance.ExitHost || !strings.Contains(o.err, "error[host-no-kvm]") || !strings.Contains(o.err, "--accel tcg") {
		t.Errorf("exit code %d, want %d, error[host-no-kvm] and a way out", o.code, appliance.ExitHost)
	}
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	l.gone(s)
}

// TestHostFirewall shuts the host's PostgreSQL off from the guests: up says so
// before it clones, and goes on when that is mended. It is a second home, which
// uses the golden image of the first; and node1 avoids an address that somebody
// has of whom libvirt doesn't know.
func TestHostFirewall(t *testing.T) {
	l := newLab(t)
	l.importImage()
	golden := len(l.poolFiles("golden-*.ready")) > 0
	want := shape{standbys: 1, first: "192.168.122.102"}
	stillThere := l.livingHost("192.168.122.101")
	l.later("nft", "delete", "table", "inet", "pgapp_e2e")
	l.must("nft", "add table inet pgapp_e2e; "+
		"add chain inet pgapp_e2e input { type filter hook input priority -5; }; "+
		"add rule inet pgapp_e2e input iifname virbr0 tcp dport 5432 drop")
	up := upWith("--standbys", "1")
	o := l.refused(appliance.ErrHostFirewall, up...)
	if !strings.Contains(o.err, "192.168.122.1 port 5432") || !strings.Contains(o.err, "firewall-cmd") {
		t.Error("the error doesn't name the way that is shut, or how to open it")
	}
	var failed []appliance.Operation
	if err := json.Unmarshal([]byte(l.ok("ops", "-o", "json")), &failed); err != nil || len(failed) != 1 {
		t.Fatalf("%d operations, %v", len(failed), err)
	}
	if s := step(failed[0], "clone/node1"); s.State != appliance.StepSkipped {
		t.Errorf("the clone is %q, though nothing can come through", s.State)
	}
	if s := step(failed[0], "golden-image"); golden && !s.AlreadyDone {
		t.Errorf("a golden image was there, and the step is %+v", s)
	}
	machine := l.domainID("node1")
	l.refused(appliance.ErrHostFirewall, up...) // a repeat finds it shut still
	l.must("nft", "delete", "table", "inet", "pgapp_e2e")
	l.ok(up...)
	if now := l.domainID("node1"); now != machine {
		t.Errorf("the machine was booted again: its id was %d and is %d", machine, now)
	}
	s := l.streaming(want)
	l.verified(want)
	stillThere()
	l.gone(s)
}

// TestBrokenGuest boots an image whose cloud-init fails at something.
func TestBrokenGuest(t *testing.T) {
	l := newLab(t)
	image := l.brokenImage()
	before := l.poolFiles("*")
	o := l.refused(appliance.ErrGuestCloudInit, upWith("--standbys", "1", "--image", image)...)
	for _, want := range []string{"bootcmd", "the console's last lines", brokenWord} {
		if !strings.Contains(o.err, want) {
			t.Errorf("the error doesn't show %q", want)
		}
	}
	l.gone(l.status())
	for _, f := range l.poolFiles("base-*") { // which are kept for another attempt
		if !slices.Contains(before, f) {
			l.virsh("vol-delete", "--pool", "pgapp", filepath.Base(f))
		}
	}
	if after := l.poolFiles("*"); len(after) != len(before) {
		t.Errorf("the pool had %q, and now has %q", before, after)
	}
}

// brokenWord is what a broken guest writes to its console at the end.
const brokenWord = "pgapp-e2e: this guest is done"

// brokenImage adds to the lab's image what its cloud-init fails at.
func (l *lab) brokenImage() string {
	l.t.Helper()
	dir := l.t.TempDir()
	raw, image, cfg := filepath.Join(dir, "raw"), filepath.Join(dir, "broken.qcow2"), filepath.Join(dir, "99_broken.cfg")
	text := "bootcmd: [[sh, -c, 'exit 3']]\nfinal_message: '" + brokenWord + "'\n"
	if err := os.WriteFile(cfg, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.must("qemu-img", "convert", "-O", "raw", os.Getenv("PGAPP_LAB_IMAGE"), raw)
	var disk struct {
		PartitionTable struct {
			SectorSize int64
			Partitions []struct{ Start, Size int64 }
		}
	}
	if err := json.Unmarshal([]byte(l.must("sfdisk", "--json", raw)), &disk); err != nil {
		l.t.Fatal(err)
	}
	var start, size int64
	for _, p := range disk.PartitionTable.Partitions {
		if p.Size > size { // the root file system's is the largest
			start, size = p.Start, p.Size
		}
	}
	fs := raw + "?offset=" + strconv.FormatInt(start*max(disk.PartitionTable.SectorSize, 512), 10)
	l.must("debugfs", "-w", "-R", "write "+cfg+" /etc/cloud/cloud.cfg.d/99_broken.cfg", fs)
	if out := l.must("debugfs", "-R", "cat /etc/cloud/cloud.cfg.d/99_broken.cfg", fs); !strings.Contains(out, text) {
		l.t.Fatalf("the image wasn't changed: %s", out)
	}
	l.must("qemu-img", "convert", "-O", "qcow2", raw, image)
	if err := os.Remove(raw); err != nil {
		l.t.Error(err)
	}
	return image
}
