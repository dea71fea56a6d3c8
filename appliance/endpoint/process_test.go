package endpoint

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// process is the endpoint process of a home, started for real.
type process struct {
	t      *testing.T
	home   string
	client Client
}

func newProcess(t *testing.T) process {
	t.Helper()
	home := t.TempDir()
	p := process{t: t, home: home, client: Client{Home: home}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := p.client.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
		left, err := os.ReadDir(home)
		if err != nil || len(left) > 0 {
			t.Errorf("the home holds %v, %v", left, err)
		}
		if dir := groupDir(home); dir != "" {
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the control group %s is left: %v", dir, err)
			}
		}
	})
	return p
}

func (p process) ensure(build string, routes appliance.Routes) appliance.RouteStatus {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := Ensure(p.t.Context(), Program{Home: p.home, Build: build, Routes: routes, Argv: []string{self, "endpoint-process", p.home, build}})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(p.home, LogName))
		p.t.Fatalf("%v\n%s", err, log)
	}
	return s
}

func (p process) apply(routes appliance.Routes) appliance.RouteStatus {
	p.t.Helper()
	s, err := p.client.Apply(p.t.Context(), routes)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// routesTo is a state with one cluster.
func routesTo(t *testing.T, n uint64, primary *member) appliance.Routes {
	t.Helper()
	r := appliance.Route{Cluster: "main", RW: freeAddress(t), RO: freeAddress(t), Wait: 10 * time.Second}
	if primary != nil {
		r.Primary = ptr(primary.route())
	}
	return appliance.Routes{Number: n, Clusters: []appliance.Route{r}}
}

func TestKilledProcessStartsFromItsFile(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	p := newProcess(t)
	routes := routesTo(t, 7, a)
	first := p.ensure("one", appliance.Routes{})
	if s := p.apply(routes); s.Number != 7 || s.PID != first.PID {
		t.Fatalf("status %+v", s)
	}
	if again := p.ensure("one", appliance.Routes{}); again.PID != first.PID {
		t.Fatalf("process %d took the place of %d", again.PID, first.PID)
	}
	if err := p.client.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("status of a killed process: %v", err)
	}
	if s := p.ensure("one", appliance.Routes{}); s.Number != 7 || s.PID == first.PID {
		t.Fatalf("status %+v", s)
	}
	if _, name := greet(t, routes.Clusters[0].RW); name != "a" {
		t.Errorf("led to %q", name)
	}
}

// TestStartTakesItsStartersState also has a file with a number of the future, as a clock that
// was wrong or somebody's edit leaves it.
func TestStartTakesItsStartersState(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a"), newMember(t, "b")
	for _, n := range []uint64{8, 3} {
		p := newProcess(t)
		p.ensure("one", routesTo(t, 7, a))
		kill := func() {
			if err := p.client.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		kill()
		routes := routesTo(t, n, b)
		if s := p.ensure("one", routes); s.Number != 8 {
			t.Fatalf("status %+v", s)
		}
		if _, name := greet(t, routes.Clusters[0].RW); name != "b" {
			t.Errorf("state %d led to %q", n, name)
		}
		kill()
		if s := p.ensure("one", appliance.Routes{}); s.Number != 8 {
			t.Errorf("the state was not kept: %+v", s)
		}
	}
}

// TestLateStartServesNothing starts a process whose starter has died meanwhile: what it was
// given may be older than the record by now, and a daemon that found no process believes
// that nothing leads anywhere.
func TestLateStartServesNothing(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	routes := routesTo(t, 7, newMember(t, "a"))
	p.startsLate("one", routes)
	if _, err := p.client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status: %v, want none that runs", err)
	}
	if s := p.ensure("one", routesTo(t, 8, newMember(t, "b"))); s.Number != 8 {
		t.Errorf("the next process holds state %d", s.Number)
	}
}

// startsLate starts a process that nobody waits for any more, and wants it to give up.
func (p process) startsLate(build string, routes appliance.Routes) {
	t := p.t
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ready, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	given, err := Program{Routes: routes}.routesFile()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "endpoint-process", p.home, build)
	cmd.Env = append(os.Environ(), readyEnv+"=3", routesEnv+"=4")
	cmd.ExtraFiles = []*os.File{told, given}
	if err := ready.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has ended") {
		t.Errorf("the process: %v\n%s", err, out)
	}
	if err := errors.Join(told.Close(), given.Close()); err != nil {
		t.Error(err)
	}
}

func TestFrozenProcessIsKilled(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	s := p.ensure("one", appliance.Routes{})
	halt(t, s.PID)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // a busy machine takes a while to connect
	defer cancel()
	if _, err := p.client.Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("status of a frozen process: %v", err)
	}
	if err := p.client.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next := p.ensure("one", appliance.Routes{}); next.PID == s.PID {
		t.Error("the frozen process still serves")
	}
}

// halt stops a process and returns when each of its threads has stopped: until then one
// of them may still answer.
func halt(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stats := filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat")
	eventually(t, "the process has stopped", func() bool {
		paths, err := filepath.Glob(stats)
		if err != nil || len(paths) == 0 {
			t.Fatalf("threads of process %d: %v, %v", pid, paths, err)
		}
		for _, path := range paths {
			// A thread that ended meanwhile has no file.
			text, err := os.ReadFile(path)
			if err == nil && !strings.Contains(string(text), ") T ") {
				return false
			}
		}
		return true
	})
}

// TestStopEndsAFrozenProcess stops a process that can't answer. The files and the group
// that newProcess looks for must be gone as well.
func TestStopEndsAFrozenProcess(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	s := p.ensure("one", appliance.Routes{})
	halt(t, s.PID)
	if err := p.client.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frozen process has ended", func() bool { return !alive(s.PID) })
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestProcessEndsWithItsHome removes the directory of a process, as somebody does who wants
// to be rid of pgapp: nobody could stop the process afterwards.
func TestProcessEndsWithItsHome(t *testing.T) {
	t.Parallel()
	a := newMember(t, "a")
	p := newProcess(t)
	routes := routesTo(t, 7, a)
	first := p.ensure("one", routes)
	if err := os.RemoveAll(p.client.Home); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		return errors.Is(syscall.Kill(first.PID, 0), syscall.ESRCH), nil
	}); err != nil {
		t.Fatalf("process %d goes on: %v", first.PID, err)
	}
	if dir := groupDir(p.home); dir != "" {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the control group %s is left: %v", dir, err)
		}
	}
	if err := os.Mkdir(p.home, 0o700); err != nil { // what is looked at in the end
		t.Fatal(err)
	}
}
