package endpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"pgapp/appliance"
)

// ErrNotRunning says that no process serves the home's endpoints, or that it ended
// before it answered. [Ensure] starts one.
var ErrNotRunning = errors.New("no endpoint process answers")

// Client talks to the home's endpoint process over its control socket. Each call has a
// connection of its own; concurrent calls are safe.
type Client struct {
	// Home is the directory of pgapp's state.
	Home string
}

// Apply makes the process hold the state and returns when it does: the state is on
// disk, each endpoint listens or its status says why not, and the connections that lead
// to a former primary are cut. A state whose number is not greater than that of the
// state held is refused with [appliance.ErrConflict]; repeating the very state that is
// held is no error. The error is [ErrNotRunning] if no process answers.
func (c Client) Apply(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	s, err := c.call(ctx, request{Verb: verbApply, Routes: &routes})
	if err != nil {
		return s, fmt.Errorf("applying routes %d: %w", routes.Number, err)
	}
	return s, nil
}

// Status returns what the process says about itself. The error is [ErrNotRunning] if no
// process answers.
func (c Client) Status(ctx context.Context) (appliance.RouteStatus, error) {
	s, err := c.call(ctx, request{Verb: verbStatus})
	if err != nil {
		return s, fmt.Errorf("asking the endpoints for their status: %w", err)
	}
	return s, nil
}

// call sends the request and reads the answer.
func (c Client) call(ctx context.Context, r request) (appliance.RouteStatus, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return appliance.RouteStatus{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var a answer
	if err = writeMessage(conn, r); err == nil {
		err = readMessage(bufio.NewReader(conn), &a)
	}
	switch {
	case err == nil:
		if a.Problem != nil {
			return a.Status, a.Problem
		}
		return a.Status, nil
	case ctx.Err() != nil:
		return a.Status, context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return a.Status, ErrNotRunning
	}
	return a.Status, err
}

// dial connects to the control socket through the home's descriptor, since the kernel
// takes at most 107 bytes for a socket's path.
func (c Client) dial(ctx context.Context) (*net.UnixConn, error) {
	dir, err := os.Open(c.Home)
	if err != nil {
		return nil, fmt.Errorf("opening the home: %w", err)
	}
	defer func() { _ = dir.Close() }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socketPath(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, context.DeadlineExceeded
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to the endpoint process: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// socketPath is a short path of the control socket, valid as long as dir is open.
func socketPath(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)
}
