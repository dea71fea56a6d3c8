package libvirt

import (
	"slices"
	"testing"

	"pgapp/appliance"
)

func TestAvailable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kvm, accel string
		ok         bool
		why        string
	}{
		{"", appliance.AccelAuto, true, "libvirt 11.3.0 with KVM"},
		{"absent", appliance.AccelAuto, true, "libvirt 11.3.0, emulating"},
		{"", appliance.AccelTCG, true, "libvirt 11.3.0, emulating"},
		{"absent", appliance.AccelKVM, false, "this host's KVM can't run the guest: no kvm"},
	} {
		w := newWorld(t)
		w.fake.kvm = tc.kvm
		if ok, why := w.Available(t.Context(), appliance.Spec{Accel: tc.accel}); ok != tc.ok || why != tc.why {
			t.Errorf("%+v: got %v, %q", tc, ok, why)
		}
	}
}

func TestUnusedImagesGoAndUsedOnesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	clone := func(name, on string) {
		t.Helper()
		if on == "" {
			if err := w.fake.CreateVolume(t.Context(), poolName, rawVolume(name, 1)); err != nil {
				t.Fatal(err)
			}
		} else if _, err := w.ensureClone(t.Context(), name, w.fake.volumes[on], 1); err != nil {
			t.Fatal(err)
		}
		if err := w.markComplete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	clone("base-1.qcow2", "")
	clone("golden-1.qcow2", "base-1.qcow2")
	clone("base-2.qcow2", "")
	clone("golden-2.qcow2", "base-2.qcow2")
	clone("somebody-elses.qcow2", "")
	if _, err := w.ensureClone(t.Context(), "member.qcow2", w.fake.volumes["golden-2.qcow2"], 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.RemoveUnusedImages(t.Context(), quiet); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	for v := range w.fake.volumes {
		left = append(left, v)
	}
	slices.Sort(left)
	want := []string{"base-2.qcow2", "base-2.qcow2.ready", "golden-2.qcow2", "golden-2.qcow2.ready", "member.qcow2", "somebody-elses.qcow2", "somebody-elses.qcow2.ready"}
	if !slices.Equal(left, want) {
		t.Errorf("got %q, want %q", left, want)
	}
}
