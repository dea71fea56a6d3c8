//go:build integration

package cli_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"pgapp/appliance/rental"
)

// misses has a customer rent, look for the rental among the customer's own, and bring it
// back, n times. It returns how often the rental was missing.
func misses(t *testing.T, site *rental.Site, n int) (missing int) {
	t.Helper()
	for range n {
		got, a, err := site.Rent(t.Context(), rental.Rent{Request: uuid.New(), Customer: 1, Film: 1, Store: 1})
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := site.Rentals(t.Context(), a.Position, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(list, func(r rental.Rental) bool { return r.ID == got.Rental }) {
			missing++
		}
		if _, _, err := site.Return(t.Context(), uuid.New(), 1, got.Rental); err != nil {
			t.Fatal(err)
		}
	}
	return missing
}

// TestRentalSessionReadsItsOwnWrites pauses the only standby's replay: under session
// consistency a customer finds each rental, under eventual none. PGAPP_TEST_CHECKS is the
// number of checks.
func TestRentalSessionReadsItsOwnWrites(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	session, eventual := b.site(rental.Session, 2), b.site(rental.Eventual, 2)
	checks := setting(t, "PGAPP_TEST_CHECKS", 100)
	b.super("node1", "SELECT pg_wal_replay_pause()")
	if n := misses(t, session, checks); n != 0 {
		t.Errorf("session: %d of %d rentals were missing", n, checks)
	}
	if c := session.Counts(); c.Redirected == 0 {
		t.Errorf("no read went to the primary: %+v", c)
	}
	if n := misses(t, eventual, checks); n == 0 {
		t.Errorf("eventual: none of %d rentals was missing, so the check sees nothing", checks)
	}
	b.super("node1", "SELECT pg_wal_replay_resume()")
	b.verified()
}
