//go:build integration

package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestChangesDontWaitForStandby has the primary wait for a standby that never
// comes: what pgapp does goes on all the same.
func TestChangesDontWaitForStandby(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	c.sql(t, 0, "postgres", "SELECT pg_reload_conf()")
	m := c.members[0]
	waitFor(t, func() bool { return c.sql(t, 0, "postgres", "SHOW synchronous_standby_names") == "nobody" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, postgres.EnsureRoles(ctx, m, m.port, c.secrets, "films"))
	must(t, postgres.LoadDatabase(ctx, m, m.port, postgres.LoadOptions{Database: "films", Owner: true, Files: []postgres.LoadFile{textFile("films.sql", filmsSQL)}}, nil))
	ctl := c.control(t, 0, "postgres")
	for range 2 {
		must(t, ctl.EnsureSlot(ctx, "node1"))
	}
	wantFailed(t, postgres.Verify(ctx, c.input()), map[string]string{"node0 settings-owned": "synchronous_standby_names"})
	for range 2 {
		must(t, ctl.DropSlot(ctx, "node1"))
	}
}

func TestDropSlotEndsItsStream(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	ctl := c.control(t, 0, "postgres")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, ctl.DropSlot(ctx, "node1"))
	slots, err := ctl.Slots(ctx)
	if err != nil || len(slots) != 0 {
		t.Errorf("%+v %v", slots, err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := postgres.WaitStreaming(short, c.control(t, 0, "postgres"), []string{"node1", "node9"}); !appliance.IsProblem(err, appliance.ErrReplication) {
		t.Errorf("got %v", err)
	}
	must(t, ctl.EnsureSlot(ctx, "node1"))
	// A reload wakes the standby, so that it tries at once.
	must(t, c.control(t, 1, "postgres").Reload(ctx))
	must(t, postgres.WaitStreaming(ctx, ctl, []string{"node1"}))
}

// TestVerifyUnderWrites: rows that come while they are counted are no
// difference, and are no reason to prove nothing.
func TestVerifyUnderWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	m := c.members[0]
	writer, err := postgres.ConnectAs(ctx, postgres.RoleApp, m.host, m.port, "films", c.secrets.Get(appliance.SecretApp))
	must(t, err)
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = writer.Exec(ctx, "INSERT INTO public.payment VALUES (1, '2022-05-05')") // ends with the test
		}
	})
	for range 5 {
		r := postgres.Verify(t.Context(), c.input())
		if !r.OK {
			t.Errorf("%v", failed(r))
		}
		if k := check(t, r, "node1", postgres.CheckRowCounts); k.Skipped {
			t.Errorf("%+v", k)
		}
	}
}

// TestVerifyDuringACommit: what a standby shows before the primary does is no
// difference. A commit that waits for a synchronous standby makes it last.
func TestVerifyDuringACommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	c.sql(t, 0, "postgres", "SELECT pg_reload_conf()")
	waitFor(t, func() bool { return c.sql(t, 0, "postgres", "SHOW synchronous_standby_names") == "nobody" })
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	m := c.members[0]
	writer, err := postgres.ConnectAs(ctx, postgres.RoleApp, m.host, m.port, "films", c.secrets.Get(appliance.SecretApp))
	must(t, err)
	const count = "SELECT count(*) FROM public.payment"
	before := c.sql(t, 0, "films", count)
	wg.Go(func() {
		_ = writer.Exec(ctx, "BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO public.payment VALUES (1, '2022-05-05'); COMMIT") // ends with the test
	})
	waitFor(t, func() bool { return c.sql(t, 1, "films", count) != before })
	if now := c.sql(t, 0, "films", count); now != before {
		t.Fatalf("the primary counts %s rows, and %s before: it doesn't wait", now, before)
	}
	// Before and after a later transaction has ended, which verify's marker is.
	standby := c.control(t, 1, "films")
	if ahead, err := standby.CommittedSince(ctx, c.sql(t, 0, "films", "SELECT pg_current_snapshot()")); !ahead {
		t.Errorf("the standby isn't ahead: %v", err)
	}
	r := postgres.Verify(t.Context(), c.input())
	if ahead, err := standby.CommittedSince(ctx, c.sql(t, 0, "films", "SELECT pg_current_snapshot()")); !ahead {
		t.Errorf("the standby isn't ahead any more: %v", err)
	}
	if k := check(t, r, "node1", postgres.CheckRowCounts); !k.OK || k.Skipped {
		t.Errorf("got %+v: the row is told apart by its transaction", k)
	}
	stop() // which ends the wait: committed it is
	waitFor(t, func() bool { return c.sql(t, 0, "films", count) != before })
	if k := check(t, postgres.Verify(t.Context(), c.input()), "node1", postgres.CheckRowCounts); !k.OK || k.Skipped {
		t.Errorf("after the commit: got %+v", k)
	}
	if ahead, err := standby.CommittedSince(t.Context(), c.sql(t, 0, "films", "SELECT pg_current_snapshot()")); ahead || err != nil {
		t.Errorf("after the commit the standby is ahead: %v", err)
	}
}
