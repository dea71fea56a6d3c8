package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// DomainState is libvirt's state of a domain.
type DomainState int32

// The states that pgapp distinguishes.
const (
	DomainRunning DomainState = DomainState(golibvirt.DomainRunning)
	DomainPaused  DomainState = DomainState(golibvirt.DomainPaused)
	DomainShutoff DomainState = DomainState(golibvirt.DomainShutoff)
	DomainCrashed DomainState = DomainState(golibvirt.DomainCrashed)
)

// Off reports whether the domain has no QEMU process.
func (s DomainState) Off() bool { return s == DomainShutoff || s == DomainCrashed }

// Domain is a domain with its definition and state.
type Domain struct {
	Name string
	UUID string
	// XML is the definition that the next start uses.
	XML   libvirtxml.Domain
	State DomainState
	// Reason is libvirt's reason for the state; its meaning depends on the state.
	Reason int32
	// Saved is set if a managed save image exists, which a start would restore.
	Saved bool
}

// Thawed reports whether a running domain was restored from a saved image rather
// than booted.
func (d Domain) Thawed() bool {
	return d.State == DomainRunning &&
		(d.Reason == int32(golibvirt.DomainRunningRestored) || d.Reason == int32(golibvirt.DomainRunningFromSnapshot))
}

// Resumable reports whether a user or a full disk has paused the domain, so that
// the domain can be resumed.
func (d Domain) Resumable() bool {
	return d.State == DomainPaused &&
		(d.Reason == int32(golibvirt.DomainPausedUser) || d.Reason == int32(golibvirt.DomainPausedIoerror))
}

// Domains lists all domains, including those that aren't pgapp's.
func (c domainCalls) Domains(ctx context.Context) ([]Domain, error) {
	var out []Domain
	err := c.ask(ctx, "listing domains", func(v *golibvirt.Libvirt) error {
		doms, _, err := v.ConnectListAllDomains(1, 0)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, dom := range doms {
			d, err := describe(v, dom)
			if golibvirt.IsNotFound(err) {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

func describe(v *golibvirt.Libvirt, dom golibvirt.Domain) (Domain, error) {
	d := Domain{Name: dom.Name, UUID: formatUUID(dom.UUID)}
	text, err := v.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive)
	if err != nil {
		return d, err
	}
	if err := d.XML.Unmarshal(text); err != nil {
		return d, fmt.Errorf("reading the definition of domain %q: %w", dom.Name, err)
	}
	state, reason, err := v.DomainGetState(dom, 0)
	if err != nil {
		return d, err
	}
	d.State, d.Reason = DomainState(state), reason
	saved, err := v.DomainHasManagedSaveImage(dom, 0)
	d.Saved = saved == 1
	return d, err
}

func formatUUID(u golibvirt.UUID) string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// DefineDomain defines the domain, or changes the definition of the one with
// the same name and UUID. A repeat is safe.
func (c domainCalls) DefineDomain(ctx context.Context, d libvirtxml.Domain) error {
	text, err := d.Marshal()
	if err != nil {
		return fmt.Errorf("encoding domain %q: %w", d.Name, err)
	}
	return c.call(ctx, fmt.Sprintf("defining domain %q", d.Name), func(v *golibvirt.Libvirt) error {
		dom, err := v.DomainDefineXMLFlags(text, golibvirt.DomainDefineValidate)
		if err != nil {
			return err
		}
		return v.DomainSetAutostart(dom, 0)
	})
}

// StartDomain boots the domain. A saved image is discarded, not restored. A
// repeat on a running domain does nothing.
func (c domainCalls) StartDomain(ctx context.Context, name string) error {
	return c.withDomain(ctx, "starting", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		state, _, err := v.DomainGetState(dom, 0)
		if err != nil || DomainState(state) == DomainRunning {
			return err
		}
		_, err = v.DomainCreateWithFlags(dom, uint32(golibvirt.DomainStartForceBoot))
		return err
	})
}

// ShutdownDomain asks the guest to power off and doesn't wait. A repeat is safe.
func (c domainCalls) ShutdownDomain(ctx context.Context, name string) error {
	return ignoreState(c.withDomain(ctx, "shutting down", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainShutdownFlags(dom, golibvirt.DomainShutdownAcpiPowerBtn)
	}))
}

// DestroyDomain cuts the domain's power and returns when its QEMU process has
// ended. A domain that is off or absent is no error.
func (c domainCalls) DestroyDomain(ctx context.Context, name string) error {
	return ignoreAbsent(ignoreState(c.withDomain(ctx, "ending", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainDestroyFlags(dom, golibvirt.DomainDestroyDefault)
	})))
}

// RemoveManagedSave removes a saved image, so that no start restores it. A repeat
// does nothing. An absent domain is no error: a domain that was undefined while
// it ran disappears when it is off.
func (c domainCalls) RemoveManagedSave(ctx context.Context, name string) error {
	return ignoreAbsent(c.withDomain(ctx, "removing the saved image of", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		saved, err := v.DomainHasManagedSaveImage(dom, 0)
		if err != nil || saved == 0 {
			return err
		}
		return v.DomainManagedSaveRemove(dom, 0)
	}))
}

// UndefineDomain removes the definition of a domain that is off, with its NVRAM,
// saved image and metadata of snapshots and checkpoints. An absent or transient
// domain is no error: libvirt removes a transient domain when it ends.
func (c domainCalls) UndefineDomain(ctx context.Context, name string) error {
	return ignoreAbsent(c.withDomain(ctx, "undefining", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return v.DomainUndefineFlags(dom, golibvirt.DomainUndefineManagedSave|golibvirt.DomainUndefineNvram|
			golibvirt.DomainUndefineSnapshotsMetadata|golibvirt.DomainUndefineCheckpointsMetadata)
	}))
}

// Capabilities returns what libvirt supports for q35 domains of the type ("kvm",
// "qemu").
func (c *caller) Capabilities(ctx context.Context, virtType string) (libvirtxml.DomainCaps, error) {
	var caps libvirtxml.DomainCaps
	err := c.call(ctx, fmt.Sprintf("asking what domains of type %s can be", virtType), func(v *golibvirt.Libvirt) error {
		text, err := v.ConnectGetDomainCapabilities(nil, golibvirt.OptString{"x86_64"}, golibvirt.OptString{"q35"}, golibvirt.OptString{virtType}, 0)
		if err != nil {
			return err
		}
		return caps.Unmarshal(text)
	})
	return caps, err
}

func ignoreAbsent(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func ignoreState(err error) error {
	if errors.Is(err, ErrInactive) {
		return nil
	}
	return err
}
