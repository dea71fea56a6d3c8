package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Relay moves bytes for its pairs. It is safe for concurrent use.
type Relay struct {
	loops []*loop
	next  atomic.Uint32
	work  sync.WaitGroup
}

// New starts a relay with that many threads. [Relay.Close] ends it.
func New(threads int) (*Relay, error) {
	r := &Relay{}
	for range threads {
		l, err := newLoop()
		if err != nil {
			r.Close()
			return nil, err
		}
		r.loops = append(r.loops, l)
		r.work.Go(l.run)
	}
	return r, nil
}

// Close ends the threads. No pair may be open.
func (r *Relay) Close() {
	for _, l := range r.loops {
		l.stop()
	}
	r.work.Wait()
}

// Start moves bytes between the two connections until both have ended, or one fails, which
// resets the other one. The relay takes the connections over: they are closed for the
// caller, after an error too.
func (r *Relay) Start(client, server *net.TCPConn) (*Pair, error) {
	l := r.loops[int(r.next.Add(1))%len(r.loops)]
	p := &Pair{loop: l, done: make(chan struct{})}
	for i, c := range []*net.TCPConn{client, server} {
		fd, err := take(c)
		p.sides[i].fd = fd
		if err != nil {
			err = errors.Join(err, client.Close(), server.Close())
			if i == 1 {
				_ = unix.Close(p.sides[0].fd)
			}
			return nil, fmt.Errorf("taking a connection over: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.add(p)
	p.settle()
	return p, nil
}

// take returns a descriptor of the connection that the runtime doesn't wait for.
func take(c *net.TCPConn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	var dup error
	err = raw.Control(func(of uintptr) { fd, dup = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, os.NewSyscallError("fcntl", dup)); err != nil {
		return -1, err
	}
	return fd, c.Close()
}
