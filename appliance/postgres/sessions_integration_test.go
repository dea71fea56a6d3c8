//go:build integration

package postgres_test

import (
	"context"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// TestSessionsAreKept wants one session for two users in turn, two for two at
// once, and a fresh one where the server has ended the kept one.
func TestSessionsAreKept(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	s := &postgres.Sessions{}
	defer s.Close(t.Context())
	dialled := 0
	dial := func(ctx context.Context) (*postgres.Control, error) {
		dialled++
		return postgres.Connect(ctx, m.host, m.port, postgres.MaintenanceDatabase, c.secrets.Get(appliance.SecretControl))
	}
	look := func(inside func()) {
		t.Helper()
		must(t, s.Use(t.Context(), "m", dial, func(ctl *postgres.Control) error {
			if inside != nil {
				inside()
			}
			_, err := ctl.Observe(t.Context())
			return err
		}))
	}
	look(nil)
	look(nil)
	if dialled != 1 {
		t.Errorf("two in turn opened %d sessions", dialled)
	}
	look(func() { look(nil) })
	if dialled != 2 {
		t.Errorf("two at once opened %d sessions in all, want one more", dialled)
	}
	waitFor(t, func() bool { // the other one's end
		return c.sql(t, 0, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgapp'") == "1"
	})
	const end = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'pgapp') ended"
	if ended := c.sql(t, 0, "postgres", end); ended != "1" {
		t.Fatalf("%s sessions were kept, want one", ended)
	}
	look(nil)
	if dialled != 3 {
		t.Errorf("after the kept session's end there were %d in all, want one more", dialled)
	}
}

// TestGivenSessionIsUsedByOthers gives a kept session away, and one to those that have one.
func TestGivenSessionIsUsedByOthers(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	mine, others := &postgres.Sessions{}, &postgres.Sessions{}
	defer mine.Close(t.Context())
	defer others.Close(t.Context())
	dialled := 0
	use := func(s *postgres.Sessions) int {
		t.Helper()
		dial := func(ctx context.Context) (*postgres.Control, error) {
			dialled++
			return postgres.Connect(ctx, m.host, m.port, postgres.MaintenanceDatabase, c.secrets.Get(appliance.SecretControl))
		}
		must(t, s.Use(t.Context(), "m", dial, func(ctl *postgres.Control) error {
			_, err := ctl.Sight(t.Context())
			return err
		}))
		return dialled
	}
	mine.Give(t.Context(), others, "m") // there is none
	use(mine)
	mine.Give(t.Context(), others, "m")
	if use(others) != 1 {
		t.Error("a given session was not used")
	}
	if use(mine) != 2 {
		t.Error("a given session was used by both")
	}
	mine.Give(t.Context(), others, "m") // they have one
	if use(mine) != 2 {
		t.Error("a session was lost to those that have one")
	}
}
