package endpoint

import (
	"context"
	"net"
	"sync"

	"pgapp/appliance"
)

// Contact is a [Client] that knows without a question whether the process still runs that
// answered last: it keeps a connection, which the kernel closes with the process. Concurrent
// calls are safe.
type Contact struct {
	Client

	mu   sync.Mutex
	conn *net.UnixConn
	// pid is the process that the connection leads to.
	pid int
}

// Lives tells whether the process with that id runs, if it answered the last
// [Contact.Status]. It may answer nothing all the same. Lives is false where that is not
// known.
func (c *Contact) Lives(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.pid == pid && !hungUp(c.conn)
}

// Status is [Client.Status].
func (c *Contact) Status(ctx context.Context) (appliance.RouteStatus, error) {
	s, err := c.Client.Status(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.conn != nil && c.pid == s.PID && !hungUp(c.conn) {
		return s, nil
	}
	c.drop()
	if err == nil {
		c.conn, _ = c.dial(ctx) // without it nobody knows
		c.pid = s.PID
	}
	return s, err
}

// Ensure is [Ensure] for the client's home.
func (c *Contact) Ensure(ctx context.Context, p Program) (appliance.RouteStatus, error) {
	c.mu.Lock()
	c.drop() // an earlier process may go on with the connections that it has
	c.mu.Unlock()
	return Ensure(ctx, p)
}

// drop closes the connection. The caller holds mu.
func (c *Contact) drop() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn, c.pid = nil, 0
}
