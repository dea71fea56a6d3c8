package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance/wait"
)

// endPoll is how often the end of a process is looked for.
const endPoll = 20 * time.Millisecond

// lastAnswer is how long a process that didn't answer to its stop may take to end.
const lastAnswer = 2 * time.Second

// Stop cuts all connections, ends the process and removes its files. It returns when
// the process has ended; without a process it only removes the files. A process that
// does not answer until ctx ends is left: see [Client.Kill].
func (c Client) Stop(ctx context.Context) error {
	_, lost := c.call(ctx, request{Verb: verbStop})
	if errors.Is(lost, ErrNotRunning) {
		lost = nil
	}
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if lost != nil { // its answer may have been lost in its end
		waiting, cancel = context.WithTimeout(ctx, lastAnswer)
	}
	err := c.awaitEnd(waiting)
	cancel()
	if err != nil && lost != nil {
		return fmt.Errorf("stopping the endpoint process: %w", lost)
	}
	if err != nil {
		return fmt.Errorf("waiting for the endpoint process to end: %w", err)
	}
	return removeGroup(ctx, c.Home)
}

// Kill ends the process at once with SIGKILL, and with it all its connections. It is for
// a process that does not answer. Without a process it does nothing.
func (c Client) Kill(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := killPeer(conn); err != nil {
		return fmt.Errorf("killing the endpoint process: %w", err)
	}
	return wait.Until(ctx, endPoll, func(context.Context) (bool, error) { return c.unlocked() })
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

func (c Client) unlocked() (bool, error) {
	lock, err := tryLock(c.Home)
	if lock == nil || err != nil {
		return false, err
	}
	return true, lock.Close()
}

// killPeer kills the process that made the socket at the other end. The kernel noted
// its id when it began to listen, and the descriptor of the process makes sure that the
// id is not another's by now.
func killPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("looking at the control socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		credErr = err
	}
	if credErr != nil {
		return fmt.Errorf("asking for the process at the control socket: %w", credErr)
	}
	pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", cred.Pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	// The connection was accepted by a listening socket that ends with the process: if
	// it is still open, the process had the id when the descriptor was opened.
	if hungUp(conn) {
		return nil
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", cred.Pid, err)
	}
	return nil
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
