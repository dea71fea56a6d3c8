//go:build integration

package postgres_test

import (
	"context"
	"syscall"
	"testing"

	"pgapp/appliance/postgres"
)

// TestEnforceReachesTheCheckpointer has a session read a new synchronous_standby_names while
// the server has not told its checkpointer, as a postmaster does that is held up between the
// two. Commits have to wait from the moment on at which Enforce returns.
func TestEnforceReachesTheCheckpointer(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	ctl := c.control(t, 0, "postgres")
	c.sql(t, 0, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"node9\")'")
	must(t, syscall.Kill(int(postgres.PID(ctl)), syscall.SIGHUP))
	waitFor(t, func() bool {
		p, err := ctl.PromiseInForce(t.Context())
		must(t, err)
		return !p.None()
	})
	ok, err := ctl.Enforce(t.Context())
	if err != nil || !ok {
		t.Fatalf("enforced: %t, %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := c.members[0]
	done := make(chan error, 1)
	go func() {
		_, err := postgres.SuperuserSQL(ctx, m, m.port, "postgres", "SET synchronous_commit = on; CREATE TABLE public.t ()")
		done <- err
	}()
	waitFor(t, func() bool {
		select {
		case err := <-done:
			t.Fatalf("a commit returned (%v) that no standby has", err)
		default:
		}
		return c.sql(t, 0, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	cancel()
	<-done
}
