//go:build integration

package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

// startTimes returns when each member's server was started.
func (b *box) startTimes() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, m := range b.ps().Members {
		at, err := b.superuser(m.Name, "SELECT pg_postmaster_start_time()")
		b.must(err)
		out[m.Name] = at
	}
	return out
}

// restarted wants each member to have been started since the times before.
func (b *box) restarted(before map[string]string) {
	b.t.Helper()
	for name, at := range b.startTimes() {
		if at == before[name] {
			b.t.Errorf("%s was not restarted: it was started at %s", name, at)
		}
	}
}

// newest returns the newest operation.
func (b *box) newest() appliance.Operation {
	b.t.Helper()
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	return list[0]
}

// TestRollingRestartMovesPrimary restarts all members under writers, by a move of the
// primary and in place.
func TestRollingRestartMovesPrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2")
	run := b.writing()
	before := b.startTimes()
	b.ok("restart")
	b.led("node1")
	b.restarted(before)
	b.moreWritten(run)
	before = b.startTimes()
	b.ok("restart", "--in-place")
	b.led("node1")
	b.restarted(before)
	b.moreWritten(run)
	if s := b.ps(); s.Timeline != 2 || len(s.Promotions) != 1 {
		t.Errorf("timeline %d, promotions %v, want one promotion", s.Timeline, s.Promotions)
	}
	b.ok("restart")
	b.moreWritten(run)
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestKilledDaemonGoesOnWithRollingRestart kills the daemon at different moments of
// restarts under quorum durability. Each restart moves the primary once.
func TestKilledDaemonGoesOnWithRollingRestart(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	for i, step := range []string{"stop/node2", "promised", "change", "change", "rejoin/", "promise", "checkpoint"} {
		before, was := b.startTimes(), b.ps()
		if strings.HasSuffix(step, "/") {
			step += was.Primary
		}
		if r := killAtStep(t, b, step, i%2 == 0, "restart"); r.code != 0 {
			t.Fatalf("killed at %s: exit code %d\n%s", step, r.code, r.err)
		}
		s := b.ps()
		if s.Primary == was.Primary || len(s.Promotions) != len(was.Promotions)+1 {
			t.Errorf("killed at %s: the primary is %s after %s, promotions %v", step, s.Primary, was.Primary, s.Promotions)
		}
		b.led(s.Primary)
		b.restarted(before)
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestRestartedInPlaceSaysWhy restarts a cluster whose standbys replay with a delay.
func TestRestartedInPlaceSaysWhy(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(file, []byte("name: main\nparameters: {recovery_min_apply_delay: 1s}\n"), 0o600))
	b.up("--standbys", "1", "--dataset", "none", "-f", file)
	before := b.startTimes()
	b.ok("restart")
	if note := b.newest().Note; !strings.Contains(note, "node0 is restarted in place") || !strings.Contains(note, "delay") {
		t.Errorf("the note is %q", note)
	}
	b.led("node0")
	b.restarted(before)
	b.verified()
}

// knocking has somebody connect to the member as the application all the time, without its
// password. The function that it returns ends that, and wants it to have been turned away
// by pg_hba.conf: a primary starts without the application under quorum durability.
func (b *box) knocking(member string) (turnedAway func()) {
	b.t.Helper()
	members := b.ps().Members
	at := members[slices.IndexFunc(members, func(m appliance.MemberStatus) bool { return m.Name == member })]
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("postgresql://app:none@%s:%d/postgres?connect_timeout=2&sslmode=disable", at.Host, at.Port))
	b.must(err)
	cfg.DialFunc = b.dial
	ctx, cancel := context.WithCancel(b.t.Context())
	refused := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; time.Sleep(15 * time.Millisecond) {
			var pe *pgconn.PgError
			if _, err := pgconn.ConnectConfig(ctx, cfg); errors.As(err, &pe) && strings.HasPrefix(pe.Message, "pg_hba.conf rejects connection") {
				n++
			}
		}
		refused <- n
	}()
	b.t.Cleanup(cancel)
	return func() {
		b.t.Helper()
		cancel()
		if <-refused == 0 {
			b.t.Errorf("%s let the application in at once", member)
		}
	}
}

// TestCancelledRollingRestart cancels a restart while the primary is held up in its
// stop: the primary is the same as before, and lets the application in.
func TestCancelledRollingRestart(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none", "--durability", "quorum")
	run := b.writing()
	turnedAway := b.knocking("node0")
	thaw := b.freeze("node0", "autovacuum launcher")
	_, wait := b.background("restart")
	id := b.phase("stopping node0")
	asked := func() int {
		text, err := os.ReadFile(filepath.Join(b.home, "pgapp.log"))
		b.must(err)
		return strings.Count(string(text), `"path":"/api/v1/info"`)
	}
	before := asked()
	_, cancelled := b.background("ops", id, "--cancel", "-o", "json")
	b.eventually("the command that cancels has reached the daemon", func() bool { return asked() > before })
	thaw()
	r := cancelled()
	var o appliance.Operation
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.State != appliance.OpCancelled {
		t.Fatalf("the cancel: %v, exit code %d\n%s%s", err, r.code, r.out, r.err)
	}
	if r := wait(); r.code != appliance.ExitInterrupted {
		t.Errorf("the restart: exit code %d\n%s", r.code, r.err)
	}
	if s := b.ps(); s.Primary != "node0" || s.Timeline != 1 {
		t.Errorf("primary %s on timeline %d", s.Primary, s.Timeline)
	}
	b.moreWritten(run)
	turnedAway()
	b.verified()
	b.ok("restart")
	b.led("node1")
	b.kept(run)
	b.verified()
}

// parameters returns the command that brings the cluster to the parameters.
func (b *box) parameters(text string) []string {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "cluster.yaml")
	b.must(os.WriteFile(file, []byte("name: main\nparameters: {"+text+"}\n"), 0o600))
	return []string{"up", "-f", file, "--durability", "quorum"}
}

// shows wants all members to have the parameter's value.
func (b *box) shows(name, want string) {
	b.t.Helper()
	for _, m := range b.ps().Members {
		if out, err := b.superuser(m.Name, "SHOW "+name); err != nil || strings.TrimSpace(out) != want {
			b.t.Errorf("%s has %s %s, want %s (%v)", m.Name, name, strings.TrimSpace(out), want, err)
		}
	}
}

// TestParametersMovePrimaryUnderWriters changes parameters that take a restart, under
// quorum durability. The primary moves, unless a limit falls.
func TestParametersMovePrimaryUnderWriters(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	change := func(text, name, want, primary string) {
		t.Helper()
		before := b.startTimes()
		b.ok(b.parameters(text)...)
		b.led(primary)
		b.restarted(before)
		b.shows(name, want)
		b.moreWritten(run)
	}
	change("max_connections: '150'", "max_connections", "150", "node1")
	b.promised(1, "node0", "node2")
	turnedAway := b.knocking("node1")
	change("max_connections: '110'", "max_connections", "110", "node1")
	if note := b.newest().Note; !strings.Contains(note, "a lower max_connections") {
		t.Errorf("the note is %q", note)
	}
	turnedAway()
	change("max_connections: '90', track_activity_query_size: 2kB", "track_activity_query_size", "2kB", "node1")
	b.shows("max_connections", "90")
	change("max_connections: '90', track_activity_query_size: 4kB", "track_activity_query_size", "4kB", "node0")
	b.ok("switchover", "--to", "node2")
	change("max_connections: '120', track_activity_query_size: 4kB, max_prepared_transactions: '10'", "max_prepared_transactions", "10", "node0")
	b.shows("max_connections", "120")
	b.promised(1, "node1", "node2")
	b.ok(append(b.parameters("max_connections: '130', track_activity_query_size: 4kB, max_prepared_transactions: '10'"), "--standbys", "3")...)
	if s := b.ps(); s.Primary == "node0" {
		t.Error("the primary was restarted in place, though no limit falls")
	}
	b.led(b.ps().Primary)
	b.shows("max_connections", "130")
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}

// TestKilledDaemonGoesOnWithParameters kills the daemon at different moments of an up
// that applies parameters. Each up moves the primary once.
func TestKilledDaemonGoesOnWithParameters(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	run := b.writing()
	sizes := []string{"2kB", "3kB", "4kB", "5kB", "6kB", "7kB"}
	for i, step := range []string{"apply/", "promised", "change", "change", "rejoin/", "promise"} {
		before, was := b.startTimes(), b.ps()
		if strings.HasSuffix(step, "/") {
			step += was.Primary
		}
		if r := killAtStep(t, b, step, i%2 == 0, b.parameters("track_activity_query_size: "+sizes[i])...); r.code != 0 {
			t.Fatalf("killed at %s: exit code %d\n%s", step, r.code, r.err)
		}
		s := b.ps()
		if s.Primary == was.Primary || len(s.Promotions) != len(was.Promotions)+1 {
			t.Errorf("killed at %s: the primary is %s after %s, promotions %v", step, s.Primary, was.Primary, s.Promotions)
		}
		b.led(s.Primary)
		b.restarted(before)
		b.shows("track_activity_query_size", sizes[i])
		b.moreWritten(run)
	}
	b.kept(run)
	b.verified()
	b.ok("state", "check")
}
