//go:build integration

package cli_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance/rental"
)

// misses has customers in turn rent, look for the rental among their own, and bring it
// back, n times. Before that, each looks for the rental of its last turn. misses returns
// how often a rental was missing.
func misses(t *testing.T, site *rental.Site, customers []int32, n int) (missing int) {
	t.Helper()
	last := make([]struct {
		rental int32
		seen   rental.Token
	}, len(customers))
	for i := range n {
		customer, mine := customers[i%len(customers)], &last[i%len(customers)]
		look := func() {
			list, _, err := site.Rentals(t.Context(), mine.seen, customer)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(list, func(r rental.Rental) bool { return r.ID == mine.rental }) {
				missing++
			}
		}
		if i >= len(customers) {
			look()
		}
		got, a, err := site.Rent(t.Context(), rental.Rent{Request: uuid.New(), Customer: customer, Film: 1, Store: 1})
		if err != nil {
			t.Fatal(err)
		}
		mine.rental, mine.seen = got.Rental, a.Position
		look()
		if _, _, err := site.Return(t.Context(), uuid.New(), customer, got.Rental); err != nil {
			t.Fatal(err)
		}
	}
	return missing
}

// TestRentalSessionReadsItsOwnWrites has the only standby replay commits five seconds late:
// under session consistency a customer finds each rental, under eventual consistency not.
// make soak-site runs it at full size: PGAPP_TEST_CHECKS is the number of rentals.
func TestRentalSessionReadsItsOwnWrites(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	session, eventual := b.site(rental.Session, 2), b.site(rental.Eventual, 2)
	checks := setting(t, "PGAPP_TEST_CHECKS", 100)
	customers := b.activeCustomers(min(checks/2, 500))
	b.super("node1", "ALTER SYSTEM SET recovery_min_apply_delay = '5s'")
	b.super("node1", "SELECT pg_reload_conf()")
	for _, tt := range []struct {
		name string
		site *rental.Site
		want func(missing int) bool
	}{
		{"session", session, func(missing int) bool { return missing == 0 }},
		{"eventual", eventual, func(missing int) bool { return missing > 0 }}, // else the check sees nothing
	} {
		begun := time.Now()
		missing := misses(t, tt.site, customers, checks)
		c := tt.site.Counts()
		t.Logf("%s: after %d rentals, a rental was missing %d times, in %s: %+v", tt.name, checks, missing, time.Since(begun).Round(time.Millisecond), c)
		if !tt.want(missing) {
			t.Errorf("%s: after %d rentals, a rental was missing %d times", tt.name, checks, missing)
		}
	}
	if c := session.Counts(); c.Redirected == 0 {
		t.Errorf("no read went to the primary: %+v", c)
	}
	b.super("node1", "ALTER SYSTEM RESET recovery_min_apply_delay")
	b.super("node1", "SELECT pg_reload_conf()")
	b.verified()
}
