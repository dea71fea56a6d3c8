package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Base is a database of the site, as the load asks it beside the site.
type Base struct {
	// Write is the connection string of the primary.
	Write string
	// Dial opens connections; nil stands for this machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Catalogue is what visitors choose from.
type Catalogue struct {
	copies     [][]stock // by film, which has at least one
	titles     []string
	categories []int32
	customers  []int32
}

// stock is a film in a store.
type stock struct{ film, store int32 }

func (b Base) connect(ctx context.Context, conn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(conn)
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrInternal, "the connection string can't be read") // the error shows it
	}
	cfg.RuntimeParams["application_name"] = "pgapp bench"
	if b.Dial != nil {
		cfg.DialFunc = b.Dial
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "28000" {
		return nil, appliance.NewProblem(appliance.ErrPrecondition, "the member does not let in role app to database %q: %w", cfg.Database, err).
			WithHint("members that an older pgapp has started take the rule when they start again: pgapp restart")
	}
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return c, nil
}

const closeLimit = time.Second

func shut(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	_ = c.Close(ctx) // it has only read
}

// Catalogue reads what visitors choose from. The seed decides which films are popular.
func (b Base) Catalogue(ctx context.Context, seed uint64) (Catalogue, error) {
	var out Catalogue
	c, err := b.connect(ctx, b.Write)
	if err != nil {
		return out, err
	}
	defer shut(ctx, c)
	var films, stores []int32
	for _, q := range []struct {
		sql string
		to  []any
	}{
		{"SELECT array_agg(category_id::int ORDER BY 1) FROM public.category", []any{&out.categories}},
		{"SELECT array_agg(customer_id::int ORDER BY 1) FROM public.customer WHERE activebool", []any{&out.customers}},
		{"SELECT array_agg(title ORDER BY film_id) FROM public.film", []any{&out.titles}},
		{"SELECT array_agg(film_id ORDER BY film_id, store_id), array_agg(store_id ORDER BY film_id, store_id) FROM (SELECT DISTINCT film_id::int, store_id::int FROM public.inventory) AS s", []any{&films, &stores}},
	} {
		if err := c.QueryRow(ctx, q.sql).Scan(q.to...); err != nil {
			return out, fmt.Errorf("reading the catalogue: %w", err)
		}
	}
	for i, film := range films {
		if last := len(out.copies) - 1; last >= 0 && out.copies[last][0].film == film {
			out.copies[last] = append(out.copies[last], stock{film, stores[i]})
			continue
		}
		out.copies = append(out.copies, []stock{{film, stores[i]}})
	}
	if len(out.copies) == 0 || len(out.customers) == 0 || len(out.categories) == 0 || len(out.titles) == 0 {
		return out, appliance.NewProblem(appliance.ErrPrecondition, "the database has no films, copies, categories or customers to load it with")
	}
	order := rand.New(rand.NewPCG(seed, arrivalsSource+1)) // #nosec G404 -- no secret
	order.Shuffle(len(out.copies), func(i, j int) { out.copies[i], out.copies[j] = out.copies[j], out.copies[i] })
	return out, nil
}

// Lost counts the acknowledged rentals that are not there.
func (b Base) Lost(ctx context.Context, l *Ledger) (lost int64, err error) {
	c, err := b.connect(ctx, b.Write)
	if err != nil {
		return 0, err
	}
	defer shut(ctx, c)
	l.mu.Lock()
	defer l.mu.Unlock()
	err = c.QueryRow(ctx, `SELECT count(*) FROM unnest($1::int[], $2::int[]) AS seen(rental, customer)
WHERE NOT EXISTS (SELECT FROM public.rental WHERE rental_id = rental AND customer_id = customer)`, l.rentals, l.customers).Scan(&lost)
	if err != nil {
		return 0, fmt.Errorf("looking for the acknowledged rentals: %w", err)
	}
	return lost, nil
}

// settleEvery is the pause between two looks at a member.
const settleEvery = 50 * time.Millisecond

// Replicated waits until the member has replayed what the primary has written by now.
func (b Base) Replicated(ctx context.Context, member string) error {
	c, err := b.connect(ctx, b.Write)
	if err != nil {
		return err
	}
	defer shut(ctx, c)
	var lsn string
	if err := c.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&lsn); err != nil {
		return fmt.Errorf("asking the primary for its position: %w", err)
	}
	var last error
	err = wait.Until(ctx, settleEvery, func(ctx context.Context) (bool, error) {
		m, err := b.connect(ctx, member)
		if last = err; err != nil {
			return false, nil // the database is not there yet
		}
		defer shut(ctx, m)
		var there bool
		last = m.QueryRow(ctx, "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn).Scan(&there)
		return there, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return err
}
