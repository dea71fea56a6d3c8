package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

// stopServerLimit is how long PostgreSQL may take to end before its machine is
// powered off. Usually it has been stopped before.
const stopServerLimit = time.Minute

// StopMachine powers the machine off: over SSH, by its power button, and after
// two minutes by its plug. It reports each means after the first. A repeat does
// nothing. A machine that libvirt doesn't know has stopped only if none of its
// QEMU processes is left.
func (p *Provider) StopMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if m.Placement == appliance.PlacementLocal {
		return p.cfg.Local.StopMachine(ctx, c, m, report)
	}
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		return p.cfg.Host.proveEnded(ctx, m)
	}
	if err != nil {
		return err
	}
	return p.machines.stop(ctx, d.UUID, p.guest(c, m), m.Name == c.Primary, report)
}

// stop powers the machine off, and removes its saved memory.
func (mc *machines) stop(ctx context.Context, domain string, g *guest, primary bool, report appliance.Report) error {
	if err := mc.powerOff(ctx, domain, g, primary, report); err != nil {
		return err
	}
	return mc.virt.RemoveManagedSave(ctx, domain)
}

// pullPlug ends the domain at once, removes its saved memory, and looks at the
// domain again.
func (mc *machines) pullPlug(ctx context.Context, domain string) (rpc.Domain, error) {
	if err := mc.virt.DestroyDomain(ctx, domain); err != nil {
		return rpc.Domain{}, err
	}
	if err := mc.virt.RemoveManagedSave(ctx, domain); err != nil {
		return rpc.Domain{}, err
	}
	return mc.virt.Domain(ctx, domain)
}

// powerOff tries one means after the other until the machine is off: it resumes
// a paused primary (see halt), stops PostgreSQL and the guest over SSH, presses
// the power button, and finally pulls the plug.
func (mc *machines) powerOff(ctx context.Context, domain string, g *guest, primary bool, report appliance.Report) error {
	say := func(format string, args ...any) {
		if report != nil {
			report(appliance.Progress{Detail: fmt.Sprintf(format, args...)})
		}
	}
	defer func() {
		if client, e := g.ssh(ctx); e == nil {
			client.Drop()
		}
	}()
	d, err := mc.virt.Domain(ctx, domain)
	switch {
	case errors.Is(err, rpc.ErrNotFound):
		return nil
	case err != nil:
		return err
	case d.State.Off():
		return nil
	case d.State != rpc.DomainRunning && (!primary || !d.Resumable() || !mc.resume(ctx, domain, say)):
		say("the machine isn't running: pulling its plug")
		return mc.virt.DestroyDomain(ctx, domain)
	}
	pressed := mc.askOff(ctx, domain, g, say)
	limited, cancel := context.WithTimeout(ctx, mc.cfg.stopLimit)
	defer cancel()
	err = mc.awaitOff(limited, domain, pressed)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		say("the machine did not power off within %s: pulling its plug", mc.cfg.stopLimit)
		return mc.virt.DestroyDomain(ctx, domain)
	}
	return err
}

// askOff stops PostgreSQL and powers the guest off over SSH. If that fails it
// presses the power button, on which systemd stops PostgreSQL.
func (mc *machines) askOff(ctx context.Context, domain string, g *guest, say func(format string, args ...any)) (pressed bool) {
	limited, cancel := context.WithTimeout(ctx, stopServerLimit)
	defer cancel()
	err := g.StopServer(limited, appliance.StopFast)
	if err == nil {
		asked, cancel := context.WithTimeout(ctx, detachLimit)
		defer cancel()
		_, err = g.root(asked, `exec systemctl poweroff --no-block`)
	}
	if err == nil || ctx.Err() != nil {
		return false
	}
	say("the guest doesn't take commands (%s): pressing its power button", appliance.LastLine(err.Error()))
	_ = mc.virt.ShutdownDomain(ctx, domain) // a deaf guest is ended later
	return true
}

// pressEvery is the interval of presses of the power button: early in its boot
// a guest ignores it.
const pressEvery = 15 * time.Second

// awaitOff waits until the domain is off.
func (mc *machines) awaitOff(ctx context.Context, name string, press bool) error {
	last := time.Now()
	return wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		d, err := mc.virt.Domain(ctx, name)
		if errors.Is(err, rpc.ErrNotFound) {
			return true, nil
		}
		if err != nil || d.State.Off() {
			return err == nil, err
		}
		if press && d.State == rpc.DomainRunning && time.Since(last) > pressEvery {
			last = time.Now()
			_ = mc.virt.ShutdownDomain(ctx, name)
		}
		return false, nil
	})
}
