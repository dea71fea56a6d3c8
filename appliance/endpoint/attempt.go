package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// errCancel ends an attempt of a client that asks for a cancel after a negotiation.
var errCancel = errors.New("the connection is a cancel request")

// attempt opens the connection to the member. The error is errRetry if another member,
// or the same later, may still take the connection; after any other error the client
// has gone.
func (c *conn) attempt(ctx context.Context, m appliance.RouteMember) error {
	server, err := dial(ctx, m.Address)
	if err != nil {
		return errRetry
	}
	if !c.attach(server) {
		return net.ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { _ = server.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reply := make([]byte, 1<<10)
	for {
		if _, err := server.Write(c.packet); err != nil {
			return errRetry
		}
		if c.kind == opaque {
			return c.opened(ctx, stop, nil)
		}
		n, err := server.Read(reply)
		if err != nil {
			return errRetry
		}
		if c.kind == startup {
			return c.answered(ctx, stop, reply[:n])
		}
		if n != 1 || reply[0] != 'N' {
			return c.opened(ctx, stop, reply[:n])
		}
		if _, err := c.client.Write(reply[:n]); err != nil {
			return fmt.Errorf("answering the client: %w", err)
		}
		if err := c.readPacket(); err != nil {
			return err
		}
		if c.kind == cancelRequest {
			return errCancel
		}
	}
}

// answered handles the server's answer to the startup packet. A server that starts,
// stops or recovers does not take the connection.
func (c *conn) answered(ctx context.Context, stop func() bool, reply []byte) error {
	sqlstate, more := sqlstateOf(reply)
	for more && len(reply) < maxReply {
		next := make([]byte, 1<<10)
		n, err := c.server.Read(next)
		if err != nil {
			return errRetry
		}
		reply = append(reply, next[:n]...)
		sqlstate, more = sqlstateOf(reply)
	}
	if sqlstate == cannotConnectNow {
		c.refusal = reply
		return errRetry
	}
	return c.opened(ctx, stop, reply)
}

// opened makes the connection one that leads to its member, unless a new state has
// ended the attempt, and passes the server's reply on.
func (c *conn) opened(ctx context.Context, stop func() bool, reply []byte) error {
	if !stop() {
		return errRetry
	}
	c.e.s.mu.Lock()
	if ctx.Err() != nil {
		c.e.s.mu.Unlock()
		return errRetry
	}
	c.phase = open
	c.abandon()
	c.e.s.mu.Unlock()
	if len(reply) == 0 {
		return nil
	}
	if _, err := c.client.Write(reply); err != nil {
		return fmt.Errorf("answering the client: %w", err)
	}
	return nil
}

// keepAlive finds a peer that has gone without a word.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
}

// silentPeer is how long a member on another machine may leave bytes unacknowledged. A
// member on this machine can't vanish without a reset, and the kernel would count the
// time in which a busy session reads nothing.
const silentPeer = 5 * time.Minute

func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the member: %w", err)
	}
	server := conn.(*net.TCPConn)
	if to, err := netip.ParseAddrPort(address); err == nil && !to.Addr().IsLoopback() {
		setOption(server, unix.TCP_USER_TIMEOUT, int(silentPeer.Milliseconds()))
	}
	return server, nil
}

// setOption sets a TCP option. A kernel without it does its default.
func setOption(conn *net.TCPConn, option, value int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
}

// attach gives the connection its server side. It returns false if the connection was
// closed meanwhile.
func (c *conn) attach(server *net.TCPConn) bool {
	c.ends.Lock()
	defer c.ends.Unlock()
	if c.closed {
		_ = server.Close()
		return false
	}
	c.server = server
	return true
}

// detach closes the server side of an attempt.
func (c *conn) detach() {
	c.ends.Lock()
	defer c.ends.Unlock()
	if c.server != nil {
		_ = c.server.Close()
		c.server = nil
	}
}

// reset ends the connection at once, on both sides.
func (c *conn) reset() { c.close(true) }

// close closes both sides. With abort the peers get a reset and unsent bytes are
// dropped.
func (c *conn) close(abort bool) {
	c.ends.Lock()
	defer c.ends.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.pair != nil {
		c.pair.Reset()
		return
	}
	for _, conn := range []*net.TCPConn{c.client, c.server} {
		if conn == nil {
			continue
		}
		if abort {
			_ = conn.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// gone tells whether the client has closed its connection.
func (c *conn) gone() bool {
	raw, err := c.client.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return gone || err != nil
}
