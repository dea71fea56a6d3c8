//go:build integration

package cli_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"pgapp/appliance"
)

// storefront is a running pgapp demo and a visitor of its site.
type storefront struct {
	b      *box
	cmd    *exec.Cmd
	url    string
	client http.Client
}

// storefront starts pgapp demo on a free port.
func (b *box) storefront() *storefront {
	b.t.Helper()
	f := &storefront{b: b, cmd: b.command(context.WithoutCancel(b.t.Context()), "demo", "--listen", "127.0.0.1:0")}
	out, err := f.cmd.StdoutPipe()
	b.must(err)
	f.cmd.Stderr = os.Stderr
	b.must(f.cmd.Start())
	b.t.Cleanup(func() { _ = f.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	b.must(err)
	f.url = strings.TrimSuffix(strings.TrimSpace(line), "/")
	jar, err := cookiejar.New(nil)
	b.must(err)
	f.client = http.Client{Jar: jar, Timeout: commandTimeout, Transport: &http.Transport{DialContext: b.dial}}
	b.t.Cleanup(f.client.CloseIdleConnections)
	return f
}

// end ends pgapp demo as Ctrl-C does.
func (f *storefront) end() {
	f.b.t.Helper()
	f.b.must(f.cmd.Process.Signal(os.Interrupt))
	if err := f.cmd.Wait(); err != nil {
		f.b.t.Errorf("pgapp demo ended by Ctrl-C: %v", err)
	}
}

// page is what the visitor sees; it wants the texts there.
func (f *storefront) page(resp *http.Response, err error, texts ...string) string {
	f.b.t.Helper()
	f.b.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	f.b.must(err)
	for _, text := range texts {
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), text) {
			f.b.t.Errorf("%s: status %d, and not %q, on\n%s", resp.Request.URL, resp.StatusCode, text, body)
		}
	}
	return string(body)
}

func (f *storefront) get(path string, texts ...string) string {
	f.b.t.Helper()
	resp, err := f.client.Get(f.url + path)
	return f.page(resp, err, texts...)
}

func (f *storefront) post(path string, form url.Values, texts ...string) string {
	f.b.t.Helper()
	resp, err := f.client.PostForm(f.url+path, form)
	return f.page(resp, err, texts...)
}

// form is the first form of the page whose address matches, and that address.
func (f *storefront) form(page, address string) (path string, form url.Values) {
	f.b.t.Helper()
	found := regexp.MustCompile(`(?s)action="(` + address + `)">(.*?)</form>`).FindStringSubmatch(page)
	if found == nil {
		f.b.t.Fatalf("no form for %s on\n%s", address, page)
	}
	form = url.Values{}
	for _, m := range regexp.MustCompile(`name="(\w+)" value="([^"]*)"`).FindAllStringSubmatch(found[2], -1) {
		form.Set(m[1], m[2])
	}
	return found[1], form
}

// rented is the film's rentals by the customer since the site was opened: their number,
// those that are back, and the payments for them.
func (b *box) rented(customer string) string {
	b.t.Helper()
	return b.rows(`SELECT count(*), count(return_date), (SELECT count(*) FROM payment JOIN rental AS r USING (rental_id)
WHERE r.customer_id = ` + customer + ` AND r.rental_date > '2023-01-01') FROM rental WHERE customer_id = ` + customer + ` AND rental_date > '2023-01-01'`)
}

// TestDemoLosesNothingInChangesOfPrimary has a visitor search, rent, return and pay while
// the primary moves and dies between a form's opening and its sending.
func TestDemoLosesNothingInChangesOfPrimary(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "2", "--durability", "quorum")
	b.rows("ALTER TABLE film RENAME TO movie")
	if r := b.want(appliance.ExitConflict, "demo", "--listen", "127.0.0.1:0"); !strings.Contains(r.err, `database "pagila" is not Pagila`) {
		t.Errorf("a database that is not Pagila: %s", r.err)
	}
	b.rows("ALTER TABLE movie RENAME TO film")
	b.want(appliance.ExitNotFound, "demo", "--listen", "127.0.0.1:0", "--cluster", "other")
	f := b.storefront()
	if r := b.want(appliance.ExitHost, "demo", "--listen", strings.TrimPrefix(f.url, "http://")); !strings.Contains(r.err, "host-port-taken") {
		t.Errorf("a port that is taken: %s", r.err)
	}

	f.get("/", "Categories", "<b>read</b> categories: <strong>node")
	word := b.rows("SELECT split_part(title, ' ', 1) FROM film JOIN inventory USING (film_id) ORDER BY 1 LIMIT 1")
	film := regexp.MustCompile(`/films/\d+`).FindString(f.get("/search?q="+word, "/films/"))
	found := f.get("/signin", `name="customer"`)
	customer := regexp.MustCompile(`name="customer" value="(\d+)"`).FindStringSubmatch(found)[1]
	f.post("/signin", url.Values{"customer": {customer}}, "My rentals")
	rentAt, rent := f.form(f.get(film), film+"/rent")
	rent.Del("pay")

	b.ok("switchover", "--to", "node1")
	rented := f.post(rentAt, rent, "Rented", "<b>write</b> rent: <strong>node1</strong>, primary")
	f.post(rentAt, rent, "Rented", "came twice")
	if got := b.rented(customer); got != "1|0|0" {
		t.Errorf("after one form was sent twice, rentals, returned, payments: %s", got)
	}

	backAt, back := f.form(rented, `/rentals/\d+/return`)
	payAt, pay := f.form(rented, `/rentals/\d+/pay`)
	b.killServer("node1")
	_, failed := b.background("failover", "--yes")
	f.post(backAt, back, "Returned", "<b>write</b> return: <strong>node")
	f.post(payAt, pay, "Paid")
	if r := failed(); r.code != 0 {
		t.Fatalf("failover: exit code %d, %s", r.code, r.err)
	}
	if got := b.rented(customer); got != "1|1|1" {
		t.Errorf("in the end, rentals, returned, payments: %s", got)
	}
	b.led(b.ps().Primary)
	b.eventually("the strip shows all members", func() bool {
		strip := f.get("/members", "<strong>node0", "<strong>node1", "<strong>node2")
		return strings.Count(strip, `class="standby"`) == 2 && strings.Count(strip, `class="primary"`) == 1
	})
	f.end()
	if left := b.rows("SELECT to_regnamespace('pgapp_rental')"); left != "" {
		t.Errorf("schema %s is left", left)
	}
	b.verified()
}
