//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// books is a site whose books are looked at, and a customer of it.
type books struct {
	b        *box
	site     *rental.Site
	customer int32
}

// TestRentalBooks has one cluster's site refuse, reckon, and do each request once.
func TestRentalBooks(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.up("--standbys", "0")
	k := &books{b: b, customer: b.activeCustomers(1)[0]}
	k.refuses(t)
	k.site = b.site(rental.Session, 4)
	k.owes(t)
	k.asksAgain(t)
	k.losesItsConnection(t)
	k.turnsTheMonth(t)
	b.eventually("the schema of the requests goes with its last site", func() bool { // whose sessions end after its close
		b.must(k.site.Remove(t.Context()))
		return b.rows("SELECT to_regnamespace('pgapp_rental') IS NULL") == "t"
	})
}

// rows are as psql writes them.
func (k *books) rows(format string, args ...any) string {
	k.b.t.Helper()
	return k.b.rows(fmt.Sprintf(format, args...))
}

func (k *books) number(format string, args ...any) int32 {
	k.b.t.Helper()
	n, err := strconv.ParseInt(k.rows(format, args...), 10, 32)
	k.b.must(err)
	return int32(n)
}

// refuses has a database lack a table, and then a column, of Pagila.
func (k *books) refuses(t *testing.T) {
	cfg := k.b.siteConfig(rental.Session, 1)
	for _, tt := range []struct{ name, spoil, mend, says string }{
		{"a table", "ALTER TABLE actor RENAME TO actors", "ALTER TABLE actors RENAME TO actor", "public.actor with a column actor_id"},
		{"a column", "ALTER TABLE film RENAME COLUMN fulltext TO words", "ALTER TABLE film RENAME COLUMN words TO fulltext", "public.film with a column fulltext"},
	} {
		k.rows("%s", tt.spoil)
		s, err := rental.Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		if !appliance.IsProblem(err, appliance.ErrPrecondition) || !strings.Contains(err.Error(), `database "pagila" is not Pagila`) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("without %s: got %v", tt.name, err)
		}
		k.rows("%s", tt.mend)
	}
	if got := k.rows("SELECT to_regnamespace('pgapp_rental') IS NULL"); got != "t" {
		t.Error("a site that refused the database has made its schema there")
	}
}

// owes looks at what is owed for rentals by the day they come back, and pays it once.
func (k *books) owes(t *testing.T) {
	k.rows(`UPDATE film SET rental_rate = 4.99, rental_duration = 3, replacement_cost = 20.99 WHERE film_id = 1;
UPDATE film SET rental_rate = 4.99, rental_duration = 3, replacement_cost = 0.99 WHERE film_id = 2`)
	for n, tt := range []struct {
		name, back string // an interval, or nothing
		film, paid int32
		owed       rental.Cents
	}{
		{"open", "", 1, 0, 499},
		{"back in time", "2 days", 1, 0, 499},
		{"back within the last day", "3 days 23:59:59", 1, 0, 499},
		{"a day late", "4 days", 1, 0, 599},
		{"a week late", "10 days", 1, 0, 1199},
		{"never dearer than the film", "100 days", 1, 0, 2099},
		{"a film that is worth less than its rate", "100 days", 2, 0, 499},
		{"paid in part", "4 days", 1, 200, 399},
		{"paid", "2 days", 1, 499, 0},
		{"paid twice", "2 days", 1, 998, 0},
	} {
		id := k.number(`WITH made AS (INSERT INTO rental (rental_date, inventory_id, customer_id, staff_id, return_date)
SELECT d, (SELECT min(inventory_id) FROM inventory WHERE film_id = %d), %d, 1, d + nullif('%s', '')::interval FROM (VALUES (timestamptz '2023-01-01' + make_interval(days => %d))) AS v(d) RETURNING rental_id) TABLE made`,
			tt.film, k.customer, tt.back, n)
		if tt.paid > 0 {
			k.rows("INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date) VALUES (%d, 1, %d, %d / 100.0, now())", k.customer, id, tt.paid)
		}
		list, _, err := k.site.Rentals(t.Context(), rental.Token{}, k.customer)
		k.b.must(err)
		if i := slices.IndexFunc(list, func(r rental.Rental) bool { return r.ID == id }); i < 0 || list[i].Owed != tt.owed || list[i].Paid != rental.Cents(tt.paid) {
			t.Errorf("%s: want %s owed, got rental %d of %+v", tt.name, tt.owed, id, list)
		}
		got, _, err := k.site.Pay(t.Context(), uuid.New(), k.customer, id)
		if tt.owed > 0 && (err != nil || got.Paid != tt.owed) || tt.owed == 0 && !appliance.IsProblem(err, appliance.ErrConflict) {
			t.Errorf("%s: paid %s, %v, want %s", tt.name, got.Paid, err, tt.owed)
		}
		if _, _, err = k.site.Pay(t.Context(), uuid.New(), k.customer, id); !appliance.IsProblem(err, appliance.ErrConflict) {
			t.Errorf("%s: paid again: %v", tt.name, err)
		}
	}
	k.rows("UPDATE rental SET return_date = now() WHERE return_date IS NULL")
}

// asksAgain has request ids come a second time, for the same and for something else.
func (k *books) asksAgain(t *testing.T) {
	ctx := t.Context()
	wish := rental.Rent{Request: uuid.New(), Customer: k.customer, Film: 1, Store: 1, Pay: true}
	first, _, err := k.site.Rent(ctx, wish)
	k.b.must(err)
	again, _, err := k.site.Rent(ctx, wish)
	if first.Replayed = true; err != nil || again != first {
		t.Errorf("the same request has %+v and then %+v, %v", first, again, err)
	}
	other := wish
	for what, ask := range map[string]func() error{
		"another film":       func() error { other = wish; other.Film = 2; return k.rent(ctx, other) },
		"another store":      func() error { other = wish; other.Store = 2; return k.rent(ctx, other) },
		"another customer":   func() error { other = wish; other.Customer++; return k.rent(ctx, other) },
		"without a payment":  func() error { other = wish; other.Pay = false; return k.rent(ctx, other) },
		"the film's return":  func() error { _, _, err := k.site.Return(ctx, wish.Request, k.customer, first.Rental); return err },
		"the film's payment": func() error { _, _, err := k.site.Pay(ctx, wish.Request, k.customer, first.Rental); return err },
	} {
		if err := ask(); !appliance.IsProblem(err, appliance.ErrIdempotencyReuse) {
			t.Errorf("the id of a rental is used for %s: %v", what, err)
		}
	}
	k.once(t, "asked again", first.Rental, 1)

	// A request that was refused has done nothing: its id may be used again.
	k.rows("UPDATE customer SET activebool = false WHERE customer_id = %d", k.customer)
	wish.Request = uuid.New()
	if err := k.rent(ctx, wish); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("a customer that is not active rents: %v", err)
	}
	k.rows("UPDATE customer SET activebool = true WHERE customer_id = %d", k.customer)
	if got, _, err := k.site.Rent(ctx, wish); err != nil || got.Replayed {
		t.Errorf("after a refusal: got %+v, %v", got, err)
	}
}

func (k *books) rent(ctx context.Context, wish rental.Rent) error {
	_, _, err := k.site.Rent(ctx, wish)
	return err
}

// once wants n rentals since that one, each with its payment.
func (k *books) once(t *testing.T, when string, since int32, n int32) {
	t.Helper()
	if rentals, paid := k.number("SELECT count(*) FROM rental WHERE rental_id >= %d", since),
		k.number("SELECT count(*) FROM payment WHERE rental_id >= %d", since); rentals != n || paid != n {
		t.Errorf("%s: %d rentals and %d payments, want %d", when, rentals, paid, n)
	}
}

// cuts are connections of which one is cut at its next commit.
type cuts struct {
	b *box
	// next is set while a commit is to be cut, before it gets to the server or after its answer.
	before, after atomic.Bool
}

func (c *cuts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.b.dial(ctx, network, address)
	return &cutConn{Conn: conn, cuts: c}, err
}

type cutConn struct {
	net.Conn
	cuts *cuts
	lost atomic.Bool
}

func (c *cutConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("commit\x00")) {
		if c.cuts.before.CompareAndSwap(true, false) {
			_ = c.Close()
			return 0, io.ErrClosedPipe
		}
		if c.cuts.after.CompareAndSwap(true, false) {
			c.lost.Store(true)
		}
	}
	return c.Conn.Write(p)
}

// Read loses what the server answers to the commit.
func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.lost.Load() {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// losesItsConnection cuts the connection at the commit of each kind of request: the site
// asks again by itself, and the request is done once.
func (k *books) losesItsConnection(t *testing.T) {
	ctx := t.Context()
	links := &cuts{b: k.b}
	cfg := k.b.siteConfig(rental.Session, 2)
	cfg.Dial = links.dial
	site := k.b.openSite(cfg)
	defer site.Close()
	var open int32
	for _, how := range []struct {
		name  string
		armed *atomic.Bool
		done  bool // before the cut
	}{{"before the commit", &links.before, false}, {"after the commit", &links.after, true}} {
		for _, tt := range []struct {
			name string
			ask  func() (rental.Receipt, rental.Answer, error)
		}{
			{"renting", func() (rental.Receipt, rental.Answer, error) {
				return site.Rent(ctx, rental.Rent{Request: uuid.New(), Customer: k.customer, Film: 3, Store: 2})
			}},
			{"paying", func() (rental.Receipt, rental.Answer, error) { return site.Pay(ctx, uuid.New(), k.customer, open) }},
			{"returning", func() (rental.Receipt, rental.Answer, error) { return site.Return(ctx, uuid.New(), k.customer, open) }},
		} {
			how.armed.Store(true)
			got, a, err := tt.ask()
			if err != nil || got.Replayed != how.done || a.Attempts != 2 || how.armed.Load() {
				t.Errorf("%s, cut %s: got %+v after %d attempts, %v", tt.name, how.name, got, a.Attempts, err)
			}
			open = got.Rental
		}
		k.once(t, "cut "+how.name, open, 1)
		if got := k.rows("SELECT return_date IS NOT NULL FROM rental WHERE rental_id = %d", open); got != "t" {
			t.Errorf("cut %s: rental %d is not returned", how.name, open)
		}
	}
	if got := site.Counts().Replayed; got != 3 {
		t.Errorf("%d repeats found their work done, want 3", got)
	}
}

// turnsTheMonth takes away the partition of this month's payments from a site that runs, as
// a month's turn does, and gives the month to a partition of another name.
func (k *books) turnsTheMonth(t *testing.T) {
	ctx := t.Context()
	films := k.rows(`SELECT string_agg(film_id::text, ' ') FROM (SELECT DISTINCT film_id FROM inventory AS i WHERE store_id = 1 AND film_id > 10
AND NOT EXISTS (SELECT FROM rental AS r WHERE r.inventory_id = i.inventory_id AND return_date IS NULL) ORDER BY 1 LIMIT 6) AS f`)
	var ids []int32
	for _, text := range strings.Fields(films) {
		n, err := strconv.ParseInt(text, 10, 32)
		k.b.must(err)
		ids = append(ids, int32(n))
	}
	pay := func(film int32) rental.Receipt {
		got, _, err := k.site.Rent(ctx, rental.Rent{Request: uuid.New(), Customer: k.customer, Film: film, Store: 1, Pay: true})
		if err != nil || got.Payment == 0 {
			t.Errorf("film %d: got %+v, %v", film, got, err)
		}
		return got
	}
	partition := func(got rental.Receipt) string {
		return k.rows("SELECT tableoid::regclass FROM payment WHERE payment_id = %d AND rental_id = %d", got.Payment, got.Rental)
	}
	month := partition(pay(ids[0]))
	if !strings.HasPrefix(month, "payment_p20") {
		t.Errorf("the payment is in %s", month)
	}
	k.rows("DROP TABLE %s", month)
	var all sync.WaitGroup
	paid := make([]rental.Receipt, 4)
	for i := range paid {
		all.Go(func() { paid[i] = pay(ids[1+i]) })
	}
	all.Wait()
	for _, got := range paid {
		if in := partition(got); in != month {
			t.Errorf("payment %d is in %s, want %s", got.Payment, in, month)
		}
	}
	k.rows(`DROP TABLE %s; CREATE TABLE own PARTITION OF payment FOR VALUES FROM (now() - interval '40 days') TO (now() + interval '40 days')`, month)
	k.b.openSite(k.b.siteConfig(rental.Eventual, 1)).Close()
	if got := partition(pay(ids[5])); got != "own" {
		t.Errorf("the payment is in %s", got)
	}
}
