package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// stateListen is the state of a socket that listens (include/net/tcp_states.h).
const stateListen = 10

// ends are the two addresses of a socket, its own first.
type ends struct{ local, remote netip.AddrPort }

// destroyAll ends the sockets with these addresses, if they are this machine's. The kernel
// looks for a listening socket where there is none with both addresses, so each socket is
// looked up first and destroyed by its cookie.
func destroyAll(which map[ends]bool) error {
	// A client may connect to an IPv4 address through a socket of IPv6, as Java's do.
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := sockets(family)
		if err != nil {
			return fmt.Errorf("listing sockets: %w", err)
		}
		for _, s := range sockets {
			at := ends{join(s.ID.Source, s.ID.SourcePort), join(s.ID.Destination, s.ID.DestinationPort)}
			if s.State == stateListen || !which[at] {
				continue
			}
			if err := destroy(s); err != nil {
				return fmt.Errorf("destroying the socket from %s to %s: %w", at.local, at.remote, err)
			}
		}
	}
	return nil
}

// sockets lists the TCP sockets. A list that changed while it was read is read again.
func sockets(family uint8) ([]*netlink.Socket, error) {
	for {
		list, err := netlink.SocketDiagTCP(family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
}

// destroy has the kernel end the socket: its owner gets an error and the other side a
// reset. One that has ended meanwhile is no error.
func destroy(s *netlink.Socket) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddData((*destruction)(s))
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) {
		return nil
	}
	return err
}

// destruction is a request for one socket: struct inet_diag_req_v2 of linux/inet_diag.h.
type destruction netlink.Socket

const sizeofRequest = 56

// Len is the size of the request.
func (*destruction) Len() int { return sizeofRequest }

// Serialize encodes the request. Addresses and ports are in network order.
func (d *destruction) Serialize() []byte {
	b := make([]byte, 0, sizeofRequest)
	b = append(b, d.Family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // any state
	b = binary.BigEndian.AppendUint16(b, d.ID.SourcePort)
	b = binary.BigEndian.AppendUint16(b, d.ID.DestinationPort)
	const sizeofAddress = 16
	for _, ip := range [][]byte{d.ID.Source, d.ID.Destination} {
		a, _ := netip.AddrFromSlice(ip)
		if d.Family == unix.AF_INET {
			a = a.Unmap()
		}
		b = append(append(b, a.AsSlice()...), make([]byte, sizeofAddress-len(a.AsSlice()))...)
	}
	b = binary.NativeEndian.AppendUint32(b, d.ID.Interface)
	b = binary.NativeEndian.AppendUint32(b, d.ID.Cookie[0])
	return binary.NativeEndian.AppendUint32(b, d.ID.Cookie[1])
}
