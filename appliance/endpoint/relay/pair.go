package relay

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lastWords is how long a client may keep its side open after the server has closed: what
// it still sends reaches nobody.
const lastWords = 10 * time.Second

// The two sides of a pair.
const (
	client = iota
	server
)

// Pair is two connections. Its methods are safe for concurrent use.
type Pair struct {
	loop       *loop
	slot       int32
	generation int32
	done       chan struct{}

	mu     sync.Mutex
	sides  [2]side
	closed bool
	last   *time.Timer
}

// side is one connection of a pair.
type side struct {
	fd int
	// interest is what the thread waits for; 0 is a descriptor that isn't waited for.
	interest uint32
	// rest is what the connection has not taken yet. Nothing is read for it meanwhile.
	rest []byte
	// ended is set when the peer sends no more.
	ended bool
}

// Done is closed when both connections are closed.
func (p *Pair) Done() <-chan struct{} { return p.done }

// Reset ends both connections at once: their peers get a reset, and unsent bytes are
// dropped. A repeat is safe.
func (p *Pair) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(true)
}

// end closes both connections. The caller holds p.mu.
func (p *Pair) end(reset bool) {
	if p.closed {
		return
	}
	p.closed = true
	if p.last != nil {
		p.last.Stop()
	}
	p.loop.remove(p)
	for i := range p.sides {
		s := &p.sides[i]
		if reset {
			_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		_ = unix.Close(s.fd) // leaves the epoll too
		s.rest = nil
	}
	close(p.done)
}

// ready moves what the thread has been told of.
func (p *Pair) ready(of int, events uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	ok := true
	if events&^unix.EPOLLIN != 0 && len(p.sides[of].rest) > 0 {
		ok = p.flush(of)
	}
	if ok && events&^unix.EPOLLOUT != 0 && p.sides[of].interest&unix.EPOLLIN != 0 {
		ok = p.move(of)
	}
	if !ok {
		p.end(true)
		return
	}
	if p.sides[client].ended && p.sides[server].ended && len(p.sides[client].rest)+len(p.sides[server].rest) == 0 {
		p.end(false)
		return
	}
	p.settle()
}

// move reads once from the side and writes to the other one. It returns false after an
// error.
func (p *Pair) move(from int) bool {
	src, dst := &p.sides[from], &p.sides[1-from]
	n, err := read(src.fd, p.loop.buffer)
	switch {
	case err != nil && isAgain(err):
		return true
	case err != nil:
		return false
	case n == 0:
		src.ended = true
		if from == server {
			p.last = time.AfterFunc(lastWords, p.Reset)
		}
		return unix.Shutdown(dst.fd, unix.SHUT_WR) == nil
	}
	left, ok := write(dst.fd, p.loop.buffer[:n])
	if len(left) > 0 {
		dst.rest = append(dst.rest, left...)
	}
	return ok
}

// flush writes what the side has not taken yet. It returns false after an error.
func (p *Pair) flush(to int) bool {
	s := &p.sides[to]
	left, ok := write(s.fd, s.rest)
	if s.rest = left; len(left) == 0 {
		s.rest = nil
	}
	return ok
}

// settle has the thread wait for what can go on: the caller holds p.mu.
func (p *Pair) settle() {
	for i := range p.sides {
		s, other := &p.sides[i], &p.sides[1-i]
		var want uint32
		if !s.ended && len(other.rest) == 0 {
			want |= unix.EPOLLIN
		}
		if len(s.rest) > 0 {
			want |= unix.EPOLLOUT
		}
		if want == s.interest {
			continue
		}
		op := unix.EPOLL_CTL_MOD
		switch {
		case want == 0: // else an end of the connection would be reported again and again
			op = unix.EPOLL_CTL_DEL
		case s.interest == 0:
			op = unix.EPOLL_CTL_ADD
		}
		e := unix.EpollEvent{Events: want, Fd: p.slot<<1 | int32(i), Pad: p.generation} //nolint:gosec // 0 or 1
		if err := unix.EpollCtl(p.loop.epoll, op, s.fd, &e); err != nil {
			p.end(true)
			return
		}
		s.interest = want
	}
}
