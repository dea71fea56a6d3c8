package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

func quiet(appliance.Progress) {}

// qcow2File writes what passes for an image of 3 GiB.
func qcow2File(t *testing.T, change func(header []byte)) string {
	t.Helper()
	b := make([]byte, 4096)
	copy(b, "QFI\xfb")
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint64(b[24:], 3<<30)
	if change != nil {
		change(b)
	}
	path := filepath.Join(t.TempDir(), "image.qcow2")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnsureBaseUploadsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := appliance.Spec{Image: qcow2File(t, nil)}
	for range 2 {
		if err := w.imaging.ensureBase(t.Context(), s, quiet); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := w.imaging.imageDigest(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	v, ok, err := w.imaging.base(t.Context(), digest)
	if err != nil || !ok || v.Physical != 4096 || v.Capacity != 3<<30 {
		t.Errorf("got %+v, %v, %v", v, ok, err)
	}
	// A volume without its marker is a half one, and made anew.
	delete(w.fake.volumes, v.Name+readySuffix)
	w.fake.data[v.Name] = []byte("half")
	if err := w.imaging.ensureBase(t.Context(), s, quiet); err != nil || len(w.fake.data[v.Name]) != 4096 {
		t.Errorf("got %v and %d bytes", err, len(w.fake.data[v.Name]))
	}
}

func TestEnsureBaseReportsFailedUpload(t *testing.T) {
	t.Parallel()
	full := appliance.NewProblem(appliance.ErrHostNoSpace, "No space left on device")
	for name, tc := range map[string]struct {
		prepare func(f *fake)
		image   func(b []byte)
		want    appliance.ErrorID
	}{
		"short":        {prepare: func(f *fake) { f.shortUpload = true }, want: appliance.ErrLibvirt},
		"full":         {prepare: func(f *fake) { f.failUpload = full }, want: appliance.ErrHostNoSpace},
		"raw":          {image: func(b []byte) { b[0] = 0 }, want: appliance.ErrImageDigest},
		"gzip":         {image: func(b []byte) { b[0], b[1] = 0x1f, 0x8b }, want: appliance.ErrImageDigest},
		"backing file": {image: func(b []byte) { b[15] = 1 }, want: appliance.ErrImageDigest},
		"data file":    {image: func(b []byte) { b[79] = 4 }, want: appliance.ErrImageDigest},
		"foreign pool": {prepare: func(f *fake) {
			f.pools[poolName] = &rpc.Pool{Name: poolName, XML: libvirtxml.StoragePool{Type: "dir", Target: &libvirtxml.StoragePoolTarget{Path: "/srv"}}}
		}, want: appliance.ErrForeignObject},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.prepare != nil {
				tc.prepare(w.fake)
			}
			err := w.imaging.ensureBase(t.Context(), appliance.Spec{Image: qcow2File(t, tc.image)}, quiet)
			if !appliance.IsProblem(err, tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			for v := range w.fake.volumes {
				if strings.HasSuffix(v, readySuffix) {
					t.Errorf("%s says that it is complete", v)
				}
			}
		})
	}
}

func TestEnsureBaseChecksDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := w.imaging.ensureBase(t.Context(), appliance.Spec{Image: qcow2File(t, nil), ImageDigest: "sha256:" + strings.Repeat("0", 64)}, quiet)
	if !appliance.IsProblem(err, appliance.ErrImageDigest) || len(w.fake.volumes) != 0 {
		t.Errorf("got %v and %d volumes", err, len(w.fake.volumes))
	}
}

// TestBuildTurnWaitsForOtherBuilders meets another home's builder at its work.
func TestBuildTurnWaitsForOtherBuilders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.newBuild(w.cluster(t, "main", uuidA, 1), "golden-1.qcow2", quiet)
	other := machineSpec{Type: typeTCG, Tag: tag{UUID: uuidB, Cluster: "other", Member: builder}, Name: "pgapp-other-golden", UUID: uuidB, Root: poolPath + "/golden-1.qcow2"}
	x, err := other.domain()
	if err != nil {
		t.Fatal(err)
	}
	w.fake.domains[other.Name] = &rpc.Domain{Name: other.Name, XML: x, State: rpc.DomainRunning}
	short, cancel := context.WithTimeout(t.Context(), 2*pollEvery)
	defer cancel()
	if err := b.awaitOthers(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another builds: got %v, want it to wait", err)
	}
	w.cfg.BuildLimit = 2 * pollEvery
	if err := b.awaitOthers(t.Context()); !appliance.IsProblem(err, appliance.ErrImageBuild) || !strings.Contains(appliance.AsProblem(err).Hint, uuidB) {
		t.Errorf("while another builds for ever: got %v, want an error that says how to remove it", err)
	}
	if release, err := w.turns.turn(t.Context(), b.volume); err != nil {
		t.Errorf("who waits for another cluster holds the turn that it needs: %v", err)
	} else {
		release()
	}
	delete(w.fake.domains, other.Name)
	if err := b.awaitOthers(t.Context()); err != nil {
		t.Errorf("when the other is done: %v", err)
	}
}

// seeded brings a member to where its disk and seed are there.
func seeded(t *testing.T, w world, c appliance.Cluster) (appliance.Member, machineSpec) {
	t.Helper()
	m := c.Members[1]
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.ensureKeys(t.Context(), c, c.Members); err != nil {
		t.Fatal(err)
	}
	name := volumeName(memberTag(c, m.Name), volRoot)
	if err := w.fake.CreateVolume(t.Context(), poolName, rawVolume(name, 1<<30)); err != nil {
		t.Fatal(err)
	}
	return m, w.memberSpec(c, m)
}

func TestUpReportsFallbackFromKVM(t *testing.T) {
	t.Parallel()
	for _, kvm := range []string{"absent", "refuses", "pauses"} {
		t.Run(kvm, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fake.kvm = kvm
			c := w.cluster(t, "main", uuidA, 1)
			w.onLoopback(c)
			m, _ := seeded(t, w, c)
			var said []string
			err := w.ensureMachine(t.Context(), c, m, func(p appliance.Progress) { said = append(said, p.Detail) })
			p := appliance.AsProblem(err)
			if p == nil || p.ID != appliance.ErrGuestBoot && p.ID != appliance.ErrGuestHostKey {
				t.Fatalf("got %v, want a guest that doesn't answer", err)
			}
			if p.ID == appliance.ErrGuestBoot && p.Detail != "GRUB\nlogin:" {
				t.Errorf("got console %q", p.Detail)
			}
			d := w.fake.domains[m.Domain]
			if d.XML.Type != typeTCG || d.State != rpc.DomainRunning || !hasSeed(d.XML, memberTag(c, m.Name)) {
				t.Errorf("got a domain of type %s in state %d", d.XML.Type, d.State)
			}
			aloud := slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "KVM can't run guests") })
			if aloud != (kvm != "absent") {
				t.Errorf("said %q", said)
			}
			why := "KVM can't run guests on this host: "
			if kvm == "absent" {
				why = "libvirt has no KVM: "
			}
			if how := w.accel.emulated(d.XML.Type, appliance.AccelAuto); !strings.Contains(how, "emulated") || !strings.Contains(how, why) {
				t.Errorf("the user is told %q", how)
			}
			if how := w.accel.emulated(d.XML.Type, appliance.AccelTCG); how != "" {
				t.Errorf("who asked for emulation is told %q", how)
			}
		})
	}
}

func TestUpRefusesEmulationWithAccelKVM(t *testing.T) {
	t.Parallel()
	for _, kvm := range []string{"absent", "refuses", "pauses"} {
		w := newWorld(t)
		w.fake.kvm = kvm
		c := w.cluster(t, "main", uuidA, 1)
		c.Spec.Accel = appliance.AccelKVM
		m, _ := seeded(t, w, c)
		err := w.ensureMachine(t.Context(), c, m, quiet)
		if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrHostNoKVM || p.Hint == "" {
			t.Errorf("%s: got %v", kvm, err)
		}
		if d, ok := w.fake.domains[m.Domain]; ok && !d.State.Off() {
			t.Errorf("%s: the domain was left in state %d", kvm, d.State)
		}
	}
}

// A machine that is off is started once more where it went off meanwhile, and
// not where it can't be defined: that would have no end.
func TestEnsureMachineRefusesForeignUUID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m, spec := seeded(t, w, c)
	spec.Type, spec.UUID = typeTCG, uuidB // which libvirt refuses to change
	x, err := spec.domain()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.fake.DefineDomain(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	if err := w.ensureMachine(t.Context(), c, m, quiet); !appliance.IsProblem(err, appliance.ErrConflict) || !strings.Contains(err.Error(), "has the UUID") {
		t.Errorf("got %v", err)
	}
}

func TestStartRetriesAfterQEMUEndsWithoutMessage(t *testing.T) {
	t.Parallel()
	for ends, fails := range map[int]bool{0: false, 1: false, noMessageRetries: false, noMessageRetries + 1: true} {
		w := newWorld(t)
		_, spec := seeded(t, w, w.cluster(t, "main", uuidA, 1))
		w.fake.noMessage = ends
		_, err := w.machines.startAs(t.Context(), boot{spec: spec, report: quiet}, typeTCG)
		if (err != nil) != fails {
			t.Errorf("%d starts ended so: got %v", ends, err)
		}
	}
}

func TestUpBootsSavedAndPausedMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	_, spec := seeded(t, w, c)
	spec.Type = typeTCG
	x, err := spec.domain()
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(d *rpc.Domain){
		"saved":    func(d *rpc.Domain) { d.Saved = true },
		"paused":   func(d *rpc.Domain) { d.State = rpc.DomainPaused },
		"restored": func(d *rpc.Domain) { d.State, d.Reason = rpc.DomainRunning, 4 },
	} {
		if err := w.fake.DefineDomain(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		set(w.fake.domains[spec.Name])
		if err := w.machines.halt(t.Context(), boot{spec: spec}); err != nil {
			t.Fatal(err)
		}
		if d := w.fake.domains[spec.Name]; !d.State.Off() || d.Saved {
			t.Errorf("%s: got state %d, saved %v", name, d.State, d.Saved)
		}
	}
}

func TestReserveReplacesOnlyOwnReservation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tg := tag{UUID: uuidA, Cluster: "main", Member: "node1"}
	reserve := func(mac, ip string) error { return w.networks.reserve(t.Context(), "default", tg, mac, ip) }
	if err := errors.Join(reserve("52:54:00:00:00:01", "192.168.122.101"), reserve("52:54:00:00:00:01", "192.168.122.101")); err != nil {
		t.Fatal(err)
	}
	// Another address for the same member replaces the old one.
	if err := reserve("52:54:00:00:00:01", "192.168.122.102"); err != nil {
		t.Fatal(err)
	}
	other := tag{UUID: uuidB, Cluster: "main", Member: "node1"}
	if err := w.networks.reserve(t.Context(), "default", other, "52:54:00:00:00:02", "192.168.122.102"); !appliance.IsProblem(err, appliance.ErrHostAddressTaken) {
		t.Errorf("got %v", err)
	} else if want := `net-update default delete ip-dhcp-host "<host mac='52:54:00:00:00:01' ip='192.168.122.102'/>"`; !strings.Contains(appliance.AsProblem(err).Hint, want) {
		t.Errorf("the hint is %q, and can't help a member that has its address", appliance.AsProblem(err).Hint)
	}
	if got := reservations(w.fake.networks["default"].XML); len(got) != 1 || got[0].IP != "192.168.122.102" {
		t.Errorf("got %+v", got)
	}
	ours := func(n string) bool { return n == reservationName(tg) }
	if err := errors.Join(w.networks.release(t.Context(), "default", ours), w.networks.release(t.Context(), "default", ours)); err != nil {
		t.Error(err)
	}
}

func TestCreateStepsOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 2)
	got := map[string][]string{}
	for _, s := range w.CreateSteps(c, c.Members) {
		got[s.ID] = s.After
	}
	want := map[string][]string{
		"network": nil, "host": {"network"}, "machine/node0": {"host"}, "keys": nil, "image": nil,
		"golden-image": {"image", "network"},
		"disk/node1":   {"golden-image"}, "machine/node1": {"disk/node1", "keys", "network"},
		"disk/node2": {"golden-image"}, "machine/node2": {"disk/node2", "keys", "network"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the plan differs (-want +got):\n%s", diff)
	}
}

func TestEnsureKeysKeepsExistingKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	if have, err := w.haveKeys(t.Context(), c, c.Members); err != nil || have {
		t.Errorf("got %v, %v", have, err)
	}
	if err := w.ensureKeys(t.Context(), c, c.Members); err != nil {
		t.Fatal(err)
	}
	before, _ := w.cfg.Secrets.Secrets(t.Context(), "main")
	if err := w.ensureKeys(t.Context(), c, c.Members); err != nil {
		t.Fatal(err)
	}
	after, _ := w.cfg.Secrets.Secrets(t.Context(), "main")
	for k, v := range before.Values {
		if after.Get(k).Reveal() != v.Reveal() || !bytes.Contains([]byte(v.Reveal()), []byte("OPENSSH")) {
			t.Errorf("%s was made anew", k)
		}
	}
	if have, err := w.haveKeys(t.Context(), c, c.Members); err != nil || !have {
		t.Errorf("got %v, %v", have, err)
	}
}
