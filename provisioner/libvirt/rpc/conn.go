package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance/wait"
)

const (
	keptIdle = 3
	// outage is how long a call retries after libvirt has answered before. A
	// restart of libvirt's daemon takes a few seconds.
	outage    = 30 * time.Second
	retryTick = 100 * time.Millisecond
	openLimit = 20 * time.Second
	// answerLimit is how long libvirt may take to answer a question, which it answers
	// at once unless it hangs. It is longer than outage and openLimit together.
	answerLimit = time.Minute
)

// Dialer opens one connection to libvirt's daemon. Only the Dialer knows the
// daemon's address.
type Dialer func(ctx context.Context) (net.Conn, error)

// DefaultSockets returns the sockets of qemu:///system: the socket of libvirtd or
// virtproxyd, and the socket of virtqemud, which itself connects to the other
// daemons.
func DefaultSockets() []string {
	return []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}
}

// SocketDialer dials the first unix socket that accepts a connection. If none
// does, the error is the first socket's. dial connects on libvirt's host.
func SocketDialer(dial func(ctx context.Context, network, address string) (net.Conn, error), paths ...string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var first error
		for _, path := range paths {
			conn, err := dial(ctx, "unix", path)
			if err == nil {
				return conn, nil
			}
			if first == nil {
				first = err
			}
			if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
				return nil, err
			}
		}
		return nil, first
	}
}

// Conn gives access to one libvirt, qemu:///system. Conn is safe for concurrent
// use and connects at the first call.
type Conn struct {
	*caller
	domainCalls
	networkCalls
	storageCalls
}

// Calls of libvirt, grouped by object.
type (
	domainCalls  struct{ *caller }
	networkCalls struct{ *caller }
	storageCalls struct{ *caller }
)

// caller makes calls and keeps idle connections for later calls.
type caller struct {
	dial     Dialer
	limit    time.Duration // answerLimit
	answered atomic.Bool
	mu       sync.Mutex
	idle     []*link
}

// New returns a Conn that connects with dial.
func New(dial Dialer) *Conn {
	c := &caller{dial: dial, limit: answerLimit}
	return &Conn{caller: c, domainCalls: domainCalls{c}, networkCalls: networkCalls{c}, storageCalls: storageCalls{c}}
}

// Close closes the idle connections. A connection in use is closed when its call
// ends.
func (c *caller) Close() {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, l := range idle {
		l.close()
	}
}

// link is one connection and its client object. A go-libvirt object can't safely
// connect twice.
type link struct {
	raw    net.Conn
	client *golibvirt.Libvirt
	gone   chan struct{}
}

func (l *link) close() { _ = l.raw.Close() }

func (l *link) alive() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// watched detects the end of the connection: go-libvirt's reader sees it first.
type watched struct {
	net.Conn
	once sync.Once
	gone chan struct{}
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.once.Do(func() { close(w.gone) })
	}
	return n, err
}

// fixedDialer gives go-libvirt a connection that was dialed with a context.
type fixedDialer struct{ conn net.Conn }

func (d fixedDialer) Dial() (net.Conn, error) { return d.conn, nil }

func (c *caller) take(ctx context.Context) (*link, error) {
	c.mu.Lock()
	for len(c.idle) > 0 {
		l := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if l.alive() {
			c.mu.Unlock()
			return l, nil
		}
		l.close()
	}
	c.mu.Unlock()
	return c.open(ctx)
}

func (c *caller) open(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, dialError{err}
	}
	w := &watched{Conn: inOrder(raw), gone: make(chan struct{})}
	l := &link{raw: w, client: golibvirt.NewWithDialer(fixedDialer{w}), gone: w.gone}
	err = l.do(ctx, func(v *golibvirt.Libvirt) error { return v.ConnectToURI(golibvirt.QEMUSystem) })
	if err != nil {
		l.close()
		return nil, dialError{err}
	}
	c.answered.Store(true)
	return l, nil
}

func (c *caller) put(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= keptIdle || !l.alive() {
		l.close()
		return
	}
	c.idle = append(c.idle, l)
}

// do runs fn. When ctx ends, do closes the connection, which ends fn.
func (l *link) do(ctx context.Context, fn func(*golibvirt.Libvirt) error) error {
	stop := context.AfterFunc(ctx, l.close)
	err := fn(l.client)
	if !stop() && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// once makes one call without retrying. what describes the call in errors, as a
// gerund.
func (c *caller) once(ctx context.Context, what string, fn func(*golibvirt.Libvirt) error) error {
	err := c.attempt(ctx, fn)
	if err != nil {
		return failed(ctx, what, err)
	}
	return nil
}

// call makes a call that is safe to repeat, and retries while libvirt's daemon
// restarts.
func (c *caller) call(ctx context.Context, what string, fn func(*golibvirt.Libvirt) error) error {
	begun := time.Now()
	err := wait.Until(ctx, retryTick, func(ctx context.Context) (bool, error) {
		err := c.attempt(ctx, fn)
		restarting := lost(err) && c.answered.Load()
		if restarting && ctx.Err() == nil && time.Since(begun) <= outage {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return failed(ctx, what, err)
	}
	return nil
}

// ask makes a call that only asks, which libvirt answers at once unless it hangs.
func (c *caller) ask(ctx context.Context, what string, fn func(*golibvirt.Libvirt) error) error {
	limited, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	err := c.call(limited, what, fn)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return silent(what)
	}
	return err
}

func (c *caller) attempt(ctx context.Context, fn func(*golibvirt.Libvirt) error) error {
	l, err := c.take(ctx)
	if err != nil {
		return err
	}
	err = l.do(ctx, fn)
	if ctx.Err() != nil || lost(err) {
		l.close()
		return err
	}
	c.put(l)
	return err
}

// dialError is a failure to connect, before any call was sent.
type dialError struct{ err error }

func (e dialError) Error() string { return e.err.Error() }
func (e dialError) Unwrap() error { return e.err }

// lost reports whether err is a broken or missing connection rather than
// libvirt's refusal.
func lost(err error) bool {
	var refused golibvirt.Error
	if err == nil || errors.As(err, &refused) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var dial dialError
	return errors.As(err, &dial) && !errors.Is(err, syscall.EACCES) || errors.Is(err, golibvirt.ErrInterrupted) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EINVAL)
}

// Version returns libvirt's version, such as "11.3.0".
func (c *caller) Version(ctx context.Context) (string, error) {
	var n uint64
	err := c.ask(ctx, "asking for libvirt's version", func(v *golibvirt.Libvirt) (err error) {
		n, err = v.ConnectGetLibVersion()
		return err
	})
	return fmt.Sprintf("%d.%d.%d", n/1_000_000, n/1000%1000, n%1000), err
}

// FreeMemory returns the host's free memory in bytes.
func (c *caller) FreeMemory(ctx context.Context) (uint64, error) {
	var n uint64
	err := c.ask(ctx, "asking for the host's free memory", func(v *golibvirt.Libvirt) (err error) {
		n, err = v.NodeGetFreeMemory()
		return err
	})
	return n, err
}
