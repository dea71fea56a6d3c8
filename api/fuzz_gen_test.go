package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
)

// fuzzed is one request as it goes over the wire.
type fuzzed struct {
	op      *described
	method  string
	path    string // escaped
	query   string // escaped, without the question mark
	headers []string
	token   string
	auth    string // the whole header instead of token, where set
	host    string
	body    []byte
	// broken says what is certainly wrong with the request, so that it has to be
	// refused. It is "" if nothing certainly is.
	broken string
	// wire is set if net/http itself may refuse the request.
	wire bool
	// only, if set, is sent instead of all fields above.
	only string
}

// bytes returns the request as it is sent.
func (f *fuzzed) bytes(addr string) []byte {
	if f.only != "" {
		return []byte(strings.ReplaceAll(f.only, "ADDR", addr))
	}
	var b bytes.Buffer
	target := f.path
	if f.query != "" {
		target += "?" + f.query
	}
	host := f.host
	if host == "" {
		host = addr
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", f.method, target, host)
	switch {
	case f.auth != "":
		fmt.Fprintf(&b, "Authorization: %s\r\n", f.auth)
	case f.token != "":
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", f.token)
	}
	for _, h := range f.headers {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(f.body))
	b.Write(f.body)
	return b.Bytes()
}

// generator makes requests from the document.
type generator struct {
	r      *rand.Rand
	routes []*described
	admin  string
	read   string
}

// next returns a valid request with at most one change.
func (g *generator) next() *fuzzed {
	op := pick(g.r, g.routes)
	f := &fuzzed{op: op, method: op.method, token: g.admin}
	if g.r.IntN(6) == 0 {
		f.token = g.read
	}
	params := map[string]string{}
	query := url.Values{}
	for _, p := range op.Parameters {
		v := p.Schema.value(g.r, p.Name)
		switch {
		case p.In == "path":
			params[p.Name] = fmt.Sprint(v)
		case g.r.IntN(3) == 0:
		case p.In == "query" && p.Schema.kind() == "array":
			for _, e := range v.([]any) {
				query.Add(p.Name, fmt.Sprint(e))
			}
		case p.In == "query":
			query.Set(p.Name, fmt.Sprint(v))
		case p.In == "header":
			f.headers = append(f.headers, p.Name+": "+fmt.Sprint(v))
		}
	}
	f.path, f.query = fill(op.path, params), query.Encode()
	var nice any
	switch {
	case op.json != nil:
		nice = op.json.value(g.r, "")
		f.body = marshal(nice)
		f.headers = append(f.headers, "Content-Type: application/json")
	case op.binary:
		f.body = []byte("an archive")
		f.headers = append(f.headers, "Content-Type: "+archiveType)
	}
	mutations := []func(*fuzzed){
		func(*fuzzed) {}, func(*fuzzed) {}, func(*fuzzed) {},
		func(f *fuzzed) { g.badPath(f, params) },
		g.badQuery, g.badQuery, g.badHeader, g.oddHeader, g.badMethod, g.oddPath, g.stranger,
		func(f *fuzzed) { g.badBody(f, nice) },
		func(f *fuzzed) { g.badBody(f, nice) },
		g.badBytes, g.badType,
	}
	if g.r.IntN(40) == 0 {
		g.badWire(f)
		return f
	}
	pick(g.r, mutations)(f)
	return f
}

func fill(path string, params map[string]string) string {
	for name, v := range params {
		path = strings.ReplaceAll(path, "{"+name+"}", v)
	}
	return path
}

// marshal encodes without Go's escapes for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// badPath replaces a name in the path by a hostile value.
func (g *generator) badPath(f *fuzzed, good map[string]string) {
	for _, p := range f.op.Parameters {
		if p.In != "path" || g.r.IntN(2) == 0 {
			continue
		}
		v := pick(g.r, p.Schema.refused())
		if len(v) > 4000 {
			v = v[:4000]
		}
		escaped := url.PathEscape(v)
		if v == "." || v == ".." {
			escaped = strings.ReplaceAll(v, ".", "%2e")
		}
		if g.r.IntN(4) == 0 {
			escaped = everyByte(v)
		}
		params := map[string]string{p.Name: escaped}
		for k, v := range good {
			if k != p.Name {
				params[k] = v
			}
		}
		f.path, f.broken = fill(f.op.path, params), fmt.Sprintf("path: %s is %.60q", p.Name, v)
		return
	}
}

// everyByte escapes every byte, also those that need no escape.
func everyByte(v string) string {
	var b strings.Builder
	for i := range len(v) {
		fmt.Fprintf(&b, "%%%02x", v[i])
	}
	return b.String()
}

// badQuery has a wrong value, a repeated or unknown parameter, or bytes that are
// no query.
func (g *generator) badQuery(f *fuzzed) {
	var known []paramDoc
	for _, p := range f.op.Parameters {
		if p.In == "query" && p.Schema.kind() != "array" {
			known = append(known, p)
		}
	}
	kind := g.r.IntN(5)
	if kind > 1 && len(known) == 0 {
		kind = g.r.IntN(2)
	}
	add := func(s string) {
		f.query = strings.TrimPrefix(f.query+"&"+s, "&")
		f.broken = fmt.Sprintf("query: %.60q", s)
	}
	switch kind {
	case 0:
		add(url.QueryEscape(pick(g.r, append(corpus(), "x", "Dry_Run", "DRY_RUN", "dry-run", "passphrase"))) + "=1")
	case 1:
		add(pick(g.r, []string{"a=%zz", "%", "dry_run=%", "a;b", "dry_run=true;x=1", "a=%0", "%zz=1"}))
	case 2:
		p := pick(g.r, known)
		f.query = ""
		add(p.Name + "=" + url.QueryEscape(fmt.Sprint(p.Schema.value(g.r, p.Name))))
		add(p.Name + "=" + url.QueryEscape(fmt.Sprint(p.Schema.value(g.r, p.Name))))
	default:
		p := pick(g.r, known)
		bad := p.Schema.refused()
		if p.Schema.kind() == "boolean" {
			bad = append(slices.DeleteFunc(corpus(), func(v string) bool { return v == "1" || v == "0" }), "", "maybe", "TRUE ", "2", "on", "yes")
		}
		f.query = ""
		v := pick(g.r, bad)
		add(p.Name + "=" + url.QueryEscape(v[:min(len(v), 3000)]))
		if v == "" && g.r.IntN(2) == 0 {
			f.query = p.Name
		}
	}
}

// badHeader has a value that the document refuses.
func (g *generator) badHeader(f *fuzzed) {
	for _, p := range f.op.Parameters {
		if p.In != "header" || g.r.IntN(3) == 0 {
			continue
		}
		var bad []string
		switch p.Name {
		case "If-Match":
			bad = []string{`7`, `W/"1"`, `"`, `"9" "1"`, `'1'`, `"9`, `"1"x`, `""`, strings.Repeat("a", 300), `"-1"`, "\x80"}
		default:
			for _, v := range append(p.Schema.refused(), strings.Repeat("k", 300), strings.Repeat("k", 9000), "\xff\xfe", "a b") {
				v = strings.TrimSpace(v)
				if v != "" && len(v) < 10000 && visibleHeader(v) && !p.Schema.takes(v) {
					bad = append(bad, v)
				}
			}
		}
		if len(bad) == 0 {
			continue
		}
		v := pick(g.r, bad)
		f.headers = slices.DeleteFunc(f.headers, func(h string) bool { return strings.HasPrefix(h, p.Name+":") })
		f.headers = append(f.headers, p.Name+": "+v)
		f.broken = fmt.Sprintf("header: %s is %.60q", p.Name, v)
		return
	}
}

// visibleHeader tells what net/http lets through as a header's value.
func visibleHeader(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// oddHeader adds headers that are allowed and have no effect.
func (g *generator) oddHeader(f *fuzzed) {
	f.headers = append(f.headers, pick(g.r, []string{
		"Accept: text/html", "Accept: */*;q=0, application/xml", "Accept-Encoding: gzip, br", "X-HTTP-Method-Override: DELETE", "X-Forwarded-For: 127.0.0.1",
		"X-Forwarded-Host: evil.example", "Range: bytes=0-1", "If-None-Match: *", "If-Modified-Since: Tue, 24 Nov 2026 00:00:00 GMT", "If-Unmodified-Since: x",
		"Last-Event-ID: 7", "Idempotency-Key: k1", "Idempotency-Key: k2", "Upgrade: websocket", "Cookie: a=b", "Prefer: respond-async", "X: " + strings.Repeat("y", 8000),
		"Content-Encoding: gzip", "Expect: 100-continue", "Content-Type: application/json", "TE: trailers", "Sec-Fetch-Site: none",
	}))
}

// badMethod uses a method that the path mostly doesn't support.
func (g *generator) badMethod(f *fuzzed) {
	f.method = pick(g.r, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X"})
	for _, other := range g.routes {
		if other.path == f.op.path && other.method == f.method {
			return
		}
	}
	if f.method != "OPTIONS" {
		f.broken = "method: " + f.method
	}
}

// oddPath is similar to an existing path.
func (g *generator) oddPath(f *fuzzed) {
	f.path = pick(g.r, []string{
		f.path + "/", f.path + "//", "/" + f.path, f.path + "/x", f.path + "%00", f.path + "/..", f.path + "/%2e%2e/", strings.ToUpper(f.path),
		strings.Replace(f.path, "/", "//", 2), strings.Replace(f.path, "/v1/", "/v1/./", 1), strings.Replace(f.path, "/v1/", "/v1/../v1/", 1),
		strings.Replace(f.path, "v1", "v2", 1), strings.ReplaceAll(f.path, "/", "%2F"), f.path + ";a=b", f.path + "%", f.path + "?", "/" + strings.Repeat("a/", 2000), "/", "*",
		strings.ReplaceAll(f.op.path, "{", "{{"), f.op.path, strings.ReplaceAll(f.path, "main", ""), f.path + "\u00e9",
	})
	f.wire = true
}

// stranger makes a request without the right to it.
func (g *generator) stranger(f *fuzzed) {
	switch g.r.IntN(4) {
	case 0:
		f.host, f.broken = pick(g.r, []string{"evil.example", "127.0.0.1:1", "localhost.", "[::1]", "a@127.0.0.1"}), "host"
		f.wire = true
	case 1:
		f.headers = append(f.headers, pick(g.r, []string{"Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.example", "Origin: \x80"}))
		f.broken = "origin"
	default:
		f.auth = pick(g.r, []string{"Bearer", "Bearer x", "Basic YTpi", "Bearer " + g.admin + "x", "bearer " + strings.Repeat("a", 5000), g.admin, "Bearer\t" + g.admin, "Digest x"})
		if f.op.Security != nil {
			f.broken = "auth"
		}
	}
}

// badBody is JSON that the schema refuses.
func (g *generator) badBody(f *fuzzed, nice any) {
	if f.op.json == nil {
		if !f.op.binary && f.method != "GET" {
			f.body, f.broken = []byte(pick(g.r, []string{`{"a":1}`, "x", "[]", "null", "\x00", `{"dry_run":true}`})), "body: none is taken"
		}
		return
	}
	v, why := f.op.json.wrong(g.r, nice)
	if why != "" {
		f.body, f.broken = marshal(v), "body: "+why
	}
}

// badBytes is a body that is not JSON.
func (g *generator) badBytes(f *fuzzed) {
	if f.op.json == nil {
		return
	}
	good := bytes.TrimSpace(f.body)
	deep := strings.Repeat(pick(g.r, []string{"[", `{"a":`, `{"name":`, `{"parameters":`}), 1+g.r.IntN(20000))
	bad := [][]byte{
		good[:len(good)-1], append(slices.Clone(good), '}'), append([]byte("\xef\xbb\xbf"), good...), append([]byte{0}, good...), append(slices.Clone(good), 0),
		[]byte(deep), []byte("{'name':'main'}"), []byte(`{"name":"main",}`), []byte(`{"standbys":0x10}`), []byte(`{"standbys":NaN}`), []byte(`{"standbys":01}`),
		[]byte("{/* */}"), []byte("name: main\n"), []byte("<a/>"), []byte("{\"name\":\"a\x00b\"}"), []byte("{\"name\":\"a\nb\"}"), []byte(`{"name":"\ud8"}`),
		bytes.Repeat([]byte(" "), maxBodyBytes+1), append(good, bytes.Repeat([]byte("{}"), 50)...), []byte(`{"name":"main"} {"name":"main"}`), []byte("\x1f\x8b\x08"),
	}
	f.body = pick(g.r, bad)
	f.broken = fmt.Sprintf("bytes: %.40q", f.body)
}

// badType sends the body with a wrong Content-Type.
func (g *generator) badType(f *fuzzed) {
	if f.op.json == nil {
		return
	}
	f.headers = slices.DeleteFunc(f.headers, func(h string) bool { return strings.HasPrefix(h, "Content-Type:") })
	bad := []string{"text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/cbor", "image/png"}
	if g.r.IntN(3) == 0 {
		f.headers = append(f.headers, pick(g.r, []string{"Content-Type: application/json; charset=utf-16", "Content-Type: application/merge-patch+json", "Content-Type: ;;;", "Content-Type: APPLICATION/JSON", "X: y"}))
		return
	}
	v := pick(g.r, bad)
	f.headers = append(f.headers, "Content-Type: "+v)
	f.broken = "content type: " + v
}

// badWire is not valid HTTP.
func (g *generator) badWire(f *fuzzed) {
	auth := "Authorization: Bearer " + g.admin + "\r\n"
	f.wire, f.broken, f.method = true, "wire", "GET"
	f.only = pick(g.r, []string{
		"GET /api/v1/info HTTP/1.1\r\n" + auth + "\r\n",
		"GET /api/v1/info HTTP/1.1\r\nHost: ADDR\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET /api/v1/info HTTP/3.0\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET  /api/v1/info HTTP/1.1\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET /api/v1/in fo HTTP/1.1\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET /api/v1/info\x00 HTTP/1.1\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET api/v1/info HTTP/1.1\r\nHost: ADDR\r\n" + auth + "\r\n",
		"GET /api/v1/info HTTP/1.1\r\nHost: ADDR\r\n" + auth + "X: a\x00b\r\n\r\n",
		"GET /api/v1/info HTTP/1.1\r\nHost: ADDR\r\n" + auth + "no colon\r\n\r\n",
		"GET /api/v1/info HTTP/1.1\r\nHost: ADDR\r\n" + auth + "X: " + strings.Repeat("y", 64<<10) + "\r\n\r\n",
		"GET /" + strings.Repeat("y", 64<<10) + " HTTP/1.1\r\nHost: ADDR\r\n" + auth + "\r\n",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Content-Length: -1\r\n\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Content-Length: 99999999999999999999\r\n\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Transfer-Encoding: gzip\r\n\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{}",
		"POST /api/v1/clusters HTTP/1.1\r\nHost: ADDR\r\n" + auth + "Expect: the unexpected\r\nContent-Length: 2\r\n\r\n{}",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 HTTP/1.1\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n",
	})
}
