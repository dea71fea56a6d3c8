// Command rental walks through the movie-rental site once and prints which member answered
// each request: go run ./scripts/bench/rental "$(pgapp url --role rw)" "$(pgapp url --role ro)".
// It rents a film, returns and pays it, and removes the site's own schema again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/google/uuid"

	"pgapp/appliance/rental"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rental:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("it takes two connection strings, for writes and for reads, not %d", len(args))
	}
	site, err := rental.Open(ctx, rental.Config{
		Write: args[0], Read: args[1], Consistency: rental.Session,
		Members: []rental.Member{{Name: "primary", Conn: args[0]}, {Name: "standby", Conn: args[1]}},
	})
	if err != nil {
		return err
	}
	defer site.Close()
	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		site.Watch(watching)
	}()
	w := &walk{site: site}
	w.browse(ctx)
	w.trade(ctx)
	stop()
	<-ended
	for _, m := range site.Members() {
		fmt.Printf("%s: %+v\n", m.Name, m)
	}
	fmt.Printf("%+v\n", site.Counts())
	if w.err != nil {
		return w.err
	}
	return site.Remove(ctx)
}

// walk is one customer's visit. After an error it does nothing more.
type walk struct {
	site  *rental.Site
	token string // as a cookie holds it
	err   error
}

// told prints who answered.
func (w *walk) told(what string, a rental.Answer, err error) bool {
	if err != nil {
		w.err = err
		return false
	}
	if a.Wrote {
		w.token = a.Position.String()
	}
	fmt.Printf("%s: %+v\n", what, a)
	return true
}

func (w *walk) client() rental.Token { return rental.ParseToken(w.token) }

func (w *walk) browse(ctx context.Context) {
	categories, a, err := w.site.Categories(ctx, w.client())
	if !w.told(fmt.Sprintf("%d categories", len(categories)), a, err) || len(categories) == 0 {
		return
	}
	films, a, err := w.site.Browse(ctx, w.client(), categories[0].ID, 0)
	if !w.told(fmt.Sprintf("%d films of %s", len(films.Films), categories[0].Name), a, err) {
		return
	}
	films, a, err = w.site.Search(ctx, w.client(), "love or river", 0)
	if !w.told(fmt.Sprintf("%d films found", len(films.Films)), a, err) {
		return
	}
	customers, a, err := w.site.Customers(ctx, w.client(), "")
	w.told(fmt.Sprintf("%d customers", len(customers)), a, err)
}

func (w *walk) trade(ctx context.Context) {
	if w.err != nil {
		return
	}
	customer, a, err := w.site.Customer(ctx, w.client(), 1)
	if !w.told("customer "+customer.Name, a, err) {
		return
	}
	film, a, err := w.site.Film(ctx, w.client(), 1)
	if !w.told(fmt.Sprintf("film %s, %s: %+v", film.Title, film.Rate, film.Stock), a, err) {
		return
	}
	got, a, err := w.site.Rent(ctx, rental.Rent{Request: uuid.New(), Customer: 1, Film: 1, Store: 1})
	if !w.told(fmt.Sprintf("rental %d", got.Rental), a, err) {
		return
	}
	_, a, err = w.site.Return(ctx, uuid.New(), 1, got.Rental)
	if !w.told("returned", a, err) {
		return
	}
	paid, a, err := w.site.Pay(ctx, uuid.New(), 1, got.Rental)
	if !w.told("paid "+paid.Paid.String(), a, err) {
		return
	}
	rentals, a, err := w.site.Rentals(ctx, w.client(), 1)
	w.told(fmt.Sprintf("%d rentals", len(rentals)), a, err)
}
