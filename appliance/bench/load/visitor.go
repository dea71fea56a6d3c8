package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// The kinds of requests.
const (
	kindCategories = "categories"
	kindBrowse     = "browse"
	kindSearch     = "search"
	kindFilm       = "film"
	kindRentals    = "rentals"
	kindRent       = "rent"
	kindReturn     = "return"
	kindPay        = "pay"
)

// Ledger holds the acknowledged rentals.
type Ledger struct {
	mu                 sync.Mutex
	rentals, customers []int32
}

func (l *Ledger) add(rental, customer int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rentals, l.customers = append(l.rentals, rental), append(l.customers, customer)
}

// Visitors makes the clients of a load from one seed.
type Visitors struct {
	Site      *rental.Site
	Catalogue Catalogue
	Load      appliance.BenchLoad
	Ledger    *Ledger
}

// Client returns a maker of clients, as [Config] wants it.
func (v Visitors) Client() func(i int) Client {
	popular := newZipf(v.Load.Zipf, len(v.Catalogue.copies))
	return func(i int) Client {
		return &visitor{Visitors: v, popular: popular, rand: chance(v.Load.Seed, i), next: i % len(v.Catalogue.customers)}
	}
}

// visitor is a client of the site: one customer after the other, who rents a film, brings
// it back and pays, so that a load can go on for ever. After each of these it looks at the
// customer's rentals, as the storefront leads there.
type visitor struct {
	Visitors
	popular zipf
	rand    *rand.Rand
	next    int // the next customer's place
	token   rental.Token
	// look tells that the rentals are to be looked at next.
	look bool
	// step is the next write of the customer, and id its request's, which a repeat keeps.
	step     string
	id       uuid.UUID
	wish     stock
	customer int32
	own      seen
}

// seen is what a customer has been told of the last rental.
type seen struct {
	customer, rental int32
	returned, paid   bool
}

// Do makes the next request.
func (v *visitor) Do(ctx context.Context) Outcome {
	if v.rand.Float64()*100 >= v.Load.ReadPercent {
		return v.write(ctx)
	}
	return v.read(ctx)
}

// read makes a read. Of those without an own write before, most are of films.
func (v *visitor) read(ctx context.Context) Outcome {
	x := v.rand.IntN(100)
	var a rental.Answer
	var err error
	switch c := v.Catalogue; {
	case v.look || x < 10:
		return v.rentals(ctx)
	case x < 15:
		_, a, err = v.Site.Categories(ctx, v.token)
		return v.outcome(kindCategories, a, err)
	case x < 35:
		_, a, err = v.Site.Browse(ctx, v.token, c.categories[v.rand.IntN(len(c.categories))], v.rand.IntN(2))
		return v.outcome(kindBrowse, a, err)
	case x < 55:
		word, _, _ := strings.Cut(c.titles[v.rand.IntN(len(c.titles))], " ")
		_, a, err = v.Site.Search(ctx, v.token, word, 0)
		return v.outcome(kindSearch, a, err)
	}
	_, a, err = v.Site.Film(ctx, v.token, v.film()[0].film)
	return v.outcome(kindFilm, a, err)
}

func (v *visitor) film() []stock { return v.Catalogue.copies[v.popular.draw(v.rand)] }

// rentals reads the customer's rentals, and looks for what was written before.
func (v *visitor) rentals(ctx context.Context) Outcome {
	v.look = false
	customer := v.own.customer
	if customer == 0 {
		customer = v.Catalogue.customers[v.rand.IntN(len(v.Catalogue.customers))]
	}
	list, a, err := v.Site.Rentals(ctx, v.token, customer)
	out := v.outcome(kindRentals, a, err)
	out.Missed = err == nil && v.own.missing(list)
	return out
}

// missing tells whether the list lacks what the customer was told.
func (s seen) missing(list []rental.Rental) bool {
	if s.customer == 0 {
		return false
	}
	for _, r := range list {
		if r.ID == s.rental {
			return s.returned && r.Returned == nil || s.paid && r.Paid == 0
		}
	}
	return true
}

// write makes the customer's next write, or repeats one that was not answered.
func (v *visitor) write(ctx context.Context) Outcome {
	if v.id == uuid.Nil {
		v.begin()
	}
	var got rental.Receipt
	var a rental.Answer
	var err error
	kind := v.step
	switch kind {
	case kindRent:
		got, a, err = v.Site.Rent(ctx, rental.Rent{Request: v.id, Customer: v.customer, Film: v.wish.film, Store: v.wish.store})
	case kindReturn:
		got, a, err = v.Site.Return(ctx, v.id, v.customer, v.own.rental)
	default:
		got, a, err = v.Site.Pay(ctx, v.id, v.customer, v.own.rental)
	}
	out := v.outcome(kind, a, err)
	out.Write = true
	switch {
	case out.Failure != "": // what became of it is open: it is repeated with its id
	case out.Refused:
		v.id, v.step = uuid.Nil, ""
	default:
		v.done(kind, got, a)
	}
	return out
}

// begin chooses the next write.
func (v *visitor) begin() {
	v.id = uuid.New()
	if v.step != "" {
		return
	}
	v.step = kindRent
	v.customer = v.Catalogue.customers[v.next]
	v.next = (v.next + v.Load.Clients) % len(v.Catalogue.customers)
	film := v.film()
	v.wish = film[v.rand.IntN(len(film))]
}

// done notes a write that was acknowledged.
func (v *visitor) done(kind string, got rental.Receipt, a rental.Answer) {
	v.id, v.token, v.look = uuid.Nil, a.Position, true
	switch kind {
	case kindRent:
		v.own = seen{customer: v.customer, rental: got.Rental}
		v.Ledger.add(got.Rental, v.customer)
		v.step = kindReturn
	case kindReturn:
		v.own.returned = true
		v.step = kindPay
	default:
		v.own.paid = true
		v.step = ""
	}
}

// outcome judges an answer.
func (v *visitor) outcome(kind string, a rental.Answer, err error) Outcome {
	out := Outcome{Kind: kind, Member: a.Member, Redirected: a.Redirected, Retries: max(a.Attempts-1, 0)}
	var pg *pgconn.PgError
	var problem *appliance.Problem
	switch {
	case err == nil:
	case errors.As(err, &pg):
		out.Failure = pg.Code
	case errors.As(err, &problem) && problem.ID == appliance.ErrConflict:
		out.Refused = true
	case errors.As(err, &problem):
		out.Failure = string(problem.ID)
	default:
		out.Failure = "connection"
	}
	return out
}
