package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

func TestFilesStayInside(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	outside := t.TempDir()
	secret := write(t, "secret", outside, "shadow")
	conf := m.Layout().ConfDir
	for name, target := range map[string]string{"dir": outside, "file": secret} {
		if err := os.Symlink(target, filepath.Join(conf, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		filepath.Join(conf, "file"), filepath.Join(conf, "dir", "shadow"), secret,
		conf + "/../../../../../../../../../../../../etc/hostname",
	} {
		if data, err := m.ReadFile(testContext(t), path); err == nil {
			t.Errorf("ReadFile(%s) = %q", path, data)
		}
	}
	if err := m.WriteFile(testContext(t), filepath.Join(conf, "dir", "shadow"), []byte("x"), 0o600); err == nil {
		t.Error("WriteFile followed a link to a directory outside")
	}
	if err := m.WriteFile(testContext(t), filepath.Join(outside, "new"), nil, 0o600); err == nil {
		t.Error("WriteFile wrote outside of the member")
	}
	// A link in the file's own place is replaced, not followed.
	if err := m.WriteFile(testContext(t), filepath.Join(conf, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(secret); string(got) != "secret" {
		t.Errorf("the file outside is now %q", got)
	}
}

func TestRunEndsBackgroundProcesses(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	began := time.Now()
	// The child keeps the pipes open, which must not keep Run waiting.
	res, err := m.Run(testContext(t), appliance.Command{Argv: []string{"sh", "-c", "sleep 1000 & echo $!"}})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	pid := strings.TrimSpace(string(res.Stdout))
	if _, err := os.Readlink("/proc/" + pid + "/exe"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("process %s is left: %v", pid, err)
	}
	for _, argv := range [][]string{nil, {"relative/path"}, {"/nonexistent/pgapp"}} {
		if _, err := m.Run(testContext(t), appliance.Command{Argv: argv}); err == nil {
			t.Errorf("Run(%q): no error", argv)
		}
	}
}

// stray starts a process like one that a killed daemon leaves: the process works
// in dir, ignores SIGTERM and has a session of its own.
func stray(t *testing.T, dir string, terminal bool) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), "/bin/sh", "-c", `trap "" TERM; echo; while :; do sleep 1000; done`)
	if terminal { // script(1) gives its child a terminal
		cmd = exec.CommandContext(testContext(t), "script", "-qc", "echo; sleep 1000", "/dev/null")
	}
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIPPED: it needs %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = out.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	return cmd
}

func TestFenceEndsStrayProcesses(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	m := made(t, p)
	data := m.Layout().DataDir
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	other := testCluster("node00")
	mustDo(t, p.CreateSteps(other, other.Members))
	neighbour := stray(t, p.machine(other, other.Members[0]).dir, false)
	inData, inDir, frozen := stray(t, data, false), stray(t, m.dir, false), stray(t, data, false)
	if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := m.Fence(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for name, cmd := range map[string]*exec.Cmd{"in data": inData, "in the member's directory": inDir, "frozen": frozen} {
		if (proc{cmd.Process.Pid}).alive() {
			t.Errorf("the process %s is left", name)
		}
	}
	if !(proc{neighbour.Process.Pid}).alive() {
		t.Error("another member's process was ended")
	}
	mustDo(t, p.DestroySteps(other, other.Members))
	if (proc{neighbour.Process.Pid}).alive() {
		t.Error("the removal of the other member left its process")
	}
}

// TestFenceAwaitsProcessEnd fences processes that take long to end: the kernel
// frees each one's file after it has left its directory.
func TestFenceAwaitsProcessEnd(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	for range 5 {
		fd, err := unix.MemfdCreate("big", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "big")
		if err := unix.Fallocate(fd, 0, 0, 128<<20); err != nil {
			t.Fatalf("taking 128 MiB of memory: %v", err)
		}
		cmd := exec.CommandContext(testContext(t), "sleep", "1000")
		cmd.Dir, cmd.SysProcAttr, cmd.ExtraFiles = m.dir, &syscall.SysProcAttr{Setsid: true}, []*os.File{file}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil { // the process has the last one
			t.Fatal(err)
		}
		err = m.Fence(testContext(t))
		alive := (proc{cmd.Process.Pid}).alive()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil || alive {
			t.Fatalf("Fence() = %v; the process is left: %v", err, alive)
		}
	}
}

// TestFenceSparesUsersShell matters to ordinary users, whose members run
// as themselves.
func TestFenceSparesUsersShell(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	shell := stray(t, m.Layout().ConfDir, true)
	terr, err := m.territory("")
	if err != nil {
		t.Fatal(err)
	}
	// script itself has no terminal of its own here; its child has one.
	all, err := allProcs()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range all {
		cwd, _ := p.cwd()
		if _, tty := p.stat(); tty != 0 && terr.covers(cwd) {
			found = true
			if terr.holds(p) {
				t.Errorf("process %d has a terminal, but counts as the member's", p.pid)
			}
		}
	}
	if !found {
		t.Skip("SKIPPED: no process with a terminal could be made by script(1)")
	}
	_ = shell
}

func TestTerritoryCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dir   string
		below bool
		cwd   string
		want  bool
	}{
		{"/h/c/node1", true, "/h/c/node1", true},
		{"/h/c/node1", true, "/h/c/node1/data", true},
		{"/h/c/node1", true, "/h/c/node10/data", false},
		{"/h/c/node1/data", false, "/h/c/node1/data", true},
		{"/h/c/node1/data", false, "/h/c/node1/data/base", false},
		{"/h/c/node1/data", false, "", false},
		{"/h/c/node1", true, "/h/c", false},
	} {
		if got := (territory{dir: c.dir, below: c.below}).covers(c.cwd); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestStaleServerDoesNotCount(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	elsewhere := stray(t, t.TempDir(), false)
	for name, pid := range map[string]string{
		"another process's number": itoa(elsewhere.Process.Pid),
		"our own number":           itoa(os.Getpid()),
		"nobody's number":          "4194303",
		"nonsense":                 "x",
	} {
		write(t, pid+"\n"+m.Layout().DataDir+"\n", m.Layout().DataDir, "postmaster.pid")
		if running, err := m.ServerRunning(testContext(t)); err != nil || running {
			t.Errorf("%s: ServerRunning() = %v, %v", name, running, err)
		}
		if err := m.StopServer(testContext(t), appliance.StopFast); err != nil {
			t.Errorf("%s: StopServer: %v", name, err)
		}
	}
	if !(proc{elsewhere.Process.Pid}).alive() {
		t.Error("a process that has the stale number was ended")
	}
}

func TestOpenLogRotatesLargeLog(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	i, err := m.p.account.lookup()
	if err != nil {
		t.Fatal(err)
	}
	log := m.Layout().LogFile
	for _, size := range []int64{10, maxLogSize + 1} {
		write(t, "", log)
		if err := os.Truncate(log, size); err != nil {
			t.Fatal(err)
		}
		f, err := m.openLog(i)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if got, want := exists(log+".1"), size > maxLogSize; got != want {
			t.Errorf("a log of %d bytes is set aside: %v, want %v", size, got, want)
		}
	}
}

func TestMayPass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	me := ids{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	stranger := ids{uid: me.uid + 12345, gid: me.gid + 12345}
	colleague := ids{uid: me.uid + 12345, gid: me.gid + 12345, groups: []uint32{me.gid}}
	for _, c := range []struct {
		mode                      fs.FileMode
		me, stranger, colleagueOK bool
	}{
		{0o700, true, false, false},
		{0o711, true, true, true},
		{0o710, true, false, true},
		{0o701, true, true, false},
		{0o011, false, true, true},
		{0o744, true, false, false},
	} {
		if err := os.Chmod(dir, c.mode); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if a, b, d := mayPass(st, me), mayPass(st, stranger), mayPass(st, colleague); a != c.me || b != c.stranger || d != c.colleagueOK {
			t.Errorf("mode %04o: me %v, stranger %v, colleague %v", c.mode, a, b, d)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestRunRefusesAFrozenMember has a command for a member whose cgroup is frozen: started
// there, it would never begin, and hold up this program.
func TestRunRefusesAFrozenMember(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	m.p.cgroups = findCgroups(os.Geteuid())
	g, ok := m.p.cgroups.ensure(m.tag())
	if !ok {
		t.Skip("SKIPPED: no cgroup can be made")
	}
	t.Cleanup(func() { _ = g.remove() })
	freeze := func(to string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(g.dir, "cgroup.freeze"), []byte(to), 0); err != nil {
			t.Skipf("SKIPPED: it needs the right to freeze cgroups: %v", err)
		}
	}
	freeze("1")
	if _, err := m.Run(testContext(t), appliance.Command{Argv: []string{"true"}}); !appliance.IsProblem(err, appliance.ErrMemberUnreachable) {
		t.Errorf("frozen: %v", err)
	}
	freeze("0")
	if _, err := m.Run(testContext(t), appliance.Command{Argv: []string{"true"}}); err != nil {
		t.Errorf("thawed: %v", err)
	}
}

// TestServerStartsInACgroupThatSomebodyHasKilled kills the member's empty cgroup as a whole
// before a start: Linux 6.14 and later may kill what is started in such a one.
func TestServerStartsInACgroupThatSomebodyHasKilled(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	m.p.cgroups = findCgroups(os.Geteuid())
	g, ok := m.p.cgroups.ensure(m.tag())
	if !ok {
		t.Skip("SKIPPED: no cgroup can be made")
	}
	t.Cleanup(func() {
		if err := (cgroup{g.dir}).end(testContext(t)); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		t.Skipf("SKIPPED: this kernel kills no cgroups: %v", err)
	}
	var said bytes.Buffer
	cmd, err := m.startInMemberCgroup(func(in *cgroup) (*exec.Cmd, error) {
		if in == nil {
			t.Error("it starts in no cgroup")
			return exec.Command("true"), nil
		}
		dir, err := in.open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }()
		cmd := exec.Command("sh", "-c", "echo lives")
		cmd.Stdout = &said
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		return cmd, cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || said.String() != "lives\n" {
		t.Errorf("what was started there said %q: %v", &said, err)
	}
}
