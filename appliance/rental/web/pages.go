package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

func home(v *visit) error {
	if err := v.knowCustomer(); err != nil {
		return err
	}
	list, err := v.categories()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "home", "Films to take home", list)
}

func (v *visit) categories() ([]rental.Category, error) {
	return read(v, "categories", func(ctx context.Context) ([]rental.Category, rental.Answer, error) {
		return v.Films.Categories(ctx, v.token)
	})
}

// listing is a page of a list of films.
type listing struct {
	Heading string
	Films   []rental.Film
	Number  int
	// Previous and Next are the addresses of the pages beside it, or empty.
	Previous, Next string
}

// showList shows a page of films that is found at the path with the query.
func (v *visit) showList(heading string, list rental.List, path string, query url.Values, number int) error {
	at := func(n int) string {
		query.Set("page", strconv.Itoa(n))
		return path + "?" + query.Encode()
	}
	l := listing{Heading: heading, Films: list.Films, Number: number}
	if number > 1 {
		l.Previous = at(number - 1)
	}
	if list.More {
		l.Next = at(number + 1)
	}
	return v.show(http.StatusOK, "list", heading, l)
}

func search(v *visit) error {
	words, err := v.query("q")
	if err != nil {
		return err
	}
	number, err := v.page()
	if err != nil {
		return err
	}
	if words == "" {
		return v.redirect("/")
	}
	if err := v.knowCustomer(); err != nil {
		return err
	}
	list, err := read(v, "search", func(ctx context.Context) (rental.List, rental.Answer, error) {
		return v.Films.Search(ctx, v.token, words, number-1)
	})
	if err != nil {
		return err
	}
	return v.showList("Films with "+words, list, "/search", url.Values{"q": {words}}, number)
}

func category(v *visit) error {
	id, err := v.id()
	if err != nil {
		return err
	}
	number, err := v.page()
	if err != nil {
		return err
	}
	if err := v.knowCustomer(); err != nil {
		return err
	}
	all, err := v.categories()
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.ID != id {
			continue
		}
		list, err := read(v, "films", func(ctx context.Context) (rental.List, rental.Answer, error) {
			return v.Films.Browse(ctx, v.token, id, number-1)
		})
		if err != nil {
			return err
		}
		return v.showList(c.Name, list, "/categories/"+strconv.Itoa(int(id)), url.Values{}, number)
	}
	return appliance.NewProblem(appliance.ErrNotFound, "there is no category %d", id).WithHint("The front page has them all.")
}

func film(v *visit) error {
	id, err := v.id()
	if err != nil {
		return err
	}
	if err := v.knowCustomer(); err != nil {
		return err
	}
	f, err := read(v, "film", func(ctx context.Context) (rental.FilmPage, rental.Answer, error) {
		return v.Films.Film(ctx, v.token, id)
	})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "film", title(f.Title), f)
}

// counter is the page of the customers to choose from.
type counter struct {
	Name      string
	Film      int32
	Customers []rental.Customer
}

func signInPage(v *visit) error {
	text, err := v.query("name")
	if err != nil {
		return err
	}
	list, err := read(v, "customers", func(ctx context.Context) ([]rental.Customer, rental.Answer, error) {
		return v.Desk.Customers(ctx, v.token, text)
	})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "signin", "Sign in", counter{text, number(v.r.URL.Query().Get("film")), list})
}

// account is the page of a customer's rentals.
type account struct {
	List []rental.Rental
	Done *done
}

// done is what a request has come to.
type done struct {
	receipt
	Title string
	// Missing is true where the list does not show the request's work.
	Missing bool
}

func rentals(v *visit) error {
	if err := v.knowCustomer(); err != nil {
		return err
	}
	if v.customer == 0 {
		return v.redirect("/signin")
	}
	page := account{}
	if id, err := uuid.Parse(v.r.URL.Query().Get("done")); err == nil {
		page.Done = v.taken(id)
	}
	var err error
	page.List, err = read(v, "rentals", func(ctx context.Context) ([]rental.Rental, rental.Answer, error) {
		return v.Desk.Rentals(ctx, v.token, v.customer)
	})
	if err != nil {
		return err
	}
	if page.Done != nil {
		page.Done.find(page.List)
	}
	return v.show(http.StatusOK, "rentals", "My rentals", page)
}

// taken is the receipt of the visitor's request, if this run of the site still has it.
func (v *visit) taken(id uuid.UUID) *done {
	r, ok := v.receipts.get(id)
	if !ok || r.customer != v.customer {
		return nil
	}
	v.answers = append(v.answers, r.answered)
	return &done{receipt: r}
}

// find looks for the request's work in the list.
func (d *done) find(list []rental.Rental) {
	d.Missing = d.Kind == kindRent
	for _, r := range list {
		if r.ID == d.Rental {
			d.Title = r.Title
			d.Missing = d.Kind == kindReturn && r.Returned == nil || d.Kind == kindPay && r.Paid < d.Paid
		}
	}
}

// memberStrip is the frame with the members.
type memberStrip struct {
	Members []rental.MemberState
	Live    bool
}

// liveEvery is how often, in seconds, a browser loads the strip again.
const liveEvery = "2"

func members(v *visit) error {
	live := v.r.URL.Query().Get("live") != "off"
	if live {
		v.w.Header().Set("Refresh", liveEvery)
	}
	return v.show(http.StatusOK, "members", "Members", memberStrip{v.Members(), live})
}
