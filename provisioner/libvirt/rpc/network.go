package rpc

import (
	"context"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// Network is a virtual network.
type Network struct {
	Name   string
	XML    libvirtxml.Network
	Active bool
}

// Lease is an address that the network's DHCP gave out.
type Lease struct {
	MAC      string
	Address  string
	Hostname string
}

// Network looks up a network, or returns ErrNotFound.
func (c networkCalls) Network(ctx context.Context, name string) (Network, error) {
	n := Network{Name: name}
	err := c.ask(ctx, fmt.Sprintf("looking up network %q", name), withNetwork(name, func(v *golibvirt.Libvirt, net golibvirt.Network) error {
		text, err := v.NetworkGetXMLDesc(net, 0)
		if err != nil {
			return err
		}
		if err := n.XML.Unmarshal(text); err != nil {
			return fmt.Errorf("reading the definition of network %q: %w", name, err)
		}
		active, err := v.NetworkIsActive(net)
		n.Active = active == 1
		return err
	}))
	return n, err
}

func (c networkCalls) withNetwork(ctx context.Context, doing, name string, fn func(*golibvirt.Libvirt, golibvirt.Network) error) error {
	return c.call(ctx, fmt.Sprintf("%s network %q", doing, name), withNetwork(name, fn))
}

func withNetwork(name string, fn func(*golibvirt.Libvirt, golibvirt.Network) error) func(*golibvirt.Libvirt) error {
	return func(v *golibvirt.Libvirt) error {
		net, err := v.NetworkLookupByName(name)
		if err != nil {
			return err
		}
		return fn(v, net)
	}
}

// DefineNetwork defines a network.
func (c networkCalls) DefineNetwork(ctx context.Context, x libvirtxml.Network) error {
	text, err := x.Marshal()
	if err != nil {
		return fmt.Errorf("encoding network %q: %w", x.Name, err)
	}
	return c.call(ctx, fmt.Sprintf("defining network %q", x.Name), func(v *golibvirt.Libvirt) error {
		_, err := v.NetworkDefineXML(text)
		return err
	})
}

// StartNetwork starts a network. A repeat does nothing.
func (c networkCalls) StartNetwork(ctx context.Context, name string) error {
	return c.withNetwork(ctx, "starting", name, func(v *golibvirt.Libvirt, net golibvirt.Network) error {
		active, err := v.NetworkIsActive(net)
		if err != nil || active == 1 {
			return err
		}
		return v.NetworkCreate(net)
	})
}

// RemoveNetwork stops and undefines a network. An absent network is no error.
func (c networkCalls) RemoveNetwork(ctx context.Context, name string) error {
	return ignoreAbsent(c.withNetwork(ctx, "removing", name, func(v *golibvirt.Libvirt, net golibvirt.Network) error {
		active, err := v.NetworkIsActive(net)
		if err != nil {
			return err
		}
		if active == 1 {
			if err := v.NetworkDestroy(net); err != nil {
				return err
			}
		}
		return v.NetworkUndefine(net)
	}))
}

// AddHost reserves an address in the network's DHCP, both in the definition and,
// if the network is active, in the running network. libvirt refuses a second
// reservation for a MAC, so the caller has to check first.
func (c networkCalls) AddHost(ctx context.Context, network string, host libvirtxml.NetworkDHCPHost) error {
	return c.updateHost(ctx, "reserving "+host.IP+" in", network, golibvirt.NetworkUpdateCommandAddLast, host)
}

// RemoveHost removes the reservation for the host's MAC. libvirt refuses a missing
// reservation, so the caller has to check first.
func (c networkCalls) RemoveHost(ctx context.Context, network string, host libvirtxml.NetworkDHCPHost) error {
	return c.updateHost(ctx, "releasing "+host.IP+" in", network, golibvirt.NetworkUpdateCommandDelete, host)
}

// updateHost changes the definition and the running network in separate calls: an
// interrupted attempt may have changed only one of them, and libvirt refuses to
// repeat a change.
func (c networkCalls) updateHost(ctx context.Context, doing, network string, command golibvirt.NetworkUpdateCommand, host libvirtxml.NetworkDHCPHost) error {
	text, err := host.Marshal()
	if err != nil {
		return fmt.Errorf("encoding a reservation in network %q: %w", network, err)
	}
	return c.withNetwork(ctx, doing, network, func(v *golibvirt.Libvirt, net golibvirt.Network) error {
		active, err := v.NetworkIsActive(net)
		if err != nil {
			return err
		}
		flags := []golibvirt.NetworkUpdateFlags{golibvirt.NetworkUpdateAffectConfig}
		if active == 1 {
			flags = append(flags, golibvirt.NetworkUpdateAffectLive)
		}
		var errs []error
		for _, f := range flags {
			errs = append(errs, v.NetworkUpdateCompat(net, command, golibvirt.NetworkSectionIPDhcpHost, -1, text, f))
		}
		// One refused call is no failure: that change was already made.
		for _, e := range errs {
			if e == nil {
				return nil
			}
		}
		return errors.Join(errs...)
	})
}

// Leases lists the addresses that the network's DHCP gave out.
func (c networkCalls) Leases(ctx context.Context, network string) ([]Lease, error) {
	var out []Lease
	err := c.withNetwork(ctx, "listing the leases of", network, func(v *golibvirt.Libvirt, net golibvirt.Network) error {
		leases, _, err := v.NetworkGetDhcpLeases(net, nil, 1, 0)
		out = out[:0]
		for _, l := range leases {
			out = append(out, Lease{MAC: first(l.Mac), Address: l.Ipaddr, Hostname: first(l.Hostname)})
		}
		return err
	})
	return out, err
}

func first(o golibvirt.OptString) string {
	if len(o) == 0 {
		return ""
	}
	return o[0]
}
