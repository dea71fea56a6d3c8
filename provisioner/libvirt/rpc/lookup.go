package rpc

import (
	"context"
	"fmt"
	"math"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"
)

// Domain looks up a domain by UUID or name, or returns ErrNotFound. All calls
// that take a domain's name also accept its UUID, as virsh does. A renamed domain
// keeps its UUID.
func (c domainCalls) Domain(ctx context.Context, key string) (Domain, error) {
	var d Domain
	err := c.askDomain(ctx, "looking up", key, func(v *golibvirt.Libvirt, dom golibvirt.Domain) (err error) {
		d, err = describe(v, dom)
		return err
	})
	return d, err
}

// ProcessorTime is the time that the processors of this host have worked for the domain
// since it was started: for the guest and for QEMU itself. A domain that is off has none.
func (c domainCalls) ProcessorTime(ctx context.Context, key string) (time.Duration, error) {
	var used time.Duration
	err := c.askDomain(ctx, "asking for the processor time of", key, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		_, _, _, _, ns, err := v.DomainGetInfo(dom)
		used = time.Duration(min(ns, math.MaxInt64)) // #nosec G115 -- bounded
		return err
	})
	return used, err
}

// askDomain finds the domain and calls fn, which only asks.
func (c domainCalls) askDomain(ctx context.Context, doing, key string, fn func(*golibvirt.Libvirt, golibvirt.Domain) error) error {
	return c.ask(ctx, fmt.Sprintf("%s domain %q", doing, key), withDomain(key, fn))
}

// withDomain finds the domain and calls fn.
func (c domainCalls) withDomain(ctx context.Context, doing, key string, fn func(*golibvirt.Libvirt, golibvirt.Domain) error) error {
	return c.call(ctx, fmt.Sprintf("%s domain %q", doing, key), withDomain(key, fn))
}

func withDomain(key string, fn func(*golibvirt.Libvirt, golibvirt.Domain) error) func(*golibvirt.Libvirt) error {
	return func(v *golibvirt.Libvirt) error {
		dom, err := lookUp(v, key)
		if err != nil {
			return err
		}
		return fn(v, dom)
	}
}

func lookUp(v *golibvirt.Libvirt, key string) (golibvirt.Domain, error) {
	if len(key) == len(uuid.Nil.String()) {
		if id, err := uuid.Parse(key); err == nil {
			return v.DomainLookupByUUID(golibvirt.UUID(id))
		}
	}
	return v.DomainLookupByName(key)
}

// RunDomain starts a domain without defining it. libvirt ends the domain when the
// connection closes.
func (c domainCalls) RunDomain(ctx context.Context, d libvirtxml.Domain) error {
	text, err := d.Marshal()
	if err != nil {
		return fmt.Errorf("encoding domain %q: %w", d.Name, err)
	}
	return c.once(ctx, fmt.Sprintf("starting domain %q", d.Name), func(v *golibvirt.Libvirt) error {
		_, err := v.DomainCreateXML(text, golibvirt.DomainStartAutodestroy)
		return err
	})
}
