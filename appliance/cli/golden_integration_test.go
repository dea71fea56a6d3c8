//go:build integration

package cli_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestLife leads one cluster through everything that a user does with it.
func TestLife(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.up()
	wantPS(t, b.ok("ps", "-o", "json").out)
	if v := b.verified(); len(v.Replication) != 3 {
		t.Errorf("%d rows in pg_stat_replication", len(v.Replication))
	}
	if n := b.rows("SELECT count(*) FROM film"); n != "1000" {
		t.Errorf("%s films on the primary", n)
	}
	if n := b.rows("SELECT count(*), pg_is_in_recovery() FROM film", "--role", "ro"); n != "1000|t" {
		t.Errorf("a standby answers %s", n)
	}
	if n := b.rows("SELECT count(*), pg_is_in_recovery() FROM film", "node2"); n != "1000|t" {
		t.Errorf("node2 answers %s", n)
	}
	if r := b.run("psql", "--", "-XAtc", "SELECT 1/0"); r.code != 1 || !strings.Contains(r.err, "division by zero") {
		t.Errorf("psql's own failure: %+v", r)
	}
	if logs := b.ok("logs").out; strings.Contains(logs, "the database system is starting up") {
		t.Errorf("pgapp asked servers that were not ready:\n%s", logs)
	}
	connectionStrings(t, b)
	memberLife(t, b)

	// Repeating up on a cluster that is as wanted changes nothing.
	again := b.up()
	if again.SystemIdentifier != s.SystemIdentifier || again.UUID != s.UUID {
		t.Errorf("up made another cluster: %+v, before %+v", again, s)
	}
	b.want(appliance.ExitConflict, "up", "--provider", "local", "--database", "other")
	b.ok("restart")
	b.verified()

	b.ok("down")
	if p := b.ps(); p.Phase != appliance.PhaseStopped {
		t.Errorf("phase %s after down", p.Phase)
	}
	if left := b.processes(); len(left) > 0 {
		t.Errorf("processes %v after down", left)
	}
	b.up()
	if n := b.rows("SELECT count(*) FROM marked"); n != "1" {
		t.Errorf("what was written before down is gone: %s", n)
	}
	b.verified()
	operations(t, b)
	b.ok("down", "--volumes", "--yes")
	b.want(appliance.ExitNotFound, "ps")
	b.nothingLeft()
	if fresh := b.up("--standbys", "0"); fresh.SystemIdentifier == s.SystemIdentifier {
		t.Error("a new cluster has the old one's system identifier")
	}
	b.verified()
}

// memberLife stops, starts, restarts and reclones members.
func memberLife(t *testing.T, b *box) {
	t.Helper()
	b.ok("stop", "node1")
	if p := b.ps(); p.Phase != appliance.PhaseDegraded || memberOf(p, "node1").State != appliance.StateStopped {
		t.Errorf("after stop node1: %s, %+v", p.Phase, memberOf(p, "node1"))
	}
	if r := b.run("ps"); r.code != appliance.ExitDegraded {
		t.Errorf("ps of a degraded cluster: exit code %d", r.code)
	}
	b.rows("CREATE TABLE marked AS SELECT 1 AS n")
	b.ok("start", "node1")
	b.verified()
	if n := b.rows("SELECT count(*) FROM marked", "node1"); n != "1" {
		t.Errorf("node1 missed what was written while it was stopped: %s", n)
	}
	b.ok("restart", "node0")
	b.ok("reinit", "node2")
	b.want(appliance.ExitConflict, "reinit", "node0")
	b.want(appliance.ExitNotFound, "stop", "node9")
	b.verified()
	if logs := b.ok("logs", "node2").out; !strings.Contains(logs, "database system is ready to accept read-only connections") {
		t.Errorf("node2's log: %.400s", logs)
	}
	all := b.ok("logs").out
	for _, m := range []string{"node0", "node1", "node2", "node3"} {
		if !strings.Contains(all, m+"   | ") {
			t.Errorf("the logs of all leave out %s", m)
		}
	}
}

// operations reads the journal.
func operations(t *testing.T, b *box) {
	t.Helper()
	var list []appliance.Operation
	b.must(json.Unmarshal([]byte(b.ok("ops", "-o", "json").out), &list))
	kinds := map[appliance.OperationKind]int{}
	for _, o := range list {
		kinds[o.Kind]++
		if o.State != appliance.OpSucceeded || o.EndedAt == nil {
			t.Errorf("operation %s (%s) is %s: %v", o.ID, o.Kind, o.State, o.Error)
		}
	}
	want := map[appliance.OperationKind]int{
		appliance.OpUp: 3, appliance.OpStop: 2, appliance.OpStart: 1, appliance.OpRestart: 2, appliance.OpReinit: 1,
	}
	if !maps.Equal(kinds, want) {
		t.Errorf("operations %v, want %v", kinds, want)
	}
	one := b.ok("ops", list[len(list)-1].ID, "--follow").out
	if !strings.Contains(one, "verify the cluster") {
		t.Errorf("the first operation: %s", one)
	}
}

// connectionStrings uses what url prints, with each driver that is at hand.
func connectionStrings(t *testing.T, b *box) {
	t.Helper()
	for _, role := range []string{"rw", "ro", "any"} {
		c := b.connect(strings.TrimSpace(b.ok("url", "--role", role, "--driver", "pgx").out))
		var films int
		var standby bool
		b.must(c.QueryRow(t.Context(), "SELECT count(*), pg_is_in_recovery() FROM film").Scan(&films, &standby))
		if films != 1000 || role == "rw" && standby || role == "ro" && !standby {
			t.Errorf("role %s leads to %d films, standby %v", role, films, standby)
		}
		psql(t, b, "-d", strings.TrimSpace(b.ok("url", "--role", role).out))
	}
	shown := b.ok("url", "--show-password").out
	if !strings.Contains(shown, "postgresql://app:") || strings.Contains(b.ok("url").out, "postgresql://app:") {
		t.Error("--show-password alone may show the password")
	}
	psql(t, b, "-d", strings.TrimSpace(shown))
	jdbc := b.ok("url", "--driver", "jdbc", "--role", "ro").out
	if !strings.HasPrefix(jdbc, "jdbc:postgresql://127.0.") || !strings.Contains(jdbc, "targetServerType=preferSecondary") {
		t.Errorf("for JDBC: %s", jdbc)
	}
	env := b.tool("sh", "-c", b.ok("url", "--driver", "env").out+"\nexec "+pgbin(t)+"/psql -XAtc 'SELECT count(*) FROM film'")
	if out, err := env.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1000" {
		t.Errorf("with the variables of url --driver env: %v, %s", err, out)
	}
}

// psql is the tree's own, without pgapp around it.
func psql(t *testing.T, b *box, args ...string) {
	t.Helper()
	cmd := b.tool(append(append([]string{pgbin(t) + "/psql"}, args...), "-XAtc", "SELECT count(*) FROM film")...)
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1000" {
		t.Errorf("psql: %v, %s", err, out)
	}
}

func memberOf(s appliance.ClusterStatus, name string) appliance.MemberStatus {
	for _, m := range s.Members {
		if m.Name == name {
			return m
		}
	}
	return appliance.MemberStatus{}
}

// wantPS holds the contract's shape of ps -o json: these keys, these types.
func wantPS(t *testing.T, text string) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "ps", got, "name", "provider", "phase", "database", "primary", "timeline", "system_identifier", "members")
	for key, want := range map[string]any{
		"name": "main", "provider": "local", "phase": "ready", "database": "pagila", "primary": "node0", "timeline": 1.0,
	} {
		if got[key] != want {
			t.Errorf("ps: %s is %v, want %v", key, got[key], want)
		}
	}
	if id, ok := got["system_identifier"].(string); !ok || len(id) < 18 {
		t.Errorf("ps: system_identifier is %v", got["system_identifier"])
	}
	members, ok := got["members"].([]any)
	if !ok || len(members) != 4 {
		t.Fatalf("ps: members are %v", got["members"])
	}
	hosts := []string{"127.0.122.1", "127.0.122.101", "127.0.122.102", "127.0.122.103"}
	for i, raw := range members {
		m, ok := raw.(map[string]any)
		if !ok {
			t.Fatalf("ps: a member is %v", raw)
		}
		wantKeys(t, "a member", m, "name", "role", "state", "placement", "host", "port", "timeline", "lsn")
		want := map[string]any{"name": appliance.MemberName(i), "role": "standby", "state": "streaming", "placement": "local"}
		if i == 0 {
			want["role"], want["state"] = "primary", "running"
		} else {
			wantKeys(t, "a standby", m, "slot", "sync_state", "sent_lsn", "replay_lsn", "replay_lag_bytes", "replay_lag_seconds")
			want["sync_state"], want["slot"] = "async", appliance.MemberName(i)
		}
		if isolated() {
			want["host"], want["port"] = hosts[i], 5432.0
		}
		for key, value := range want {
			if m[key] != value {
				t.Errorf("member %d: %s is %v, want %v", i, key, m[key], value)
			}
		}
	}
}

func wantKeys(t *testing.T, what string, m map[string]any, keys ...string) {
	t.Helper()
	have := slices.Collect(maps.Keys(m))
	for _, k := range keys {
		if !slices.Contains(have, k) {
			t.Errorf("%s has no %q, only %q", what, k, have)
		}
	}
}
