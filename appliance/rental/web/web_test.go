package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestPagesAreStrict wants every answer to have the headers that keep other sites out, and
// no page to need a script, a style of its own or anything from elsewhere.
func TestPagesAreStrict(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	foreign := regexp.MustCompile(`(?i)<script|\sstyle=|<style|\son\w+=|javascript:|(src|href|action)="?(//|https?:)`)
	for path, status := range map[string]int{
		"/": 200, "/search?q=amber": 200, "/search?q=nothing": 200, "/categories/3": 200, "/films/1": 200, "/rentals": 200, "/signin": 200, "/members": 200,
		"/style.css": 200, "/icon.svg": 200, "/nowhere": 404, "/films/2": 404, "/categories/4": 404, "/ui.go": 404, "/base.html": 404,
	} {
		a := b.get(path)
		a.wants(t, status)
		ancestors, frames := "'none'", "DENY"
		if path == "/members" {
			ancestors, frames = "'self'", "SAMEORIGIN"
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors " + ancestors,
			"X-Frame-Options":         frames, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if strings.HasSuffix(path, ".css") || strings.HasSuffix(path, ".svg") {
			continue
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %v", path, a.header)
		}
		if found := foreign.FindString(a.body); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
}

func TestAssetsAreSentOnce(t *testing.T) {
	t.Parallel()
	b := visit(t)
	a := b.get("/style.css")
	again := b.send(http.MethodGet, "/style.css", nil, "If-None-Match", a.header.Get("ETag"))
	if again.status != http.StatusNotModified || a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("status %d, %v", again.status, a.header)
	}
}

// TestPagesEscape puts markup into everything that comes from data or from visitors.
func TestPagesEscape(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.shop.title = `<script>x</script>`
	b.signIn()
	const tag, word = `<script>`, `"><script>x`
	b.get("/categories/3").wants(t, 200, "!"+tag, "&lt;script&gt;", "Games &amp; &lt;Play&gt;", "!<Play>")
	b.get("/films/1").wants(t, 200, "!"+tag, "&lt;b&gt;tale", "Ann &lt;I&gt;")
	b.get("/search?q="+url.QueryEscape(word)).wants(t, 200, "!"+tag, "&lt;script&gt;x")
	b.get("/signin?name="+url.QueryEscape(word)).wants(t, 200, "!"+tag, "No active customer")
	b.get("/signin").wants(t, 200, "Mary &lt;Smith&gt;")
	b.get("/members").wants(t, 200, "node3&lt;")
	b.send(http.MethodGet, "/", nil, "Host", "a<script>b").wants(t, 421, "!"+tag)
	b.post("/films/1/rent", url.Values{"request": {word}}).wants(t, 400, "!"+tag)
	b.shop.fail(appliance.NewProblem(appliance.ErrConflict, "<script>"))
	b.get("/").wants(t, 409, "!"+tag, "&lt;script&gt;")
}

func TestMethods(t *testing.T) {
	t.Parallel()
	b := visit(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"HEAD", "/", 200, ""},
		{"POST", "/", 405, "GET, HEAD"},
		{"DELETE", "/films/1", 405, "GET, HEAD"},
		{"GET", "/films/1/rent", 405, "POST"},
		{"GET", "/rentals/1/return", 405, "POST"},
		{"PUT", "/rentals/1/pay", 405, "POST"},
		{"GET", "/signout", 405, "POST"},
		{"POST", "/members", 405, "GET, HEAD"},
		{"POST", "/nowhere", 404, ""},
		{"POST", "/style.css", 404, ""},
		{"OPTIONS", "/rentals", 405, "GET, HEAD"},
	} {
		a := b.send(c.method, c.path, nil)
		if a.status != c.status || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.path, a.status, a.header.Get("Allow"), c.status, c.allow)
		}
		if c.method != "HEAD" && !strings.Contains(a.body, `href="/"`) {
			t.Errorf("%s %s leads nowhere: %s", c.method, c.path, a.body)
		}
	}
}

func TestWrongInput(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	for path, status := range map[string]int{
		"/films/0": 404, "/films/-1": 404, "/films/x": 404, "/films/1x": 404, "/films/99999999999": 404, "/films/1%00": 404, "/films/2": 404,
		"/categories/0": 404, "/categories/3?page=0": 404, "/categories/3?page=1001": 404, "/categories/3?page=x": 404, "/categories/3?page=1000": 200,
		"/search?q=" + strings.Repeat("a", 201): 400, "/search?q=" + strings.Repeat("é", 200): 200, "/search?q=%ff%fe": 200, "/search?q=a%00b": 200,
		"/signin?name=" + strings.Repeat("a", 201): 400, "/signin?film=x": 200, "/rentals?done=x": 200, "/rentals?done=" + strings.Repeat("0", 32): 200,
	} {
		b.get(path).wants(t, status)
	}
	if a := b.get("/search?q=+"); a.at != "/" {
		t.Errorf("an empty search leads to %s", a.at)
	}
	form := b.form(b.get("/films/1"), "/films/1/rent")
	for path, change := range map[string]url.Values{
		"/films/x/rent": {}, "/films/1/rent": {"store": {"2"}}, "/films/2/rent": {}, "/rentals/1/return": {}, "/rentals/x/pay": {},
	} {
		sent := url.Values{"request": form["request"], "run": form["run"], "store": {"1"}}
		for name, value := range change {
			sent[name] = value
		}
		if a := b.post(path, sent); a.status != 404 && a.status != 409 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	b.post("/films/1/rent", url.Values{"run": form["run"], "store": {"1"}}).wants(t, 400, "no request id")
	b.post("/films/1/rent", url.Values{"request": {"00000000-0000-0000-0000-000000000000"}, "run": form["run"]}).wants(t, 400, "no request id")
	b.post("/films/1/rent", url.Values{"request": form["request"], "run": {"another"}, "store": {"1"}}).wants(t, 409, "older than this run")
	b.post("/films/1/rent", url.Values{"request": form["request"], "run": form["run"], "store": {strings.Repeat("1", 20<<10)}}).wants(t, 413)
	b.send(http.MethodPost, "/films/1/rent?request="+form.Get("request")+"&run="+form.Get("run")+"&store=1", nil).wants(t, 400, "no request id")
	if n := b.shop.count(); n != 0 {
		t.Errorf("%d rentals came of it", n)
	}
}

func TestFormsFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	form := b.form(b.get("/films/1"), "/films/1/rent")
	for _, h := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "http://evil.test"},
		{"Origin", "null"},
		{"Origin", "http://127.0.0.1:1"},
	} {
		for _, path := range []string{"/films/1/rent", "/rentals/1/return", "/rentals/1/pay", "/signin", "/signout"} {
			b.send(http.MethodPost, path, form, h...).wants(t, 403, "sent from another site")
		}
	}
	if n := b.shop.count(); n != 0 {
		t.Errorf("%d rentals came of it", n)
	}
	b.send(http.MethodPost, "/films/1/rent", form, "Sec-Fetch-Site", "same-origin", "Origin", b.server.URL).wants(t, 200, "Rented")
}

func TestForeignHostNamesAreRefused(t *testing.T) {
	t.Parallel()
	b := visit(t)
	for host, status := range map[string]int{
		"127.0.0.1:8480": 200, "[::1]:8480": 200, "localhost": 200, "LOCALHOST:1": 200, "films.test:8480": 200,
		"evil.test": 421, "films.test.evil.test": 421, "127.0.0.1.evil.test:8480": 421, "localhost.evil.test": 421,
	} {
		if a := b.send(http.MethodGet, "/signin", nil, "Host", host); a.status != status || strings.Contains(a.body, "Mary") != (status == 200) {
			t.Errorf("host %s: %d", host, a.status)
		}
	}
}

// TestErrorsSayWhatToDo wants a page for each kind of error, and nothing on it of errors
// that are not the visitor's.
func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	form := b.form(b.get("/films/1"), "/films/1/rent")
	b.shop.fail(errors.New("host=10.0.0.1 user=app"))
	b.get("/films/1").wants(t, 500, "could not answer", "Try again", "!10.0.0.1")
	b.shop.fail(appliance.NewProblem(appliance.ErrTimeout, "no member answered in time: host=10.0.0.1"))
	b.get("/films/1").wants(t, 504, "within 1m0s", "Load the page again", "!10.0.0.1", "!Send it again")
	late := b.post("/films/1/rent", form)
	late.wants(t, 504, "Send it again", "!10.0.0.1")
	if len(b.failed) != 3 {
		t.Errorf("the site's errors: %v", b.failed)
	}
	b.shop.fail(nil)
	again := b.form(late, "/films/1/rent")
	if again.Encode() != form.Encode() {
		t.Errorf("the page offers %v, and %v was sent", again, form)
	}
	b.post("/films/1/rent", again).wants(t, 200, "Rented")
	b.shop.fail(appliance.NewProblem(appliance.ErrIdempotencyReuse, "request was made for something else"))
	b.post("/films/1/rent", again).wants(t, 422, "for something else", "Load the page again")
}

func TestMemberStrip(t *testing.T) {
	t.Parallel()
	b := visit(t)
	a := b.get("/members")
	a.wants(t, 200, "<strong>node0</strong> <span>primary", "<strong>node1</strong> <span>standby, 2.0 KiB behind", "standby, replay paused, up to date", "no answer", "live=off")
	if a.header.Get("Refresh") == "" {
		t.Error("the live strip is not loaded again")
	}
	still := b.get("/members?live=off")
	still.wants(t, 200, "Go live")
	if still.header.Get("Refresh") != "" {
		t.Error("the strip that is held is loaded again")
	}
}

func TestSitePages(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.get("/").wants(t, 200, "30 films", `href="/categories/3"`, "Sign in", "<b>read</b> categories: <strong>node1</strong>, standby, 2.0 KiB behind")
	b.get("/categories/3").wants(t, 200, "Amber Accordion", `href="/categories/3?page=2"`, "!Previous")
	b.get("/categories/3?page=2").wants(t, 200, `href="/categories/3?page=1"`, "!Next page")
	b.get("/search?q=amber").wants(t, 200, `href="/films/1"`, `value="amber"`, "!Next page")
	b.get("/search?q=zebra").wants(t, 200, "Try fewer")
	b.get("/films/1").wants(t, 200, "1 of 1 on the shelf", "have the film", "Sign in to rent", "$2.99 for 3 days", "!action=\"/films/1/rent\"")
}
