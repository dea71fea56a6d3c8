package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// visit is one request and what is known of its visitor.
type visit struct {
	*site
	w http.ResponseWriter
	r *http.Request
	// token is the position of the visitor's last write.
	token rental.Token
	// customer is the number that the visitor chose, or 0, and known the customer once
	// read.
	customer int32
	known    *rental.Customer
	answers  []answered
}

// answered is who answered one read or write, for what, and after how long.
type answered struct {
	What string
	rental.Answer
	Took time.Duration
}

func (s *site) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{site: s, w: w, r: r}
	if c, err := r.Cookie(s.cookie("customer")); err == nil {
		v.customer = number(c.Value)
	}
	if c, err := r.Cookie(s.cookie("seen")); err == nil {
		v.token = rental.ParseToken(c.Value)
	}
	return v
}

// cookie is the name of one of the site's cookies.
func (s *site) cookie(what string) string { return "pgapp_demo_" + s.ID + "_" + what }

// setCookie keeps a value until the browser ends; an empty one removes the cookie.
func (v *visit) setCookie(what, value string) {
	c := &http.Cookie{Name: v.cookie(what), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode} // #nosec G124 -- the site is served without TLS
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}

// number reads an id. What is no id is 0, which nothing has.
func number(text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0
	}
	return int32(n)
}

// id is the number in the path.
func (v *visit) id() (int32, error) {
	if n := number(v.r.PathValue("id")); n > 0 {
		return n, nil
	}
	return 0, nowhere(v)
}

// query is a text that the visitor searches for.
func (v *visit) query(name string) (string, error) {
	text := strings.TrimSpace(v.r.URL.Query().Get(name))
	if utf8.RuneCountInString(text) > maxQuery {
		return "", appliance.NewProblem(appliance.ErrUsage, "the text to search for is longer than %d characters", maxQuery).WithHint("Use fewer words.")
	}
	return strings.ToValidUTF8(text, "�"), nil
}

// page is the number of the page in the query, from 1.
func (v *visit) page() (int, error) {
	text := v.r.URL.Query().Get("page")
	if text == "" {
		return 1, nil
	}
	const most = 1000
	n := number(text)
	if n < 1 || n > most {
		return 0, nowhere(v)
	}
	return int(n), nil
}

// read calls do, and notes who answered.
func read[T any](v *visit, what string, do func(context.Context) (T, rental.Answer, error)) (T, error) {
	begun := time.Now()
	got, a, err := do(v.r.Context())
	if err == nil {
		v.answers = append(v.answers, answered{what, a, time.Since(begun)})
	}
	return got, err
}

// knowCustomer reads who is signed in. A customer that isn't there is signed out.
func (v *visit) knowCustomer() error {
	if v.customer == 0 {
		return nil
	}
	c, err := read(v, "customer", func(ctx context.Context) (rental.Customer, rental.Answer, error) {
		return v.Desk.Customer(ctx, v.token, v.customer)
	})
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		v.customer = 0
		v.setCookie("customer", "")
		return nil
	}
	if err != nil {
		return err
	}
	v.known = &c
	return nil
}

// redirect sends the visitor to a page of the site, by GET.
func (v *visit) redirect(path string) error {
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}
