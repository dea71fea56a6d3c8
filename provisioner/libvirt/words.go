package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

var _ appliance.Powered = (*guest)(nil)

// Power asks libvirt for the state of the member's domain, under any name.
func (g *guest) Power(ctx context.Context) (appliance.Power, error) {
	d, err := g.machines.domainOf(ctx, g.uuid, g.member)
	if errors.Is(err, rpc.ErrNotFound) {
		if err := g.host.proveEnded(ctx, g.member); err != nil {
			return appliance.Power{}, err
		}
		return appliance.Power{State: appliance.PowerOff, Reason: "libvirt has no domain for it"}, nil
	}
	if err != nil {
		return appliance.Power{}, err
	}
	return powerOf(g.host.Files, d, g.machines.isBooting(g.member.UUID)), nil
}

// powerOf reads a domain's state. booting is set while this process brings the
// machine up.
func powerOf(files Files, d rpc.Domain, booting bool) appliance.Power {
	const panicked = int32(golibvirt.DomainCrashedPanicked)
	switch {
	case booting && !d.State.Off() && (d.State != rpc.DomainPaused || d.Reason == int32(golibvirt.DomainPausedStartingUp)):
		return appliance.Power{State: appliance.PowerBooting, Reason: "its machine boots"}
	case d.State == rpc.DomainCrashed && d.Reason == panicked:
		return appliance.Power{State: appliance.PowerOff, Reason: "its machine is off: the guest's kernel panicked"}
	case d.State == rpc.DomainCrashed, d.State == rpc.DomainShutoff && d.Reason == int32(golibvirt.DomainShutoffCrashed):
		// on_crash has ended a guest that panicked, and libvirt's reason is the same for both.
		return appliance.Power{State: appliance.PowerOff, Reason: "its machine is off: the guest's kernel panicked or QEMU crashed, see /var/log/libvirt/qemu/" + d.Name + ".log"}
	case d.State.Off() && d.Saved:
		return appliance.Power{State: appliance.PowerOff, Reason: "its machine is off, with saved memory; pgapp discards that and boots the machine"}
	case d.State.Off():
		return appliance.Power{State: appliance.PowerOff, Reason: "its machine is off"}
	case d.State == rpc.DomainPaused:
		return appliance.Power{State: appliance.PowerPaused, Reason: whyPaused(files, d)}
	case d.State == rpc.DomainState(golibvirt.DomainPmsuspended):
		return appliance.Power{State: appliance.PowerPaused, Reason: "the guest suspended itself; wake it: virsh dompmwakeup " + d.Name}
	}
	return appliance.Power{State: appliance.PowerOn}
}

func whyPaused(files Files, d rpc.Domain) string {
	resume := "; resume it: virsh resume " + d.Name
	switch golibvirt.DomainPausedReason(d.Reason) {
	case golibvirt.DomainPausedIoerror:
		why := "an I/O error on its disk"
		for _, f := range diskFiles(d) {
			if free, err := files.FreeBytes(filepath.Dir(f)); err == nil {
				return fmt.Sprintf("%s, %d MiB are free in %s; once that is fixed,%s", why, free>>20, filepath.Dir(f), resume[1:])
			}
		}
		return why + "; once that is fixed," + resume[1:]
	case golibvirt.DomainPausedUser:
		return "paused by hand" + resume
	case golibvirt.DomainPausedMigration, golibvirt.DomainPausedPostcopy, golibvirt.DomainPausedPostcopyFailed:
		return "paused by a migration"
	case golibvirt.DomainPausedSave, golibvirt.DomainPausedDump, golibvirt.DomainPausedSnapshot:
		return "paused while libvirt saves its state"
	case golibvirt.DomainPausedWatchdog:
		return "paused by its watchdog" + resume
	case golibvirt.DomainPausedCrashed:
		return "the guest's kernel panicked; restart it: pgapp restart"
	case golibvirt.DomainPausedStartingUp:
		return "it is being started"
	case golibvirt.DomainPausedShuttingDown:
		return "it is being shut down"
	}
	return "paused" + resume
}

// bringUp notes that this process brings the machine up, until done is called.
func (mc *machines) bringUp(uuid string) (done func()) {
	mc.mu.Lock()
	defer mc.mu.Unlock()
	mc.booting[uuid]++
	return func() {
		mc.mu.Lock()
		defer mc.mu.Unlock()
		if mc.booting[uuid]--; mc.booting[uuid] == 0 {
			delete(mc.booting, uuid)
		}
	}
}

func (mc *machines) isBooting(uuid string) bool {
	mc.mu.Lock()
	defer mc.mu.Unlock()
	return mc.booting[uuid] > 0
}
