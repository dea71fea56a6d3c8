//go:build integration

package cli_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// site opens the movie-rental site on the box's cluster.
func (b *box) site(consistency rental.Consistency, conns int) *rental.Site {
	b.t.Helper()
	return b.openSite(b.siteConfig(consistency, conns))
}

func (b *box) openSite(cfg rental.Config) *rental.Site {
	b.t.Helper()
	s, err := rental.Open(b.t.Context(), cfg)
	b.must(err)
	b.t.Cleanup(s.Close)
	return s
}

func (b *box) siteConfig(consistency rental.Consistency, conns int) rental.Config {
	b.t.Helper()
	url := func(args ...string) string {
		return strings.TrimSpace(b.ok(append([]string{"url", "--driver", "pgx", "--show-password"}, args...)...).out)
	}
	cfg := rental.Config{Write: url("--role", "rw"), Read: url("--role", "ro"), Consistency: consistency, Conns: conns, Dial: b.dial}
	for _, m := range b.ps().Members {
		cfg.Members = append(cfg.Members, rental.Member{Name: m.Name, Conn: url("--host", m.Name)})
	}
	return cfg
}

// lastCopy leaves one copy of film 1 in store 1 and returns its number.
func (b *box) lastCopy() string {
	b.t.Helper()
	return b.rows(`WITH mine AS (SELECT inventory_id FROM inventory WHERE film_id = 1 AND store_id = 1 ORDER BY 1 LIMIT 1),
gone AS (UPDATE inventory SET store_id = 2 WHERE film_id = 1 AND store_id = 1 AND inventory_id NOT IN (TABLE mine)),
back AS (UPDATE rental SET return_date = now() WHERE return_date IS NULL AND inventory_id IN (TABLE mine))
SELECT inventory_id FROM mine`)
}

// activeCustomers are the first n customers that may rent.
func (b *box) activeCustomers(n int) []int32 {
	b.t.Helper()
	var ids []int32
	for _, text := range strings.Fields(b.rows(fmt.Sprintf("SELECT customer_id FROM customer WHERE activebool ORDER BY 1 LIMIT %d", n))) {
		id, err := strconv.ParseInt(text, 10, 32)
		b.must(err)
		ids = append(ids, int32(id))
	}
	if len(ids) != n {
		b.t.Fatalf("%d active customers, %d are wanted", len(ids), n)
	}
	return ids
}

// rush has many clients rent the last copy at once, and the winner bring it back, round
// after round.
type rush struct {
	b         *box
	site      *rental.Site
	customers []int32 // active ones: only they rent

	mu      sync.Mutex
	rentals []rental.Receipt
}

// round returns when every client has an answer: one has the copy, and all others are told
// that none is left.
func (r *rush) round() {
	r.b.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []rental.Receipt
	var winners []int32
	for _, customer := range r.customers {
		wg.Go(func() {
			got, _, err := r.site.Rent(r.b.t.Context(), rental.Rent{Request: uuid.New(), Customer: customer, Film: 1, Store: 1, Pay: true})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won, winners = append(won, got), append(winners, customer)
			case !appliance.IsProblem(err, appliance.ErrConflict):
				r.b.t.Errorf("customer %d: %v", customer, err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		r.b.t.Errorf("%d clients have the last copy: %+v", len(won), won)
	}
	for i, got := range won {
		if _, _, err := r.site.Return(r.b.t.Context(), uuid.New(), winners[i], got.Rental); err != nil {
			r.b.t.Errorf("returning rental %d: %v", got.Rental, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rentals = append(r.rentals, won...)
}

// kept wants every acknowledged rental with its payment, no payment without a rental, and
// no copy that was out twice at a time.
func (r *rush) kept(copyID string) {
	r.b.t.Helper()
	if n := r.b.rows(`SELECT count(*) FROM payment AS p WHERE NOT EXISTS (SELECT FROM rental AS r WHERE r.rental_id = p.rental_id)`); n != "0" {
		r.b.t.Errorf("%s payments have no rental", n)
	}
	if n := r.b.rows(fmt.Sprintf(`SELECT count(*) FROM rental AS a JOIN rental AS b USING (inventory_id)
WHERE inventory_id = %s AND a.rental_id < b.rental_id AND a.rental_date >= '2023-01-01' AND b.rental_date >= '2023-01-01'
AND tstzrange(a.rental_date, a.return_date) && tstzrange(b.rental_date, b.return_date)`, copyID)); n != "0" {
		r.b.t.Errorf("the copy was out twice at a time: %s pairs of rentals", n)
	}
	ids := make([]string, len(r.rentals))
	for i, got := range r.rentals {
		ids[i] = fmt.Sprintf("(%d, %d, %d)", got.Rental, got.Payment, got.Paid)
	}
	if n := r.b.rows(`SELECT count(*) FROM (VALUES ` + strings.Join(ids, ",") + `) AS told(r, p, cents)
JOIN rental ON rental_id = r JOIN payment AS paid ON paid.rental_id = r AND payment_id = p AND amount * 100 = cents`); n != fmt.Sprint(len(ids)) {
		r.b.t.Errorf("%s of %d acknowledged rentals are there with their payment", n, len(ids))
	}
	if n := r.b.rows(`SELECT count(*) FROM rental WHERE inventory_id = ` + copyID + ` AND rental_date >= '2023-01-01'`); n != fmt.Sprint(len(ids)) {
		r.b.t.Errorf("%s rentals are there, %d were acknowledged", n, len(ids))
	}
}

// TestRentalGivesTheLastCopyOnce has 32 clients rent the last copy of a film again and
// again while the primary is killed and replaced. make soak-site runs it at full size:
// PGAPP_TEST_RENTALS is the number of rounds, PGAPP_TEST_KILLS the largest number of kills,
// and PGAPP_TEST_KILL_SECONDS the time from one kill to the next.
func TestRentalGivesTheLastCopyOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	copyID := b.lastCopy()
	r := &rush{b: b, site: b.site(rental.Session, 32), customers: b.activeCustomers(32)}
	rounds, most := setting(t, "PGAPP_TEST_RENTALS", 30), setting(t, "PGAPP_TEST_KILLS", 2)
	every := time.Duration(setting(t, "PGAPP_TEST_KILL_SECONDS", 0)) * time.Second
	var killer sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kills := 0
	killer.Go(func() {
		for ; kills < most && ctx.Err() == nil; kills++ {
			next := time.After(every)
			b.killServer(b.ps().Primary)
			b.ok("failover", "--yes")
			b.led(b.ps().Primary)
			select {
			case <-next:
			case <-ctx.Done():
			}
		}
	})
	begun := time.Now()
	for range rounds {
		r.round()
	}
	cancel()
	killer.Wait()
	r.round() // after the last kill
	t.Logf("%d rounds of %d clients in %s under %d kills of the primary, %+v",
		rounds+1, len(r.customers), time.Since(begun).Round(time.Millisecond), kills, r.site.Counts())
	if kills == 0 {
		t.Error("the primary was never killed")
	}
	r.kept(copyID)
	b.verified()
}

// setting is a number from the environment, for runs by hand.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
