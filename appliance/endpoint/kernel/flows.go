package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is a connection that the kernel tracks.
type Flow struct {
	Client, At netip.AddrPort
	// Member answers, to the address Back. It is At where the kernel doesn't translate.
	Member, Back netip.AddrPort
	// Ended is set where the kernel remembers a connection that is over. It leads a new one
	// of the same client's port the same way, unless a FIN began the end
	// (tcp_in_window and nf_conntrack_tcp_packet in net/netfilter/nf_conntrack_proto_tcp.c).
	Ended bool
}

// States of a tracked connection that has ended (linux/netfilter/nf_conntrack_tcp.h). It
// stays listed for up to two minutes.
const (
	stateTimeWait = 7
	stateClose    = 8
)

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

func flowOf(c *netlink.ConntrackFlow) (f Flow, ok bool) {
	p, ok := c.ProtoInfo.(*netlink.ProtoInfoTCP)
	if !ok {
		return f, false
	}
	return Flow{
		Client: join(c.Forward.SrcIP, c.Forward.SrcPort), At: join(c.Forward.DstIP, c.Forward.DstPort),
		Member: join(c.Reverse.SrcIP, c.Reverse.SrcPort), Back: join(c.Reverse.DstIP, c.Reverse.DstPort),
		Ended: p.State == stateTimeWait || p.State == stateClose,
	}, true
}

// translated tells whether the kernel leads the connection elsewhere than it was meant for.
func (f Flow) translated() bool { return f.At != f.Member }

func join(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// end destroys the sockets of the flows and then makes the kernel forget the flows. In this
// order, since a connection whose flow is forgotten is picked up again by its next packet,
// and since the reset that a destroyed socket sends has to find its way.
func end(flows []Flow) error {
	if len(flows) == 0 {
		return nil
	}
	which, all := map[ends]bool{}, among{}
	for _, f := range flows {
		if !f.Ended {
			which[ends{f.Client, f.At}], which[ends{f.Member, f.Back}] = true, true
		}
		f.Ended = false
		all[f] = true
	}
	if len(which) > 0 {
		if err := destroyAll(which); err != nil {
			return err
		}
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, all)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // the caller lists them again
		return fmt.Errorf("forgetting connections that were cut: %w", err)
	}
	return nil
}

// among matches the flows that it lists, ended or not: the end of their sockets ends them.
type among map[Flow]bool

// MatchConntrackFlow is what the library asks.
func (a among) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	f, ok := flowOf(c)
	f.Ended = false
	return ok && a[f]
}
