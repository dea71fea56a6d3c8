//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/scripts/pacetest"
	"pgapp/store"
)

// killAtStep starts a command, and kills the daemon as soon as the step of its
// operation runs or is over. Another client starts it again at once, or else
// the command itself does so, after a while.
func killAtStep(t *testing.T, b *box, step string, restart bool, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	// A short operation may be over before it is seen, so it is known by being
	// the newest that was not there before.
	before := ""
	if ops, err := b.api().Operations(ctx, ""); err == nil && len(ops) > 0 {
		before = ops[0].ID
	}
	_, wait := b.background(args...)
	var id string
	for id == "" {
		if ctx.Err() != nil {
			t.Fatalf("no operation began: %v", args)
		}
		ops, err := b.api().Operations(ctx, "")
		if err == nil && len(ops) > 0 && ops[0].ID != before {
			id = ops[0].ID
		}
	}
	pid := b.pid()
	killed := false
	_, err := b.api().WatchOperation(ctx, id, func(o appliance.Operation) {
		for _, s := range o.Steps {
			if !killed && s.ID == step && s.State != appliance.StepPending {
				killed = true
				killAndWait(t, pid)
				if restart {
					b.ok("info")
				}
			}
		}
	})
	if err != nil {
		t.Errorf("watching the operation: %v", err)
	}
	if !killed {
		t.Logf("step %s never showed itself", step)
	}
	return wait()
}

// steps are the ids of the steps of the newest operation of that kind.
func steps(t *testing.T, b *box, kind appliance.OperationKind) []string {
	t.Helper()
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	for _, o := range list {
		if o.Kind == kind {
			var ids []string
			for _, s := range o.Steps {
				ids = append(ids, s.ID)
			}
			return ids
		}
	}
	t.Fatalf("no operation of kind %s", kind)
	return nil
}

// TestUpResumesAfterAKilledDaemon kills the daemon at every step of up and of down --volumes:
// the command that waits sees the operation through, and the cluster is what it
// would have been.
func TestUpResumesAfterAKilledDaemon(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	up := []string{"up", "--provider", "local", "--standbys", "1"}
	down := []string{"down", "--volumes", "--yes"}
	b.up("--standbys", "1")
	b.ok(down...)
	ups, downs := steps(t, b, appliance.OpUp), steps(t, b, appliance.OpDestroy)
	t.Logf("killing the daemon at %d steps of up and %d of down --volumes", len(ups), len(downs))
	for i, step := range ups {
		leave := b.gate()
		r := killAtStep(t, b, step, i > 0, up...)
		leave()
		if r.code != 0 {
			t.Errorf("up, its daemon killed at %s: exit code %d\n%s", step, r.code, r.err)
		}
		b.up("--standbys", "1")
		b.verified()
		r = killAtStep(t, b, downs[i%len(downs)], i > 0, down...)
		if r.code != 0 {
			t.Errorf("down --volumes, its daemon killed at %s: exit code %d\n%s", downs[i%len(downs)], r.code, r.err)
		}
		if r := b.run(down...); r.code != appliance.ExitNotFound {
			t.Errorf("down --volumes once more: exit code %d\n%s", r.code, r.err)
		}
		b.nothingLeft()
		if t.Failed() {
			t.Fatalf("after a kill at %s", step)
		}
	}
}

// TestOperationContinuesAfterAKilledCommand kills the command that waits: the operation goes on.
func TestOperationContinuesAfterAKilledCommand(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.ok("info")
	leave := b.gate()
	cmd, wait := b.background("up", "--provider", "local", "--standbys", "1")
	for len(b.clusters()) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	b.must(cmd.Process.Kill())
	wait()
	ops, err := b.api().Operations(t.Context(), "main")
	b.must(err)
	b.ok("ops", ops[0].ID, "--follow")
	leave()
	b.verified()

	// A command that is interrupted says that the operation goes on.
	cmd, wait = b.background("restart")
	for {
		if ops, err = b.api().Operations(t.Context(), "main"); err == nil && ops[0].Kind == appliance.OpRestart {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.must(cmd.Process.Signal(syscall.SIGINT))
	if r := wait(); r.code != 0 && (r.code != appliance.ExitInterrupted || !strings.Contains(r.err, "→ ") || !strings.Contains(r.err, "pgapp ops")) {
		t.Errorf("interrupted: exit code %d\n%s", r.code, r.err)
	}
	b.ok("ops", ops[0].ID, "--follow")
	if r := b.run("up", "--timeout", "1ns"); r.code != appliance.ExitTimeout {
		t.Errorf("up that has no time: exit code %d\n%s", r.code, r.err)
	}
	b.verified()
}

// TestRecoverAfterAReboot kills everything, as a reboot does.
func TestRecoverAfterAReboot(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	before := b.up("--standbys", "2")
	b.rows("CREATE TABLE kept AS SELECT 7 AS n")
	b.ok("stop", "node2")
	b.killDaemon()
	b.killServers()
	b.ok("info")
	settled(t, b, "node1", appliance.StateStreaming)
	after := b.ps()
	if after.SystemIdentifier != before.SystemIdentifier || memberOf(after, "node2").State != appliance.StateStopped {
		t.Errorf("after the reboot: %+v", after)
	}
	if n := b.rows("SELECT n FROM kept", "node1"); n != "7" {
		t.Errorf("what was written is gone: %s", n)
	}

	// The same again, and the user does not wait for the daemon's own start.
	b.killDaemon()
	b.killServers()
	b.up()
	b.verified()

	b.ok("down")
	b.killDaemon()
	if p := b.ps(); p.Phase != appliance.PhaseStopped || len(b.processes()) > 0 {
		t.Errorf("a cluster that was stopped: %s, processes %v", p.Phase, b.processes())
	}
	b.ok("start")
	b.verified()
}

// settled waits until the member is in the state.
func settled(t *testing.T, b *box, member string, want appliance.MemberState) {
	t.Helper()
	if pacetest.Until(commandTimeout, func() bool { return memberOf(b.ps(), member).State == want }) {
		return
	}
	t.Fatalf("%s does not become %s: %+v\noperations: %s\n%s", member, want, b.ps(), b.run("ops", "-o", "json").out, b.log())
}

// TestTwoUpsAtOnceAreOneOperation lets two users do the same at the same moment.
func TestTwoUpsAtOnceAreOneOperation(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	both := func(args ...string) {
		t.Helper()
		_, first := b.background(args...)
		_, second := b.background(args...)
		for _, r := range []result{first(), second()} {
			if r.code != 0 {
				t.Errorf("%q: exit code %d\n%s", args, r.code, r.err)
			}
		}
	}
	leave := b.gate()
	both("up", "--provider", "local", "--standbys", "1")
	leave()
	if ops, err := b.api().Operations(t.Context(), "main"); err != nil || len(ops) != 1 {
		t.Errorf("%d operations, %v", len(ops), err)
	}
	b.ps()
	b.verified()
	both("restart")
	b.verified()
}

// TestSecondDaemonIsRefused wants one daemon a home.
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.ok("info")
	pid := b.pid()
	start := time.Now()
	r := b.run("serve")
	if r.code != 1 || !strings.Contains(r.err, "error[home-locked]") || !strings.Contains(r.err, fmt.Sprint(pid)) {
		t.Errorf("a second daemon: exit code %d\n%s", r.code, r.err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a second daemon took %s to end", took)
	}
	if b.pid() != pid {
		t.Error("the first daemon is gone")
	}
	// SIGTERM ends it as shutdown does.
	b.must(syscall.Kill(pid, syscall.SIGTERM))
	for end := time.Now().Add(commandTimeout); !gone(pid) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if b.pid() != 0 {
		t.Error("the daemon does not end on SIGTERM")
	}
}

// TestStartWaitsForTheLockOfADyingDaemon finds the home locked by what answers nobody, as a killed
// daemon is that the kernel has not taken apart yet, and starts once it is gone.
func TestStartWaitsForTheLockOfADyingDaemon(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.must(os.MkdirAll(b.home, 0o700))
	lock, err := store.Lock(b.home)
	b.must(err)
	client, ended := b.background("info")
	tried := map[int]bool{}
	for end := time.Now().Add(commandTimeout); len(tried) < 2; time.Sleep(time.Millisecond) {
		for _, pid := range children(client.Process.Pid) {
			tried[pid] = true
		}
		if time.Now().After(end) {
			r := ended()
			t.Fatalf("daemons were tried: %v; want a second try; the command ended with %d: %s%s", tried, r.code, r.out, r.err)
		}
	}
	b.must(lock.Release())
	if r := ended(); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
}

// children lists the processes that a client has started and that have not ended.
func children(client int) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	var out []int
	for _, f := range files {
		stat, _ := os.ReadFile(f) // which may have ended
		// The name is in parentheses and may hold any; state and parent follow.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(client) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			out = append(out, pid)
		}
	}
	return out
}

// TestClientRestartsDaemonOfAnotherBuild lets a client of another build restart the daemon.
func TestClientRestartsDaemonOfAnotherBuild(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "pgapp")
	b := newBox(t).shareTree()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X pgapp/appliance/program.version=other", "-o", other, ".")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building another pgapp: %v\n%s", err, out)
	}
	b.up("--standbys", "1")
	servers := []int{b.postmaster("node0"), b.postmaster("node1")}
	pid := b.pid()
	b.bin = other
	r := b.ok("info", "-o", "json")
	if !strings.Contains(r.err, "restarting the daemon") || !strings.Contains(r.out, `"version": "other"`) || b.pid() == pid {
		t.Errorf("info of another build: %s%s", r.out, r.err)
	}
	if now := []int{b.postmaster("node0"), b.postmaster("node1")}; !slices.Equal(now, servers) {
		t.Errorf("the cluster did not run on: %v, before %v", now, servers)
	}
	b.verified()
}

// TestDaemonEndsWithItsHome removes the home of a cluster that runs. The daemon went on before,
// at five percent of a processor, and made the home anew for a backup of its state.
func TestDaemonEndsWithItsHome(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	s := b.up("--standbys", "1")
	pid, endpoints := b.pid(), b.endpointProcess()
	log, err := os.Open(filepath.Join(b.home, "pgapp.log"))
	b.must(err)
	defer func() { _ = log.Close() }()
	moved := b.home + "-removed" // in one step, as PostgreSQL goes on writing
	b.must(os.Rename(b.home, moved))
	b.must(os.RemoveAll(moved))
	if !pacetest.Until(commandTimeout, func() bool { return gone(pid) }) {
		t.Fatalf("the daemon %d goes on without its home", pid)
	}
	if said, err := io.ReadAll(log); err != nil || !strings.Contains(string(said), "was removed, moved or exchanged") {
		t.Errorf("the log doesn't say why the daemon ended: %v\n%s", err, said)
	}
	var groups []string
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		found, err := filepath.Glob(filepath.Join(mount, "pgapp-"+s.UUID[:8]+"*"))
		b.must(err)
		groups = append(groups, found...)
	}
	ended := func(group string) bool { return os.Remove(group) == nil } // refused while there is a process in it
	// PostgreSQL looks for its pid file once a minute.
	if !pacetest.Until(commandTimeout, func() bool {
		groups = slices.DeleteFunc(groups, ended)
		return len(groups) == 0 && gone(endpoints)
	}) {
		t.Errorf("the servers of %q go on, or the endpoints' process %d", groups, endpoints)
	}
	if there, err := os.ReadDir(b.home); !os.IsNotExist(err) {
		t.Errorf("the home is back: %v, %v", there, err)
	}
}
