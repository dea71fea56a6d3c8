package endpoint

import (
	"io"
	"net"
	"sync"
	"time"
)

// lastWords is how long a client may keep its side open after the server has closed.
const lastWords = 10 * time.Second

// move moves bytes in both directions until both have ended. On Linux io.Copy between
// TCP connections splices, so that the bytes don't enter this process.
func (c *conn) move() {
	var back sync.WaitGroup
	back.Go(func() {
		// The server has ended the session: what the client still sends reaches nobody.
		if c.copy(c.client, c.server) {
			_ = c.client.SetReadDeadline(time.Now().Add(lastWords))
		}
	})
	c.copy(c.server, c.client)
	back.Wait()
}

// copy moves one direction. It passes on the end of the stream, so that the other
// direction can go on, and resets both sides after an error.
func (c *conn) copy(dst, src *net.TCPConn) (ended bool) {
	if _, err := io.Copy(dst, src); err != nil {
		c.reset()
		return false
	}
	if err := dst.CloseWrite(); err != nil {
		c.reset()
		return false
	}
	return true
}
