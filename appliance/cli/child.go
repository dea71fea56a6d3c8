package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// switchUser gives this process, which runs as root, the account's user and groups
// for good.
func switchUser(name string) error {
	fail := func(err error) error {
		return appliance.NewProblem(appliance.ErrHostNoUser, "becoming the server's user %q: %w", name, err)
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fail(err)
	}
	list, err := u.GroupIds()
	if err != nil {
		return fail(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	errs := []error{uidErr, gidErr}
	groups := make([]int, len(list))
	for i, g := range list {
		groups[i], err = strconv.Atoi(g)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fail(err)
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(groups) },
		func() error { return syscall.Setgid(gid) },
		func() error { return syscall.Setuid(uid) },
	} {
		if err := step(); err != nil {
			return fail(err)
		}
	}
	return nil
}

// runChild runs the command, passes on the signals that end a command, and
// calls suspend when the child is stopped. The child decides when it
// ends, so that the caller can remove the child's files afterwards. The exit code is the
// child's, or 128 and the signal's number where a signal ended it, or its
// connection ([sshLost]).
func runChild(ctx context.Context, cmd *exec.Cmd, suspend func()) (code int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // as nohup has it
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- waitChild(cmd, suspend) }()
	var got syscall.Signal
	for {
		select {
		case s := <-signals:
			got, _ = s.(syscall.Signal)
			_ = cmd.Process.Signal(s) // it may have ended
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			return childCode(cmd.ProcessState, got), nil
		}
	}
}

func childCode(state *os.ProcessState, got syscall.Signal) int {
	const killed = 128 // and the signal, as shells have it
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return killed + int(ws.Signal())
	}
	if got != 0 && state.ExitCode() == sshLost {
		return killed + int(got)
	}
	return state.ExitCode()
}

// suspendSelf stops this process like its child, so that the shell gets the
// terminal back; the shell continues both.
func suspendSelf() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) }

// waitChild waits for the end, and calls suspend when the child is stopped, as
// ssh is at ~^Z.
func waitChild(cmd *exec.Cmd, suspend func()) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || info.Code != cldStopped:
			return cmd.Wait()
		}
		// The stop is consumed, so that the next call waits for the next change.
		_ = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WSTOPPED, nil)
		suspend()
	}
}

// cldStopped is waitid's code for a stopped child (sigaction(2)).
const cldStopped = 5
