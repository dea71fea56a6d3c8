package rental

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

const (
	undoLimit = time.Second
	// schemaName holds the requests' ids. The site makes it, and [Site.Remove] removes it.
	schemaName = "pgapp_rental"
)

// needed are the tables and columns of Pagila that the site uses.
func needed() []string {
	return []string{
		"actor.actor_id", "actor.first_name", "actor.last_name", "category.category_id", "category.name", "city.city", "address.city_id",
		"customer.customer_id", "customer.store_id", "customer.first_name", "customer.last_name", "customer.activebool",
		"film.film_id", "film.title", "film.description", "film.release_year", "film.rental_duration", "film.rental_rate", "film.length",
		"film.replacement_cost", "film.rating", "film.fulltext", "film_actor.film_id", "film_category.category_id",
		"inventory.inventory_id", "inventory.film_id", "inventory.store_id", "payment.payment_id", "payment.rental_id", "payment.amount",
		"payment.payment_date", "rental.rental_id", "rental.rental_date", "rental.inventory_id", "rental.customer_id", "rental.return_date",
		"rental.staff_id", "store.store_id", "store.manager_staff_id", "store.address_id",
	}
}

const missingSQL = `SELECT current_database(), ARRAY(SELECT n FROM unnest($1::text[]) WITH ORDINALITY AS needed(n, i) WHERE NOT EXISTS (
	SELECT FROM pg_attribute WHERE attrelid = to_regclass('public.' || split_part(n, '.', 1)) AND attname = split_part(n, '.', 2) AND NOT attisdropped
) ORDER BY i)`

const requestSQL = `CREATE SCHEMA IF NOT EXISTS pgapp_rental;
CREATE TABLE IF NOT EXISTS pgapp_rental.request (
	request_id  uuid PRIMARY KEY,
	kind        text NOT NULL,
	customer_id integer NOT NULL,
	subject     text NOT NULL,
	rental_id   integer,
	payment_id  integer,
	cents       integer NOT NULL DEFAULT 0,
	asked       integer NOT NULL DEFAULT 1,
	made        timestamptz NOT NULL DEFAULT now()
);
DELETE FROM pgapp_rental.request WHERE made < now() - interval '1 day'`

// prepare refuses a database that isn't Pagila, and makes what the site needs besides: the
// table of requests, and the current month's partition of the payments.
func (s *Site) prepare(ctx context.Context) error {
	_, err := s.writing(ctx, "preparing the database for the site", func(ctx context.Context, tx pgx.Tx) error {
		if err := IsPagila(ctx, tx); err != nil {
			return err
		}
		// One site after the other: CREATE ... IF NOT EXISTS fails where two run at once.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('pgapp_rental'))"); err != nil {
			return err //nolint:wrapcheck // writing says what was done
		}
		if _, err := tx.Exec(ctx, requestSQL); err != nil {
			return err //nolint:wrapcheck // writing says what was done
		}
		return addPartition(ctx, tx)
	})
	return err
}

// IsPagila refuses a database that is not Pagila, by its name.
func IsPagila(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) error {
	var name string
	var missing []string
	if err := q.QueryRow(ctx, missingSQL, needed()).Scan(&name, &missing); err != nil {
		return fmt.Errorf("looking for Pagila's tables: %w", err)
	}
	if len(missing) == 0 {
		return nil
	}
	table, column, _ := strings.Cut(missing[0], ".")
	return appliance.NewProblem(appliance.ErrPrecondition, "database %q is not Pagila: it has no table public.%s with a column %s", name, table, column).
		WithHint("pgapp up --dataset pagila makes a cluster with Pagila")
}

// partitionSQL names the current month's partition, as Pagila names it, and its bounds.
const partitionSQL = `SELECT to_char(m, '"payment_p"YYYY_MM'), to_char(m, 'YYYY-MM-DD"T00:00:00Z"'), to_char(m + interval '1 month', 'YYYY-MM-DD"T00:00:00Z"'),
to_regclass('public.' || to_char(m, '"payment_p"YYYY_MM')) IS NOT NULL
FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS m) AS month`

// addPartition makes the current month's partition of the payments, which Pagila has for
// 2022 only. Its foreign keys are those of Pagila's partitions. The rentals are locked
// before the payments, as by those who rent: in the other order they would wait for each
// other.
func addPartition(ctx context.Context, tx pgx.Tx) error {
	var name, from, to string
	var exists bool
	if err := tx.QueryRow(ctx, partitionSQL).Scan(&name, &from, &to, &exists); err != nil || exists {
		return err //nolint:wrapcheck // the caller says what was done
	}
	nested, err := tx.Begin(ctx)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was done
	}
	defer undo(ctx, nested)
	table := pgx.Identifier{"public", name}.Sanitize()
	_, err = nested.Exec(ctx, fmt.Sprintf(`LOCK TABLE public.rental IN SHARE ROW EXCLUSIVE MODE;
CREATE TABLE %s PARTITION OF public.payment FOR VALUES FROM ('%s') TO ('%s');
ALTER TABLE %s ADD FOREIGN KEY (customer_id) REFERENCES public.customer, ADD FOREIGN KEY (rental_id) REFERENCES public.rental,
	ADD FOREIGN KEY (staff_id) REFERENCES public.staff;
CREATE INDEX ON %s (customer_id);
CREATE INDEX ON %s (rental_id)`, table, from, to, table, table, table))
	if sqlState(err) == "42P17" { // a partition of another name holds the month
		return nil
	}
	if err != nil {
		return fmt.Errorf("making partition %s: %w", name, err)
	}
	return nested.Commit(ctx) //nolint:wrapcheck // the caller says what was done
}

const othersSQL = `SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, $1) AND application_name <> $2`

// Remove removes the table of requests, unless another site uses it. Rentals and payments
// stay. The site must be idle: a request that is repeated later would be done again.
func (s *Site) Remove(ctx context.Context) error {
	_, err := s.writing(ctx, "removing the schema "+schemaName, func(ctx context.Context, tx pgx.Tx) error {
		var others int
		if err := tx.QueryRow(ctx, othersSQL, appName, s.app).Scan(&others); err != nil || others > 0 {
			return err //nolint:wrapcheck // writing says what was done
		}
		_, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS pgapp_rental CASCADE")
		return err //nolint:wrapcheck // writing says what was done
	})
	return err
}
