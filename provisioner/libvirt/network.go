package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// subnet is what a network's definition says about its addresses.
type subnet struct {
	// Host is the host's address with the network's prefix length.
	Host netip.Prefix
}

// contains tells whether a guest can have the address.
func (s subnet) contains(a netip.Addr) bool {
	return s.Host.Contains(a) && a != s.Host.Addr() && a != s.Host.Masked().Addr() && a != s.last()
}

// last is the broadcast address.
func (s subnet) last() netip.Addr {
	b := s.Host.Masked().Addr().As4()
	for i := s.Host.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

// at is the address with that offset from the network's own.
func (s subnet) at(offset int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(s.Host.Masked().Addr())+uint32(offset))
	return netip.AddrFrom4(b)
}

// offset is what at takes for the address.
func (s subnet) offset(a netip.Addr) int { return int(number(a) - number(s.Host.Masked().Addr())) }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// size is the number of addresses.
func (s subnet) size() int { return 1 << (32 - s.Host.Bits()) }

// defaultNetwork is the definition for a host that lacks libvirt's own. It
// has no spanning tree, whose delay would cost the first guest 4 s.
func defaultNetwork(t tag) (libvirtxml.Network, error) {
	meta, err := t.marshal()
	return libvirtxml.Network{
		Name:     appliance.DefaultNetwork,
		Metadata: &libvirtxml.NetworkMetadata{XML: meta},
		Forward:  &libvirtxml.NetworkForward{Mode: "nat"},
		Bridge:   &libvirtxml.NetworkBridge{Name: "virbr0", STP: "off", Delay: "0"},
		IPs: []libvirtxml.NetworkIP{{
			Address: "192.168.122.1", Netmask: "255.255.255.0",
			DHCP: &libvirtxml.NetworkDHCP{Ranges: []libvirtxml.NetworkDHCPRange{{Start: "192.168.122.2", End: "192.168.122.254"}}},
		}},
	}, err
}

// readSubnet finds the first IPv4 subnet of a network that routes or isolates.
func readSubnet(x libvirtxml.Network) (subnet, error) {
	for _, ip := range x.IPs {
		a, err := netip.ParseAddr(ip.Address)
		if err != nil || !a.Is4() {
			continue
		}
		bits := int(ip.Prefix)
		if bits == 0 {
			mask, err := netip.ParseAddr(ip.Netmask)
			if err != nil || !mask.Is4() {
				continue
			}
			m := mask.As4()
			for _, b := range m {
				for ; b != 0; b <<= 1 {
					bits++
				}
			}
		}
		if bits >= 8 && bits <= 29 {
			return subnet{netip.PrefixFrom(a, bits)}, nil
		}
	}
	return subnet{}, appliance.NewProblem(appliance.ErrHostNetwork, "network %q has no IPv4 subnet with the host's address and room for guests", x.Name).
		WithHint("choose another with --network, or see 'virsh net-dumpxml %s'", x.Name)
}

// network looks the network up. If the default network doesn't exist, it
// returns the definition that ensureNetwork will use.
func (ns *networks) network(ctx context.Context, name string, t tag) (n rpc.Network, exists bool, err error) {
	n, err = ns.virt.Network(ctx, name)
	if !errors.Is(err, rpc.ErrNotFound) {
		return n, err == nil, err
	}
	if name != appliance.DefaultNetwork {
		return n, false, appliance.NewProblem(appliance.ErrHostNetwork, "there is no network %q", name).
			WithHint("see 'virsh net-list --all'")
	}
	x, err := defaultNetwork(t)
	return rpc.Network{Name: name, XML: x}, false, err
}

// ensureNetwork makes the default network where it is missing, and starts the
// network.
func (ns *networks) ensureNetwork(ctx context.Context, c appliance.Cluster) (subnet, error) {
	release, err := ns.turns.turn(ctx, "the network")
	if err != nil {
		return subnet{}, err
	}
	defer release()
	name := networkName(c.Spec)
	n, exists, err := ns.network(ctx, name, memberTag(c, ""))
	if err != nil {
		return subnet{}, err
	}
	s, err := readSubnet(n.XML)
	if err != nil {
		return s, err
	}
	if !exists {
		if err := ns.virt.DefineNetwork(ctx, n.XML); err != nil {
			return s, err
		}
	}
	return s, ns.virt.StartNetwork(ctx, name)
}

// existing looks up a network that has to exist.
func (ns *networks) existing(ctx context.Context, name string) (rpc.Network, error) {
	return ns.virt.Network(ctx, name)
}

// start starts the network. A repeat does nothing.
func (ns *networks) start(ctx context.Context, name string) error {
	return ns.virt.StartNetwork(ctx, name)
}

// leases lists the addresses that the network's DHCP has given out.
func (ns *networks) leases(ctx context.Context, name string) ([]rpc.Lease, error) {
	return ns.virt.Leases(ctx, name)
}

// checkAddress refuses a member whose address is no longer in the network, as
// after the network's subnet was changed.
func checkAddress(c appliance.Cluster, m appliance.Member, s subnet) error {
	a, err := netip.ParseAddr(m.Host)
	if err == nil && (s.contains(a) || m.Placement == appliance.PlacementLocal && a == s.Host.Addr()) {
		return nil
	}
	name := networkName(c.Spec)
	return appliance.NewProblem(appliance.ErrHostNetwork, "network %q now has the subnet %s and the host's address %s, but %s has the address %s", name, s.Host.Masked(), s.Host.Addr(), m.Name, m.Host).
		WithHint("restore the network's former addresses: virsh net-edit %[1]s, then virsh net-destroy %[1]s && virsh net-start %[1]s; or recreate the cluster: pgapp down --volumes, pgapp up", name)
}

func networkName(s appliance.Spec) string {
	if s.Network == "" {
		return appliance.DefaultNetwork
	}
	return s.Network
}

// reservations lists the hosts in the network's DHCP.
func reservations(x libvirtxml.Network) []libvirtxml.NetworkDHCPHost {
	var out []libvirtxml.NetworkDHCPHost
	for _, ip := range x.IPs {
		if ip.DHCP != nil {
			out = append(out, ip.DHCP.Hosts...)
		}
	}
	return out
}

// hasDHCP tells whether the network gives addresses out.
func hasDHCP(x libvirtxml.Network) bool {
	for _, ip := range x.IPs {
		if ip.DHCP != nil {
			return true
		}
	}
	return false
}

// reserved tells whether the network has a reservation of that name.
func (ns *networks) reserved(ctx context.Context, network, name string) (bool, error) {
	n, err := ns.virt.Network(ctx, network)
	if errors.Is(err, rpc.ErrNotFound) {
		return false, nil
	}
	for _, h := range reservations(n.XML) {
		if h.Name == name {
			return true, nil
		}
	}
	return false, err
}

// reserve keeps the network's DHCP from giving the member's address to
// another. A repeat does nothing.
func (ns *networks) reserve(ctx context.Context, network string, t tag, mac, address string) error {
	n, err := ns.virt.Network(ctx, network)
	if err != nil || !hasDHCP(n.XML) {
		return err
	}
	want := libvirtxml.NetworkDHCPHost{MAC: mac, IP: address, Name: reservationName(t)}
	for _, h := range reservations(n.XML) {
		ours := h.Name == want.Name
		switch {
		case ours && h.IP == address && strings.EqualFold(h.MAC, mac):
			return nil
		case ours:
			if err := ns.virt.RemoveHost(ctx, network, h); err != nil {
				return err
			}
		case h.IP == address || strings.EqualFold(h.MAC, mac):
			return appliance.NewProblem(appliance.ErrHostAddressTaken, "network %q reserves %s for another machine (%s, %s)", network, address, h.Name, h.MAC).
				WithHint(`remove that entry: virsh net-update %s delete ip-dhcp-host "<host mac='%s' ip='%s'/>" --live --config; then run the same command again`, network, h.MAC, h.IP)
		}
	}
	return ns.virt.AddHost(ctx, network, want)
}

// release removes the reservations whose names match. A repeat does nothing.
func (ns *networks) release(ctx context.Context, network string, match func(name string) bool) error {
	n, err := ns.virt.Network(ctx, network)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range reservations(n.XML) {
		if match(h.Name) {
			errs = append(errs, ns.virt.RemoveHost(ctx, network, h))
		}
	}
	return errors.Join(errs...)
}
