package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"pgapp/appliance"
)

// syncBuffer is a log that several goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Each change leaves an audit line that says who, what and how it went, and no
// log line holds a token, a body, a query or a password.
func TestChangesAreAuditedWithoutSecrets(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	d := start(t, newFake(), func(c *Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main","parameters":{"work_mem":"canarybody"}}`, nil, 202, "")
	request(t, d, "POST", "/api/v1/clusters/main/stop", "", nil, 409, "")
	request(t, d, "POST", "/api/v1/clusters/main/stop", "", http.Header{"Authorization": {"Bearer canarytoken"}}, 401, "")
	request(t, d, "GET", "/api/v1/clusters/main/connection?show_password=true&role=any", "", nil, 200, "")
	request(t, d, "GET", "/api/v1/nothing%1b%5b2J%0aforged", "", nil, 404, "")
	if _, err := d.unix.Cancel(t.Context(), "op1"); err != nil {
		t.Fatal(err)
	}
	d.stop()
	text := log.String()
	for _, canary := range []string{"canarybody", "canarytoken", adminToken, "sesame", "show_password", "\x1b"} {
		if strings.Contains(text, canary) {
			t.Errorf("%q is in the log", canary)
		}
	}
	var audits []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m["msg"] == "audit" {
			audits = append(audits, m)
		}
	}
	type line struct {
		method, path, outcome, operation, who string
	}
	want := []line{
		{"POST", "/api/v1/clusters", "accepted", "op1", "token:"},
		{"POST", "/api/v1/clusters/main/stop", "refused", "", "token:"},
		{"POST", "/api/v1/clusters/main/stop", "refused", "", "token:"},
		{"DELETE", "/api/v1/operations/op1", "accepted", "op1", "uid:"},
	}
	if len(audits) != len(want) {
		t.Fatalf("%d audit lines, want %d:\n%s", len(audits), len(want), text)
	}
	for i, w := range want {
		m := audits[i]
		op, _ := m["operation"].(string)
		who, _ := m["caller"].(string)
		if m["method"] != w.method || m["path"] != w.path || m["outcome"] != w.outcome || op != w.operation || !strings.HasPrefix(who, w.who) || m["time"] == nil {
			t.Errorf("audit line %d is %v, want %v", i, m, w)
		}
	}
}

// A panic is a 500 that says nothing of its cause; the log has the stack, and
// the next request is served.
func TestPanicBecomesAResponse(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	f := newFake()
	d := start(t, f, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	f.mu.Lock()
	f.panics = true
	f.mu.Unlock()
	_, body := request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, nil, 500, appliance.ErrInternal)
	if strings.Contains(body, "sesame") || strings.Contains(body, ".go") {
		t.Errorf("the answer shows the cause: %s", body)
	}
	f.mu.Lock()
	f.panics = false
	f.mu.Unlock()
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, nil, 202, "")
	d.stop()
	if !strings.Contains(log.String(), "sesame") || !strings.Contains(log.String(), "fake_test.go") {
		t.Errorf("the log lacks the cause or the stack:\n%s", log.String())
	}
}
