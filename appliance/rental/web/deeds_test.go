package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgapp/appliance/rental"
)

// TestRentReturnPay goes the way of a customer.
func TestRentReturnPay(t *testing.T) {
	t.Parallel()
	b := visit(t)
	if a := b.get("/rentals"); a.at != "/signin" {
		t.Errorf("without a customer my rentals lead to %s", a.at)
	}
	if a := b.post("/signin", url.Values{"customer": {"7"}, "film": {"1"}}); a.at != "/films/1" {
		t.Errorf("signing in from a film leads to %s", a.at)
	}
	form := b.form(b.get("/films/1"), "/films/1/rent")
	form.Del("pay")
	rented := b.post("/films/1/rent", form)
	rented.wants(t, 200, "Rented: Amber Accordion.", "<b>write</b> rent: <strong>node0</strong>, primary", "2 attempts", "$2.99 to pay", "!came twice")
	b.get("/films/1").wants(t, 200, "All copies are out", "!action=\"/films/1/rent\"")
	b.post("/films/1/rent", url.Values{"request": {"11111111-1111-1111-1111-111111111111"}, "run": form["run"], "store": {"1"}}).
		wants(t, 409, "Store 1 has no copy of film 1 left.")
	paid := b.post("/rentals/1/pay", b.form(rented, "/rentals/1/pay"))
	paid.wants(t, 200, "Paid: Amber Accordion, $2.99 paid.", "!to pay", "!action=\"/rentals/1/pay\"")
	back := b.post("/rentals/1/return", b.form(rented, "/rentals/1/return"))
	back.wants(t, 200, "Returned: Amber Accordion.", "!action=\"/rentals/1/return\"")
}

// TestFormSentTwiceIsDoneOnce sends each form again, as a second click or a reload does.
func TestFormSentTwiceIsDoneOnce(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	form := b.form(b.get("/films/1"), "/films/1/rent")
	b.post("/films/1/rent", form).wants(t, 200, "Rented", "$2.99 paid", "!came twice")
	b.post("/films/1/rent", form).wants(t, 200, "Rented", "$2.99 paid", "came twice, and was done once")
	if n := b.shop.count(); n != 1 {
		t.Errorf("%d rentals", n)
	}
	page := b.get("/rentals")
	form = b.form(page, "/rentals/1/return")
	b.post("/rentals/1/return", form).wants(t, 200, "Returned", "!came twice")
	b.post("/rentals/1/return", form).wants(t, 200, "Returned", "came twice")
	if a, other := b.form(b.get("/films/1"), "/films/1/rent"), b.form(b.get("/films/1"), "/films/1/rent"); a.Get("request") == other.Get("request") {
		t.Error("two pages have one request id")
	}
}

// TestReceiptIsItsCustomers wants nobody else to see what a request has come to.
func TestReceiptIsItsCustomers(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.signIn()
	form := b.form(b.get("/films/1"), "/films/1/rent")
	done := b.post("/films/1/rent", form)
	b.get(done.at).wants(t, 200, "Rented")
	b.client = b.another()
	b.post("/signin", url.Values{"customer": {"8"}})
	b.get(done.at).wants(t, 200, "!Rented:", "!came twice")
}

func TestCookies(t *testing.T) {
	t.Parallel()
	b := visit(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := b.post("/signin", url.Values{"customer": {"7"}})
	if got := a.header.Get("Set-Cookie"); a.status != 303 || got != "pgapp_demo_abc_customer=7; Path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("signing in: %d, %q", a.status, got)
	}
	b.get("/films/1")
	if b.shop.asked != (rental.Token{}) {
		t.Errorf("before the first write reads have the token %v", b.shop.asked)
	}
	a = b.post("/films/1/rent", b.form(b.get("/films/1"), "/films/1/rent"))
	if got := a.header.Get("Set-Cookie"); got != "pgapp_demo_abc_seen=1-65; Path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("renting: %q", got)
	}
	b.get("/films/1")
	if b.shop.asked != (rental.Token{Timeline: 1, LSN: 101}) {
		t.Errorf("after a write reads have the token %v", b.shop.asked)
	}
	a = b.post("/signout", url.Values{})
	if got := strings.Join(a.header.Values("Set-Cookie"), " "); strings.Count(got, "Max-Age=0") != 2 {
		t.Errorf("signing out: %q", got)
	}
	b.get("/films/1").wants(t, 200, "Sign in</a>", "!Sign out")
	if b.shop.asked != (rental.Token{}) {
		t.Errorf("after signing out reads have the token %v", b.shop.asked)
	}
}

// TestStrangeCookies wants no cookie to break a page.
func TestStrangeCookies(t *testing.T) {
	t.Parallel()
	b := visit(t)
	for _, c := range []string{"customer=x", "customer=-7", "customer=99", "customer=99999999999", "seen=x", "seen=1", "seen=zz-1"} {
		a := b.send(http.MethodGet, "/", nil, "Cookie", "pgapp_demo_abc_"+c)
		a.wants(t, 200, "Sign in")
		if gone := strings.Contains(a.header.Get("Set-Cookie"), "customer=; "); gone != (c == "customer=99") {
			t.Errorf("%s: Set-Cookie %q", c, a.header.Get("Set-Cookie"))
		}
		if b.shop.asked != (rental.Token{}) {
			t.Errorf("%s: the token is %v", c, b.shop.asked)
		}
	}
	b.post("/signin", url.Values{"customer": {"99"}}).wants(t, 404, "There is no customer 99.")
	b.post("/signin", url.Values{"customer": {"x"}}).wants(t, 400, "no customer is chosen"[1:])
	b.post("/signin", url.Values{"customer": {"7"}, "film": {"//evil.test"}}).wants(t, 200, "My rentals")
}
