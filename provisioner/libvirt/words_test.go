package libvirt

import (
	"strings"
	"testing"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

func TestPowerOfReadsDomainState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		state   rpc.DomainState
		reason  int32
		booting bool
		want    appliance.PowerState
		words   string
	}{
		{"runs", rpc.DomainRunning, 1, false, appliance.PowerOn, ""},
		{"boots", rpc.DomainRunning, 1, true, appliance.PowerBooting, "boots"},
		{"off", rpc.DomainShutoff, int32(golibvirt.DomainShutoffDestroyed), false, appliance.PowerOff, "is off"},
		{"off, about to boot", rpc.DomainShutoff, 0, true, appliance.PowerOff, "is off"},
		{"crashed", rpc.DomainShutoff, int32(golibvirt.DomainShutoffCrashed), false, appliance.PowerOff, "QEMU crashed"},
		{"panicked and ended", rpc.DomainShutoff, int32(golibvirt.DomainShutoffCrashed), false, appliance.PowerOff, "kernel panicked"},
		{"suspended", rpc.DomainPaused, int32(golibvirt.DomainPausedUser), false, appliance.PowerPaused, "virsh resume billing-db"},
		{"suspended while it boots", rpc.DomainPaused, int32(golibvirt.DomainPausedUser), true, appliance.PowerPaused, "by hand"},
		{"full disk", rpc.DomainPaused, int32(golibvirt.DomainPausedIoerror), false, appliance.PowerPaused, "I/O error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, c, m := inLife(t)
			w.fake.rename(m.Domain, "billing-db")
			d := w.fake.domains["billing-db"]
			d.State, d.Reason = tt.state, tt.reason
			if tt.booting {
				defer w.machines.bringUp(m.UUID)()
			}
			got, err := w.guest(c, m).Power(t.Context())
			if err != nil || got.State != tt.want || !strings.Contains(got.Reason, tt.words) {
				t.Errorf("got %+v, %v, want %s with %q", got, err, tt.want, tt.words)
			}
		})
	}
}

func TestPowerOfMissingDomainIsOff(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	delete(w.fake.domains, m.Domain)
	if got, err := w.guest(c, m).Power(t.Context()); err != nil || got.State != appliance.PowerOff {
		t.Errorf("got %+v, %v", got, err)
	}
	if w.machines.isBooting(m.UUID) {
		t.Error("it boots without anybody who brings it up")
	}
}
