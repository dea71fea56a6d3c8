package ssh

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

func hostile() []string {
	return []string{
		"", " ", "a b", "'", `"`, `'"'"'`, "$HOME", "`id`", "$(id)", "\\", "\\'", "a\nb", "-n", "--", "*", "~", "#", "!", ";", "&", "|", ">x",
		"ü", "\x01\x7f", "%s", "{a,b}", "=x", "'; exit 3; '",
	}
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	for _, w := range hostile() {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(w)).Output()
		if err != nil || string(out) != w {
			t.Errorf("%q came back as %q, %v", w, out, err)
		}
	}
}

func TestRunPassesArgumentsUnchanged(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	argv := append([]string{"printf", `%s\0`}, hostile()...)
	r, err := c.As("").Run(t.Context(), appliance.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(r.Stdout), "\x00"), "\x00")
	if !reflect.DeepEqual(got, hostile()) {
		t.Errorf("got %q", got)
	}
}

func TestRunGivesCleanEnvironment(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	r, err := c.As("").Run(t.Context(), appliance.Command{Argv: []string{"env"}, Env: map[string]string{"B": "x y", "A": "'"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(r.Stdout)) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[k] = v
	}
	delete(got, runMark)
	want := map[string]string{
		"A": "'", "B": "x y", "LC_ALL": "C",
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWordsRefusesBadNames(t *testing.T) {
	t.Parallel()
	for _, c := range []appliance.Command{
		{},
		{Argv: []string{""}},
		{Argv: []string{"A=b"}},
		{Argv: []string{"-i"}},
		{Argv: []string{"a", "b\x00"}},
		{Argv: []string{"a"}, Env: map[string]string{"": "x"}},
		{Argv: []string{"a"}, Env: map[string]string{"A=B": "x"}},
		{Argv: []string{"a"}, Env: map[string]string{"-S": "x"}},
	} {
		if got, err := words(c, "", ""); err == nil {
			t.Errorf("%q with %q: got %q, want an error", c.Argv, c.Env, got)
		}
	}
	got, err := words(appliance.Command{Argv: []string{"psql"}}, "postgres", "m")
	if err != nil || !reflect.DeepEqual(got[:6], []string{"sudo", "-n", "-u", "postgres", "--", "env"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRunConnectsStreams(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	var out bytes.Buffer
	var lines []string
	r, err := c.As("").Run(t.Context(), appliance.Command{
		Argv: []string{"sh", "-c", `cat; printf 'one\rtwo\n\nthree' >&2; exit 7`}, Stdin: bytes.NewReader(big), Stdout: &out,
		OnStderr: func(l string) { lines = append(lines, l) },
	})
	var exit *appliance.ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || r.ExitCode != 7 || exit.Name != "sh" {
		t.Errorf("got %v and code %d, want exit code 7 of sh", err, r.ExitCode)
	}
	if !bytes.Equal(out.Bytes(), big) || len(r.Stdout) != 0 {
		t.Errorf("got %d bytes in the writer and %d in the result", out.Len(), len(r.Stdout))
	}
	if want := []string{"one", "two", "three"}; !reflect.DeepEqual(lines, want) || !strings.HasSuffix(string(r.Stderr), "three") {
		t.Errorf("got lines %q, stderr %q", lines, r.Stderr)
	}
}

func TestRunKeepsEndOfStderr(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	r, err := c.As("").Run(t.Context(), appliance.Command{Argv: []string{"sh", "-c", "head -c 300000 /dev/zero >&2; echo end >&2"}})
	if err != nil || len(r.Stderr) > keptStderr || !strings.HasSuffix(string(r.Stderr), "end\n") {
		t.Errorf("got %d bytes, %v", len(r.Stderr), err)
	}
}

func TestRunEndsWithUnreadInput(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close(); _ = r.Close() }()
	if _, err := c.As("").Run(t.Context(), appliance.Command{Argv: []string{"true"}, Stdin: r}); err != nil {
		t.Error(err)
	}
}

func TestCancelKillsCommandAndChildren(t *testing.T) {
	t.Parallel()
	c := newServer(t).client(t)
	pidFile := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	_, err := c.As("").Run(ctx, appliance.Command{
		// One child stays; one moves to its own session.
		Argv: []string{"sh", "-c", `sleep 300 & echo $! >>"$1"; setsid sleep 300 & echo $! >>"$1"; echo $$ >>"$1"; echo up >&2; wait`, "sh", pidFile},
		OnStderr: func(string) {
			once.Do(cancel)
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancellation", err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(text)) {
		pid, _ := strconv.Atoi(f)
		waitGone(t, pid)
	}
	echo(t, c)
}

// The command drops the mark that identifies its processes, so killing fails.
func TestCancelClosesConnectionWhenKillFails(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client(t)
	c.killLimit = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pid int
	_, err := c.As("").Run(ctx, appliance.Command{
		Argv: []string{"env", "-i", "sh", "-c", `echo $$ >&2; exec sleep 300`},
		OnStderr: func(line string) {
			pid, _ = strconv.Atoi(line)
			cancel()
		},
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may still run") {
		t.Errorf("got %v, want a cancellation that says what it left", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the command: %v", err)
	}
	echo(t, c)
	if n := s.handshakes.Load(); n != 2 {
		t.Errorf("got %d handshakes, want 2", n)
	}
}

// A command that has ended already leaves the connection open for others, even
// if the search for its processes is slow.
func TestCancelAfterEndWithSlowKill(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client(t)
	c.killLimit = 2 * time.Second // in which it ends, on any machine
	echo(t, c)
	c.kills <- struct{}{}
	c.kills <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := c.As("").Run(ctx, appliance.Command{
		Argv:     []string{"sh", "-c", `echo up >&2; exit 3`},
		OnStderr: func(string) { cancel() },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancellation", err)
	}
	echo(t, c)
	if n := s.handshakes.Load(); n != 1 {
		t.Errorf("got %d handshakes, want 1", n)
	}
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d outlived its command", pid)
}

func TestRunIsConcurrent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { echo(t, c) })
	}
	wg.Wait()
	if n := s.handshakes.Load(); n != 1 {
		t.Errorf("got %d handshakes, want 1", n)
	}
}

func TestWriteFileAndReadFile(t *testing.T) {
	t.Parallel()
	shell := newServer(t).client(t).As("")
	dir := t.TempDir()
	for _, name := range []string{"plain", "it's \"odd\" $HOME", "-rf", "a\nb"} {
		path := filepath.Join(dir, name)
		for _, data := range []string{"", "one\x00two\n", strings.Repeat("x", 1<<20)} {
			if err := shell.WriteFile(t.Context(), path, []byte(data), 0o640); err != nil {
				t.Fatal(err)
			}
			got, err := shell.ReadFile(t.Context(), path)
			if err != nil || string(got) != data {
				t.Errorf("%q: got %d bytes, %v; want %d", name, len(got), err, len(data))
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%q: got %v, %v; want mode 0640", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := shell.ReadFile(t.Context(), filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if err := shell.WriteFile(t.Context(), filepath.Join(dir, "no", "dir"), nil, 0o600); err == nil {
		t.Error("writing into a directory that isn't there succeeded")
	}
}

func TestWriteFileRefusesPartialData(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", writeScript, "sh", path, "10", "0600")
	cmd.Stdin = strings.NewReader("half")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 65 {
		t.Errorf("got %v, want exit code 65", err)
	}
	left, _ := filepath.Glob(path + "*")
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestParseUnit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want UnitState
		code int
	}{
		{"LoadState=not-found\nActiveState=inactive\nSubState=dead\nExecMainStatus=0\n", UnitAbsent, 0},
		{"LoadState=loaded\nActiveState=active\nSubState=running\nExecMainStatus=0\n", UnitRunning, 0},
		{"LoadState=loaded\nActiveState=active\nSubState=exited\nExecMainStatus=0\n", UnitSucceeded, 0},
		{"LoadState=loaded\nActiveState=failed\nSubState=failed\nExecMainStatus=100\n", UnitFailed, 100},
		{"LoadState=loaded\nActiveState=activating\nSubState=start\n", UnitRunning, 0},
		{"garbage", "", 0},
	} {
		got, code, err := parseUnit(tc.text)
		if got != tc.want || code != tc.code || (err != nil) != (tc.want == "") {
			t.Errorf("%q: got %q, %d, %v", tc.text, got, code, err)
		}
	}
}

// sshd loses an end of input that arrives before the command's start; the
// command then waits forever, as it did for empty files.
func TestStdinFollowsStart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.lateReply = 100 * time.Millisecond
	file := filepath.Join(t.TempDir(), "standby.signal")
	if err := s.client(t).As("").WriteFile(t.Context(), file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.early.Load() {
		t.Error("input was sent before the command had started")
	}
	if info, err := os.Stat(file); err != nil || info.Size() != 0 {
		t.Errorf("got %v, %v", info, err)
	}
}
