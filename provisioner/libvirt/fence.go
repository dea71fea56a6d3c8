package libvirt

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/host"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// libvirtFenceLimit bounds libvirt's part of a fence. A libvirtd that hangs must
	// not hold up a change of primary.
	libvirtFenceLimit = 3 * time.Second
	// killLimit bounds the wait for a killed QEMU process. A process that survives
	// SIGKILL for that long waits for a disk.
	killLimit = 15 * time.Second
	killPoll  = 20 * time.Millisecond
)

// errStillThere means that libvirt ended the domain, and then said that it runs or
// keeps saved memory.
var errStillThere = errors.New("the domain still runs, or keeps saved memory, after it was ended")

// Fence ends the machine at once, removes its saved memory, and proves that no
// QEMU process of the machine is left. If libvirt doesn't answer or doesn't know
// the machine, and pgapp runs as root, Fence kills the machine's QEMU process itself.
// Saved memory, which only libvirt can remove, then stays until pgapp starts the
// machine.
func (g *guest) Fence(ctx context.Context) error {
	err := g.fenceByLibvirt(ctx)
	if appliance.IsProblem(err, appliance.ErrForeignObject) || ctx.Err() != nil {
		return err
	}
	if proof := g.host.endProcesses(ctx, g.member); proof != nil {
		return errors.Join(proof, err)
	}
	if client, err := g.ssh(ctx); err == nil {
		client.Drop()
	}
	if errors.Is(err, errStillThere) {
		return err
	}
	return nil // what libvirt doesn't tell, the host's processes do
}

// fenceByLibvirt has libvirt end the machine. A machine that libvirt doesn't know
// is no error: the host's processes tell whether it runs.
func (g *guest) fenceByLibvirt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, libvirtFenceLimit)
	defer cancel()
	d, err := g.machines.domainOf(ctx, g.uuid, g.member)
	if err == nil {
		d, err = g.machines.pullPlug(ctx, d.UUID)
	}
	switch {
	case errors.Is(err, rpc.ErrNotFound):
		return nil
	case appliance.IsProblem(err, appliance.ErrForeignObject):
		return err
	case err != nil:
		return appliance.NewProblem(appliance.ErrFence, "fencing %q: %w", g.member.Domain, err)
	case !d.State.Off() || d.Saved:
		return appliance.NewProblem(appliance.ErrFence, "fencing %q: %w", d.Name, errStillThere)
	}
	return nil
}

// endProcesses kills the machine's QEMU processes if pgapp runs as root, and proves
// that none is left.
func (h Host) endProcesses(ctx context.Context, m appliance.Member) error {
	if !h.System.Root() {
		return h.proveEnded(ctx, m)
	}
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	err := wait.Until(ctx, killPoll, func(ctx context.Context) (bool, error) {
		left, err := processesWith(ctx, h.System, m.UUID)
		for _, p := range left {
			err = errors.Join(err, h.System.Kill(p))
		}
		return len(left) == 0, err
	})
	if err == nil {
		return nil
	}
	return errors.Join(h.proveEnded(context.WithoutCancel(ctx), m), appliance.NewProblem(appliance.ErrFence, "killing the QEMU processes of %q: %w", m.Domain, err))
}

// proveEnded looks for the machine's processes itself: libvirt may have lost
// the domain.
func (h Host) proveEnded(ctx context.Context, m appliance.Member) error {
	left, err := processesWith(ctx, h.System, m.UUID)
	if err != nil {
		return appliance.NewProblem(appliance.ErrFence, "looking for QEMU processes of %q: %w", m.Domain, err)
	}
	if len(left) > 0 {
		pids := make([]string, 0, len(left))
		for _, p := range left {
			pids = append(pids, strconv.Itoa(p.PID))
		}
		return appliance.NewProblem(appliance.ErrFence, "QEMU processes of %q still run: %s", m.Domain, strings.Join(pids, ", ")).
			WithHint("end them: kill -KILL %s", strings.Join(pids, " "))
	}
	return nil
}

// processesWith finds a machine's QEMU processes by the UUID in their
// arguments. Without a UUID it finds none.
func processesWith(ctx context.Context, system System, uuid string) ([]host.Process, error) {
	if uuid == "" {
		return nil, nil
	}
	all, err := system.Processes(ctx)
	if err != nil {
		return nil, err
	}
	var out []host.Process
	for _, p := range all {
		if !strings.Contains(filepath.Base(p.Argv[0]), "qemu") {
			continue
		}
		// Each -uuid counts: QEMU uses the last one, and a domain's name may be
		// "-uuid".
		for i := range p.Argv[1:] {
			if p.Argv[i] == "-uuid" && p.Argv[i+1] == uuid {
				out = append(out, p)
				break
			}
		}
	}
	return out, nil
}
