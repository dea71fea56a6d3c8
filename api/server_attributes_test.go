package api

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// every returns "METHOD PATTERN" of all routes that have attributes, in order.
func (r *routes) every() []string {
	var out []string
	for pattern, methods := range r.known {
		for method := range methods {
			out = append(out, method+" "+pattern)
		}
	}
	slices.Sort(out)
	return out
}

// TestEveryRouteHasAttributes walks the routes of echo and of huma: each has
// attributes, and nothing else has.
func TestEveryRouteHasAttributes(t *testing.T) {
	t.Parallel()
	api, router := newRouter()
	known := newRoutes(api)
	New(Config{}).register(known)
	var echos, humas []string
	for _, r := range router.Routes() {
		echos = append(echos, r.Method+" "+r.Path)
	}
	for path, item := range api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			"GET": item.Get, "HEAD": item.Head, "OPTIONS": item.Options, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete,
			"PATCH": item.Patch, "TRACE": item.Trace,
		} {
			if op != nil {
				humas = append(humas, method+" "+echoPath(path))
			}
		}
	}
	slices.Sort(echos)
	slices.Sort(humas)
	all := known.every()
	if !slices.Equal(all, echos) || !slices.Equal(all, humas) || len(all) == 0 {
		t.Errorf("routes with attributes:\n%q\necho's:\n%q\nhuma's:\n%q", all, echos, humas)
	}
}

// testdata/routes.golden is for reading: who adds or changes a route sees here
// what the guards make of it. Regenerate it with: go test ./api -run Attributes -update
func TestAttributesFileIsCurrent(t *testing.T) {
	t.Parallel()
	r := New(Config{}).routes
	var got bytes.Buffer
	for _, name := range r.every() {
		method, pattern, _ := strings.Cut(name, " ")
		fmt.Fprintln(&got, name, r.known[pattern][method].words())
	}
	const file = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs from the routes; got\n%s", file, &got)
	}
}

func (a attributes) words() string {
	out := []string{map[access]string{anyone: "anyone", readers: "readers", admins: "admins"}[a.access]}
	if a.body != noBody {
		out = append(out, map[bodyKind]string{wholeBody: "whole-body", archiveBody: "archive-body", pipeBody: "pipe-body"}[a.body])
	}
	for word, is := range map[string]bool{"stream": a.stream, "in-recovery": a.recovery, "while-held": a.held, "repeats:" + a.repeats: a.repeats != "", "admin-for:" + a.adminFor: a.adminFor != ""} {
		if is {
			out = append(out, word)
		}
	}
	slices.Sort(out[1:])
	return strings.Join(out, " ")
}

func TestRouteRefusesAttributesThatContradictTheOperation(t *testing.T) {
	t.Parallel()
	explode := true
	body := &huma.Operation{RequestBody: &huma.RequestBody{}}
	list := &huma.Operation{Parameters: []*huma.Param{{In: "query", Name: "recipient", Explode: &explode}}}
	for _, c := range []struct {
		name, method string
		is           attributes
		op           *huma.Operation
		ok           bool
	}{
		{"nothing is set", "GET", attributes{}, &huma.Operation{}, false},
		{"access out of range", "GET", attributes{access: admins + 1}, &huma.Operation{}, false},
		{"readers read", "GET", attributes{access: readers}, &huma.Operation{}, true},
		{"readers change", "POST", attributes{access: readers}, &huma.Operation{}, false},
		{"anyone changes", "DELETE", attributes{access: anyone}, &huma.Operation{}, false},
		{"admins change", "POST", attributes{access: admins}, &huma.Operation{}, true},
		{"a body that is not declared", "POST", attributes{access: admins}, body, false},
		{"a body that is declared", "POST", attributes{access: admins, body: wholeBody}, body, true},
		{"a body that huma does not know", "POST", attributes{access: admins, body: wholeBody}, &huma.Operation{}, false},
		{"a repeated parameter that is not declared", "GET", attributes{access: admins}, list, false},
		{"a repeated parameter that is declared", "GET", attributes{access: admins, repeats: "recipient"}, list, true},
		{"another repeated parameter", "GET", attributes{access: admins, repeats: "member"}, list, false},
		{"a parameter for admins that does not exist", "GET", attributes{access: readers, adminFor: "secret"}, &huma.Operation{}, false},
	} {
		if err := c.is.check(c.method, c.op); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// probe is one request, as it comes over TCP.
type probe struct {
	method, path, token, body string
}

// guarded sends requests to a server whose service knows nothing.
type guarded struct {
	*Server
	sent int
}

func newGuarded(change func(*Config)) *guarded {
	f := newFake()
	f.addToken(adminToken, ScopeAdmin)
	f.addToken(readToken, ScopeRead)
	cfg := Config{Service: f, Logs: f, Operations: f, Tokens: f, MaxStreams: 1}
	if change != nil {
		change(&cfg)
	}
	return &guarded{Server: New(cfg)}
}

// send returns the answer's status and its error id. Each request comes from a
// host of its own, since refusals of one host are slowed down.
func (g *guarded) send(t *testing.T, p probe) (int, appliance.ErrorID, string) {
	t.Helper()
	g.sent++
	info := connInfo{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}}
	ctx := context.WithValue(t.Context(), connKey{}, info)
	r := httptest.NewRequestWithContext(ctx, p.method, p.path, strings.NewReader(p.body))
	r.Host, r.RemoteAddr = "127.0.0.1:80", fmt.Sprintf("10.0.%d.%d:1", g.sent/256, g.sent%256)
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	if p.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	text := w.Body.String()
	var p2 *appliance.Problem
	if res := w.Result(); res.StatusCode >= 400 {
		p2 = appliance.AsProblem(ProblemOf(res))
		return res.StatusCode, p2.ID, p2.Message
	}
	return w.Code, "", text
}

// eachRoute calls fn with a request for each route, with names in its path
// that nothing has.
func (g *guarded) eachRoute(fn func(name string, p probe, is attributes)) {
	names := strings.NewReplacer(":check", "any", ":uuid", "00000000-0000-4000-8000-000000000000", ":cluster", "main", ":member", "node0", ":id", "op1", ":name", "x")
	for _, name := range g.routes.every() {
		method, pattern, _ := strings.Cut(name, " ")
		fn(name, probe{method: method, path: names.Replace(pattern), token: adminToken}, g.routes.known[pattern][method])
	}
}

func TestGuardsAskAttributesForAccess(t *testing.T) {
	t.Parallel()
	g := newGuarded(nil)
	g.eachRoute(func(name string, p probe, is attributes) {
		for token, refused := range map[string]bool{"": is.access != anyone, "wrong": is.access != anyone, readToken: false, adminToken: false} {
			p.token = token
			if status, _, _ := g.send(t, p); (status == http.StatusUnauthorized) != refused {
				t.Errorf("%s with token %q: %d", name, token, status)
			}
		}
		for token, refused := range map[string]bool{readToken: is.access == admins, adminToken: false} {
			p.token = token
			if status, _, _ := g.send(t, p); (status == http.StatusForbidden) != refused {
				t.Errorf("%s with token %q: %d", name, token, status)
			}
		}
		for query, refused := range map[string]bool{"=true": true, "=1": true, "=perhaps": true, "=false": false, "": is.access == admins} {
			if p := (probe{method: p.method, path: p.path + "?" + is.adminFor + query, token: readToken}); is.adminFor != "" {
				if status, _, _ := g.send(t, p); (status == http.StatusForbidden) != refused {
					t.Errorf("%s with a token for reading: %d", p.path, status)
				}
			}
		}
		p.token = ""
		info := connInfo{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}}
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), attributesKey{}, is), p.method, p.path, nil)
		r.Host = ""
		if g.gate.hostAllowed(info, r) != (is.access == anyone) {
			t.Errorf("%s without a Host header: access %d", name, is.access)
		}
	})
}

func TestGuardsAskAttributesInRecovery(t *testing.T) {
	t.Parallel()
	g := newGuarded(func(c *Config) { c.Recovery = appliance.NewProblem(appliance.ErrStoreDamaged, "broken") })
	g.eachRoute(func(name string, p probe, is attributes) {
		status, id, _ := g.send(t, p)
		if refused := id == appliance.ErrDaemonRecovery && status == http.StatusServiceUnavailable; refused == is.recovery && p.method != http.MethodHead {
			t.Errorf("%s in recovery: %d %s", name, status, id)
		}
	})
}

func TestGuardsAskAttributesWhileHeld(t *testing.T) {
	t.Parallel()
	held := appliance.NewProblem(appliance.ErrDaemonRecovery, "the state is being replaced")
	g := newGuarded(func(c *Config) { c.Held = func() *appliance.Problem { return held } })
	g.eachRoute(func(name string, p probe, is attributes) {
		if status, _, message := g.send(t, p); (message == held.Message) == is.held && p.method != http.MethodHead {
			t.Errorf("%s while the state is held: %d %s", name, status, message)
		}
	})
}

func TestGuardsAskAttributesForBodies(t *testing.T) {
	t.Parallel()
	g := newGuarded(nil)
	g.eachRoute(func(name string, p probe, is attributes) {
		p.body = `{"zz":1}`
		if status, _, message := g.send(t, p); (message == "this request takes no body") != (is.body == noBody) && p.method != http.MethodHead {
			t.Errorf("%s with a body: %d %s", name, status, message)
		}
		p.body = `{"zz":"` + strings.Repeat("z", maxBodyBytes) + `"}`
		if status, _, _ := g.send(t, p); (status == http.StatusRequestEntityTooLarge) != (is.body == noBody || is.body == wholeBody) {
			t.Errorf("%s with a large body: %d", name, status)
		}
	})
}

func TestGuardsAskAttributesForPlaces(t *testing.T) {
	t.Parallel()
	streams, others := newGuarded(nil), newGuarded(nil)
	streams.gate.streams <- struct{}{} // the only one
	for range cap(others.gate.waiting) {
		others.gate.waiting <- struct{}{}
	}
	streams.eachRoute(func(name string, p probe, is attributes) {
		if status, _, message := streams.send(t, p); (status == http.StatusTooManyRequests) != is.stream {
			t.Errorf("%s while all streams are taken: %d %s", name, status, message)
		}
		if status, _, message := others.send(t, p); (status == http.StatusTooManyRequests) == is.stream {
			t.Errorf("%s while all other places are taken: %d %s", name, status, message)
		}
	})
}

func TestGuardsAskAttributesForRepeatedParameters(t *testing.T) {
	t.Parallel()
	g := newGuarded(nil)
	g.eachRoute(func(name string, p probe, is attributes) {
		p.path += "?recipient=a&recipient=b"
		if status, _, message := g.send(t, p); (message == "the query parameter recipient is given 2 times") != (is.repeats != "recipient") && p.method != http.MethodHead {
			t.Errorf("%s with a repeated parameter: %d %s", name, status, message)
		}
	})
}

// A request that has no route gets no more rights than the routes of its path.
func TestRequestsWithoutRoute(t *testing.T) {
	t.Parallel()
	g := newGuarded(nil)
	recovery := newGuarded(func(c *Config) { c.Recovery = appliance.NewProblem(appliance.ErrStoreDamaged, "broken") })
	const state = base + "/state/restore"
	for _, c := range []struct {
		on     *guarded
		method string
		path   string
		token  string
		want   int
	}{
		{g, "GET", base + "/nothing", "", 401},
		{g, "GET", base + "/nothing", readToken, 404},
		{g, "POST", base + "/nothing", readToken, 403},
		{g, "PATCH", base + "/clusters", readToken, 403},
		{g, "PATCH", base + "/clusters", adminToken, 405},
		{g, "HEAD", base + "/tokens", readToken, 405},
		{g, "HEAD", base + "/tokens", "", 401},
		{g, "POST", "/livez", "", 405},
		{g, "OPTIONS", "/livez", "", 204},
		{g, "GET", "/livez/", "", 401},
		{g, "GET", "/health", "", 401},
		{g, "GET", "/health/main/primary", "", 404},
		{g, "POST", "/health/main/node0/any", "", 405},
		{g, "POST", strings.ReplaceAll(state, "/restore", "%2Frestore"), "", 401},
		{g, "POST", strings.ReplaceAll(state, "/restore", "%2Frestore"), adminToken, 404},
		{recovery, "GET", base + "/nothing", adminToken, 503},
		{recovery, "GET", state, adminToken, 405},
		{recovery, "GET", base + "/%69nfo", adminToken, 503},
		{recovery, "POST", "/livez", "", 405},
		{recovery, "GET", "/health/main/primary", "", 503},
	} {
		if got, id, message := c.on.send(t, probe{method: c.method, path: c.path, token: c.token}); got != c.want {
			t.Errorf("%s %s with token %q: %d %s %q, want %d", c.method, c.path, c.token, got, id, message, c.want)
		}
	}
}
