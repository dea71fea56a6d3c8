package libvirt

import (
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

// found is the doctor's finding of that id.
func found(t *testing.T, w world, s appliance.Spec, id string) appliance.Finding {
	t.Helper()
	all := w.Doctor(t.Context(), s)
	i := slices.IndexFunc(all, func(f appliance.Finding) bool { return f.ID == id })
	if i < 0 {
		t.Fatalf("no finding %s among %+v", id, all)
	}
	return all[i]
}

func TestDoctorRefreshesFreeSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.host.free[poolPath] = 2 << 20
	s := w.cluster(t, "main", uuidA, 3).Spec
	if f := found(t, w, s, "libvirt-pool"); f.Level != appliance.LevelFail || !strings.Contains(f.Summary, " 2 MiB free") {
		t.Errorf("got %+v", f)
	}
}

func TestDoctorRefusesFirstAddressOutsideNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cluster(t, "main", uuidA, 1).Spec
	s.FirstAddress = "192.168.130.101"
	if f := found(t, w, s, "libvirt-network"); f.Level != appliance.LevelFail || !strings.Contains(f.Summary, "192.168.122.0/24") {
		t.Errorf("got %+v", f)
	}
}

func TestDoctorReadsImageHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.cluster(t, "main", uuidA, 1).Spec
	s.Image = qcow2File(t, nil)
	if f := found(t, w, s, "image"); f.Level != appliance.LevelPass {
		t.Errorf("got %+v", f)
	}
	s.Image = qcow2File(t, func(b []byte) { b[0], b[1] = 0x1f, 0x8b })
	if f := found(t, w, s, "image"); f.Level != appliance.LevelFail || !strings.Contains(f.Summary, "gzip") {
		t.Errorf("got %+v", f)
	}
}

func TestStartMachineRefusesChangedSubnet(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.networks["default"].XML.IPs[0].Address = "192.168.130.1"
	for _, m := range []appliance.Member{c.Members[0], m} {
		err := w.StartMachine(t.Context(), c, m, quiet)
		if !appliance.IsProblem(err, appliance.ErrHostNetwork) || !strings.Contains(err.Error(), "192.168.130.0/24") {
			t.Errorf("%s: got %v", m.Name, err)
		}
	}
}

func TestAllocateInLargeNetwork(t *testing.T) {
	t.Parallel()
	for first, want := range map[string]string{"": "10.0.0.101", "10.77.3.9": "10.77.3.9"} {
		w := newWorld(t)
		ip := &w.fake.networks["default"].XML.IPs[0]
		ip.Address, ip.Netmask, ip.Prefix = "10.77.0.1", "255.0.0.0", 0
		one := 1
		spec := appliance.Spec{Name: "main", Provider: appliance.ProviderLibvirt, Standbys: &one, FirstAddress: first}.WithDefaults()
		ms, err := w.Allocate(t.Context(), appliance.AllocateRequest{Spec: spec, Cluster: "main", UUID: uuidA, Names: []string{"node0", "node1"}})
		if err != nil || ms[0].Host != "10.77.0.1" || ms[1].Host != want {
			t.Errorf("first %q: got %+v, %v, want %s", first, ms, err, want)
		}
	}
}

func TestDoctorTriesKVM(t *testing.T) {
	t.Parallel()
	for kvm, want := range map[string]struct {
		level appliance.FindingLevel
		words string
	}{
		"":        {appliance.LevelPass, "ran a trial machine"},
		"refuses": {appliance.LevelWarn, "failed to set MSR"},
		"pauses":  {appliance.LevelWarn, "paused"},
		"absent":  {appliance.LevelWarn, "has no KVM"},
	} {
		t.Run(kvm, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fake.kvm = kvm
			s := w.cluster(t, "main", uuidA, 1).Spec
			if f := found(t, w, s, "kvm"); f.Level != want.level || !strings.Contains(f.Summary, want.words) {
				t.Errorf("got %+v, want %+v", f, want)
			}
			if len(w.fake.domains) != 0 {
				t.Errorf("left: %q", w.inventory())
			}
		})
	}
}
