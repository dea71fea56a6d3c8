package rental

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

// The kinds of request that a request id stands for.
const (
	kindRent   = "rent"
	kindReturn = "return"
	kindPay    = "pay"
)

// Receipt is the result of a request.
type Receipt struct {
	Rental int32
	// Payment is 0 where nothing was paid.
	Payment int32
	Paid    Cents
	// Replayed is true where an earlier attempt at the same request had done the work.
	Replayed bool
}

// Rent is a wish for a copy of a film.
type Rent struct {
	// Request identifies the wish: repeats of one wish have one id.
	Request               uuid.UUID
	Customer, Film, Store int32
	// Pay pays the film's rate at once, in the same transaction.
	Pay bool
}

// request is what a request id stands for.
type request struct {
	id       uuid.UUID
	kind     string
	customer int32
	subject  string
}

// Rent rents a copy. No copy left is a problem conflict. A repeat with the same request
// id is safe and returns the same rental.
func (s *Site) Rent(ctx context.Context, r Rent) (Receipt, Answer, error) {
	req := request{r.Request, kindRent, r.Customer, fmt.Sprintf("film %d store %d pay %t", r.Film, r.Store, r.Pay)}
	return s.once(ctx, "renting a film", req, func(ctx context.Context, tx pgx.Tx) (got Receipt, err error) {
		copyID, err := takeCopy(ctx, tx, r.Film, r.Store)
		if err != nil {
			return got, err
		}
		err = tx.QueryRow(ctx, `INSERT INTO public.rental (rental_date, inventory_id, customer_id, staff_id)
SELECT now(), $1, c.customer_id, s.manager_staff_id FROM public.customer AS c, public.store AS s
WHERE c.customer_id = $2 AND c.activebool AND s.store_id = $3 RETURNING rental_id`, copyID, r.Customer, r.Store).Scan(&got.Rental)
		if err != nil {
			return got, missing(err, "active customer", r.Customer)
		}
		if r.Pay {
			err = pay(ctx, tx, &got)
		}
		return got, err
	})
}

// Return brings a rental back. One that is back already is a problem conflict.
func (s *Site) Return(ctx context.Context, id uuid.UUID, customer, rental int32) (Receipt, Answer, error) {
	req := request{id, kindReturn, customer, fmt.Sprintf("rental %d", rental)}
	return s.once(ctx, "returning a film", req, func(ctx context.Context, tx pgx.Tx) (Receipt, error) {
		got := Receipt{Rental: rental}
		if err := lockRental(ctx, tx, customer, rental); err != nil {
			return got, err
		}
		tag, err := tx.Exec(ctx, "UPDATE public.rental SET return_date = now() WHERE rental_id = $1 AND return_date IS NULL", rental)
		if err == nil && tag.RowsAffected() == 0 {
			err = appliance.NewProblem(appliance.ErrConflict, "rental %d is already returned", rental)
		}
		return got, err //nolint:wrapcheck // once says what was done
	})
}

// Pay pays what is owed for a rental. Nothing owed is a problem conflict.
func (s *Site) Pay(ctx context.Context, id uuid.UUID, customer, rental int32) (Receipt, Answer, error) {
	req := request{id, kindPay, customer, fmt.Sprintf("rental %d", rental)}
	return s.once(ctx, "paying for a rental", req, func(ctx context.Context, tx pgx.Tx) (Receipt, error) {
		got := Receipt{Rental: rental}
		if err := lockRental(ctx, tx, customer, rental); err != nil {
			return got, err
		}
		err := pay(ctx, tx, &got)
		if err == nil && got.Payment == 0 {
			err = appliance.NewProblem(appliance.ErrConflict, "nothing is owed for rental %d", rental)
		}
		return got, err
	})
}

const askSQL = `INSERT INTO pgapp_rental.request AS r (request_id, kind, customer_id, subject) VALUES ($1, $2, $3, $4)
ON CONFLICT (request_id) DO UPDATE SET asked = r.asked + 1
RETURNING asked, kind, customer_id, subject, coalesce(rental_id, 0), coalesce(payment_id, 0), cents`

// once does the request's work, unless it is done. The request's row is written first and
// in the same transaction: a second attempt waits there for the first one's end. It writes
// the row too, so its commit waits for standbys as the first one's did.
func (s *Site) once(ctx context.Context, what string, req request, do func(context.Context, pgx.Tx) (Receipt, error)) (got Receipt, a Answer, err error) {
	if req.id == uuid.Nil {
		return got, a, appliance.NewProblem(appliance.ErrUsage, "%s: the request has no id", what)
	}
	a, err = s.writing(ctx, what, func(ctx context.Context, tx pgx.Tx) error {
		got = Receipt{}
		var asked int
		known := request{id: req.id}
		err := tx.QueryRow(ctx, askSQL, req.id, req.kind, req.customer, req.subject).
			Scan(&asked, &known.kind, &known.customer, &known.subject, &got.Rental, &got.Payment, &got.Paid)
		if err != nil {
			return fmt.Errorf("noting the request: %w", err)
		}
		if known != req {
			return appliance.NewProblem(appliance.ErrIdempotencyReuse, "request %s was made for something else: %s, %s", req.id, known.kind, known.subject)
		}
		if got.Replayed = asked > 1; got.Replayed {
			return nil
		}
		if got, err = do(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE pgapp_rental.request SET rental_id = $2, payment_id = nullif($3, 0), cents = $4 WHERE request_id = $1",
			req.id, got.Rental, got.Payment, got.Paid)
		return err //nolint:wrapcheck // writing says what was done
	})
	if err == nil && got.Replayed {
		s.counts.replayed.Add(1)
	}
	return got, a, err
}

// copySQL picks a copy on the shelf and locks it. The second form waits for copies that
// others hold locked.
const copySQL = `SELECT i.inventory_id FROM public.inventory AS i WHERE i.film_id = $1 AND i.store_id = $2
AND NOT EXISTS (SELECT FROM public.rental AS r WHERE r.inventory_id = i.inventory_id AND r.return_date IS NULL)
ORDER BY i.inventory_id LIMIT 1 FOR NO KEY UPDATE OF i`

// outSQL looks again, with a snapshot that is younger than the lock.
const outSQL = `SELECT EXISTS (SELECT FROM public.rental WHERE inventory_id = $1 AND return_date IS NULL)`

// takeCopy locks a copy that is on the shelf. The statement that locks a copy may have
// begun before another client's rental of it was committed, so a second statement looks
// again under the lock. Copies that others hold locked are passed over at first, and
// waited for when no other is left: their transactions may fail.
func takeCopy(ctx context.Context, tx pgx.Tx, film, store int32) (int32, error) {
	for sql := copySQL + " SKIP LOCKED"; ; {
		var id int32
		err := tx.QueryRow(ctx, sql, film, store).Scan(&id)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && sql != copySQL:
			sql = copySQL
			continue
		case errors.Is(err, pgx.ErrNoRows):
			return 0, appliance.NewProblem(appliance.ErrConflict, "store %d has no copy of film %d left", store, film)
		case err != nil:
			return 0, fmt.Errorf("locking a copy: %w", err)
		}
		var out bool
		if err := tx.QueryRow(ctx, outSQL, id).Scan(&out); err != nil {
			return 0, fmt.Errorf("looking at copy %d: %w", id, err)
		}
		if !out {
			return id, nil
		}
	}
}

// lockRental makes requests about one rental wait for each other.
func lockRental(ctx context.Context, tx pgx.Tx, customer, rental int32) error {
	var id int32
	err := tx.QueryRow(ctx, "SELECT rental_id FROM public.rental WHERE rental_id = $1 AND customer_id = $2 FOR NO KEY UPDATE", rental, customer).Scan(&id)
	return missing(err, "rental of this customer with number", rental)
}

// paySQL looks for payments by customer too, for which Pagila has an index.
const paySQL = `WITH due AS (SELECT r.customer_id, r.staff_id, r.rental_id, ` + owedOf + `coalesce((SELECT sum(p.amount * 100)::int
FROM public.payment AS p WHERE p.rental_id = r.rental_id AND p.customer_id = r.customer_id), 0)` + owedLess + ` AS cents
FROM public.rental AS r JOIN public.inventory AS i USING (inventory_id) JOIN public.film AS f USING (film_id) WHERE r.rental_id = $1)
INSERT INTO public.payment (customer_id, staff_id, rental_id, amount, payment_date)
SELECT customer_id, staff_id, rental_id, cents / 100.0, now() FROM due WHERE cents > 0 RETURNING payment_id, (amount * 100)::int`

// pay pays what is owed for the receipt's rental, if anything is.
func pay(ctx context.Context, tx pgx.Tx, got *Receipt) error {
	err := tx.QueryRow(ctx, paySQL, got.Rental).Scan(&got.Payment, &got.Paid)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("paying for rental %d: %w", got.Rental, err)
	}
	return nil
}
