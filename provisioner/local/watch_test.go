package local

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// standIn starts a process that the kernel and the provider take for the member's
// postmaster. end ends it; without it the test's end does.
func standIn(t *testing.T, m *machine) (p proc, end func()) {
	t.Helper()
	data := m.Layout().DataDir
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), serverName)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, program); err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: program, Args: []string{"sleep", "1000"}, Dir: data, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	// The kernel closes the caller's pipe, for which Start waits, before it gives the process
	// its program's name (begin_new_exec in fs/exec.c).
	p = proc{cmd.Process.Pid}
	err = wait.Until(testContext(t), time.Millisecond, func(context.Context) (bool, error) { return p.comm() == serverName, nil })
	if err != nil {
		t.Fatalf("the process is named %q: %v", p.comm(), err)
	}
	write(t, itoa(cmd.Process.Pid)+"\n"+data+"\n", data, pidFileName)
	return p, end
}

func clusterOf(m *machine) appliance.Cluster {
	c := testCluster(m.member)
	c.Name, c.UUID, c.PostgresBin = m.cluster, m.uuid, m.binDir
	return c
}

// watching watches the member, and returns a function that awaits a wake with that
// text.
func watching(t *testing.T, m *machine) (await func(text string)) {
	t.Helper()
	woken := make(chan string, 100)
	c := clusterOf(m)
	ctx, stop := context.WithCancel(testContext(t))
	var ended sync.WaitGroup
	ended.Go(func() { m.p.Watch(ctx, c, c.Members[0], func(detail string) { woken <- detail }) })
	t.Cleanup(func() { stop(); ended.Wait() })
	return func(text string) {
		t.Helper()
		timeout := time.After(2 * time.Minute)
		for {
			select {
			case got := <-woken:
				if strings.Contains(got, text) {
					return
				}
			case <-timeout:
				t.Fatalf("no wake with %q", text)
			}
		}
	}
}

func sign(t *testing.T, m *machine) appliance.Sign {
	t.Helper()
	c := clusterOf(m)
	got, err := m.p.Sign(testContext(t), c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWatchFollowsEachPostmaster(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	await := watching(t, m)
	await("gone: no postmaster")
	for range 3 {
		p, end := standIn(t, m)
		await("running: process " + itoa(p.pid))
		if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		await("halted: process " + itoa(p.pid) + " is stopped")
		if got := sign(t, m); got.Vital != appliance.VitalHalted {
			t.Errorf("the sign of a stopped process is %+v", got)
		}
		end()
		await("gone")
		if got := sign(t, m); got.Vital != appliance.VitalGone {
			t.Errorf("the sign of a dead process is %+v", got)
		}
	}
}

// TestWatchSeesEndOfZombie watches a process whose parent doesn't reap it: to its
// cluster it has ended.
func TestWatchSeesEndOfZombie(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	p, _ := standIn(t, m)
	await := watching(t, m)
	await("running")
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await("gone")
	if state, _ := p.stat(); state != 'Z' {
		t.Fatalf("the process is in state %c, so the test shows nothing", state)
	}
}

// TestWatchFollowsDirectories watches a member whose directories come, and are
// replaced, later.
func TestWatchFollowsDirectories(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	c := testCluster("node0")
	m := p.machine(c, c.Members[0])
	await := watching(t, m)
	await("gone")
	mustDo(t, p.CreateSteps(c, c.Members))
	t.Cleanup(func() { mustDo(t, p.DestroySteps(c, c.Members)) })
	first, end := standIn(t, m)
	await("running: process " + itoa(first.pid))
	end()
	await("gone")
	data := m.Layout().DataDir
	if err := os.Rename(data, data+".old"); err != nil {
		t.Fatal(err)
	}
	second, _ := standIn(t, m)
	await("running: process " + itoa(second.pid))
}

// TestWatchSeesPidFileAtOnce counts on inotify: a look of every half second
// wouldn't wake, since the sign is the same.
func TestWatchSeesPidFileAtOnce(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	p, _ := standIn(t, m)
	await := watching(t, m)
	await("running")
	write(t, itoa(p.pid)+"\n"+m.Layout().DataDir+"\n\n\n\n\n\nready\n", m.Layout().DataDir, pidFileName)
	await("its files or its cgroup changed")
}

// poked returns a poke and a wait for it.
func poked(t *testing.T) (poke, await func()) {
	t.Helper()
	got := make(chan struct{}, 100)
	return func() { got <- struct{}{} }, func() {
		t.Helper()
		select {
		case <-got:
		case <-time.After(2 * time.Minute):
			t.Fatal("nobody told of the change")
		}
	}
}

// TestHoldTellsEnd counts on the pidfd alone.
func TestHoldTellsEnd(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	p, end := standIn(t, m)
	poke, await := poked(t)
	h := holdProc(p, poke)
	defer h.close()
	if !h.pinned() {
		t.Fatal("the process is not held")
	}
	end()
	await()
	<-h.done
	if h.pinned() {
		t.Error("a process that has ended is still held")
	}
	again := holdProc(p, poke)
	defer again.close()
	await()
}

// TestNotesTellCgroupsChanges counts on inotify alone.
func TestNotesTellCgroupsChanges(t *testing.T) {
	t.Parallel()
	all := findCgroups(os.Geteuid())
	g, ok := all.ensure("pgapp-test-notes-" + itoa(os.Getpid()))
	if !ok {
		t.Skip("SKIPPED: no cgroup can be made")
	}
	t.Cleanup(func() {
		if err := g.end(testContext(t)); err != nil {
			t.Error(err)
		}
	})
	p, end := standIn(t, made(t, selfProvider(t)))
	poke, await := poked(t)
	n := openNotes(poke)
	defer n.close()
	if !n.cover([]string{filepath.Join(g.dir, eventsFile)}) {
		t.Fatal("the cgroup is not followed")
	}
	for _, change := range []struct{ file, text string }{
		{"cgroup.procs", itoa(p.pid)}, {"cgroup.freeze", "1"}, {"cgroup.freeze", "0"},
	} {
		if err := os.WriteFile(filepath.Join(g.dir, change.file), []byte(change.text), 0); err != nil {
			t.Fatal(err)
		}
		await()
	}
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.freeze"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	await()
	if got := all.signOf(p); got.Vital != appliance.VitalHalted || !strings.Contains(got.Detail, "frozen") {
		t.Errorf("the sign of a frozen process is %+v", got)
	}
	end()
	await()
}

// TestWatchLeavesNothing isn't parallel, so that no other test opens descriptors.
// TestMain looks for goroutines.
func TestWatchLeavesNothing(t *testing.T) { //nolint:paralleltest // it counts the process's descriptors
	m := made(t, selfProvider(t))
	_, end := standIn(t, m)
	before := watchDescriptors(t)
	c := testCluster(m.member)
	for range 3 {
		ctx, stop := context.WithCancel(testContext(t))
		woken := make(chan string, 100)
		var ended sync.WaitGroup
		ended.Go(func() { m.p.Watch(ctx, c, c.Members[0], func(detail string) { woken <- detail }) })
		<-woken
		if got := watchDescriptors(t) - before; got != 2 {
			t.Errorf("%d descriptors more while a member is watched, want an inotify and a pidfd", got)
		}
		stop()
		ended.Wait()
		if got := watchDescriptors(t) - before; got != 0 {
			t.Errorf("%d descriptors are left", got)
		}
	}
	end()
}

// watchDescriptors counts this process's descriptors that only a watch has. os/exec
// has pidfds too, of its children.
func watchDescriptors(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range links {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // the descriptor of the listing itself
		}
		target, _ := os.Readlink(strings.Replace(path, "fdinfo", "fd", 1))
		if target == "anon_inode:inotify" || strings.Contains(string(info), "\nPid:\t") {
			n++
		}
	}
	return n
}

// debug holds the process like a debugger, until release is called or the test
// ends. Only the thread that attached may let it go.
func debug(t *testing.T, p proc) (release func()) {
	t.Helper()
	held, free, freed := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(freed)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := syscall.PtraceAttach(p.pid)
		if err == nil {
			_, err = syscall.Wait4(p.pid, nil, syscall.WALL, nil)
		}
		held <- err
		<-free
		_ = syscall.PtraceDetach(p.pid)
	}()
	release = sync.OnceFunc(func() { close(free); <-freed })
	t.Cleanup(release)
	if err := <-held; err != nil {
		t.Fatalf("holding process %d: %v", p.pid, err)
	}
	return release
}

func TestSignOfDebuggedProcess(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	p, _ := standIn(t, m)
	release := debug(t, p)
	if got := sign(t, m); got.Vital != appliance.VitalDebugged {
		t.Errorf("the sign of a process that a debugger holds is %+v", got)
	}
	release()
	if err := wait.Until(testContext(t), 10*time.Millisecond, func(context.Context) (bool, error) {
		return sign(t, m).Vital == appliance.VitalRunning, nil
	}); err != nil {
		t.Errorf("the sign of a process that a debugger released is %+v", sign(t, m))
	}
}

func TestSignOfForeignDirectory(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	c := testCluster(m.member)
	c.UUID = "0f1e2d3c-0000-4000-8000-00000000ffff"
	if got, err := m.p.Sign(testContext(t), c, c.Members[0]); got.Vital != appliance.VitalUnknown || !appliance.IsProblem(err, appliance.ErrDataDirForeign) {
		t.Errorf("Sign() = %+v, %v", got, err)
	}
}

func TestSignWithoutUser(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	without := &Provider{home: m.p.home, temp: m.p.temp, account: account{name: "pgapp-no-such-user"}}
	c := testCluster(m.member)
	if got, err := without.Sign(testContext(t), c, c.Members[0]); err != nil || got.Vital != appliance.VitalGone {
		t.Errorf("Sign() = %+v, %v", got, err)
	}
}
