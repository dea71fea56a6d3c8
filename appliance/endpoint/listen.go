package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// rebind is the pause between two attempts at an address that is taken.
const rebind = 500 * time.Millisecond

// listen makes the endpoint listen at the address of its route. The caller holds
// server.mu. If the address can't be bound, the endpoint tries again by itself.
func (e *endpoint) listen() {
	want := address(e.role, e.route)
	if e.s.retired || e.gone || e.listener != nil && e.address == want {
		return
	}
	e.unlisten()
	e.address = want
	if l := e.s.inherited[want]; l != nil {
		delete(e.s.inherited, want)
		e.accept(l)
		return
	}
	l, err := listenAt(e.s.done, want)
	if err != nil {
		if e.problem == "" {
			e.s.log.Error("the endpoint does not listen", "cluster", e.cluster, "endpoint", e.role, "err", err)
		}
		e.problem = err.Error()
		if e.again == nil {
			e.again = time.AfterFunc(rebind, func() {
				e.s.mu.Lock()
				defer e.s.mu.Unlock()
				e.again = nil
				e.listen()
			})
		}
		return
	}
	e.accept(l)
}

func listenAt(ctx context.Context, address string) (*net.TCPListener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("the endpoint's address %q: %w", address, err)
	}
	if at.Addr().IsUnspecified() {
		return nil, fmt.Errorf("the endpoint's address %q is every address of this machine: endpoints are for this machine only", address)
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	if !at.Addr().IsLoopback() {
		// The kernel's way to virtual machines has this host's address in their network.
		lc.Control = hostOnly
	}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening at the endpoint's address: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// hostOnly lets the socket take connections of this host only, which come by the loopback
// device.
func hostOnly(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") //nolint:gosec // a descriptor
	})
	return errors.Join(cerr, err)
}

// accept serves the listener's connections until it is closed.
func (e *endpoint) accept(l *net.TCPListener) {
	e.listener, e.problem = l, ""
	e.s.work.Go(func() {
		for {
			client, err := l.AcceptTCP()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // such as too many descriptors
				select {
				case <-e.s.done.Done():
					return
				case <-time.After(again):
				}
				continue
			}
			e.s.work.Go(func() { e.serve(e.s.done, client) })
		}
	})
}

// unlisten closes the listener. Connections go on.
func (e *endpoint) unlisten() {
	if e.listener != nil {
		_ = e.listener.Close()
		e.listener = nil
	}
}

// disinherit closes the sockets of an earlier process that no endpoint uses.
func (s *server) disinherit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.inherited {
		_ = l.Close()
	}
	s.inherited = nil
}

func memberCounts(count map[appliance.RouteMember]int) []appliance.MemberConnCount {
	var out []appliance.MemberConnCount
	for m := range maps.Keys(count) {
		out = append(out, appliance.MemberConnCount{RouteMember: m, Open: count[m]})
	}
	slices.SortFunc(out, func(a, b appliance.MemberConnCount) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address))
	})
	return out
}
