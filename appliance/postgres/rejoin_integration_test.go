//go:build integration

package postgres_test

import (
	"context"
	"testing"
	"time"

	"pgapp/appliance/postgres"
)

// follow has member i stream from member p, as Configure and a start do.
func (c *cluster) follow(t *testing.T, i, p int) {
	t.Helper()
	m := c.members[i]
	cfg := c.config(i)
	cfg.Primary = &postgres.Upstream{Host: c.members[p].host, Port: c.members[p].port, Slot: name(i)}
	must(t, postgres.Configure(t.Context(), m, cfg))
	m.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := postgres.WaitStreaming(ctx, c.control(t, p, "postgres"), []string{name(i)}); err != nil {
		t.Fatalf("%v\n%s", err, m.log())
	}
}

// promote has member i leave recovery.
func (c *cluster) promote(t *testing.T, i int) {
	t.Helper()
	if got := c.sql(t, i, "postgres", "SELECT pg_promote()"); got != "t" {
		t.Fatalf("member %d was not promoted: %s", i, got)
	}
}

// TestFormerPrimaryFollowsWithoutItsSlots has a cleanly stopped primary follow the
// standby that was promoted in its place.
func TestFormerPrimaryFollowsWithoutItsSlots(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.addStandby(t)
	c.sql(t, 0, "postgres", "SELECT pg_create_physical_replication_slot('mine', true)")
	c.members[0].stop(t)
	c.promote(t, 1)
	must(t, c.control(t, 1, "postgres").EnsureSlot(t.Context(), name(0)))
	for range 2 {
		must(t, postgres.RemoveSlots(t.Context(), c.members[0], []string{name(0), name(1)}))
	}
	c.follow(t, 0, 1)
	if got := c.sql(t, 0, "postgres", "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots"); got != "mine" {
		t.Errorf("slots of the former primary: got %q, want the user's alone", got)
	}
}
