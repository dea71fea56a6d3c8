//go:build integration

package postgres_test

import (
	"context"
	"sync"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func TestVerifyTriesTheApplicationsLogin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	verify := func() appliance.VerifyReport { return postgres.Verify(t.Context(), c.input()) }
	for _, s := range []struct {
		name, database, breakIt, mendIt, want string
	}{
		{"no login", "postgres", "ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN", "not permitted to log in"},
		{
			"no way into the database", "postgres", "REVOKE CONNECT ON DATABASE films FROM PUBLIC, app; ALTER DATABASE films OWNER TO postgres",
			"ALTER DATABASE films OWNER TO app; GRANT CONNECT ON DATABASE films TO PUBLIC, app", "permission denied for database",
		},
		{"no connection left to the role", "postgres", "ALTER ROLE app CONNECTION LIMIT 0", "ALTER ROLE app CONNECTION LIMIT -1", "too many connections for role"},
	} {
		c.sql(t, 0, s.database, s.breakIt)
		waitFor(t, func() bool { return !check(t, verify(), "node1", postgres.CheckApplication).OK })
		r := verify()
		for _, m := range []string{"node0", "node1"} {
			if _, ok := failed(r)[m+" "+postgres.CheckApplication]; !ok || r.OK {
				t.Errorf("%s: %s passes", s.name, m)
			}
		}
		wantDetail(t, check(t, r, "node0", postgres.CheckApplication), s.want)
		c.sql(t, 0, s.database, s.mendIt)
		waitFor(t, func() bool { return verify().OK })
	}
	// The application's database goes, and verify says so.
	c.sql(t, 0, "postgres", "ALTER DATABASE films RENAME TO movies")
	r := verify()
	if r.OK {
		t.Error("ok without the application's database")
	}
	wantDetail(t, check(t, r, "node0", postgres.CheckApplication), `database "films" does not exist`)
}

func TestVerifyNamesWhoHoldsUpReplay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	m := c.members[1]
	reader, err := postgres.ConnectAs(ctx, postgres.RoleApp, m.host, m.port, "films", c.secrets.Get(appliance.SecretApp))
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = reader.Exec(ctx, "BEGIN; SET LOCAL statement_timeout = 0; SELECT count(*) FROM public.film; SELECT pg_sleep(300)") // ends with the test
	})
	defer wg.Wait()
	defer cancel()
	waitFor(t, func() bool {
		return c.sql(t, 1, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	c.sql(t, 0, "films", "ALTER TABLE film ADD COLUMN note text")
	k := check(t, postgres.Verify(ctx, c.input()), "node1", postgres.CheckMarker)
	pid := c.sql(t, 1, "postgres", "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	if k.OK {
		t.Errorf("%+v", k)
	}
	wantDetail(t, k, "replay waits for the session with pid "+pid+" of role app in database films, active")
}

// TestVerifyOfADelayedStandby has a standby that replays an hour later: it is
// named, and no reason for a report that isn't ok.
func TestVerifyOfADelayedStandby(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.sql(t, 1, "postgres", "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
	c.sql(t, 1, "postgres", "SELECT pg_reload_conf()")
	waitFor(t, func() bool { return c.sql(t, 1, "postgres", "SHOW recovery_min_apply_delay") == "1h" })
	c.sql(t, 0, "films", "INSERT INTO film VALUES (4, 'Stalker')")
	r := postgres.Verify(t.Context(), c.input())
	if !r.OK {
		t.Errorf("%v", failed(r))
	}
	for _, name := range []string{postgres.CheckMarker, postgres.CheckRowCounts} {
		k := check(t, r, "node1", name)
		if !k.Skipped {
			t.Errorf("%+v: want it skipped", k)
		}
		wantDetail(t, k, "recovery_min_apply_delay is 1h0m0s")
		if k := check(t, r, "node2", name); k.Skipped {
			t.Errorf("%+v: it is not delayed", k)
		}
	}
	// What an hour's delay hides of a login is excused there, and only there.
	c.sql(t, 0, "postgres", "ALTER ROLE app NOLOGIN")
	if r := postgres.Verify(t.Context(), c.input()); r.OK || check(t, r, "node0", postgres.CheckApplication).OK {
		t.Errorf("ok without the application's login: %+v", failed(r))
	}
}

// TestVerifyProvesTooLittle: a check that nobody could make is no pass.
func TestVerifyProvesTooLittle(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	m := c.members[0]
	var wg sync.WaitGroup
	wg.Go(func() {
		// Nobody counts a table that is locked.
		_, _ = postgres.SuperuserSQL(ctx, m, m.port, "films", "BEGIN; LOCK TABLE film IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(50);")
	})
	defer wg.Wait()
	defer cancel()
	waitFor(t, func() bool {
		return c.sql(t, 0, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	r := postgres.Verify(ctx, c.input())
	k := check(t, r, "node1", postgres.CheckRowCounts)
	if r.OK || !k.Skipped || len(failed(r)) != 0 {
		t.Errorf("ok %v, %+v, failed %v", r.OK, k, failed(r))
	}
	wantDetail(t, k, "not proven")
}
