//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestVerifyFindsAnOlderCopyOfThePrimary puts an older copy of the primary's data directory in place,
// as a restored disk does: rows are lost that a standby holds.
func TestVerifyFindsAnOlderCopyOfThePrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	data, copied := b.dataDir("node0"), filepath.Join(filepath.Dir(b.home), "copy")
	b.ok("stop", "node0")
	if out, err := b.tool("/bin/cp", "-a", data, copied).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	b.ok("start", "node0")
	b.rows("CREATE TABLE lost AS SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g")
	b.verified()
	b.ok("stop", "node0")
	b.must(os.RemoveAll(data))
	b.must(os.Rename(copied, data))
	// The start waits for the standby, which can't follow.
	_, wait := b.background("start", "node0")
	settled(t, b, "node0", appliance.StateRunning)
	var got []string
	for end := time.Now().Add(commandTimeout); time.Now().Before(end); {
		got = failing(t, b)
		if slices.Contains(got, "not-ahead node1") {
			break
		}
	}
	if !slices.Contains(got, "not-ahead node1") || !slices.Contains(got, "row-counts node1") {
		t.Errorf("verify fails only %q", got)
	}
	s := b.ps()
	if m := memberOf(s, "node1"); m.State != appliance.StateFailed || !strings.Contains(m.Detail, "ahead of the primary") {
		t.Errorf("ps: %+v", m)
	}
	if s.Phase != appliance.PhaseDegraded || b.run("ps").code != appliance.ExitDegraded {
		t.Errorf("ps: phase %s", s.Phase)
	}
	// A clone of what the primary has now is the way out.
	for _, o := range strings.Fields(b.running()) {
		b.ok("ops", o, "--cancel")
	}
	wait()
	b.ok("reinit", "node1")
	b.verified()
}

// TestVerifyNamesALimitThatShutsOut keeps a session, while new ones are refused.
func TestVerifyNamesALimitThatShutsOut(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	for _, s := range []struct{ shut, open, why string }{
		{"ALTER DATABASE postgres CONNECTION LIMIT 0", "ALTER DATABASE postgres CONNECTION LIMIT -1", "too many connections for database"},
		{"ALTER ROLE pgapp CONNECTION LIMIT 0", "ALTER ROLE pgapp CONNECTION LIMIT -1", "too many connections for role"},
		{"REVOKE CONNECT ON DATABASE postgres FROM PUBLIC, pgapp", "GRANT CONNECT ON DATABASE postgres TO PUBLIC, pgapp", "permission denied for database"},
		{"ALTER ROLE pgapp NOLOGIN", "ALTER ROLE pgapp LOGIN", "not permitted to log in"},
	} {
		if s := b.ps(); s.Phase != appliance.PhaseReady { // it leaves a session, too
			t.Fatalf("phase %s: %+v", s.Phase, s.Members)
		}
		b.super("node0", s.shut)
		got := b.ps()
		if m := memberOf(got, "node0"); got.Phase == appliance.PhaseReady || m.State != appliance.StateUnreachable || !strings.Contains(m.Detail, s.why) {
			t.Errorf("%s: phase %s, %+v", s.shut, got.Phase, m)
		}
		b.super("node0", s.open)
		for end := time.Now().Add(commandTimeout); b.ps().Phase != appliance.PhaseReady && time.Now().Before(end); {
			continue // the standby replays it
		}
	}
}

// TestDelayedStandbys wants an up that comes to its end, and says what it could
// not prove.
func TestDelayedStandbys(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	spec := filepath.Join(filepath.Dir(b.home), "cluster.yaml")
	b.must(os.WriteFile(spec, []byte("standbys: 2\nparameters:\n  recovery_min_apply_delay: 1h\n"), 0o600))
	b.up("-f", spec)
	delayed := func() {
		t.Helper()
		var skipped []string
		for _, c := range b.verified().Checks {
			if c.Skipped {
				skipped = append(skipped, c.Name+" "+c.Member)
				if !strings.Contains(c.Detail, "recovery_min_apply_delay is 1h0m0s") {
					t.Errorf("%+v", c)
				}
			}
		}
		if want := []string{"marker-replicated node1", "row-counts node1", "marker-replicated node2", "row-counts node2"}; !slices.Equal(skipped, want) {
			t.Errorf("skipped %q, want %q", skipped, want)
		}
	}
	delayed()
	if r := b.ok("verify"); !strings.Contains(r.out+r.err, "4 skipped because of the configuration") {
		t.Errorf("%s%s", r.out, r.err)
	}
	b.up("-f", spec)
	b.rows("CREATE TABLE late (id int)")
	if n := b.rows("SELECT count(*) FROM pg_class WHERE relname = 'late'", "--role", "ro"); n != "0" {
		t.Errorf("a delayed standby shows a new table")
	}
	delayed()
	// After a start they don't stream for the delay, which no command waits for.
	b.ok("stop")
	b.ok("start")
	_, v := b.verify()
	for _, m := range []string{"node1", "node2"} {
		for _, c := range v.Checks {
			if c.Member == m && c.Name == "streaming" && (c.OK || !strings.Contains(c.Detail, "recovery_min_apply_delay is 1h0m0s")) {
				t.Errorf("%+v", c)
			}
		}
		if s := memberOf(b.ps(), m); !strings.Contains(s.Detail, "its replay is delayed by 1h") {
			t.Errorf("%+v", s)
		}
	}
}

// super runs SQL as superuser on the member.
func (b *box) super(member, sql string) {
	b.t.Helper()
	if out, err := b.superuser(member, sql); err != nil {
		b.t.Fatalf("%s: %v: %s", sql, err, out)
	}
}

// running are the ids of the operations that run.
func (b *box) running() string { return b.ps().Operation }
