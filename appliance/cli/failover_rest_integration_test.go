//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
)

// hold stops all of the member's processes until the returned function is called.
func (b *box) hold(member string) (release func()) {
	b.t.Helper()
	var pids []int
	for _, pid := range b.processes() {
		cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
		if err == nil && cwd == b.dataDir(member) && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		b.t.Errorf("no process of %s runs", member)
	}
	release = func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been killed
		}
	}
	b.t.Cleanup(release)
	return release
}

// broughtBack waits until the member streams, or until ps says that it has to be brought back,
// and then does that. On a busy machine the taker may be held up when it was elected already,
// or for longer than a failover waits for standbys.
func (b *box) broughtBack(member string) {
	b.t.Helper()
	b.eventually(member+" streams, or is to be brought back", func() bool {
		m := memberOf(b.ps(), member)
		if strings.HasPrefix(m.Detail, "to be brought back: pgapp rejoin") {
			b.t.Logf("%s is %s: %s", member, m.State, m.Detail)
			b.ok("rejoin", member)
			return true
		}
		return m.State == appliance.StateStreaming
	}, b.state)
}

// TestFailoverLosesNothingWhereTheTakerFallsSilent holds up the standby that takes what
// only the dead primary's directory has, as soon as it is told to. Another one takes it.
func TestFailoverLosesNothingWhereTheTakerFallsSilent(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--dataset", "none")
	b.rows("CREATE TABLE late (n int, filler text)")
	if n := b.signal(syscall.SIGSTOP, ": walreceiver"); n != 2 {
		t.Fatalf("stopped %d receivers, want 2", n)
	}
	b.rows("INSERT INTO late SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
	b.killServer("node0")
	b.signal(syscall.SIGCONT, ": walreceiver")
	_, wait := b.background("failover", "--yes")
	taker := ""
	for end := time.Now().Add(commandTimeout); taker == "" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, m := range []string{"node1", "node2"} {
			conf, err := os.ReadFile(filepath.Join(b.dataDir(m), "pgapp.conf"))
			if err == nil && strings.Contains(string(conf), "restore_command") {
				taker = m
			}
		}
	}
	if taker == "" {
		t.Fatal("no standby was told to take the WAL")
	}
	start := time.Now()
	release := b.hold(taker)
	other := map[string]string{"node1": "node2", "node2": "node1"}[taker]
	b.eventually("a primary is on record", func() bool { return b.ps().Primary != "node0" })
	t.Logf("%s, the taker, was silent; %s is the primary after %s", taker, b.ps().Primary, time.Since(start).Round(time.Millisecond))
	release()
	if r := wait(); r.code != 0 {
		t.Errorf("the failover failed: %s", r.err)
	}
	b.broughtBack(taker)
	b.led(other)
	if n := b.rows("SELECT count(*) FROM late"); n != "30000" {
		t.Errorf("the new primary has %s rows, want 30000", n)
	}
	b.verified()
}
