package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fuzzRequests is the number of requests of a run. PGAPP_FUZZ_REQUESTS changes
// it; PGAPP_FUZZ_SEED sets the seed.
const fuzzRequests = 10_000

// TestFuzzedRequests makes requests from openapi.json, most of them invalid. No
// response is a 5xx, each refusal is a problem with a known id, and requests
// that are refused or only read change nothing.
func TestFuzzedRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	z := newFuzzer(t, w.addr)
	n := fuzzCount(t, fuzzRequests)
	if testing.Short() {
		n /= 10
	}
	for i := range n {
		if i%100 == 0 {
			w.reset()
		}
		f := z.gen.next()
		w.forgive()
		before := w.state()
		a := z.send(f)
		z.judge(i, f, a)
		after := w.state()
		if (a.status >= 400 || !changes(f)) && before != after {
			z.errorf("%s was answered %d, but changed\n%s\nto\n%s", z.name(i, f), a.status, before, after)
		}
		w.settle()
		if z.failures >= 10 {
			t.Fatal("and so on")
		}
	}
	z.report(n)
	if !testing.Short() {
		z.covered()
	}
}

// changes tells which requests may change something.
func changes(f *fuzzed) bool {
	return !safe(f.method) && f.token != "" && !strings.Contains(f.query, "dry_run=true") && f.only == ""
}

// fuzzCount reads how many requests are wanted.
func fuzzCount(t *testing.T, usual int) int {
	t.Helper()
	s := os.Getenv("PGAPP_FUZZ_REQUESTS")
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fuzzer sends the generator's requests and counts the outcomes.
type fuzzer struct {
	t    *testing.T
	gen  *generator
	addr string
	ids  map[string]bool
	conn net.Conn
	in   *bufio.Reader
	// keep is whether the connection can be used for the next request.
	keep     bool
	byCode   map[int]int
	byID     map[string]int
	served   map[string]int // by operation
	refused  map[string]int
	plain    int // refused by net/http
	failures int
	health   int // 503s that are answers of a health check
}

func newFuzzer(t *testing.T, addr string) *fuzzer {
	t.Helper()
	seed := uint64(1)
	if s := os.Getenv("PGAPP_FUZZ_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (PGAPP_FUZZ_SEED)", seed)
	z := &fuzzer{
		t: t, addr: addr, ids: errorIDs(t), byCode: map[int]int{}, byID: map[string]int{}, served: map[string]int{}, refused: map[string]int{},
		gen: &generator{r: rand.New(rand.NewPCG(seed, 2)), routes: readDocument(t), admin: adminToken, read: readToken},
	}
	t.Cleanup(z.hangUp)
	return z
}

// errorIDs reads the ids from their declarations.
func errorIDs(t *testing.T) map[string]bool {
	t.Helper()
	src, err := os.ReadFile("../appliance/problem.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tErr\w+ +ErrorID = "([a-z-]+)"$`).FindAllStringSubmatch(string(src), -1) {
		out[m[1]] = true
	}
	if len(out) < 50 {
		t.Fatalf("only %d ids were found", len(out))
	}
	return out
}

// errorf notes a failure once: most defects show up in several requests.
func (z *fuzzer) errorf(format string, args ...any) {
	z.t.Helper()
	z.failures++
	z.t.Errorf(format, args...)
}

func (z *fuzzer) hangUp() {
	if z.conn != nil {
		_ = z.conn.Close()
	}
	z.conn, z.keep = nil, false
}

// name describes a request that failed.
func (z *fuzzer) name(i int, f *fuzzed) string {
	b := f.bytes(z.addr)
	return fmt.Sprintf("request %d (%s; wrong: %q)\n%.600q\n", i, f.op.ID, f.broken, b)
}

// send makes the request and reads the answer.
func (z *fuzzer) send(f *fuzzed) answer {
	z.t.Helper()
	if !z.keep || f.only != "" {
		z.hangUp()
		var d net.Dialer
		c, err := d.DialContext(z.t.Context(), "tcp", z.addr)
		if err != nil {
			z.t.Fatal(err)
		}
		z.conn, z.in = c, bufio.NewReader(c)
	}
	z.must(z.conn.SetDeadline(time.Now().Add(20*time.Second)), f)
	// A server that has already refused the request doesn't read the rest.
	_, writeErr := z.conn.Write(f.bytes(z.addr))
	if f.only != "" {
		_ = z.conn.(*net.TCPConn).CloseWrite()
	}
	for {
		resp, err := http.ReadResponse(z.in, &http.Request{Method: f.method})
		if err != nil && f.wire {
			z.hangUp()
			return answer{} // what isn't HTTP needs no answer
		}
		if err != nil {
			z.t.Fatalf("%sgot no answer: %v (%v)", z.name(-1, f), err, writeErr)
		}
		if resp.StatusCode >= 200 {
			return z.read(f, resp)
		}
	}
}

func (z *fuzzer) must(err error, f *fuzzed) {
	z.t.Helper()
	if err != nil {
		z.t.Fatalf("%s%v", z.name(-1, f), err)
	}
}

// read reads the body. Of a stream, it reads only the first part.
func (z *fuzzer) read(f *fuzzed, resp *http.Response) answer {
	endless := resp.ContentLength < 0 && f.method == http.MethodGet && resp.StatusCode == http.StatusOK && resp.Header.Get("Content-Type") != "application/json"
	if endless {
		z.must(z.conn.SetDeadline(time.Now().Add(15*time.Millisecond)), f)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil && !f.wire && (!endless || !errors.Is(err, os.ErrDeadlineExceeded)) {
		z.t.Fatalf("%sthe answer %d ended early: %v", z.name(-1, f), resp.StatusCode, err)
	}
	z.keep = !resp.Close && !endless && f.only == ""
	return answer{resp.StatusCode, resp.Header, resp.Close, string(b)}
}

// judge checks the promises that hold for every response.
func (z *fuzzer) judge(i int, f *fuzzed, a answer) {
	z.t.Helper()
	z.byCode[a.status]++
	switch ours := a.header.Get("X-Request-Id") != ""; {
	case a.status == 0:
		return
	case !ours && f.wire && f.broken != "" || !ours && f.wire && (a.status == 400 || f.path == "*"):
		// net/http answers by itself what isn't HTTP/1.1: 400, 417, 431, and by
		// RFC 9112 501 for a transfer coding and 505 for a version it doesn't know.
		z.plain++
		if !slices.Contains([]int{200, 400, 417, 431, 501, 505}, a.status) || strings.Contains(a.body, "goroutine") {
			z.errorf("%sgot %d from net/http\n%s", z.name(i, f), a.status, a.body)
		}
		return
	case !ours:
		z.errorf("%sgot %d without X-Request-Id", z.name(i, f), a.status)
	case a.status == 503 && strings.HasPrefix(f.op.ID, "health-") && a.header.Get("Content-Type") == "application/json":
		z.health++ // by design: the answer of a health check to a load balancer
		z.served[f.op.ID]++
	case a.status < 300:
		z.served[f.op.ID]++
		if f.broken != "" {
			z.errorf("%sgot %d\n%.300s", z.name(i, f), a.status, a.body)
		}
	case a.status < 400 || a.status >= 500:
		z.errorf("%sgot %d\n%.300s", z.name(i, f), a.status, a.body)
	default:
		z.refused[f.op.ID]++
		z.problem(i, f, a)
	}
	if f.token == z.gen.read && !safe(f.method) && a.status < 400 {
		z.errorf("%sgot %d with a token that only reads", z.name(i, f), a.status)
	}
}

// problem checks for an RFC 9457 problem with a known id and text that is safe
// for a terminal.
func (z *fuzzer) problem(i int, f *fuzzed, a answer) {
	z.t.Helper()
	if got := a.header.Get("Content-Type"); got != problemType {
		z.errorf("%sgot %d with content type %q", z.name(i, f), a.status, got)
	}
	if f.method == http.MethodHead {
		return
	}
	var p ProblemDetails
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		z.errorf("%sgot %d, no problem: %v\n%.300q", z.name(i, f), a.status, err, a.body)
		return
	}
	z.byID[p.Type]++
	bad := !z.ids[p.Type] || p.Status != a.status || p.Detail == "" || p.Title == "" || !clean(p.Detail) || !clean(p.Hint)
	for _, e := range p.Errors {
		bad = bad || e.Message == "" || !clean(e.Location) || !clean(e.Message)
	}
	if bad {
		z.errorf("%sgot %d with\n%s", z.name(i, f), a.status, a.body)
	}
}

func (z *fuzzer) report(n int) {
	z.t.Logf("%d requests by status: %s; %d were refused by net/http itself, %d are 503s of health checks", n, sorted(z.byCode), z.plain, z.health)
	z.t.Logf("refusals by id: %s", sorted(z.byID))
}

func sorted[K int | string](m map[K]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%v×%d ", k, m[k])
	}
	return b.String()
}

// covered checks that each operation was both accepted and refused in the run.
func (z *fuzzer) covered() {
	z.t.Helper()
	for _, op := range z.gen.routes {
		if z.served[op.ID] == 0 || z.refused[op.ID] == 0 {
			z.errorf("%s was done %d times and refused %d times", op.ID, z.served[op.ID], z.refused[op.ID])
		}
	}
}
