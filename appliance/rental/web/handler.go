package web

import (
	"context"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// Films is what the site shows of films. [rental.Site] has it.
type Films interface {
	Categories(ctx context.Context, client rental.Token) ([]rental.Category, rental.Answer, error)
	Browse(ctx context.Context, client rental.Token, category int32, page int) (rental.List, rental.Answer, error)
	Search(ctx context.Context, client rental.Token, words string, page int) (rental.List, rental.Answer, error)
	Film(ctx context.Context, client rental.Token, id int32) (rental.FilmPage, rental.Answer, error)
}

// Desk is what the site does for customers. [rental.Site] has it.
type Desk interface {
	Customers(ctx context.Context, client rental.Token, text string) ([]rental.Customer, rental.Answer, error)
	Customer(ctx context.Context, client rental.Token, id int32) (rental.Customer, rental.Answer, error)
	Rentals(ctx context.Context, client rental.Token, customer int32) ([]rental.Rental, rental.Answer, error)
	Rent(ctx context.Context, r rental.Rent) (rental.Receipt, rental.Answer, error)
	Return(ctx context.Context, id uuid.UUID, customer, rental int32) (rental.Receipt, rental.Answer, error)
	Pay(ctx context.Context, id uuid.UUID, customer, rental int32) (rental.Receipt, rental.Answer, error)
}

// Config says what the pages are of.
type Config struct {
	Films Films
	Desk  Desk
	// Members returns what the cluster's members answered last.
	Members func() []rental.MemberState
	// Pages holds the templates, the style sheet and the icon.
	Pages fs.FS
	// Cluster is the cluster's name, and ID a text of letters and digits that no other
	// cluster has: it keeps cookies apart, since browsers share them between ports.
	Cluster, ID string
	// Host is a host name, besides localhost and addresses, by which the site is reached;
	// it may be empty.
	Host string
	// Patience bounds a page with all its waits.
	Patience time.Duration
	// Failed takes errors for which the site, and not its visitor, is to blame.
	Failed func(error)
}

// site is the handler.
type site struct {
	Config
	// run stands in each form. The ids of requests are removed from the database when the
	// site ends, so a form of an earlier run could be done twice.
	run      string
	views    map[string]*template.Template
	receipts receipts
}

const (
	// maxBody bounds a form.
	maxBody = 16 << 10
	// maxQuery bounds the text of a search.
	maxQuery = 200
)

// New makes the handler.
func New(cfg Config) (http.Handler, error) {
	s := &site{Config: cfg, run: uuid.NewString()}
	var err error
	if s.views, err = parse(cfg.Pages); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, methods := range s.routes() {
		mux.Handle(path, s.visited(methods))
	}
	for name, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		h, err := asset(cfg.Pages, name, kind)
		if err != nil {
			return nil, err
		}
		mux.Handle("GET /"+name, h)
	}
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(s.visited(methods{"": refuseOtherSite}))
	return s.guarded(cross.Handler(mux)), nil
}

// action answers one visit.
type action func(*visit) error

// methods are a path's actions by method; that of "" answers every method.
type methods map[string]action

// routes are the site's pages.
func (s *site) routes() map[string]methods {
	get := func(a action) methods { return methods{http.MethodGet: a} }
	post := func(a action) methods { return methods{http.MethodPost: a} }
	return map[string]methods{
		"/{$}":                 get(home),
		"/search":              get(search),
		"/categories/{id}":     get(category),
		"/films/{id}":          get(film),
		"/films/{id}/rent":     post(rent),
		"/rentals":             get(rentals),
		"/rentals/{id}/return": post(giveBack),
		"/rentals/{id}/pay":    post(pay),
		"/signin":              {http.MethodGet: signInPage, http.MethodPost: signIn},
		"/signout":             post(signOut),
		"/members":             get(members),
		"/":                    {"": nowhere},
	}
}

// visited calls the action of the request's method, within the site's patience, and
// shows what went wrong.
func (s *site) visited(m methods) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.Patience)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v := s.visit(w, r.WithContext(ctx))
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		do, ok := m[method]
		if !ok {
			do, ok = m[""]
		}
		if !ok {
			do = wrongMethod(m)
		}
		err := do(v)
		if err == nil || r.Context().Err() != nil { // without the visitor nobody reads the error
			return
		}
		v.fail(err)
	})
}

// guarded sets the headers of every answer and refuses host names that are not the
// site's: a page from elsewhere whose name leads here must not read it.
func (s *site) guarded(next http.Handler) http.Handler {
	refuse := s.visited(methods{"": refuseHost})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		ancestors, frames := "'none'", "DENY"
		if r.URL.Path == "/members" { // it is a frame of the site's pages
			ancestors, frames = "'self'", "SAMEORIGIN"
		}
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "+ancestors)
		h.Set("X-Frame-Options", frames)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.ours(r.Host) {
			refuse.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ours tells whether a request's Host leads here without a stranger's name server.
func (s *site) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost") || s.Host != "" && strings.EqualFold(host, s.Host)
}

func refuseHost(v *visit) error {
	return appliance.NewProblem(appliance.ErrHostNotAllowed, "this site does not answer to the name %q", v.r.Host).
		WithHint("Use the address that pgapp demo printed.")
}

func refuseOtherSite(*visit) error {
	return appliance.NewProblem(appliance.ErrForbidden, "the form was sent from another site").
		WithHint("Open the page here, and send the form from it.")
}

func nowhere(*visit) error {
	return appliance.NewProblem(appliance.ErrNotFound, "there is no such page").WithHint("Search for a film, or begin at the front page.")
}

// wrongMethod answers a method that the path doesn't have.
func wrongMethod(m methods) action {
	return func(v *visit) error {
		var allowed []string
		for method := range m {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		v.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return v.show(http.StatusMethodNotAllowed, "error", "Not like this", trouble{
			Message: fmt.Sprintf("This address does not take %s.", v.r.Method), Advice: "Begin at the front page.",
			Links: []link{{"/", "Front page"}},
		})
	}
}
