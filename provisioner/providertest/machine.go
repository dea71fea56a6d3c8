package providertest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

// shell runs a script on the machine and returns what it printed.
func (f Fixture) shell(t *testing.T, mc appliance.Machine, script string, args ...string) string {
	t.Helper()
	res, err := mc.Run(f.context(t), appliance.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...)})
	if err != nil {
		t.Fatalf("running %q: %v", script, err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

func testCommands(t *testing.T, f Fixture, mc appliance.Machine) {
	lay := mc.Layout()
	t.Run("arguments pass through no shell", func(t *testing.T) {
		want := `a  b $HOME "c" 'd' \e * ;`
		if got := f.shell(t, mc, `printf %s "$1"`, want); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("as the member's user", func(t *testing.T) {
		if got := f.shell(t, mc, "id -un"); got != lay.OSUser {
			t.Errorf("runs as %q, want %q", got, lay.OSUser)
		}
	})
	t.Run("in a clean environment", func(t *testing.T) {
		// PG* would change the behaviour of PostgreSQL's programs, LANG their
		// messages.
		if got := f.shell(t, mc, `env | grep -E "^(PG|LANG|LC_)"`); got != "LC_ALL=C" {
			t.Errorf("the environment has %q, want LC_ALL=C alone", got)
		}
		res, err := mc.Run(f.context(t), appliance.Command{
			Argv: []string{"sh", "-c", `printf %s "$WORD"`}, Env: map[string]string{"WORD": "a b"},
		})
		if err != nil || string(res.Stdout) != "a b" {
			t.Errorf("with WORD set: %q, %v", res.Stdout, err)
		}
	})
	t.Run("input and output", func(t *testing.T) {
		want := strings.Repeat("0123456789abcdef", 64<<10)
		var out bytes.Buffer
		res, err := mc.Run(f.context(t), appliance.Command{Argv: []string{"cat"}, Stdin: strings.NewReader(want), Stdout: &out})
		if err != nil || out.String() != want || len(res.Stdout) > 0 {
			t.Errorf("cat of %d bytes: %d to Stdout, %d collected, %v", len(want), out.Len(), len(res.Stdout), err)
		}
		if _, err := mc.Run(f.context(t), appliance.Command{Argv: []string{"true"}, Stdin: strings.NewReader(want)}); err != nil {
			t.Errorf("a command that doesn't read its input: %v", err)
		}
	})
	t.Run("standard error line by line", func(t *testing.T) {
		var got []string
		res, err := mc.Run(f.context(t), appliance.Command{
			Argv:     []string{"sh", "-c", `printf "10%%\r50%%\r\nlast" >&2`},
			OnStderr: func(line string) { got = append(got, line) },
		})
		if err != nil || string(res.Stderr) != "10%\r50%\r\nlast" {
			t.Errorf("Stderr = %q, %v", res.Stderr, err)
		}
		if diff := cmp.Diff([]string{"10%", "50%", "last"}, got); diff != "" {
			t.Errorf("lines differ (-want +got):\n%s", diff)
		}
	})
	t.Run("failures", func(t *testing.T) { testFailures(t, f, mc) })
	t.Run("an ended context kills the children", func(t *testing.T) { testCancel(t, f, mc) })
}

func testFailures(t *testing.T, f Fixture, mc appliance.Machine) {
	res, err := mc.Run(f.context(t), appliance.Command{Argv: []string{"sh", "-c", "echo out; echo why >&2; exit 7"}})
	var exit *appliance.ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || exit.Name != "sh" || strings.TrimSpace(exit.Stderr) != "why" {
		t.Errorf("exit 7: %v", err)
	}
	if res.ExitCode != 7 || strings.TrimSpace(string(res.Stdout)) != "out" || strings.TrimSpace(string(res.Stderr)) != "why" {
		t.Errorf("result of exit 7: %+v", res)
	}
	if _, err := mc.Run(f.context(t), appliance.Command{Argv: []string{"no-such-program-of-pgapp"}}); err == nil {
		t.Error("a program that doesn't exist: no error")
	}
}

// testCancel cancels commands whose children run in the background, run in a
// session of their own, or ignore SIGTERM.
func testCancel(t *testing.T, f Fixture, mc appliance.Machine) {
	pids := path.Join(mc.Layout().ConfDir, "pids")
	script := `trap "" TERM
sleep 1000 & echo $! >"$1"
(trap "" TERM; sleep 1001 & echo $! >>"$1"; wait) &
echo $$ >>"$1"
wait`
	ctx, cancel := context.WithCancel(f.context(t))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := mc.Run(ctx, appliance.Command{Argv: []string{"sh", "-c", script, "sh", pids}})
		ended <- err
	}()
	f.eventually(t, "the command's children", func() bool {
		data, _ := mc.ReadFile(f.context(t), pids)
		return bytes.Count(data, []byte("\n")) == 3
	})
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v, want context.Canceled in its chain", err)
		}
	case <-time.After(f.soon()):
		t.Fatal("the command goes on though its context has ended")
	}
	f.eventually(t, "the end of the children", func() bool {
		return f.shell(t, mc, `for p in $(cat "$1"); do [ -e /proc/$p/exe ] && echo $p; done; true`, pids) == ""
	})
	f.shell(t, mc, `rm -- "$1"`, pids)
}

func testFiles(t *testing.T, f Fixture, mc appliance.Machine) {
	lay := mc.Layout()
	file := path.Join(lay.ConfDir, "some file")
	if _, err := mc.ReadFile(f.context(t), file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what isn't there: %v, want fs.ErrNotExist", err)
	}
	for _, c := range []struct {
		data string
		mode fs.FileMode
		perm string
	}{
		{"first\x00\xff\n", 0o600, "600"},
		{"", 0o600, "600"},
		{strings.Repeat("longer ", 1<<15), 0o640, "640"},
	} {
		if err := mc.WriteFile(f.context(t), file, []byte(c.data), c.mode); err != nil {
			t.Fatalf("WriteFile of %d bytes: %v", len(c.data), err)
		}
		got, err := mc.ReadFile(f.context(t), file)
		if err != nil || string(got) != c.data {
			t.Errorf("ReadFile: %d bytes, %v; want %d bytes", len(got), err, len(c.data))
		}
		if got, want := f.shell(t, mc, `stat -c "%a %U" -- "$1"`, file), c.perm+" "+lay.OSUser; got != want {
			t.Errorf("mode and owner %q, want %q", got, want)
		}
	}
	if err := mc.WriteFile(f.context(t), path.Join(lay.ConfDir, "none", "x"), nil, 0o600); err == nil {
		t.Error("WriteFile without a parent directory: no error")
	}
	if got := f.shell(t, mc, `rm -- "$1"; ls -A -- "$2"`, file, lay.ConfDir); got != "" {
		t.Errorf("beside the file there is %q", got)
	}
	if got, want := f.shell(t, mc, `stat -c "%a %U" -- "$1"`, lay.ConfDir), "700 "+lay.OSUser; got != want {
		t.Errorf("ConfDir: mode and owner %q, want %q", got, want)
	}
}
