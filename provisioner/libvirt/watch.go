package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// signLimit bounds libvirt's part of a sign. A look at a machine may take 2 s: a
	// libvirtd that hangs leaves time to look for processes.
	signLimit = time.Second
	// followAgain is the interval of attempts to follow libvirt's events again.
	followAgain = 500 * time.Millisecond
)

var _ appliance.Watched = (*Provider)(nil)

// watching watches machines by libvirt's events, and asks libvirt for their state.
type watching struct {
	host     Host
	machines *machines
	virt     watchCalls
}

// Watch follows libvirt's events over a connection of its own. It wakes when the
// connection is lost, and again when another one has taken its place.
func (p *Provider) Watch(ctx context.Context, c appliance.Cluster, m appliance.Member, wake func(detail string)) {
	if m.Placement == appliance.PlacementLocal {
		p.cfg.LocalWatched.Watch(ctx, c, m, wake)
		return
	}
	p.watching.follow(ctx, m, wake)
}

func (w *watching) follow(ctx context.Context, m appliance.Member, wake func(detail string)) {
	lost := false
	// The error is the context's end.
	_ = wait.Until(ctx, followAgain, func(ctx context.Context) (bool, error) {
		began := false
		err := w.virt.Follow(ctx, func() {
			began = true
			wake("libvirt's events are followed")
		}, func(e rpc.Event) {
			if strings.EqualFold(e.UUID, m.UUID) || e.Name == m.Domain {
				wake("libvirt says " + e.What)
			}
		})
		if ctx.Err() == nil && (began || !lost) {
			wake(err.Error())
		}
		lost = true
		return false, nil
	})
}

// Sign asks libvirt for the domain's state. Where libvirt says that the domain is off,
// doesn't answer or doesn't know the domain, Sign looks for the machine's QEMU processes:
// without one, the machine is off.
func (p *Provider) Sign(ctx context.Context, c appliance.Cluster, m appliance.Member) (appliance.Sign, error) {
	if m.Placement == appliance.PlacementLocal {
		return p.cfg.LocalWatched.Sign(ctx, c, m)
	}
	return p.watching.sign(ctx, c.UUID, m)
}

func (w *watching) sign(ctx context.Context, cluster string, m appliance.Member) (appliance.Sign, error) {
	cond, err := w.condition(ctx, cluster, m)
	if err == nil {
		out := appliance.Sign{Vital: vitalOf(cond), Detail: cond.String()}
		if out.Vital == appliance.VitalGone {
			left, err := processesWith(ctx, w.host.System, m.UUID)
			out.Off = m.UUID != "" && err == nil && len(left) == 0
		}
		return out, nil
	}
	if ctx.Err() != nil || appliance.IsProblem(err, appliance.ErrForeignObject) || m.UUID == "" && !errors.Is(err, rpc.ErrNotFound) {
		return appliance.Sign{}, err
	}
	left, e := processesWith(ctx, w.host.System, m.UUID)
	switch {
	case e != nil:
		return appliance.Sign{}, errors.Join(err, e)
	case len(left) > 0:
		return appliance.Sign{}, fmt.Errorf("process %d of the machine runs: %w", left[0].PID, err)
	}
	detail := "libvirt doesn't answer, and no QEMU process of the machine is left"
	if errors.Is(err, rpc.ErrNotFound) {
		detail = "libvirt has no such domain, and no QEMU process of the machine is left"
	}
	return appliance.Sign{Vital: appliance.VitalGone, Off: m.UUID != "", Detail: detail}, nil
}

// condition finds the domain by its recorded UUID, else as domainOf does.
func (w *watching) condition(ctx context.Context, cluster string, m appliance.Member) (rpc.Condition, error) {
	ctx, cancel := context.WithTimeout(ctx, signLimit)
	defer cancel()
	if m.UUID != "" {
		cond, err := w.virt.Condition(ctx, m.UUID)
		if !errors.Is(err, rpc.ErrNotFound) {
			return cond, err
		}
	}
	d, err := w.machines.domainOf(ctx, cluster, m)
	return rpc.Condition{State: d.State, Reason: d.Reason}, err
}

func vitalOf(c rpc.Condition) appliance.Vital {
	switch {
	case c.State.Off():
		return appliance.VitalGone
	case c.DiskFailed():
		return appliance.VitalDisk
	case c.Suspended():
		return appliance.VitalHalted
	}
	return appliance.VitalRunning
}
