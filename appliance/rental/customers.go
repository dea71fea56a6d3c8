package rental

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Customer is a customer of a store.
type Customer struct {
	ID    int32
	Name  string
	Store int32
}

// Rental is a rental of a customer.
type Rental struct {
	ID       int32
	Film     int32
	Title    string
	Store    int32
	Rented   time.Time
	Returned *time.Time
	Due      time.Time
	Paid     Cents
	// Owed is what is to be paid: the rate, and a dollar for each full day after the due
	// date, at most the film's replacement cost, less what is paid.
	Owed Cents
}

// Customers lists active customers whose name contains the text, by name.
func (s *Site) Customers(ctx context.Context, client Token, text string) (list []Customer, a Answer, err error) {
	a, err = s.reading(ctx, "listing customers", client, func(ctx context.Context, q querier) error {
		rows, err := q.Query(ctx, `SELECT customer_id, first_name || ' ' || last_name, store_id FROM public.customer
WHERE activebool AND strpos(lower(first_name || ' ' || last_name), lower($1)) > 0 ORDER BY last_name, first_name, customer_id LIMIT $2`,
			strings.ReplaceAll(text, "\x00", ""), PageSize)
		if err == nil {
			list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Customer])
		}
		return err //nolint:wrapcheck // reading says what was done
	})
	return list, a, err
}

// Customer returns a customer. One that isn't there is a problem not-found.
func (s *Site) Customer(ctx context.Context, client Token, id int32) (c Customer, a Answer, err error) {
	a, err = s.reading(ctx, "reading a customer", client, func(ctx context.Context, q querier) error {
		return missing(q.QueryRow(ctx, `SELECT customer_id, first_name || ' ' || last_name, store_id FROM public.customer WHERE customer_id = $1`, id).
			Scan(&c.ID, &c.Name, &c.Store), "customer", id)
	})
	return c, a, err
}

// owedOf and owedLess are around what is paid in cents: what is owed for rental r of film f.
const (
	owedOf = `greatest(0, (least(f.rental_rate + greatest(0,
floor(extract(epoch FROM coalesce(r.return_date, r.rental_date) - r.rental_date) / 86400) - f.rental_duration),
greatest(f.rental_rate, f.replacement_cost)) * 100)::int - `
	owedLess = `)::int`
)

// rentalsSQL reads the customer's payments once: a look at each partition for each rental
// took most of the query's time.
const rentalsSQL = `SELECT r.rental_id, f.film_id, f.title, i.store_id, r.rental_date, r.return_date, r.rental_date + make_interval(days => f.rental_duration),
coalesce(p.cents, 0), ` + owedOf + `coalesce(p.cents, 0)` + owedLess + `
FROM public.rental AS r JOIN public.inventory AS i USING (inventory_id) JOIN public.film AS f USING (film_id)
LEFT JOIN (SELECT rental_id, sum(amount * 100)::int AS cents FROM public.payment WHERE customer_id = $1 GROUP BY rental_id) AS p ON p.rental_id = r.rental_id
WHERE r.customer_id = $1 ORDER BY (r.return_date IS NULL) DESC, r.rental_date DESC, r.rental_id DESC LIMIT $2`

// Rentals lists a customer's rentals: the open ones first, then the newest.
func (s *Site) Rentals(ctx context.Context, client Token, customer int32) (list []Rental, a Answer, err error) {
	a, err = s.reading(ctx, "listing a customer's rentals", client, func(ctx context.Context, q querier) error {
		rows, err := q.Query(ctx, rentalsSQL, customer, 2*PageSize)
		if err == nil {
			list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Rental])
		}
		return err //nolint:wrapcheck // reading says what was done
	})
	return list, a, err
}
