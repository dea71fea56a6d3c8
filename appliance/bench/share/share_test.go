package share

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// server is a process that stands for a member: it and two children are busy, and it
// begins a third one when it gets a line.
type server struct {
	pid   int
	begin func()
	// group is the group of version 2 that the test made, or empty.
	group string
}

func startServer(t *testing.T, m machine) server {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "(while :; do :; done) & (while :; do :; done) & read line; (while :; do :; done) & while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := server{begin: func() { _, _ = in.Write([]byte("go\n")) }}
	if m.cpu.mount == "" {
		s.group = filepath.Join(m.unified.mount, fmt.Sprintf("pgapp-test%d-%s", os.Getpid(), strings.ToLower(t.Name())))
		if err := os.Mkdir(s.group, 0o750); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(s.group)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	t.Cleanup(func() {
		_ = cmd.Cancel()
		_ = cmd.Wait()
		if s.group != "" {
			until(t, "the test's group is removed", func() bool { return gone(syscall.Rmdir(s.group)) })
		}
	})
	until(t, "the server's children run", func() bool { return len(s.tree(t)) == 3 })
	return s
}

func (s server) tree(t *testing.T) []stat {
	t.Helper()
	root, err := readStat(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := root.tree()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// limit returns the directory of the limiting group, its limit, and how often the kernel
// has made the group wait.
func (s server) limit(t *testing.T, m machine) (dir, limit string, waits int) {
	t.Helper()
	h, controller, file := m.cpu, "cpu", "cpu.cfs_quota_us"
	if m.cpu.mount == "" {
		h, controller, file = m.unified, "", "cpu.max"
	}
	dir, err := h.group(process{pid: s.pid}, controller)
	if err != nil {
		t.Fatal(err)
	}
	limit, err = get(dir, file)
	if err != nil && !gone(err) {
		t.Fatal(err)
	}
	text, err := get(dir, "cpu.stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			waits, _ = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return dir, limit, waits
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	if t.Context().Err() != nil { // in a cleanup
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	}
	defer cancel()
	if err := wait.Until(ctx, 20*time.Millisecond, func(context.Context) (bool, error) { return done(), nil }); err != nil {
		t.Errorf("waiting until %s: %v", what, err)
	}
}

func needsRoot(t *testing.T) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: making control groups at the top needs root")
	}
	m, err := readMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m == (machine{}) {
		t.Skip("SKIPPED: this machine has no control groups")
	}
	return m
}

func TestShareIsKeptByAllProcessesOfAMember(t *testing.T) {
	t.Parallel()
	m := needsRoot(t)
	s := startServer(t, m)
	home, _, _ := s.limit(t, m)
	set, err := Find(map[string]int{"m1": s.pid})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.PutBack() })
	first, err := set.Used()
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Apply(0.5); err != nil {
		t.Fatal(err)
	}
	dir, _, _ := s.limit(t, m)
	s.begin()
	until(t, "a process begun since is in the group", func() bool {
		inside, err := pids(dir)
		tree := s.tree(t)
		return err == nil && len(tree) == 4 && !slices.ContainsFunc(tree, func(p stat) bool { return !slices.Contains(inside, p.pid) })
	})
	for range 2 { // so small a share that a busy machine leaves the member more
		if err := set.Apply(0.02); err != nil {
			t.Fatal(err)
		}
	}
	again, limit, waits := s.limit(t, m)
	if again != dir || limit != "2000" && limit != "2000 100000" {
		t.Errorf("the limit of %s is %q, want 2000 of 100000 microseconds for %s", again, limit, dir)
	}
	until(t, "the kernel has made the member wait three times", func() bool { _, _, now := s.limit(t, m); return now >= waits+3 })
	until(t, "the member has used processor time", func() bool {
		used, err := set.Used()
		return err == nil && used["m1"] > first["m1"]
	})
	if err := set.PutBack(); err != nil {
		t.Fatal(err)
	}
	if back, limit, _ := s.limit(t, m); back != home || strings.HasPrefix(limit, "2000") {
		t.Errorf("put back, the member is in %s with the limit %q, want %s without one", back, limit, home)
	}
	if err := set.PutBack(); err != nil {
		t.Errorf("put back again: %v", err)
	}
}

// forgetfulPID is where TestForgetful gets its server from.
const forgetfulPID = "PGAPP_TEST_SHARE_PID"

// TestForgetful is the process that TestRestoreFindsWhatAKilledProcessLeft kills.
func TestForgetful(t *testing.T) {
	pid, err := strconv.Atoi(os.Getenv(forgetfulPID))
	if err != nil {
		return // not that process
	}
	set, err := Find(map[string]int{"m1": pid})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Apply(0.2); err != nil {
		t.Fatal(err)
	}
	fmt.Println("applied")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the other process ends
}

func TestRestoreFindsWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	m := needsRoot(t)
	s := startServer(t, m)
	home, _, _ := s.limit(t, m)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestForgetful$") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", forgetfulPID, s.pid))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "applied\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	if err := Restore(); err != nil { // its maker runs
		t.Fatal(err)
	}
	dir, limit, _ := s.limit(t, m)
	if !strings.HasPrefix(limit, "20000") {
		t.Errorf("the share of a process that runs was taken away: the limit is %q", limit)
	}
	if _, err := Find(map[string]int{"m1": s.pid}); err == nil {
		t.Error("found a member to which another process gives a share")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if set, err := Find(map[string]int{"m1": s.pid}); err != nil { // the killed process's share stands in no one's way
		t.Error(err)
	} else if _, err := set.Used(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := Restore(); err != nil {
			t.Fatal(err)
		}
	}
	if back, limit, _ := s.limit(t, m); back != home || strings.HasPrefix(limit, "20000") {
		t.Errorf("restored, the member is in %s with the limit %q, want %s without one", back, limit, home)
	}
	if _, err := os.Stat(dir); s.group == "" && !gone(err) {
		t.Errorf("%s still exists: %v", dir, err)
	}
}

func TestFindNamesTheMissingRightOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	s := startServer(t, needsRoot(t))
	found := make(chan error)
	go func() { // the system call changes this thread alone, and the thread ends with the goroutine
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			found <- errno
			return
		}
		_, err := Find(map[string]int{"m1": s.pid})
		found <- err
	}()
	if err := <-found; !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Errorf("got %v, want the problem %s", err, appliance.ErrHostPermission)
	} else {
		t.Log(err)
	}
}
