package endpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// Program is how [Ensure] starts the process.
type Program struct {
	// Home is the directory of pgapp's state, absolute.
	Home string
	// Build identifies the program. A running process of another build hands its
	// sockets over.
	Build string
	// Argv is the command that calls [Run].
	Argv []string
	// Routes is the state to start with. Without a number, and where an earlier process
	// hands over a later state, that state or the file's is gone on with.
	Routes appliance.Routes
}

const (
	// readyEnv names the descriptor to which a started process writes its first answer.
	readyEnv = "PGAPP_ENDPOINT_READY"
	// routesEnv names the descriptor that holds the state to start with.
	routesEnv = "PGAPP_ENDPOINT_ROUTES"
	// readyTimeout bounds the start of the process.
	readyTimeout = 20 * time.Second
	// frozen is how long a process may take to say its status before it is killed.
	frozen = 10 * time.Second
	// maxLog is the size from which the log is begun anew at a start.
	maxLog = 1 << 20
)

// Ensure makes sure that a process of this build serves the home's endpoints, and
// returns its status. It starts a process where none answers; a process of another build
// hands its listening sockets over to a new one and drains its connections; one that does
// not answer is killed. The state of a running process stays as it is. A repeat is safe.
func Ensure(ctx context.Context, p Program) (appliance.RouteStatus, error) {
	client := Client{Home: p.Home}
	asking, cancel := context.WithTimeout(ctx, frozen)
	s, err := client.Status(asking)
	cancel()
	switch {
	case err == nil && s.Build == p.Build:
		return s, nil
	case err != nil && ctx.Err() != nil:
		return s, err
	case err != nil && !errors.Is(err, ErrNotRunning):
		if err := client.Kill(ctx); err != nil {
			return s, err
		}
	}
	return p.start(ctx)
}

// start starts the process in a session of its own, as no child of this process, and
// waits until it serves.
func (p Program) start(ctx context.Context) (s appliance.RouteStatus, err error) {
	ready, told, err := os.Pipe()
	if err != nil {
		return s, fmt.Errorf("making a pipe: %w", err)
	}
	defer func() { _ = ready.Close() }()
	err = p.spawn(ctx, told)
	_ = told.Close()
	if err != nil {
		return s, fmt.Errorf("starting the endpoint process: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout,
		appliance.NewProblem(appliance.ErrTimeout, "the endpoint process did not start within %s", readyTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var a answer
	err = readMessage(bufio.NewReader(ready), &a)
	switch {
	case err == nil && a.Problem != nil:
		return s, fmt.Errorf("starting the endpoint process: %w", a.Problem)
	case err == nil && a.Status.PID == 0: // another start was quicker
		return Client{Home: p.Home}.Status(ctx)
	case err == nil:
		return a.Status, nil
	case ctx.Err() != nil:
		return s, context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return s, appliance.NewProblem(appliance.ErrInternal, "the endpoint process ended while it started").
			WithHint("see %s", filepath.Join(p.Home, LogName))
	}
	return s, fmt.Errorf("waiting for the endpoint process: %w", err)
}

// spawn starts the process, which reports to told.
func (p Program) spawn(ctx context.Context, told *os.File) error {
	log, err := openLog(p.Home)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	routes, err := p.routesFile()
	if err != nil {
		return err
	}
	defer func() { _ = routes.Close() }()
	scope, env := scopeOf(ctx, p.Home)
	// The shell ends at once, so that init adopts the process and nobody has to wait
	// for it here.
	argv := slices.Concat([]string{"-c", `"$@" & exit 0`, "sh"}, scope, p.Argv)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", argv...)
	cmd.Dir = "/"
	cmd.Env = append(env, "LC_ALL=C", "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), readyEnv+"=3", routesEnv+"=4")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{told, routes}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// routesFile is a nameless file with the state to start with.
func (p Program) routesFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("routes", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file for the routes: %w", err)
	}
	f := os.NewFile(uintptr(fd), "routes") //nolint:gosec // a descriptor
	err = writeMessage(f, p.Routes)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("passing the routes: %w", err)
	}
	return f, nil
}

// openLog opens the process's log to append to it. A long log is begun anew.
func openLog(home string) (*os.File, error) {
	path := filepath.Join(home, LogName)
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the endpoints' log: %w", err)
	}
	return f, nil
}
