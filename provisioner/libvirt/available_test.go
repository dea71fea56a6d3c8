package libvirt

import (
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
