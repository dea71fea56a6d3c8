package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/testscript"

	"pgapp/appliance/cli"
	"pgapp/appliance/daemon"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/postgres/tree"
	"pgapp/embed/pagila"
	"pgapp/embed/ui"
)

// suite runs the tests in the surroundings that their build tag needs.
type suite struct{ m *testing.M }

// Run implements testscript.TestingM.
func (s suite) Run() int { return runTests(s.m) }

// TestMain lets this binary be pgapp as well: scripts run it under that name,
// and so do the daemons that it starts.
func TestMain(m *testing.M) {
	// What a command under test starts in this process's place must not run
	// the tests once more.
	if len(os.Args) > 1 && os.Args[1] == "serve" && filepath.Base(os.Args[0]) != "pgapp" {
		fmt.Fprintln(os.Stderr, "a test binary is no daemon")
		os.Exit(1)
	}
	testscript.Main(suite{m}, map[string]func(){"pgapp": pgapp})
}

// pgapp is the program without the PostgreSQL tree.
func pgapp() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, local())
	stop()
	os.Exit(code)
}

// local is what main hands over.
func local() cli.Local {
	return cli.Local{
		Serve:  daemon.Assets{PostgresTree: fstest.MapFS{}, Pagila: pagila.FS}.Serve,
		Doctor: daemon.Doctor, CheckStateFile: daemon.CheckStateFile, VerifyStateBackup: daemon.VerifyStateBackup,
		StateBackups: statebackup.List, StateKey: statebackup.Key, Pages: ui.FS,
	}
}

// update rewrites the golden parts of the scripts.
const update = "PGAPP_TEST_UPDATE"

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: os.Getenv(update) != "",
		Setup: func(e *testscript.Env) error {
			// As root PostgreSQL runs as another user, who has to get there.
			if err := os.Chmod(filepath.Dir(e.WorkDir), 0o711); err != nil {
				return err
			}
			home := filepath.Join(e.WorkDir, "state")
			e.Setenv("PGAPP_HOME", home)
			e.Setenv("PGAPP_LISTEN", "127.0.0.1:0")
			e.Setenv("PGAPP_TEST_PATH", os.Getenv("PATH"))
			e.Defer(func() { endDaemon(t, home) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "absent": absent},
		Condition: func(cond string) (bool, error) {
			if cond != "postgres17" {
				return false, fmt.Errorf("no condition %q", cond)
			}
			_, err := tree.Find(t.Context(), tree.Search{})
			return err == nil, nil
		},
	})
}

// endDaemon stops the daemon that a script may have left.
func endDaemon(t *testing.T, home string) {
	if _, err := os.Stat(home); err != nil {
		return
	}
	cmd := exec.CommandContext(context.Background(), "pgapp", "shutdown", "--home", home)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("stopping the daemon of %s: %v\n%s", home, err, out)
	}
}

// exits runs a command, as exec does, and wants an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("running %q: %v", args[1:], err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("%q: exit code %d, want %d", args[1:], code, want)
	}
}

// absent wants that none of the files exists.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("use exists")
	}
	for _, f := range args {
		if _, err := os.Lstat(ts.MkAbs(f)); err == nil {
			ts.Fatalf("%s exists", f)
		}
	}
}
