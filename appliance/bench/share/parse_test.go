package share

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

func TestParseStatReadsNamesWithParentheses(t *testing.T) {
	t.Parallel()
	const line = "71 (a) b (c) S 7 71 71 0 -1 4194560 9 8 7 6 100 20 3 4000 20 0 1 0 5567 1 2 3\n"
	got, err := parseStat([]byte(line))
	want := stat{process: process{71, 5567}, state: 'S', parent: 7, ticks: 100 + 20 + 3 + 4000}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "71", "71 (a", "71 (a) S 7", strings.Replace(line, "5567", "x", 1), strings.Replace(line, "4000", "-1", 1)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) found no error", bad)
		}
	}
}

func TestParseMountsFindsTheControllers(t *testing.T) {
	t.Parallel()
	const hybrid = `24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 24 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
33 24 0:28 /docker/a\040b /sys/fs/cgroup/cpu,cpuacct rw master:9 - cgroup cgroup rw,cpu,cpuacct
34 24 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
`
	cpu := hierarchy{mount: "/sys/fs/cgroup/cpu,cpuacct", root: "/docker/a b"}
	want := machine{cpu: cpu, cpuacct: cpu, unified: hierarchy{mount: "/sys/fs/cgroup/unified", root: "/"}}
	if got := parseMounts(hybrid); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	const pure = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\nbad line\n"
	if got, want := parseMounts(pure), (machine{unified: hierarchy{"/sys/fs/cgroup", "/"}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestGroupPathTellsTheHierarchiesApart(t *testing.T) {
	t.Parallel()
	text := []byte("9:name=systemd:/init\n4:cpuset:/set\n2:cpu,cpuacct:/a:b\n0::/two\n")
	for controller, want := range map[string]string{"cpu": "/a:b", "cpuacct": "/a:b", "cpuset": "/set", "": "/two"} {
		if got, ok := groupPath(text, controller); !ok || got != want {
			t.Errorf("groupPath(%q) = %q, %t, want %q", controller, got, ok, want)
		}
	}
	if got, ok := groupPath(text, "memory"); ok {
		t.Errorf("found a group of a controller that isn't there: %q", got)
	}
}

func TestBelowNameHoldsItsMaker(t *testing.T) {
	t.Parallel()
	maker := process{412, 99021}
	name := belowName(maker, "m-1", process{500, 2})
	if got, ok := parseBelow(name); !ok || got != maker {
		t.Errorf("parseBelow(%q) = %v, %t, want %v", name, got, ok, maker)
	}
	for _, foreign := range []string{"", "pgapp-abc-m1", "pgapp-share-", "pgapp-share-1-2", "pgapp-share-x-2-m1-5", "x" + name} {
		if _, ok := parseBelow(foreign); ok {
			t.Errorf("parseBelow(%q) takes the group for this package's", foreign)
		}
	}
}

func TestMarkIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := mark{process{412, 99021}, "max 100000"}
	if got, err := parseMark(want.String()); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 2", "x 2 max", "1 x max"} {
		if _, err := parseMark(bad); err == nil {
			t.Errorf("parseMark(%q) found no error", bad)
		}
	}
}

func TestParseUsageReadsSeconds(t *testing.T) {
	t.Parallel()
	got, err := parseUsage("usage_usec 1500000\nuser_usec 1\nnr_throttled 0\n")
	if err != nil || got != 1.5 {
		t.Errorf("got %v, %v, want 1.5", got, err)
	}
	for _, bad := range []string{"", "user_usec 1\n", "usage_usec -1\n"} {
		if _, err := parseUsage(bad); err == nil {
			t.Errorf("parseUsage(%q) found no error", bad)
		}
	}
}

func TestApplyRefusesAShareThatTheKernelCannotKeep(t *testing.T) {
	t.Parallel()
	for _, cores := range []float64{0, -1, 0.001, math.NaN(), math.Inf(1)} {
		if err := (&Set{}).Apply(cores); !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("Apply(%v): got %v, want the problem %s", cores, err, appliance.ErrUsage)
		}
	}
}

func TestFindRefusesProcessesThatAreNoServer(t *testing.T) {
	t.Parallel()
	for what, pid := range map[string]int{"itself": os.Getpid(), "its parent": os.Getppid(), "the first process": 1, "none": 1 << 30} {
		if _, err := Find(map[string]int{"m1": pid}); !appliance.IsProblem(err, appliance.ErrMemberUnreachable) {
			t.Errorf("%s: got %v, want the problem %s", what, err, appliance.ErrMemberUnreachable)
		}
	}
}

func TestProcessOfAnotherStartTimeHasEnded(t *testing.T) {
	t.Parallel()
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	reused := process{self.pid, self.start + 1}
	tree, err := reused.tree()
	if !self.runs() || reused.runs() || len(tree) > 0 || err != nil {
		t.Errorf("runs = %t, of another start time %t with the tree %v, %v", self.runs(), reused.runs(), tree, err)
	}
}

// folder makes a group of version 2 of plain files, in which the kernel changes nothing.
func folder(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(dir, Mark+".probe", nil, 0); errors.Is(err, unix.ENOTSUP) {
		t.Skip("SKIPPED: the file system of the tests' directories keeps no extended attributes; set TMPDIR")
	}
	for file, text := range map[string]string{"cgroup.controllers": "cpu pids\n", "cgroup.subtree_control": "pids\n", "cgroup.procs": "", "cpu.max": "max 100000\n", "cpu.stat": "usage_usec 2000000\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFile(t *testing.T, dir, file, want string) {
	t.Helper()
	if got, err := get(dir, file); err != nil || got != want {
		t.Errorf("%s is %q, %v, want %q", file, got, err, want)
	}
}

// TestOwnGroupGetsItsLimitBack shows the order of what is written; TestShare… shows the
// kernel's part.
func TestOwnGroupGetsItsLimitBack(t *testing.T) {
	t.Parallel()
	h := hierarchy{mount: t.TempDir(), root: "/"}
	a, b := filepath.Join(h.mount, "pgapp-a"), filepath.Join(h.mount, "pgapp-b")
	for _, dir := range []string{h.mount, a, b} {
		folder(t, dir)
	}
	if err := put(a, "cpu.max", "70000 100000"); err != nil { // a limit of the user's
		t.Fatal(err)
	}
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dead := process{self.pid, self.start + 1}
	left, live := &own{dead, a}, &own{self.process, b}
	if err := errors.Join(left.apply(20_000), left.apply(30_000), live.apply(20_000)); err != nil {
		t.Fatal(err)
	}
	wantFile(t, a, "cpu.max", "30000 100000")
	wantFile(t, h.mount, "cgroup.subtree_control", "+cpu")
	if err := h.restoreOwn(); err != nil { // what a dead process left, and nothing else
		t.Fatal(err)
	}
	wantFile(t, a, "cpu.max", "70000 100000")
	wantFile(t, b, "cpu.max", "20000 100000")
	wantFile(t, h.mount, "cgroup.subtree_control", "+cpu")
	if used, err := live.used(); used != 2 || err != nil {
		t.Errorf("used = %v, %v, want 2", used, err)
	}
	if err := errors.Join(live.restore(), live.restore(), h.restoreOwn()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, b, "cpu.max", "max 100000")
	wantFile(t, h.mount, "cgroup.subtree_control", "-cpu")
	for _, dir := range []string{h.mount, a, b} {
		if m, marked, err := readMark(dir); marked || err != nil {
			t.Errorf("%s still has the mark %v, %v", dir, m, err)
		}
	}
}

func TestApplyTakesOverWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	h := hierarchy{mount: t.TempDir(), root: "/"}
	dir := filepath.Join(h.mount, "pgapp-a")
	folder(t, h.mount)
	folder(t, dir)
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	now := &own{self.process, dir}
	if err := errors.Join((&own{process{self.pid, self.start + 1}, dir}).apply(20_000), now.apply(50_000), h.restoreOwn()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, dir, "cpu.max", "50000 100000")
	if err := now.restore(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, dir, "cpu.max", "max 100000")
}

func TestOwnGroupIsTheMembersAlone(t *testing.T) {
	t.Parallel()
	h := hierarchy{mount: t.TempDir(), root: "/"}
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(h.mount, "user.slice", "pgapp-ab12-m1", "run-1")
	if got, err := h.ownGroup(run, self.process); err != nil || got != filepath.Dir(run) {
		t.Errorf("got %q, %v, want the provider's group %q", got, err, filepath.Dir(run))
	}
	scope := filepath.Join(h.mount, "a.scope")
	folder(t, scope)
	for pid, want := range map[int]bool{os.Getpid(): true, os.Getppid(): false} {
		if err := put(scope, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			t.Fatal(err)
		}
		if got, err := h.ownGroup(scope, self.process); (err == nil && got == scope) != want {
			t.Errorf("with process %d in it: got %q, %v, want it to be the member's own: %t", pid, got, err, want)
		}
	}
	if _, err := h.ownGroup(h.mount, self.process); !appliance.IsProblem(err, appliance.ErrHostUnable) {
		t.Errorf("the top group: got %v, want the problem %s", err, appliance.ErrHostUnable)
	}
}
