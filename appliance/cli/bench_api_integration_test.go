//go:build integration

package cli_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/home"
	"pgapp/appliance/wait"
)

// asked sends a request to the API of the box, and decodes what comes with that status.
func (b *box) asked(want int, method, path, body string, out any) {
	b.t.Helper()
	c := b.api()
	resp, err := c.Do(b.t.Context(), method, "/api/v1"+path, strings.NewReader(body))
	b.must(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	b.must(err)
	if resp.StatusCode != want {
		b.t.Fatalf("%s %s: %s, want %d\n%s\n%s", method, path, resp.Status, want, text, b.log())
	}
	switch out := out.(type) {
	case nil:
	case *string:
		*out = resp.Header.Get("Content-Type") + "\n" + string(text)
	default:
		b.must(json.Unmarshal(text, out))
	}
}

// benchUntil asks for the bench until it is as wanted.
func (b *box) benchUntil(id string, wanted func(appliance.Bench) bool) (out appliance.Bench) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), commandTimeout)
	defer cancel()
	b.must(wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		out = appliance.Bench{}
		b.asked(http.StatusOK, http.MethodGet, "/benches/"+id, "", &out)
		return wanted(out), nil
	}))
	return out
}

// TestBenchesThroughTheAPI starts a bench by the API, kills the daemon meanwhile, reads the
// report, cancels a second bench, and removes both.
func TestBenchesThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.mayHold = append(b.mayHold, home.BenchesDir)
	b.up("--standbys", "1")
	before := b.books()
	const short = `{"kind":"run","load":{"read_percent":80,"clients":3,"rate":0,"think_ms":0,"zipf":0.8,"warmup_seconds":0.1,"duration_seconds":2,
"consistency":"eventual","through":"members","read_from":"standbys","seed":7}}`
	var first appliance.Bench
	b.asked(http.StatusAccepted, http.MethodPost, "/clusters/main/benches", short, &first)
	var p api.ProblemDetails
	b.asked(http.StatusConflict, http.MethodPost, "/clusters/main/benches", short, &p)
	if !strings.Contains(p.Detail+p.Title, first.ID) {
		t.Errorf("a second bench is refused with %+v, which does not name %s", p, first.ID)
	}
	killAndWait(t, b.pid())
	b.ok("info")
	done := b.benchUntil(first.ID, func(r appliance.Bench) bool { return r.State != appliance.BenchRunning })
	if done.State != appliance.BenchSucceeded || len(done.Points) != 1 || done.Points[0].Result.Requests == 0 {
		t.Fatalf("the bench that was begun before the daemon's end: %+v", done)
	}
	for format, begins := range map[string]string{"html": "text/html; charset=utf-8\n<!", "pdf": "application/pdf\n%PDF-", "json": "application/json\n{", "csv": "text/csv; charset=utf-8\n"} {
		var text string
		b.asked(http.StatusOK, http.MethodGet, "/benches/"+first.ID+"/report?format="+format, "", &text)
		if !strings.HasPrefix(text, begins) || len(text) < 500 {
			t.Errorf("the report as %s begins with %.80q", format, text)
		}
	}

	var second appliance.Bench
	// Without a warm-up, in which nothing is measured yet that a cancel could keep.
	long := strings.NewReplacer(`"duration_seconds":2`, `"duration_seconds":600`, `"warmup_seconds":0.1`, `"warmup_seconds":0`).Replace(short)
	b.asked(http.StatusAccepted, http.MethodPost, "/clusters/main/benches", long, &second)
	b.asked(http.StatusConflict, http.MethodDelete, "/benches/"+second.ID, "", nil)
	now := b.benchUntil(second.ID, func(r appliance.Bench) bool { return r.Progress.LeftSeconds > 0 })
	if now.Progress.Doing == "" || now.Progress.LeftSeconds > 601 {
		t.Errorf("while it runs: %+v", now.Progress)
	}
	b.benchAtWork(3)
	b.asked(http.StatusAccepted, http.MethodPost, "/benches/"+second.ID+"/cancel", "", nil)
	if r := b.benchUntil(second.ID, func(r appliance.Bench) bool { return r.State != appliance.BenchRunning }); r.State != appliance.BenchCancelled || len(r.Points) != 1 || !r.Points[0].Partial {
		t.Errorf("the cancelled bench is %s with %d points", r.State, len(r.Points))
	}
	b.asked(http.StatusConflict, http.MethodPost, "/benches/"+second.ID+"/cancel", "", nil)
	b.benchRefusals()
	var suite appliance.Bench
	b.asked(http.StatusAccepted, http.MethodPost, "/clusters/main/benches", `{"kind":"suite","quick":true}`, &suite)
	b.benchUntil(suite.ID, func(r appliance.Bench) bool { return len(r.Points) > 0 && r.Progress.LeftSeconds > 0 })
	b.ok("bench", "cancel", suite.ID)
	if r := b.benchUntil(suite.ID, func(appliance.Bench) bool { return true }); r.State != appliance.BenchCancelled || r.PutBackLeft() {
		t.Errorf("the cancelled suite is %s, put back: %+v", r.State, r.Before)
	}
	var all []appliance.Bench
	b.asked(http.StatusOK, http.MethodGet, "/benches?cluster=main", "", &all)
	if len(all) != 3 || all[1].ID != second.ID || len(all[0].Points) != 0 {
		t.Errorf("listed: %+v", all)
	}
	for _, r := range all {
		b.asked(http.StatusNoContent, http.MethodDelete, "/benches/"+r.ID, "", nil)
	}
	b.asked(http.StatusNotFound, http.MethodGet, "/benches/"+first.ID, "", nil)
	if after := b.books(); after != before {
		t.Errorf("the cluster has changed from %s to %s", before, after)
	}
}

// benchRefusals asks for what the API has to refuse.
func (b *box) benchRefusals() {
	b.t.Helper()
	for body, want := range map[string]string{
		`{"kind":"walk"}`:             "kind",
		`{"kind":"run","quick":true}`: "kind",
		`{"kind":"run","load":{"read_percent":180,"clients":3,"rate":0,"think_ms":0,"zipf":0.8,"warmup_seconds":0,"duration_seconds":2,"consistency":"eventual","through":"members","read_from":"standbys","seed":7}}`: "read_percent",
		`{"kind":"suite","suite":"experiments: 7"}`: "experiments",
	} {
		var p api.ProblemDetails
		b.asked(http.StatusUnprocessableEntity, http.MethodPost, "/clusters/main/benches", body, &p)
		text, err := json.Marshal(p)
		b.must(err)
		if !strings.Contains(string(text), want) {
			b.t.Errorf("%s is refused with %s, which does not name %q", body, text, want)
		}
	}
	b.asked(http.StatusNotFound, http.MethodPost, "/clusters/none/benches", `{"kind":"run"}`, nil)
	b.asked(http.StatusNotFound, http.MethodGet, "/benches/20260301-120000-abcd", "", nil)
	b.asked(http.StatusUnprocessableEntity, http.MethodGet, "/benches/../report", "", nil)
}
