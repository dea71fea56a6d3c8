package rental

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

// PageSize is how many films a list shows.
const PageSize = 24

// Cents is an amount of money in US cents.
type Cents int32

// String writes the amount as $4.99.
func (c Cents) String() string { return fmt.Sprintf("$%d.%02d", c/100, c%100) }

// Category is a category of films.
type Category struct {
	ID    int32
	Name  string
	Films int
}

// Film is a film as lists show it.
type Film struct {
	ID          int32
	Title       string
	Description string
	Year        int32
	Rating      string
	Minutes     int32
	Rate        Cents
	Days        int32
}

// Stock is what a store has of a film.
type Stock struct {
	Store int32
	Place string
	// Copies is how many copies the store owns, and In how many are on the shelf.
	Copies, In int
}

// FilmPage is all about a film.
type FilmPage struct {
	Film
	Replacement Cents
	Categories  []string
	Actors      []string
	Stock       []Stock
}

// List is a page of a list of films.
type List struct {
	Films []Film
	// More is true where another page follows.
	More bool
}

const filmColumns = `f.film_id, f.title, coalesce(f.description, ''), coalesce(f.release_year, 0)::int, coalesce(f.rating::text, ''), coalesce(f.length, 0)::int,
(f.rental_rate * 100)::int, f.rental_duration::int`

// Categories lists the categories by name.
func (s *Site) Categories(ctx context.Context, client Token) (list []Category, a Answer, err error) {
	a, err = s.reading(ctx, "listing the categories", client, func(ctx context.Context, q querier) error {
		rows, err := q.Query(ctx, `SELECT c.category_id, c.name, count(f.film_id)::int FROM public.category AS c
LEFT JOIN public.film_category AS f USING (category_id) GROUP BY c.category_id, c.name ORDER BY c.name`)
		if err == nil {
			list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Category])
		}
		return err //nolint:wrapcheck // reading says what was done
	})
	return list, a, err
}

// Browse lists a page of a category's films by title. Pages count from 0.
func (s *Site) Browse(ctx context.Context, client Token, category int32, page int) (List, Answer, error) {
	return s.list(ctx, client, "listing the films of a category", `SELECT `+filmColumns+` FROM public.film AS f
JOIN public.film_category AS c USING (film_id) WHERE c.category_id = $1 ORDER BY f.title, f.film_id LIMIT $2 OFFSET $3`, category, page)
}

// Search lists a page of the films that have the words in title or description, the best
// first. The words are as a search engine takes them: quotes, or, and a minus sign work.
func (s *Site) Search(ctx context.Context, client Token, words string, page int) (List, Answer, error) {
	return s.list(ctx, client, "searching films", `SELECT `+filmColumns+` FROM public.film AS f, websearch_to_tsquery('pg_catalog.english', $1) AS q
WHERE f.fulltext @@ q ORDER BY ts_rank(f.fulltext, q) DESC, f.title, f.film_id LIMIT $2 OFFSET $3`, strings.ReplaceAll(words, "\x00", ""), page)
}

func (s *Site) list(ctx context.Context, client Token, what, sql string, of any, page int) (list List, a Answer, err error) {
	page = min(max(page, 0), 1000)
	a, err = s.reading(ctx, what, client, func(ctx context.Context, q querier) error {
		rows, err := q.Query(ctx, sql, of, PageSize+1, page*PageSize)
		if err == nil {
			list.Films, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Film])
		}
		return err //nolint:wrapcheck // reading says what was done
	})
	if list.More = len(list.Films) > PageSize; list.More {
		list.Films = list.Films[:PageSize]
	}
	return list, a, err
}

const filmSQL = `SELECT ` + filmColumns + `, (f.replacement_cost * 100)::int,
ARRAY(SELECT c.name FROM public.film_category AS fc JOIN public.category AS c USING (category_id) WHERE fc.film_id = f.film_id ORDER BY 1),
ARRAY(SELECT a.first_name || ' ' || a.last_name FROM public.film_actor AS fa JOIN public.actor AS a USING (actor_id) WHERE fa.film_id = f.film_id ORDER BY a.last_name, a.first_name)
FROM public.film AS f WHERE f.film_id = $1`

const stockSQL = `SELECT s.store_id, ci.city, count(i.inventory_id)::int,
(count(i.inventory_id) FILTER (WHERE NOT EXISTS (SELECT FROM public.rental AS r WHERE r.inventory_id = i.inventory_id AND r.return_date IS NULL)))::int
FROM public.store AS s JOIN public.address USING (address_id) JOIN public.city AS ci USING (city_id)
LEFT JOIN public.inventory AS i ON i.store_id = s.store_id AND i.film_id = $1 GROUP BY s.store_id, ci.city ORDER BY s.store_id`

// Film returns a film with its actors and what each store has of it. A film that isn't
// there is a problem not-found.
func (s *Site) Film(ctx context.Context, client Token, id int32) (f FilmPage, a Answer, err error) {
	a, err = s.reading(ctx, "reading a film", client, func(ctx context.Context, q querier) error {
		err := q.QueryRow(ctx, filmSQL, id).Scan(&f.ID, &f.Title, &f.Description, &f.Year, &f.Rating, &f.Minutes, &f.Rate, &f.Days,
			&f.Replacement, &f.Categories, &f.Actors)
		if err != nil {
			return missing(err, "film", id)
		}
		rows, err := q.Query(ctx, stockSQL, id)
		if err == nil {
			f.Stock, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Stock])
		}
		return err //nolint:wrapcheck // reading says what was done
	})
	return f, a, err
}

// missing turns an empty result into a problem.
func missing(err error, what string, id int32) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return appliance.NewProblem(appliance.ErrNotFound, "there is no %s %d", what, id)
	}
	return err
}
