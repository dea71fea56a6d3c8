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
	"strconv"
	"syscall"
	"time"

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
}

const (
	// readyEnv names the descriptor to which a started process writes its first answer.
	readyEnv = "PGAPP_ENDPOINT_READY"
	// readyTimeout bounds the start of the process.
	readyTimeout = 20 * time.Second
	// maxLog is the size from which the log is begun anew at a start.
	maxLog = 1 << 20
)

// Ensure makes sure that a process of this build serves the home's endpoints, and
// returns its status. It starts a process where none answers; a process of another build
// hands its listening sockets over to a new one and drains its connections. A repeat is
// safe.
func Ensure(ctx context.Context, p Program) (appliance.RouteStatus, error) {
	client := Client{Home: p.Home}
	s, err := client.Status(ctx)
	if err == nil && s.Build == p.Build {
		return s, nil
	}
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return s, err
	}
	return p.start(ctx)
}

// start starts the process in a session of its own, as no child of this process, and
// waits until it serves.
func (p Program) start(ctx context.Context) (s appliance.RouteStatus, err error) {
	log, err := openLog(p.Home)
	if err != nil {
		return s, err
	}
	defer func() { _ = log.Close() }()
	ready, told, err := os.Pipe()
	if err != nil {
		return s, fmt.Errorf("making a pipe: %w", err)
	}
	defer func() { _ = ready.Close() }()
	// The shell ends at once, so that init adopts the process and nobody has to wait
	// for it here.
	argv := append([]string{"-c", `"$@" & exit 0`, "sh"}, p.Argv...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", argv...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), readyEnv + "=" + strconv.Itoa(readyFD)}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{told}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Run()
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

// readyFD is the first of exec.Cmd.ExtraFiles.
const readyFD = 3

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
