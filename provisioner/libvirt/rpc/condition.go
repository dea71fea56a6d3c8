package rpc

import (
	"context"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// Condition is a domain's state and libvirt's reason for it.
type Condition struct {
	State  DomainState
	Reason int32
}

// Suspended reports whether the domain has a QEMU process whose processors stand
// still.
func (c Condition) Suspended() bool {
	return c.State == DomainPaused || c.State == DomainState(golibvirt.DomainPmsuspended)
}

// DiskFailed reports whether QEMU has paused the domain because its disk can't be
// read or written.
func (c Condition) DiskFailed() bool {
	return c.State == DomainPaused && c.Reason == int32(golibvirt.DomainPausedIoerror)
}

// String names the state and the reason as virsh domstate --reason does.
func (c Condition) String() string {
	state := "no state"
	var reasons []string
	switch golibvirt.DomainState(c.State) {
	case golibvirt.DomainRunning:
		state, reasons = "running", []string{
			"unknown", "booted", "migrated", "restored", "from snapshot", "unpaused", "migration canceled",
			"save canceled", "event wakeup", "crashed", "post-copy", "post-copy failed",
		}
	case golibvirt.DomainBlocked:
		state = "idle"
	case golibvirt.DomainPaused:
		state, reasons = "paused", []string{
			"unknown", "user", "migrating", "saving", "dumping", "I/O error", "watchdog", "from snapshot",
			"shutting down", "creating snapshot", "crashed", "starting up", "post-copy", "post-copy failed", "API error",
		}
	case golibvirt.DomainShutdown:
		state, reasons = "in shutdown", []string{"unknown", "user"}
	case golibvirt.DomainShutoff:
		state, reasons = "shut off", []string{
			"unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot", "daemon",
		}
	case golibvirt.DomainCrashed:
		state, reasons = "crashed", []string{"unknown", "panicked"}
	case golibvirt.DomainPmsuspended:
		state = "pmsuspended"
	}
	if c.Reason > 0 && int(c.Reason) < len(reasons) {
		return fmt.Sprintf("%s (%s)", state, reasons[c.Reason])
	}
	return state
}

// Condition returns the state of a domain, or ErrNotFound. Unlike other calls,
// Condition doesn't wait for a libvirt that is restarted.
func (c domainCalls) Condition(ctx context.Context, key string) (Condition, error) {
	var out Condition
	ask := func(v *golibvirt.Libvirt) error {
		dom, err := lookUp(v, key)
		if err != nil {
			return err
		}
		state, reason, err := v.DomainGetState(dom, 0)
		out = Condition{DomainState(state), reason}
		return err
	}
	err := c.attempt(ctx, ask)
	if lost(err) && ctx.Err() == nil {
		err = c.attempt(ctx, ask) // the first connection may be from before a restart
	}
	if err != nil {
		return Condition{}, problem(fmt.Sprintf("asking for the state of domain %q", key), err)
	}
	return out, nil
}
