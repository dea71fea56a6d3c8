//go:build integration

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/scripts/pacetest"
)

func (c *cluster) input() postgres.VerifyInput {
	in := postgres.VerifyInput{Database: "films", Password: c.secrets.Get(appliance.SecretControl), AppPassword: c.secrets.Get(appliance.SecretApp)}
	for i, m := range c.members {
		in.Targets = append(in.Targets, postgres.Target{Member: name(i), Host: m.host, Port: m.port, Primary: i == 0})
	}
	return looking(in)
}

// looking has verify look at the targets in sessions of its own.
func looking(in postgres.VerifyInput) postgres.VerifyInput {
	in.Look = func(ctx context.Context, member string) (ctl *postgres.Control, seen postgres.Observation, err error) {
		for _, t := range in.Targets {
			if t.Member == member {
				ctl, err = postgres.Connect(ctx, t.Host, t.Port, postgres.MaintenanceDatabase, in.Password)
			}
		}
		if err != nil {
			return nil, seen, err
		}
		seen, err = ctl.Observe(ctx)
		return ctl, seen, err
	}
	in.Leave = func(ctx context.Context, _ string, ctl *postgres.Control) { _ = ctl.Close(ctx) }
	return in
}

func newCluster(t *testing.T, standbys int) *cluster {
	t.Helper()
	c := newPrimary(t)
	c.load(t)
	for range standbys {
		c.addStandby(t)
	}
	return c
}

func failed(r appliance.VerifyReport) map[string]string {
	out := map[string]string{}
	for _, c := range r.Checks {
		if !c.OK {
			out[c.Member+" "+c.Name] = c.Detail
		}
	}
	return out
}

func check(t *testing.T, r appliance.VerifyReport, member, name string) appliance.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Member == member && c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s of %s in %+v", name, member, r.Checks)
	return appliance.Check{}
}

// wantFailed demands that exactly these checks failed; details has to hold
// what is given with them.
func wantFailed(t *testing.T, r appliance.VerifyReport, want map[string]string) {
	t.Helper()
	got := failed(r)
	if r.OK {
		t.Error("the report is ok")
	}
	for k, text := range want {
		if detail, ok := got[k]; !ok || !strings.Contains(detail, text) {
			t.Errorf("%s: got %q, want a failure with %q", k, detail, text)
		}
		delete(got, k)
	}
	for k, detail := range got {
		t.Errorf("%s failed too: %s", k, detail)
	}
}

func wantDetail(t *testing.T, k appliance.Check, text string) {
	t.Helper()
	if !strings.Contains(k.Detail, text) {
		t.Errorf("%s of %s says %q, want %q", k.Name, k.Member, k.Detail, text)
	}
}

func TestVerifyHealthyCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for range 3 {
		start := time.Now()
		r := postgres.Verify(t.Context(), c.input())
		t.Log(time.Since(start))
		if !r.OK || len(r.Replication) != 3 {
			t.Errorf("not ok: %v %v", failed(r), r.Replication)
		}
		for _, k := range r.Checks {
			if k.Skipped {
				t.Errorf("%+v was skipped", k)
			}
			if os.Getenv("PGAPP_TEST_SHOW") != "" {
				fmt.Printf("%-6s %-18s %v %s\n", k.Member, k.Name, k.OK, k.Detail)
			}
		}
	}
}

func TestVerifyFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	top, ctx := t, t.Context()
	verify := func() appliance.VerifyReport { return postgres.Verify(ctx, c.input()) }
	// detached waits until the primary has learnt that a standby is gone.
	detached := func(t *testing.T, name string) {
		t.Helper()
		waitFor(t, func() bool {
			r := verify()
			return !check(t, r, name, postgres.CheckStreaming).OK && !check(t, r, name, postgres.CheckSlotActive).OK
		})
	}

	t.Run("replay paused and a row inserted", func(t *testing.T) {
		c.sql(t, 1, "postgres", "SELECT pg_wal_replay_pause()")
		c.sql(t, 0, "films", "INSERT INTO film VALUES (4, 'Stalker')")
		wantFailed(t, verify(), map[string]string{
			"node1 replay-running":    "paused",
			"node1 marker-replicated": "is missing after",
			"node1 row-counts":        "public.film has 3 rows, but 4 on the primary",
		})
		c.sql(t, 1, "postgres", "SELECT pg_wal_replay_resume()")
		if r := verify(); !r.OK {
			t.Errorf("not ok after the replay went on: %v", failed(r))
		}
	})
	t.Run("what lets the application in is replayed while verify looks", func(t *testing.T) {
		held := func() bool {
			return c.sql(t, 1, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = 'PgSleep'") == "1"
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = postgres.SuperuserSQL(ctx, c.members[1], c.members[1].port, "films", "BEGIN; SELECT count(*) FROM film; SELECT pg_sleep(60)") // it is ended below
		}()
		waitFor(t, held)
		c.sql(t, 0, "postgres", "ALTER DATABASE films CONNECTION LIMIT 0")
		waitFor(t, func() bool {
			return c.sql(t, 1, "postgres", "SELECT datconnlimit FROM pg_database WHERE datname = 'films'") == "0"
		})
		// Replay waits for the session that reads the table.
		c.sql(t, 0, "films", "BEGIN; LOCK TABLE film IN ACCESS EXCLUSIVE MODE; COMMIT")
		c.sql(t, 0, "postgres", "ALTER DATABASE films CONNECTION LIMIT -1")
		marker := func() string { return c.sql(t, 0, "postgres", "SELECT max(seq) FROM pgapp.marker") }
		before, done := marker(), make(chan appliance.VerifyReport)
		go func() { done <- verify() }()
		waitFor(t, func() bool { return marker() != before }) // the logins were refused before
		c.sql(t, 1, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
		if r := <-done; !r.OK {
			t.Errorf("not ok: %v", failed(r))
		}
		<-ended
	})
	t.Run("owned setting overridden", func(t *testing.T) {
		c.sql(t, 1, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'x'")
		c.sql(t, 1, "postgres", "SELECT pg_reload_conf()")
		waitFor(t, func() bool {
			return c.sql(t, 1, "postgres", "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'") == "x"
		})
		wantFailed(t, verify(), map[string]string{"node1 settings-owned": "synchronous_standby_names is set in postgresql.auto.conf"})
		must(t, postgres.Configure(ctx, c.members[1], c.config(1)))
		must(t, postgres.ReloadConfig(ctx, c.members[1], c.members[1].port))
		waitFor(t, func() bool { return verify().OK })
	})
	t.Run("unknown identifier", func(t *testing.T) {
		in := c.input()
		in.SystemIdentifier = "1"
		wantFailed(t, postgres.Verify(ctx, in), map[string]string{
			"node0 system-identifier": "", "node1 system-identifier": "but the cluster's is 1", "node2 system-identifier": "",
		})
	})
	t.Run("slot detached", func(t *testing.T) {
		cfg := c.config(1)
		cfg.Primary.Slot = ""
		must(t, postgres.Configure(ctx, c.members[1], cfg))
		must(t, postgres.ReloadConfig(ctx, c.members[1], c.members[1].port))
		waitFor(t, func() bool { return !check(t, verify(), "node1", postgres.CheckSlotActive).OK })
		waitFor(t, func() bool { return check(t, verify(), "node1", postgres.CheckStreaming).OK })
		wantFailed(t, verify(), map[string]string{"node1 slot-active": "no standby streams from slot node1"})
		must(t, postgres.Configure(ctx, c.members[1], c.config(1)))
		must(t, postgres.ReloadConfig(ctx, c.members[1], c.members[1].port))
		waitFor(t, func() bool { return verify().OK })
	})
	t.Run("standby stopped", func(t *testing.T) {
		c.members[2].stop(t)
		detached(t, "node2")
		r := verify()
		wantFailed(t, r, map[string]string{
			"node2 reachable": "can't be reached", "node2 streaming": "no row", "node2 slot-active": "no standby streams",
		})
		if k := check(t, r, "node2", postgres.CheckRowCounts); !k.Skipped {
			t.Errorf("%+v: want it skipped", k)
		}
		c.members[2].start(top) // to run on in the cases below
	})
	t.Run("promoted by hand", func(t *testing.T) {
		c.sql(t, 2, "postgres", "SELECT pg_promote()")
		c.sql(t, 2, "films", "DELETE FROM film WHERE id = 1")
		detached(t, "node2")
		wantFailed(t, verify(), map[string]string{
			"node2 in-recovery": "", "node2 streaming": "", "node2 slot-active": "", "node2 timeline": "timeline 2",
			"node2 replay-running": "", "node2 marker-replicated": "", "node2 write-refused": "a write succeeded",
			"node2 row-counts": "public.film has 3 rows, but 4 on the primary",
		})
	})
	t.Run("primary stopped", func(t *testing.T) {
		c.members[0].stop(t)
		r := verify()
		if k := check(t, r, "node0", postgres.CheckReachable); k.OK || r.OK {
			t.Errorf("%+v", k)
		}
		if k := check(t, r, "node1", postgres.CheckWriteRefused); !k.OK || k.Skipped {
			t.Errorf("%+v: a standby's own checks don't need the primary", k)
		}
		if k := check(t, r, "node1", postgres.CheckStreaming); !k.Skipped {
			t.Errorf("%+v", k)
		}
	})
}

func TestVerifyFindsLowerParameters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	// The standby refuses to start with less than the primary had, so the
	// primary is raised behind its back: it pauses, and verify says why.
	cfg := c.config(0)
	cfg.Parameters["max_connections"] = "40"
	c.members[0].stop(t)
	must(t, postgres.Configure(t.Context(), c.members[0], cfg))
	c.members[0].start(t)
	waitFor(t, func() bool {
		return !check(t, postgres.Verify(t.Context(), c.input()), "node1", postgres.CheckParameters).OK
	})
	k := check(t, postgres.Verify(t.Context(), c.input()), "node1", postgres.CheckParameters)
	if !strings.Contains(k.Detail, "max_connections is 30, but 40 on the primary") {
		t.Errorf("%+v", k)
	}
}

func TestVerifyFindsStandbyOfAnotherCluster(t *testing.T) {
	t.Parallel()
	one, other := newCluster(t, 0), newPrimary(t)
	other.secrets = one.secrets
	must(t, postgres.EnsureRoles(t.Context(), other.members[0], other.members[0].port, one.secrets, "films"))
	other.load(t)
	other.addStandby(t)
	one.members = append(one.members, other.members[1])
	r := postgres.Verify(t.Context(), one.input())
	for _, name := range []string{postgres.CheckIdentifier, postgres.CheckStreaming, postgres.CheckSlotActive} {
		if k := check(t, r, "node1", name); k.OK {
			t.Errorf("%+v", k)
		}
	}
}

func TestVerifyWithoutMembersOrAnswers(t *testing.T) {
	t.Parallel()
	if r := postgres.Verify(t.Context(), postgres.VerifyInput{}); r.OK {
		t.Error("a cluster without members is ok")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := looking(postgres.VerifyInput{Targets: []postgres.Target{{Member: "node0", Host: "127.0.0.1", Port: 1, Primary: true}}})
	if r := postgres.Verify(ctx, in); r.OK || check(t, r, "node0", postgres.CheckReachable).OK {
		t.Errorf("%+v", r)
	}
}

// patience bounds what only a hang would take so long for.
const patience = 4 * time.Minute

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	if !pacetest.Until(patience, done) {
		t.Fatalf("it didn't happen within %s", patience)
	}
}
