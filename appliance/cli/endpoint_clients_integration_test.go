//go:build integration

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestEndpointsServeRealClients is one cluster for pgx and Debian's libpq: cancel
// requests, the lag limit, clients with several hosts while nobody serves the endpoints,
// and a failover whose endpoint process is frozen.
func TestEndpointsServeRealClients(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--ro-lag", "1")
	b.verified()
	for _, part := range []struct {
		name string
		run  func(b *box)
	}{
		{"a cancel request through ro ends its own query only", cancelsItsOwnQuery},
		{"a standby beyond the lag limit keeps its sessions and gets no new ones", keepsSessionsOfALaggard},
		{"clients with several hosts go on without the process", goesOnWithoutTheProcess},
		{"a frozen process holds up no failover", failsOverWithAFrozenProcess},
	} {
		t.Log(part.name)
		part.run(b)
	}
}

// through is the connection string of the endpoint alone, for pgx.
func (b *box) through(role string) string {
	b.t.Helper()
	return strings.TrimSpace(b.ok("url", "--role", role, "--only", "endpoint", "--driver", "pgx", "--show-password").out)
}

// onEachStandby opens sessions through ro until each of the two standbys has one.
func (b *box) onEachStandby() map[string]*pgx.Conn {
	b.t.Helper()
	out := map[string]*pgx.Conn{}
	b.eventually("ro leads to both standbys", func() bool {
		c := b.connect(b.through("ro"))
		out[b.memberOf(c)] = c
		return out["node1"] != nil && out["node2"] != nil
	})
	return out
}

// memberOf is the member at the session's other end, by the name that its file sets.
func (b *box) memberOf(c *pgx.Conn) string {
	b.t.Helper()
	var name string
	b.must(c.QueryRow(b.t.Context(), "SELECT current_setting('cluster_name')").Scan(&name))
	return name[strings.LastIndex(name, "/")+1:]
}

// runs tells whether the member runs the query.
func (b *box) runs(member, query string) bool {
	b.t.Helper()
	sql := fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '%s'", query)
	return b.rows(sql, member, "--role", "admin") == "1"
}

func cancelsItsOwnQuery(b *box) {
	b.t.Helper()
	sessions := b.onEachStandby()
	ended := map[string]chan error{}
	query := func(member string) string { return "SELECT pg_sleep(600), " + member[len(member)-1:] }
	for member, c := range sessions {
		ended[member] = make(chan error, 1)
		go func() {
			_, err := c.Exec(b.t.Context(), query(member))
			ended[member] <- err
		}()
		b.eventually(member+" runs the query", func() bool { return b.runs(member, query(member)) })
	}
	for _, member := range []string{"node2", "node1"} {
		if err := sessions[member].PgConn().CancelRequest(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		var pg *pgconn.PgError
		if err := <-ended[member]; !errors.As(err, &pg) || pg.Code != "57014" {
			b.t.Errorf("the query on %s ends with %v, want 57014", member, err)
		}
		if member == "node2" && !b.runs("node1", query("node1")) {
			b.t.Error("the query on node1 was cancelled too")
		}
	}

	// Ctrl-C in Debian's psql.
	text := strings.TrimSpace(b.ok("url", "--role", "ro", "--only", "endpoint").out)
	psql := b.tool("/usr/bin/psql", "-Xw", "-d", text, "-c", "SELECT pg_sleep(600), 9")
	said := &strings.Builder{}
	psql.Stderr = said
	b.must(psql.Start())
	b.eventually("a standby runs psql's query", func() bool {
		return b.runs("node1", "SELECT pg_sleep(600), 9") || b.runs("node2", "SELECT pg_sleep(600), 9")
	})
	b.must(psql.Process.Signal(syscall.SIGINT))
	if err := psql.Wait(); err == nil || !strings.Contains(said.String(), "canceling statement due to user request") {
		b.t.Errorf("after Ctrl-C psql says %q, %v", said, err)
	}
}

func keepsSessionsOfALaggard(b *box) {
	b.t.Helper()
	old := b.onEachStandby()["node1"]
	b.rows("SELECT pg_wal_replay_pause()", "node1", "--role", "admin")
	b.rows("CREATE TABLE lag AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
	leadsTo := func(want ...string) func() bool {
		return func() bool {
			e := b.ps().Endpoints
			return e != nil && e.Reads != nil && slices.Equal(e.Reads.To, want)
		}
	}
	b.eventually("ro leads to node2 only", leadsTo("node2"))
	for range 4 {
		if got := b.memberOf(b.connect(b.through("ro"))); got != "node2" {
			b.t.Errorf("a new session leads to %s", got)
		}
	}
	if got := b.memberOf(old); got != "node1" {
		b.t.Errorf("the session on node1 leads to %s", got)
	}
	if s := b.ps(); s.Endpoints.Reads.Open < 5 || s.Endpoints.Reads.Cut != 0 {
		b.t.Errorf("ps shows %+v", s.Endpoints.Reads)
	}
	b.rows("SELECT pg_wal_replay_resume()", "node1", "--role", "admin")
	b.eventually("ro leads to both again", leadsTo("node1", "node2"))
}

func goesOnWithoutTheProcess(b *box) {
	b.t.Helper()
	url := func(args ...string) string { return strings.TrimSpace(b.ok(append([]string{"url"}, args...)...).out) }
	libpq := map[string]string{"False": url("--role", "rw"), "True": url("--role", "ro")}
	driver := url("--role", "rw", "--driver", "pgx", "--show-password")
	only := b.through("rw")
	tryAll := func(when string) {
		b.t.Helper()
		const script = `import sys, psycopg2
with psycopg2.connect(sys.argv[1]) as c, c.cursor() as k:
    k.execute("SELECT pg_is_in_recovery()")
    print(k.fetchone()[0])`
		for recovery, text := range libpq {
			if out, err := b.tool("/usr/bin/python3", "-c", script, text).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != recovery {
				b.t.Errorf("%s: psycopg2: %v, %s, want %s (it needs the package python3-psycopg2: run scripts/test as root)", when, err, out, recovery)
			}
		}
		if _, err := b.connect(driver).Exec(b.t.Context(), "CREATE TEMP TABLE t ()"); err != nil {
			b.t.Errorf("%s: pgx: %v", when, err)
		}
	}
	tryAll("with the process")
	b.killDaemon() // it would start the process again
	killAndWait(b.t, b.endpointProcess())
	var refused *pgconn.ConnectError
	if _, err := b.once(b.t.Context(), only, "SELECT 1"); !errors.As(err, &refused) {
		b.t.Errorf("the endpoint alone: %v, want a refused connection", err)
	}
	tryAll("without the process")
	b.ok("info")
	b.eventually("the endpoint is back", func() bool {
		_, err := b.once(b.t.Context(), only, "SELECT 1")
		return err == nil
	})
}

func failsOverWithAFrozenProcess(b *box) {
	b.t.Helper()
	only := b.through("rw")
	open := b.connect(only)
	frozen := b.endpointProcess()
	b.must(syscall.Kill(frozen, syscall.SIGSTOP))
	killAndWait(b.t, b.postmaster("node0"))
	b.ok("failover", "--yes")
	now := b.ps().Primary
	if now == "node0" {
		b.t.Fatal("node0 is still the primary")
	}
	b.eventually("rw leads to "+now, func() bool {
		ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
		defer cancel()
		begun, err := b.once(ctx, only, "CREATE TABLE IF NOT EXISTS after_it ()")
		return begun && err == nil
	})
	if !gone(frozen) {
		b.t.Errorf("the frozen process %d was not ended", frozen)
	}
	if err := open.Ping(b.t.Context()); err == nil {
		b.t.Error("a session through the frozen process goes on")
	}
	b.led(now)
	b.verified()
}
