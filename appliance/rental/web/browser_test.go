package web_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgapp/appliance/rental/web"
	"pgapp/embed/ui"
)

// browser is a visitor of a site of its own.
type browser struct {
	t      *testing.T
	server *httptest.Server
	client *http.Client
	shop   *shop

	mu     sync.Mutex
	failed []error
}

// answer is a page as it came.
type answer struct {
	status int
	header http.Header
	body   string
	// at is the address of the page after redirects.
	at string
}

func visit(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t, shop: newShop()}
	h, err := web.New(web.Config{
		Films: b.shop, Desk: b.shop, Members: members, Pages: ui.FS, Cluster: "main", ID: "abc", Host: "films.test", Patience: time.Minute,
		Failed: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.failed = append(b.failed, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewServer(h)
	t.Cleanup(b.server.Close)
	b.client = b.another()
	return b
}

// another is another visitor's client.
func (b *browser) another() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	c := *b.server.Client()
	c.Jar = jar
	return &c
}

// send sends a request, with headers as pairs.
func (b *browser) send(method, path string, form url.Values, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Request.URL.RequestURI()}
}

func (b *browser) get(path string) answer { b.t.Helper(); return b.send(http.MethodGet, path, nil) }

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	return b.send(http.MethodPost, path, form)
}

// signIn chooses customer 7.
func (b *browser) signIn() {
	b.t.Helper()
	if a := b.post("/signin", url.Values{"customer": {"7"}}); a.status != http.StatusOK || a.at != "/rentals" {
		b.t.Fatalf("signing in: %d at %s", a.status, a.at)
	}
}

// form is the form that a page sends to the path.
func (b *browser) form(page answer, path string) url.Values {
	b.t.Helper()
	_, rest, ok := strings.Cut(page.body, `action="`+path+`"`)
	if !ok {
		b.t.Fatalf("no form for %s on\n%s", path, page.body)
	}
	text, _, _ := strings.Cut(rest, "</form>")
	form := url.Values{}
	for _, m := range regexp.MustCompile(`name="(\w+)" value="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		form.Set(m[1], m[2])
	}
	return form
}

// wants fails unless the page has the status and the texts. A text after ! must not be
// there.
func (a answer) wants(t *testing.T, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: status %d, want %d", a.at, a.status, status)
	}
	for _, text := range texts {
		not, is := strings.CutPrefix(text, "!")
		if strings.Contains(a.body, not) == is {
			t.Errorf("%s: %q on\n%s", a.at, text, a.body)
		}
	}
}
