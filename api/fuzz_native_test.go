package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

// flushing is a recorder that streams can flush.
type flushing struct{ *testRecorder }

func (flushing) Flush() {}

// FuzzHeaders sends mutated Last-Event-ID, If-Match and Idempotency-Key
// headers: they are understood or refused, a stream resumes only after what
// was a number, and no change is made without a tag that matches.
func FuzzHeaders(f *testing.F) {
	f.Add("7", `"1"`, "key-1")
	f.Add("18446744073709551616", `W/"1"`, "a b")
	f.Add("-1", `*, "9"`, "\x00")
	f.Add("", `"1`, strings.Repeat("k", 300))
	f.Add("0x7", `"9","1"`, "é")
	fk := newFake()
	s := New(Config{Service: fk, Logs: fk, Operations: fk, Idempotency: fk})
	f.Fuzz(func(t *testing.T, last, match, key string) {
		fk.mu.Lock()
		clear(fk.ops)
		clear(fk.keys)
		fk.order = nil
		fk.clusters = map[string]appliance.ClusterStatus{"main": {Name: "main", Revision: 1}}
		fk.ops["op9"] = appliance.Operation{ID: "op9", Cluster: "main", State: appliance.OpSucceeded, Revision: 7}
		fk.mu.Unlock()
		serve := func(method, path, body string, h http.Header) int {
			req, err := http.NewRequestWithContext(contextOfUnix(t), method, path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = h
			h.Set("Content-Type", "application/json")
			rec := newRecorder()
			s.handler.ServeHTTP(flushing{rec}, req)
			return rec.status
		}
		if got := serve(http.MethodGet, "/api/v1/operations/op9/events", "", http.Header{"Last-Event-Id": {last}}); got != 200 && got != 422 {
			t.Errorf("Last-Event-ID %q: %d", last, got)
		}
		got := serve(http.MethodPut, "/api/v1/clusters/main", "{}", http.Header{"If-Match": {match}, "Idempotency-Key": {key}})
		tags := strings.Split(match, ",")
		fits := slices.ContainsFunc(tags, func(tag string) bool { tag = strings.TrimSpace(tag); return tag == "*" || tag == `"1"` })
		if got >= 500 || got < 400 && !fits || (got >= 400) != (len(fk.order) == 0) {
			t.Errorf("If-Match %q, Idempotency-Key %q: %d, and %d operations", match, key, got, len(fk.order))
		}
	})
}
