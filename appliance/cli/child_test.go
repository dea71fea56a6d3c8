package cli

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"pgapp/appliance"
)

// TestRunChildPassesOnSignals wants the child to end in its own way and the
// exit code to be the child's, or to name the signal.
func TestRunChildPassesOnSignals(t *testing.T) { //nolint:paralleltest // this process gets the signals
	for _, c := range []struct {
		name, script string
		signal       syscall.Signal
		want         int
	}{
		{"no signal", "exit 7", 0, 7},
		{"lost without a signal", "exit 255", 0, 255},
		{"the child decides", `trap 'exit 9' INT; echo ready; while :; do read x; done`, syscall.SIGINT, 9},
		{"the connection goes", `trap 'exit 255' INT; echo ready; while :; do read x; done`, syscall.SIGINT, 130},
		{"hung up", `echo ready; exec cat`, syscall.SIGHUP, 129},
		{"terminated", `echo ready; exec cat`, syscall.SIGTERM, 143},
		{"killed by another", `kill -KILL $$`, 0, 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, say := io.Pipe()
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", c.script)
			cmd.Stdout = say
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdin.Close() }()
			go func() {
				if line, _ := bufio.NewReader(out).ReadString('\n'); line == "ready\n" {
					_ = syscall.Kill(syscall.Getpid(), c.signal)
				}
			}()
			code, err := runChild(t.Context(), cmd, func() {})
			_ = say.Close()
			if err != nil || code != c.want {
				t.Errorf("code %d, %v; want %d", code, err, c.want)
			}
		})
	}
}

// TestRunChildStopsWithTheChild wants to be told once of each time that the
// child is stopped.
func TestRunChildStopsWithTheChild(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "kill -STOP $$; kill -STOP $$; exit 3")
	var stops atomic.Int32
	code, err := runChild(t.Context(), cmd, func() {
		stops.Add(1)
		_ = cmd.Process.Signal(syscall.SIGCONT)
	})
	if err != nil || code != 3 || stops.Load() != 2 {
		t.Errorf("code %d, %v, stopped %d times; want 3, nil, 2", code, err, stops.Load())
	}
}

// TestRunChildAfterTheEnd starts nothing when the user has interrupted.
func TestRunChildAfterTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := exec.CommandContext(t.Context(), "/bin/true")
	if _, err := runChild(ctx, cmd, func() {}); err == nil || cmd.Process != nil {
		t.Errorf("error %v, process %v", err, cmd.Process)
	}
}

// TestGuestPsqlQuotes wants a login shell to see one word a word.
func TestGuestPsqlQuotes(t *testing.T) {
	t.Parallel()
	args := []string{"-c", `SELECT 'a b', "c" $d \e`, "", "-v", "x=%s *"}
	words := guestPsql(appliance.LocalAccess{OSUser: "postgres", Psql: "/usr/bin/psql", Machine: true}, []string{"PGHOST=/run/my dir"}, args)
	line := strings.Join(words, " ")
	cut := strings.Index(line, "'/usr/bin/psql' ") + len("'/usr/bin/psql' ")
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", `printf '%s\n' `+line[cut:]).Output()
	if err != nil || string(out) != strings.Join(args, "\n")+"\n" {
		t.Errorf("%v, %q, want %q", err, out, args)
	}
	if !strings.HasPrefix(line, "'sudo' '-n' '-u' 'postgres' '--' ") || !strings.Contains(line, "'PGHOST=/run/my dir'") {
		t.Errorf("the command is %s", line)
	}
}
