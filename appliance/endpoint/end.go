package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance/wait"
)

const (
	// endPoll is how often the end of a process is looked for.
	endPoll = 20 * time.Millisecond
	// grace is how long a process may take to end after it was asked to.
	grace = 2 * time.Second
)

// Stop cuts all connections, ends the process and the earlier ones that it drains, and
// removes their files. It returns when they have ended; without a process it only removes
// the files. A process that has not ended after [grace], such as one that is frozen, is
// killed.
func (c Client) Stop(ctx context.Context) error {
	if err := c.end(ctx); err != nil {
		return fmt.Errorf("stopping the endpoint process: %w", err)
	}
	// What is still in the group is an earlier process that doesn't answer.
	killGroup(c.Home)
	if err := c.awaitEnd(ctx); err != nil {
		return fmt.Errorf("waiting for the endpoint process to end: %w", err)
	}
	return removeGroup(ctx, c.Home)
}

// end asks the process to stop, and kills it if it doesn't in time.
func (c Client) end(ctx context.Context) error {
	p, err := c.open(ctx)
	if p == nil {
		return err
	}
	defer p.close()
	asked, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	_, _ = c.call(asked, request{Verb: verbStop}) // its end says whether it was heard
	if p.await(asked) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := p.kill(); err != nil {
		return err
	}
	return p.await(ctx)
}

// Kill ends the process at once with SIGKILL, and with it all its connections. It is for
// a process that does not answer. Without a process it does nothing.
func (c Client) Kill(ctx context.Context) error {
	p, err := c.open(ctx)
	if p == nil {
		return err
	}
	defer p.close()
	if err := p.kill(); err != nil {
		return fmt.Errorf("killing the endpoint process: %w", err)
	}
	return p.await(ctx)
}

// awaitEnd waits until no process holds the home's lock, and removes the files.
func (c Client) awaitEnd(ctx context.Context) error {
	return wait.Until(ctx, endPoll, func(context.Context) (bool, error) {
		lock, err := tryLock(c.Home)
		if lock == nil || err != nil {
			return false, err
		}
		removeFiles(c.Home)
		return true, lock.Close()
	})
}

// open opens the process that serves the home, or returns nil if none does.
func (c Client) open(ctx context.Context) (*handle, error) {
	conn, err := c.dial(ctx)
	if errors.Is(err, ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return processAt(conn)
}

// handle is a process that can't be mistaken for another that gets its id later.
type handle struct{ pidfd int }

// processAt returns the process that made the socket at the other end, or nil if it has
// ended. The kernel noted its id when it began to listen, and the descriptor of the
// process makes sure that the id is not another's by now.
func processAt(conn *net.UnixConn) (*handle, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("looking at the control socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		credErr = err
	}
	if credErr != nil {
		return nil, fmt.Errorf("asking for the process at the control socket: %w", credErr)
	}
	pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening process %d: %w", cred.Pid, err)
	}
	// The connection was accepted by a listening socket that ends with the process: if
	// it is still open, the process had the id when the descriptor was opened.
	if hungUp(conn) {
		_ = unix.Close(pidfd)
		return nil, nil
	}
	return &handle{pidfd: pidfd}, nil
}

func (p *handle) close() { _ = unix.Close(p.pidfd) }

// kill kills the process unless it has ended.
func (p *handle) kill() error {
	if err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// await waits for the end of the process.
func (p *handle) await(ctx context.Context) error {
	return wait.Until(ctx, endPoll, func(context.Context) (bool, error) { return p.endsWithin(0), nil })
}

// endsWithin waits for the end of the process, at most that long.
func (p *handle) endsWithin(limit time.Duration) bool {
	until := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		n, err := unix.Poll(fds, int(max(0, time.Until(until)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// hungUp tells whether the other end of the socket is closed.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	hung := true
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor
		n, err := unix.Poll(fds, 0)
		hung = err != nil || n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return hung
}
