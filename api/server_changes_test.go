package api

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"pgapp/appliance"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	key := http.Header{"Idempotency-Key": {"k-1"}}
	const spec = `{"name":"main","standbys":1}`
	first, body := request(t, d, "POST", "/api/v1/clusters", spec, key, 202, "")
	if first.Get("Location") != "/api/v1/operations/op1" || first.Get("Retry-After") == "" {
		t.Errorf("headers %v", first)
	}
	again, same := request(t, d, "POST", "/api/v1/clusters", spec, key, 202, "")
	if same != body || again.Get("Location") != first.Get("Location") {
		t.Errorf("the repeat got\n%swant\n%s", same, body)
	}
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main","standbys":2}`, key, 422, appliance.ErrIdempotencyReuse)
	request(t, d, "PUT", "/api/v1/clusters/main", spec, key, 422, appliance.ErrIdempotencyReuse)
	request(t, d, "POST", "/api/v1/clusters/main/stop", "", key, 422, appliance.ErrIdempotencyReuse)
	f.finish("op1")
	// The same answer after the end, too, and no second operation.
	again, _ = request(t, d, "POST", "/api/v1/clusters", spec, key, 202, "")
	if again.Get("Location") != "/api/v1/operations/op1" || again.Get("Retry-After") != "" {
		t.Errorf("after the end: headers %v", again)
	}
	stop := http.Header{"Idempotency-Key": {"k-2"}}
	request(t, d, "POST", "/api/v1/clusters/main/members/node1/stop", "", stop, 202, "")
	request(t, d, "POST", "/api/v1/clusters/main/members/node1/stop", "", stop, 202, "")
	request(t, d, "POST", "/api/v1/clusters/main/members/node2/stop", "", stop, 422, appliance.ErrIdempotencyReuse)
	for _, bad := range []string{"a b", "é", strings.Repeat("a", 256)} {
		request(t, d, "POST", "/api/v1/clusters", spec, http.Header{"Idempotency-Key": {bad}}, 422, appliance.ErrInvalidSpec)
	}
	if len(f.order) != 2 {
		t.Errorf("operations %v", f.order)
	}
}

// A request that came to nothing leaves its key free.
func TestIdempotencyKeyOfAFailure(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	key := http.Header{"Idempotency-Key": {"k"}}
	f.fail = appliance.NewProblem(appliance.ErrHostNoSpace, "no space")
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, key, 503, appliance.ErrHostNoSpace)
	f.mu.Lock()
	f.fail = nil
	f.mu.Unlock()
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, key, 202, "")
}

// Two requests with one key at once begin one operation, and both get it.
func TestIdempotencyKeyOfConcurrentRequests(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, http.Header{"Idempotency-Key": {"k"}}, 202, "")
		})
	}
	wg.Wait()
	if len(f.order) != 1 {
		t.Errorf("operations %v", f.order)
	}
}

func TestConflictNamesTheOperation(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, nil, 202, "")
	resp, body := request(t, d, "DELETE", "/api/v1/clusters/main", "", nil, 409, appliance.ErrOperationRunning)
	if !strings.Contains(body, `"operation":"op1"`) || !strings.Contains(body, `"instance":"/api/v1/clusters/main"`) || resp.Get("Retry-After") == "" {
		t.Errorf("%v\n%s", resp, body)
	}
	request(t, d, "DELETE", "/api/v1/operations/op1", "", nil, 202, "")
	request(t, d, "DELETE", "/api/v1/clusters/main", "", nil, 202, "")
}

// Every wrong field is named, as the spec names it.
func TestInvalidSpecNamesFields(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), nil)
	for _, c := range []struct {
		body   string
		fields []string
	}{
		{`{"name":"-x"}`, []string{"body.name"}},
		{`{"name":7}`, []string{"body.name"}},
		{`{"standbys":"3"}`, []string{"body.standbys"}},
		{`{"standbys":3.5}`, []string{"body.standbys"}},
		{`{"standbys":1e30}`, []string{"body.standbys"}},
		{`{"standbys":-1}`, []string{"body.standbys"}},
		{`{"standbys":17,"database":"pg_x"}`, []string{"body.database", "body.standbys"}},
		{`{"memory_mib":99999999999999}`, []string{"body.memory_mib"}},
		{`{"parameters":{"port":"1","wal_level":"x"}}`, []string{"body.parameters.port", "body.parameters.wal_level"}},
		{`{"parameters":{"work_mem":64}}`, []string{"body.parameters.work_mem"}},
		{`{"sql":["relative"]}`, []string{"body.sql[0]"}},
		{`{"sql":"x"}`, []string{"body.sql"}},
		{`{"colour":"red"}`, []string{"body.colour"}},
		{`{"nam\u001be":"x"}`, []string{`\\x1b`}},
	} {
		_, body := request(t, d, "POST", "/api/v1/clusters", c.body, nil, 422, appliance.ErrInvalidSpec)
		for _, f := range c.fields {
			if !strings.Contains(body, f) {
				t.Errorf("%s: %s is not named in\n%s", c.body, f, body)
			}
		}
	}
	if d.called() != 0 {
		t.Errorf("the service was called %d times", d.called())
	}
}

func TestRecoveryServesOnlyTheDaemon(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, func(c *Config) {
		c.Recovery = appliance.NewProblem(appliance.ErrStoreDamaged, "state.db is damaged").WithHint("pgapp state restore FILE")
		c.Shutdown = func() {}
	})
	for _, path := range []string{"/api/v1/clusters", "/api/v1/operations", "/api/v1/clusters/main/logs", "/readyz", "/health/main/node0/any"} {
		_, body := request(t, d, "GET", path, "", nil, 503, appliance.ErrDaemonRecovery)
		if !strings.Contains(body, "state.db is damaged") || !strings.Contains(body, "pgapp state restore") {
			t.Errorf("%s: no reason in %s", path, body)
		}
	}
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main"}`, nil, 503, appliance.ErrDaemonRecovery)
	request(t, d, "GET", "/api/v1/info", "", nil, 200, "")
	request(t, d, "GET", "/livez", "", nil, 200, "")
	request(t, d, "POST", "/api/v1/shutdown", "", nil, 204, "")
	if f.called() != 0 {
		t.Errorf("the service was called %d times", f.called())
	}
}
