//go:build integration

package kernel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// dialFrom connects from a port of the test's choice, as clients do by chance when there are
// many of them.
func dialFrom(t *testing.T, from, to string) (*client, error) {
	t.Helper()
	d := net.Dialer{
		Timeout:   patience,
		LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)),
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		},
	}
	conn, err := d.DialContext(t.Context(), "tcp4", to)
	if err != nil {
		return nil, err
	}
	return newClient(t, conn), nil
}

// TestApplyForgetsConnectionsThatEnded uses a client's port again after a connection that was
// reset. The kernel keeps such a connection for ten seconds, and would lead the new one
// where the old one led.
func TestApplyForgetsConnectionsThatEnded(t *testing.T) {
	t.Parallel()
	const rw = "127.0.0.1:6110"
	a, b := serve(t, "a", "127.0.72.1:5432"), serve(t, "b", "127.0.72.2:5432")
	leads := func(port, want string) {
		t.Helper()
		switch one, err := dialFrom(t, "127.0.0.1:"+port, rw); {
		case err != nil:
			t.Errorf("port %s again: %v", port, err)
		case one.to != want:
			t.Errorf("port %s again: rw leads to %s, want %s", port, one.to, want)
		}
	}
	reset := func(port, why string) {
		t.Helper()
		one, err := dialFrom(t, "127.0.0.1:"+port, rw)
		if err != nil {
			t.Fatal(err)
		}
		a.reset()
		one.cut(why)
	}
	// The kernel tracks all connections where there is a table, be it another home's.
	other := newWays(t, "127.0.0.1:6120", "")
	other.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	process := serve(t, "process", rw)
	old, err := dialFrom(t, "127.0.0.1:6111", rw)
	if err != nil {
		t.Fatal(err)
	}
	w := newWays(t, rw, "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	process.reset()
	old.cut("the endpoint's process resets it")
	w.apply()
	leads("6111", "a")
	reset("6112", "the member resets it")
	if _, err := dialFrom(t, "127.0.0.1:6113", rw); err != nil {
		t.Fatal(err)
	}
	_ = a.l.Close()
	eventually(t, "a listens no more", func() bool {
		conn, err := net.Dial("tcp4", a.Address)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if _, err := dialFrom(t, "127.0.0.1:6114", rw); err == nil {
		t.Fatal("a member that doesn't listen took a connection")
	}
	w.lead(func(r *appliance.Route) { r.Primary = &b.RouteMember })
	leads("6112", "b")
	leads("6113", "b") // this one the change has cut
	leads("6114", "b")
	b.reset()
	if err := w.Remove(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	leads("6112", "process")
}
