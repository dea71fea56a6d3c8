package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

type answer struct {
	status int
	header http.Header
	closes bool // the connection
	body   string
}

// raw sends bytes over TCP and returns the first answer.
func raw(t *testing.T, d *daemon, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", d.addr, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Close, string(b)}
}

func TestGuardsCheckHostAndOrigin(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) {
		c.AllowedHosts = func() []string { return []string{"pgapp.lan", "db.lan:99"} }
	})
	_, port, err := net.SplitHostPort(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	auth := "Authorization: Bearer " + adminToken + "\r\n"
	for _, c := range []struct {
		name, method, path, headers string
		want                        int
	}{
		{"own address", "GET", "/api/v1/info", "Host: " + d.addr, 200},
		{"localhost", "GET", "/api/v1/info", "Host: LOCALHOST:" + port, 200},
		{"ipv6 loopback", "GET", "/api/v1/info", "Host: [::1]:" + port, 200},
		{"configured name, any port", "GET", "/api/v1/info", "Host: pgapp.lan:1234", 200},
		{"configured name alone", "GET", "/api/v1/info", "Host: pgapp.lan", 200},
		{"configured with port", "GET", "/api/v1/info", "Host: db.lan:99", 200},
		{"configured with another port", "GET", "/api/v1/info", "Host: db.lan:98", 421},
		{"another port", "GET", "/api/v1/info", "Host: localhost:1", 421},
		{"rebound name", "GET", "/api/v1/info", "Host: evil.example:" + port, 421},
		{"rebound name, health", "GET", "/health/main/node0/primary", "Host: evil.example", 421},
		{"rebound name, livez", "GET", "/livez", "Host: evil.example", 421},
		{"rebound name, openapi", "GET", "/openapi.json", "Host: evil.example", 421},
		{"rebound name, no route", "GET", "/nothing", "Host: evil.example", 421},
		{"suffix", "GET", "/livez", "Host: localhost:" + port + ".evil.example", 421},
		{"trailing dot", "GET", "/livez", "Host: localhost.:" + port, 421},
		{"forwarded host is not looked at", "GET", "/livez", "Host: evil.example\r\nX-Forwarded-Host: " + d.addr, 421},
		{"absolute form", "GET", "http://evil.example/livez", "Host: " + d.addr, 421},
		{"own origin", "POST", "/api/v1/clusters/main/verify", "Host: " + d.addr + "\r\nOrigin: http://" + d.addr, 404},
		{"other origin", "POST", "/api/v1/clusters/main/stop", "Host: " + d.addr + "\r\nOrigin: http://evil.example", 403},
		{"other port's origin", "POST", "/api/v1/clusters/main/stop", "Host: " + d.addr + "\r\nOrigin: http://127.0.0.1:1", 403},
		{"null origin", "POST", "/api/v1/clusters/main/stop", "Host: " + d.addr + "\r\nOrigin: null", 403},
		{"cross-site", "DELETE", "/api/v1/clusters/main", "Host: " + d.addr + "\r\nSec-Fetch-Site: cross-site", 403},
		{"same-site is another origin", "POST", "/api/v1/shutdown", "Host: " + d.addr + "\r\nSec-Fetch-Site: same-site", 403},
		{"reading from another origin", "GET", "/api/v1/info", "Host: " + d.addr + "\r\nOrigin: http://evil.example", 403},
		{"preflight", "OPTIONS", "/api/v1/clusters", "Host: " + d.addr + "\r\nOrigin: http://evil.example", 403},
	} {
		got := raw(t, d, fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n%sConnection: close\r\n\r\n", c.method, c.path, c.headers, auth))
		if got.status != c.want {
			t.Errorf("%s: got %d, want %d\n%s", c.name, got.status, c.want, got.body)
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a CORS header", c.name)
		}
	}
	if len(d.order) != 0 {
		t.Errorf("operations were begun: %v", d.order)
	}
	// HAProxy's plain check is HTTP/1.0 without a Host.
	if got := raw(t, d, "OPTIONS /livez HTTP/1.0\r\n\r\n"); got.status != http.StatusNoContent {
		t.Errorf("no Host, public: %d", got.status)
	}
	if got := raw(t, d, "GET /api/v1/info HTTP/1.0\r\n"+auth+"\r\n"); got.status != http.StatusMisdirectedRequest {
		t.Errorf("no Host, API: %d", got.status)
	}
}

func TestGuardsCheckTokensAndScopes(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, func(c *Config) { c.Shutdown = func() { t.Error("shut down") } })
	if _, err := f.Up(t.Context(), appliance.Spec{Name: "main"}, appliance.UpOptions{}); err != nil {
		t.Fatal(err)
	}
	f.finish("op1")
	for _, c := range []struct {
		method, path, auth string
		want               int
		id                 appliance.ErrorID
	}{
		{"GET", "/api/v1/clusters", "", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/nothing", "", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/operations/op1/events", "", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/clusters?token=" + adminToken, "", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/clusters", "Bearer wrong", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/clusters", "Basic " + adminToken, 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/clusters", "Bearer", 401, appliance.ErrUnauthorised},
		{"GET", "/api/v1/clusters", "bearer " + readToken, 200, ""},
		{"GET", "/api/v1/clusters/main/connection", "Bearer " + readToken, 200, ""},
		{"GET", "/api/v1/clusters/main/connection?show_password=true", "Bearer " + readToken, 403, appliance.ErrForbidden},
		{"GET", "/api/v1/clusters/main/connection?show_password=true", "Bearer " + adminToken, 200, ""},
		{"POST", "/api/v1/clusters/main/stop", "Bearer " + readToken, 403, appliance.ErrForbidden},
		{"DELETE", "/api/v1/clusters/main", "Bearer " + readToken, 403, appliance.ErrForbidden},
		{"POST", "/api/v1/shutdown", "Bearer " + readToken, 403, appliance.ErrForbidden},
		{"POST", "/api/v1/shutdown", "", 401, appliance.ErrUnauthorised},
		{"GET", "/livez", "", 200, ""},
		{"GET", "/readyz?verbose=true", "", 200, ""},
		{"GET", "/openapi.json", "", 200, ""},
		{"GET", "/health/main/node0/primary", "", 200, ""},
	} {
		request(t, d, c.method, c.path, "", http.Header{"Authorization": {c.auth}}, c.want, c.id)
	}
	if n := len(f.order); n != 1 {
		t.Errorf("%d operations were begun", n)
	}
}

// request sends one over TCP and holds the answer against status and id.
func request(t *testing.T, d *daemon, method, path, body string, h http.Header, want int, id appliance.ErrorID) (http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range h {
		req.Header[k] = v
		if len(v) == 1 && v[0] == "" {
			req.Header.Del(k)
		}
	}
	resp, err := d.tcp.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Errorf("%s %s: got %s, want %d\n%s", method, path, resp.Status, want, b)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(b)))
	if err := ProblemOf(resp); id != "" && !appliance.IsProblem(err, id) {
		t.Errorf("%s %s: got problem %v, want id %s\n%s", method, path, err, id, b)
	}
	if resp.StatusCode >= 400 && method != http.MethodHead && resp.Header.Get("Content-Type") != problemType && !strings.HasPrefix(path, "/health/") {
		t.Errorf("%s %s: content type %q", method, path, resp.Header.Get("Content-Type"))
	}
	return resp.Header, string(b)
}

func TestUnixPeerOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	s.gate.uid = 1000
	for uid, ok := range map[int]bool{0: true, 1000: true, 1001: false, -1: false} {
		if _, err := s.gate.peer(uid); (err == nil) != ok {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	// A connection that nothing is known of has no rights.
	f := newFake()
	s = New(Config{Service: f, Logs: f, Operations: f})
	rec := newRecorder()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/clusters", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.handler.ServeHTTP(rec, req)
	if rec.status < 400 || f.called() != 0 {
		t.Errorf("an unknown connection got %d", rec.status)
	}
}

type testRecorder struct {
	h      http.Header
	status int
}

func newRecorder() *testRecorder                        { return &testRecorder{h: http.Header{}} }
func (r *testRecorder) Header() http.Header             { return r.h }
func (r *testRecorder) WriteHeader(s int)               { r.status = s }
func (r *testRecorder) Write(b []byte) (n int, e error) { return len(b), nil }

func TestBackoffSlowsGuessingOnly(t *testing.T) {
	t.Parallel()
	b := newBackoff()
	now := time.Now()
	var got []time.Duration
	for range 12 {
		got = append(got, b.next("a", now))
	}
	if got[2] != 0 || got[3] != 50*time.Millisecond || got[4] != 100*time.Millisecond || got[11] != backoffMax {
		t.Errorf("waits %v", got)
	}
	if d := b.next("b", now); d != 0 {
		t.Errorf("another host waits %s", d)
	}
	if d := b.next("a", now.Add(2*backoffForget)); d != 0 {
		t.Errorf("after a pause: %s", d)
	}
	for i := range 2 * backoffHosts {
		b.next(fmt.Sprint(i), now)
	}
	if len(b.hosts) > backoffHosts {
		t.Errorf("%d hosts are remembered", len(b.hosts))
	}
	// Too many waiting at once are refused at once.
	for range cap(b.waiting) {
		b.waiting <- struct{}{}
	}
	for range 4 {
		b.next("c", now)
	}
	if err := b.wait(t.Context(), "c"); !appliance.IsProblem(err, appliance.ErrTooMany) {
		t.Errorf("with all places taken: %v", err)
	}
}

func TestGuardsRefuseBadBodies(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	big := `{"name":"main","database":"` + strings.Repeat("a", maxBodyBytes) + `"}`
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, c := range []struct {
		name, method, path, body string
		header                   http.Header
		want                     int
		id                       appliance.ErrorID
	}{
		{"too large", "POST", "/api/v1/clusters", big, nil, 413, appliance.ErrTooLarge},
		{"too large where none is wanted", "POST", "/api/v1/clusters/main/stop", big, nil, 413, appliance.ErrTooLarge},
		{"deep", "POST", "/api/v1/clusters", deep, nil, 400, appliance.ErrUsage},
		{"empty", "POST", "/api/v1/clusters", "", nil, 400, appliance.ErrUsage},
		{"not JSON", "POST", "/api/v1/clusters", "{name: main}", nil, 400, appliance.ErrUsage},
		{"cut off", "POST", "/api/v1/clusters", `{"name":"ma`, nil, 400, appliance.ErrUsage},
		{"two values", "POST", "/api/v1/clusters", `{"name":"a"}{"name":"b"}`, nil, 400, appliance.ErrUsage},
		{"a list", "POST", "/api/v1/clusters", `[]`, nil, 422, appliance.ErrInvalidSpec},
		{"null", "POST", "/api/v1/clusters", `null`, nil, 422, appliance.ErrInvalidSpec},
		{"a form", "POST", "/api/v1/clusters", "name=main", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415, appliance.ErrUsage},
		{"yaml", "POST", "/api/v1/clusters", "name: main", http.Header{"Content-Type": {"application/yaml"}}, 415, appliance.ErrUsage},
		{"odd content type", "POST", "/api/v1/clusters", "{}", http.Header{"Content-Type": {";+"}}, 415, appliance.ErrUsage},
		{"unwanted body", "POST", "/api/v1/clusters/main/stop", `{"member":"node1"}`, nil, 400, appliance.ErrUsage},
		{"unwanted body", "DELETE", "/api/v1/clusters/main", `{"keep":true}`, nil, 400, appliance.ErrUsage},
		{"unknown query", "PUT", "/api/v1/clusters/main?dryrun=true", `{}`, nil, 422, appliance.ErrInvalidSpec},
		{"another name", "PUT", "/api/v1/clusters/main", `{"name":"other"}`, nil, 422, appliance.ErrInvalidSpec},
		{"no such route", "GET", "/api/v1/nothing", "", nil, 404, appliance.ErrNotFound},
		{"no such method", "PATCH", "/api/v1/clusters", "{}", nil, 405, appliance.ErrUsage},
		{"no such page", "GET", "/docs", "", nil, 404, appliance.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) { request(t, d, c.method, c.path, c.body, c.header, c.want, c.id) })
	}
	if d.called() != 0 {
		t.Errorf("the service was called %d times", d.called())
	}
	request(t, d, "PUT", "/api/v1/clusters/main", `{"standbys":1}`, nil, 202, "")
	if st, err := d.unix.Status(t.Context(), "main"); err != nil || len(st.Members) != 2 {
		t.Errorf("PUT without a name made %+v, %v", st, err)
	}
}

func TestSlowClientsAreDisconnected(t *testing.T) {
	t.Parallel()
	s := New(Config{Service: newFake(), Logs: newFake()})
	s.gate.timing.header, s.gate.timing.read = time.Second, 2*time.Second
	d := serve(t, newFake(), s, filepath.Join(t.TempDir(), "s"))
	for name, begin := range map[string]string{
		"no request": "", "half a header": "GET /livez HTTP/1.1\r\nHost: " + d.addr + "\r\nX-Slow: ",
	} {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(readHeaderTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
	}
	got := raw(t, d, "GET /livez HTTP/1.1\r\nHost: "+d.addr+"\r\nContent-Length: 10\r\n\r\nabc")
	if got.status != http.StatusRequestTimeout || !got.closes {
		t.Errorf("half a body: %d %s", got.status, got.body)
	}
	got = raw(t, d, "GET /livez HTTP/1.1\r\nHost: "+d.addr+"\r\nX-Big: "+strings.Repeat("a", 2*maxHeaderBytes)+"\r\n\r\n")
	if got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: %d", got.status)
	}
}

func TestTCPNeedsLoopbackOrTLS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	err = New(Config{}).Serve(t.Context(), nil, l)
	if !appliance.IsProblem(err, appliance.ErrUsage) {
		t.Fatalf("Serve on all addresses without TLS: %v", err)
	}
	if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// More requests than are worked on at once wait their turn; none is refused.
func TestRequestsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.MaxConcurrent = 2 })
	errs := make(chan error, 100)
	for range cap(errs) {
		go func() {
			_, err := d.unix.Clusters(context.WithoutCancel(t.Context()))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
