package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flow is a connection that the kernel translates.
type flow struct {
	client, at netip.AddrPort
	// member answers, to the address back.
	member, back netip.AddrPort
}

// States of a tracked connection that has ended (linux/netfilter/nf_conntrack_tcp.h). It
// stays listed for up to two minutes, and a new one of the same addresses takes its place.
const (
	stateTimeWait = 7
	stateClose    = 8
)

// strays returns the flows of the endpoints at the addresses that lead elsewhere than the
// leads say.
func strays(at []netip.AddrPort, leads []lead) ([]flow, error) {
	list, err := tracked()
	if err != nil {
		return nil, err
	}
	var out []flow
	for _, one := range list {
		if f, ok := flowOf(one); ok && stray(f, at, leads) {
			out = append(out, f)
		}
	}
	return out, nil
}

// tracked lists the connections that the kernel tracks. A list that changed while it was
// read is read again.
func tracked() ([]*netlink.ConntrackFlow, error) {
	for {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		switch {
		case errors.Is(err, netlink.ErrDumpInterrupted):
		case err != nil:
			return nil, fmt.Errorf("listing the connections that the kernel tracks: %w", err)
		default:
			return list, nil
		}
	}
}

func stray(f flow, at []netip.AddrPort, leads []lead) bool {
	i := slices.IndexFunc(leads, func(l lead) bool { return l.at == f.at })
	if i < 0 {
		return slices.Contains(at, f.at)
	}
	return f.member == leads[i].former || !slices.Contains(leads[i].may, f.member)
}

func flowOf(c *netlink.ConntrackFlow) (f flow, translated bool) {
	if p, ok := c.ProtoInfo.(*netlink.ProtoInfoTCP); !ok || p.State == stateTimeWait || p.State == stateClose {
		return f, false
	}
	f = flow{
		client: join(c.Forward.SrcIP, c.Forward.SrcPort), at: join(c.Forward.DstIP, c.Forward.DstPort),
		member: join(c.Reverse.SrcIP, c.Reverse.SrcPort), back: join(c.Reverse.DstIP, c.Reverse.DstPort),
	}
	return f, f.at != f.member
}

func join(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// end destroys the sockets of the flows and then makes the kernel forget the flows. In this
// order, since a connection whose flow is forgotten is picked up again by its next packet,
// and since the reset that a destroyed socket sends has to find its way.
func end(flows []flow) error {
	which, all := map[ends]bool{}, among{}
	for _, f := range flows {
		all[f] = true
		which[ends{f.client, f.at}], which[ends{f.member, f.back}] = true, true
	}
	if err := destroyAll(which); err != nil {
		return err
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, all)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // the caller lists them again
		return fmt.Errorf("forgetting connections that were cut: %w", err)
	}
	return nil
}

// among matches the flows that it lists.
type among map[flow]bool

// MatchConntrackFlow is what the library asks.
func (a among) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	f, _ := flowOf(c)
	return a[f]
}
