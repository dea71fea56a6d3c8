//go:build integration

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/scripts/pacetest"
)

// drillConfig is how writers reach the box's cluster.
func (b *box) drillConfig() drill.Config {
	b.t.Helper()
	var c appliance.Connection
	b.must(json.Unmarshal([]byte(b.ok("url", "--role", "any", "--show-password", "-o", "json").out), &c))
	return drill.Config{
		Members: c.Hosts, Database: c.Database, User: c.User, Password: appliance.NewSecret(c.Password), Writers: 3, Dial: b.dial,
		Pause: 15 * time.Millisecond, // other tests run beside
	}
}

// writing starts writers and returns when they have written.
func (b *box) writing() *drill.Run { return b.writingBy(b.drillConfig()) }

func (b *box) writingBy(cfg drill.Config) *drill.Run {
	b.t.Helper()
	run, err := drill.Start(context.WithoutCancel(b.t.Context()), cfg)
	b.must(err)
	b.t.Cleanup(func() { run.Stop() })
	b.moreWritten(run)
	return run
}

// moreWritten waits until more rows are acknowledged.
func (b *box) moreWritten(run *drill.Run) {
	b.t.Helper()
	want := run.Acknowledged() + 50
	b.eventually("writers write", func() bool { return run.Acknowledged() >= want })
}

func (b *box) eventually(what string, holds func() bool, why ...func() string) {
	b.t.Helper()
	if pacetest.Until(commandTimeout, holds) {
		return
	}
	text := b.log()
	for _, tell := range why {
		text += "\n" + tell()
	}
	b.t.Fatalf("not in %s: %s\n%s", commandTimeout, what, text)
}

// drilled is the box's cluster, for the check.
func (b *box) drilled() drill.Cluster {
	return drill.Cluster{Config: b.drillConfig(), Status: func(context.Context) (appliance.ClusterStatus, error) { return b.ps(), nil }}
}

// kept ends the writers and wants a sound cluster with every acknowledged row.
func (b *box) kept(run *drill.Run) {
	b.t.Helper()
	h := run.Stop()
	findings := drill.Check(b.t.Context(), b.drilled(), h)
	for _, f := range findings {
		b.t.Error(f)
	}
	if len(findings) > 0 {
		load, _ := os.ReadFile("/proc/loadavg")
		sockets, err := b.tool("ss", "-tan").CombinedOutput()
		b.t.Logf("load %s, sockets (%v):\n%s", load, err, sockets)
	}
	b.t.Logf("%d rows were acknowledged", len(h.Acknowledged()))
}

// led wants the member to be the primary and all others to stream from it.
func (b *box) led(by string) {
	b.t.Helper()
	var s appliance.ClusterStatus
	begun := time.Now()
	b.eventually(by+" is the primary and all others stream", func() bool {
		s = b.ps()
		for _, m := range s.Members {
			if m.Name == by && m.State != appliance.StateRunning || m.Name != by && m.State != appliance.StateStreaming {
				return false
			}
		}
		return s.Primary == by
	}, b.state)
	b.t.Logf("%s is the primary and all others stream: waited %s for it", by, time.Since(begun).Round(100*time.Millisecond))
}

// state is what ps says, the operations, the steps of the last one, and the end of each
// member's log, for messages about failures.
func (b *box) state() string {
	var text strings.Builder
	ops := b.run("ops").out
	text.WriteString(b.run("ps").out + ops)
	if _, rows, _ := strings.Cut(ops, "\n"); rows != "" {
		r := b.run("ops", strings.Fields(rows)[0])
		text.WriteString(r.err + r.out)
	}
	for _, m := range b.ps().Members {
		fmt.Fprintf(&text, "the log of %s:\n%s\n", m.Name, last(b.run("logs", m.Name).out, 30))
	}
	return text.String()
}

func TestSwitchoverKeepsAcknowledgedRows(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	b.ok("switchover", "--to", "node1")
	b.led("node1")
	b.moreWritten(run)
	b.ok("switchover", "--to", "node0")
	b.led("node0")
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	for _, refused := range []struct {
		id   appliance.ErrorID
		args []string
	}{
		{appliance.ErrConflict, []string{"switchover", "--to", "node0"}},
		{appliance.ErrNotFound, []string{"switchover", "--to", "node9"}},
		{appliance.ErrConflict, []string{"failover", "--yes"}},
		{appliance.ErrDeclined, []string{"failover"}},
	} {
		code, _ := refused.id.Codes()
		if r := b.want(code, refused.args...); !strings.Contains(r.err, "error["+string(refused.id)+"]") {
			t.Errorf("%q: %s", refused.args, r.err)
		}
	}
	b.led("node0")
}

// TestKilledDaemonGoesOnWithSwitchover kills the daemon at different moments of
// switchovers. The next daemon ends each of them: with one primary, which has all
// acknowledged rows, and all others streaming from it.
func TestKilledDaemonGoesOnWithSwitchover(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	const rounds = 8
	for i := range rounds {
		_, wait := b.background("switchover")
		time.Sleep(time.Duration(i) * 120 * time.Millisecond)
		b.killDaemon()
		wait()
		b.ok("info") // starts a daemon
		b.eventually("no operation runs", func() bool { return b.ps().Operation == "" })
		b.led(b.ps().Primary)
		b.moreWritten(run)
	}
	b.kept(run)
	b.ok("state", "check")
}
