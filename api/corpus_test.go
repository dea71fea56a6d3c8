package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgapp/appliance"
)

// corpus holds values that have broken shells, configuration files, SQL,
// connection strings, XML, YAML and paths elsewhere.
func corpus() []string {
	return []string{
		"a;id", "$(id)", "`id`", "a|id", "-oProxyCommand=id", "--help", "-D/etc", "a b", "a'b", `a"b`, `a\b`, "a\x00b", "a\nb", "a\r\nHost: x",
		"../../etc/passwd", "/etc/passwd", ".", "..", "~", "CON.", "xn--", "é", "\u202eabc", strings.Repeat("a", 65), " ", "𝟙",
		`x"; DROP ROLE postgres; --`, "x') ; ALTER ROLE ctl SUPERUSER; --", "+role", "@file", `"quoted"`,
		"]]>", "<!--", "&xxe;", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>`, "</name><devices><disk type='block'><source dev='/dev/vda'/>",
		"x\nruncmd: [touch, /pwn]", "!!python/object", "&a *a", "{{7*7}}", "#cloud-config", "0x10",
		"host=x dbname=y", "x' options='-c log_statement=all", "passfile=/etc/shadow", "sslmode=disable",
		"x\nshared_preload_libraries='evil'", "host all all 0.0.0.0/0 trust",
		"10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1/8", "127.0.0.0/8", "169.254.169.254/32", "224.0.0.0/4", "010.0.0.1", "1.2.3.4%eth0",
		"ANY 1 (*)", `"a"","b"`, "FIRST 0", "%s%n", "%(x)s", "\x1b[2J", "\u2028", "main/../x", "UPPER", "trailing-", "-", "1x",
	}
}

// databases are names that PostgreSQL or pg_hba.conf reserve.
func databases() []string {
	return []string{"pg_x", "template0", "template1", "postgres", "replication", "all", "sameuser", "samerole", "samegroup"}
}

func TestCorpusInSpec(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	text := []string{
		"name", "provider", "database", "dataset", "postgres_bin", "locale", "primary", "image", "image_digest", "accel",
		"apt_mirror", "apt_proxy", "network", "first_address",
	}
	// Odd values that a field accepts.
	fine := map[string]bool{
		"postgres_bin /etc/passwd": true, "image /etc/passwd": true,
		"image 0x10": true, "image 1x": true, "image xn--": true, "image 010.0.0.1": true, "image trailing-": true,
	}
	for _, field := range text {
		values := corpus()
		if field == "database" {
			values = append(values, databases()...)
		}
		for _, v := range values {
			if !fine[field+" "+v] {
				refused(t, d, map[string]any{field: v}, "body."+field)
			}
		}
	}
	for _, v := range corpus() {
		refused(t, d, map[string]any{"parameters": map[string]string{v: "1"}}, "body.parameters.")
		if strings.ContainsAny(v, "\x00\n\r\x1b") {
			refused(t, d, map[string]any{"parameters": map[string]string{"work_mem": v}}, "body.parameters.work_mem")
		}
		if v != "/etc/passwd" {
			refused(t, d, map[string]any{"sql": []string{v}}, "body.sql[0]")
		}
		for _, number := range []string{"standbys", "vcpus", "memory_mib", "disk_gib"} {
			refused(t, d, map[string]any{number: v}, "body."+number)
		}
		refused(t, d, map[string]any{v: "x"}, "body.")
	}
	for _, odd := range []any{1, 1.5, true, []string{"a"}, map[string]string{"a": "b"}} {
		for _, field := range text {
			refused(t, d, map[string]any{field: odd}, "body."+field)
		}
	}
	for _, number := range []string{"standbys", "vcpus", "memory_mib", "disk_gib"} {
		for _, v := range []float64{-1, 1e9, 1e18, 1e30, 0.5} {
			refused(t, d, map[string]any{number: v}, "body."+number)
		}
	}
	if d.called() != 0 {
		t.Errorf("the service was called %d times", d.called())
	}
}

// refused sends a spec that has to be refused with 422, naming the field.
func refused(t *testing.T, d *daemon, spec map[string]any, location string) {
	t.Helper()
	body, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	_, answer := request(t, d, "POST", "/api/v1/clusters", string(body), nil, 422, appliance.ErrInvalidSpec)
	var p ProblemDetails
	if err := json.Unmarshal([]byte(answer), &p); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	for _, e := range p.Errors {
		if strings.Contains(e.Location, strings.TrimPrefix(location, "body.")) && clean(e.Location) && clean(e.Message) {
			return
		}
	}
	t.Errorf("%s: %s is not named in\n%s", body, location, answer)
}

// clean tells whether the text is safe for a terminal.
func clean(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2028' })
}

func TestCorpusInPathsQueriesAndHeaders(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	routes := []string{
		"GET /api/v1/clusters/*", "PUT /api/v1/clusters/*", "DELETE /api/v1/clusters/*", "POST /api/v1/clusters/*/verify", "POST /api/v1/clusters/*/stop",
		"POST /api/v1/clusters/*/start", "POST /api/v1/clusters/*/restart", "GET /api/v1/clusters/*/members", "GET /api/v1/clusters/*/connection",
		"GET /api/v1/clusters/*/logs", "POST /api/v1/clusters/*/members/node1/reinit", "POST /api/v1/clusters/main/members/*/reinit",
		"POST /api/v1/clusters/main/members/*/restart", "POST /api/v1/clusters/main/members/*/stop", "POST /api/v1/clusters/main/members/*/start",
		"GET /api/v1/clusters/main/connection?role=*", "GET /api/v1/clusters/main/connection?show_password=*", "GET /api/v1/clusters/main/logs?member=*",
		"GET /api/v1/clusters/main/logs?follow=*", "GET /api/v1/operations?cluster=*", "GET /health/*/node0/primary", "GET /health/main/*/primary",
		"GET /health/main/node0/*", "GET /api/v1/clusters/main/*", "GET /*", "GET /api/v1/*",
	}
	ids := []string{"GET /api/v1/operations/*", "DELETE /api/v1/operations/*", "GET /api/v1/operations/*/events"}
	for _, v := range corpus() {
		for _, r := range routes {
			hostile(t, d, r, v)
		}
		if v == "UPPER" || v == "0x10" || v == "1x" || v == "trailing-" || v == "xn--" || v == strings.Repeat("a", 65) {
			continue // an id may look so
		}
		for _, r := range ids {
			hostile(t, d, r, v)
		}
	}
	for _, v := range []string{"x", "-1", "1.5", "1e9", "99999999999999999999999"} {
		h := http.Header{"Last-Event-ID": {v}}
		request(t, d, "GET", "/api/v1/operations/op1/events", "", h, 422, appliance.ErrInvalidSpec)
	}
	if d.called() != 0 {
		t.Errorf("the service was called %d times", d.called())
	}
}

// hostile replaces the star in the route by the value. A hostile path may match
// no route; a hostile query is a wrong field.
func hostile(t *testing.T, d *daemon, route, value string) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	escaped := url.PathEscape(value)
	if strings.Contains(path, "?") {
		escaped = url.QueryEscape(value)
	} else if value == "." || value == ".." {
		escaped = strings.ReplaceAll(value, ".", "%2e")
	}
	body := ""
	if method == http.MethodPut {
		body = "{}"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.addr+strings.Replace(path, "*", escaped, 1), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.tcp.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer closeBody(resp)
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		t.Errorf("%s with %q: %s", route, value, resp.Status)
	}
	p := appliance.AsProblem(ProblemOf(resp))
	if resp.StatusCode == http.StatusUnprocessableEntity && (p == nil || len(p.Fields) == 0 || !clean(p.Fields[0].Field)) {
		t.Errorf("%s with %q names no field: %+v", route, value, p)
	}
	if strings.Contains(path, "?") && resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("%s with %q: %s, want 422", route, value, resp.Status)
	}
}

// Any body is either accepted or refused with a problem; none breaks the server.
func FuzzSpecBody(f *testing.F) {
	f.Add([]byte(`{"name":"main","standbys":2,"parameters":{"work_mem":"64MB"},"sql":["/a.sql"]}`))
	f.Add([]byte(`{"name":null,"standbys":null,"sql":null,"parameters":null}`))
	f.Add([]byte(`{"NAME":"main","name":"other"}`))
	for _, v := range corpus() {
		b, err := json.Marshal(map[string]string{"name": v})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	fk := newFake()
	s := New(Config{Service: fk, Logs: fk, Operations: fk})
	f.Fuzz(func(t *testing.T, body []byte) {
		fk.mu.Lock()
		clear(fk.ops)
		fk.mu.Unlock()
		before := fk.called()
		req, err := http.NewRequestWithContext(contextOfUnix(t), http.MethodPost, "/api/v1/clusters", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		rec := newRecorder()
		s.handler.ServeHTTP(rec, req)
		switch {
		case rec.status >= 500:
			t.Errorf("%q: %d", body, rec.status)
		case rec.status >= 400 && fk.called() != before:
			t.Errorf("%q: %d, but the service was called", body, rec.status)
		case rec.status == 202 && !json.Valid(body):
			t.Errorf("%q was understood", body)
		}
	})
}
