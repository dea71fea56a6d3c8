package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"pgapp/appliance/rental"
)

// parse reads the templates: each page of its own with the common parts.
func parse(files fs.FS) (map[string]*template.Template, error) {
	views := map[string]*template.Template{}
	for _, name := range []string{"home", "list", "film", "signin", "rentals", "error", "members"} {
		t, err := template.New(name).Funcs(functions()).Option("missingkey=error").ParseFS(files, "base.html", name+".html")
		if err != nil {
			return nil, fmt.Errorf("reading the page %s: %w", name, err)
		}
		views[name] = t
	}
	return views, nil
}

// functions are what templates call.
func functions() template.FuncMap {
	return template.FuncMap{
		"name": title, "initials": initials, "behind": behind,
		"took": took,
		"date": func(t time.Time) string { return t.Local().Format("2 Jan 2006") },
		// tint is the number of one of eight colours.
		"tint": func(id int32) int32 { return id & 7 },
	}
}

// page is what every template gets.
type page struct {
	Title, Query, Cluster string
	MaxQuery              int
	// Customer is who is signed in, if that was read. SignedIn is true without it too.
	Customer *rental.Customer
	SignedIn bool
	Answers  []answered
	Form     formIDs
	Body     any
}

// formIDs makes the hidden fields of a form.
type formIDs struct{ Run string }

// Request is a new request's id, another one for each form.
func (formIDs) Request() string { return uuid.NewString() }

// show writes a page. The page is complete before its first byte is sent.
func (v *visit) show(status int, name, heading string, body any) error {
	p := page{
		Title: heading, Cluster: v.Cluster, MaxQuery: maxQuery, Customer: v.known, SignedIn: v.customer > 0,
		Answers: v.answers, Form: formIDs{v.run}, Body: body,
	}
	if name == "list" {
		p.Query, _ = v.query("q") // the page was found by it
	}
	root := "page"
	if name == "members" {
		root = "members"
	}
	var b bytes.Buffer
	if err := v.views[name].ExecuteTemplate(&b, root, p); err != nil {
		return fmt.Errorf("writing the page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // a visitor who left reads nothing
	return nil
}

// asset serves one file, which browsers ask for again only if it has changed.
func asset(files fs.FS, name, kind string) (http.Handler, error) {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("reading the site's files: %w", err)
	}
	tag := fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	}), nil
}

// title writes what Pagila has in capitals as a person would.
func title(text string) string {
	if text != strings.ToUpper(text) {
		return text
	}
	start := true
	return strings.Map(func(r rune) rune {
		begins := start
		start = !unicode.IsLetter(r) && r != '\'' && r != '’'
		if begins {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, text)
}

// initials are the first letters of a title's first two words.
func initials(text string) string {
	var out []rune
	for _, word := range strings.Fields(text) {
		if len(out) < 2 {
			out = append(out, unicode.ToUpper([]rune(word)[0]))
		}
	}
	return string(out)
}

// behind says how far a standby is behind.
func behind(n uint64) string {
	const step = 1024
	if n == 0 {
		return "up to date"
	}
	if n < step {
		return fmt.Sprintf("%d bytes behind", n)
	}
	f, unit := float64(n), -1
	for ; f >= step && unit < 3; unit++ {
		f /= step
	}
	return fmt.Sprintf("%.1f %s behind", f, []string{"KiB", "MiB", "GiB", "TiB"}[unit])
}

// took says how long something took.
func took(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
