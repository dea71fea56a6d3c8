package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"pgapp/appliance"
)

// fakeBenches has one bench that has ended, and none that runs.
type fakeBenches struct{}

const fakeBench = "20260301-120000-abcd"

func (fakeBenches) Benches(context.Context, string) ([]appliance.Bench, error) {
	return []appliance.Bench{{ID: fakeBench, State: appliance.BenchSucceeded}}, nil
}

func (fakeBenches) Bench(_ context.Context, id string) (appliance.Bench, error) {
	return appliance.Bench{ID: id, State: appliance.BenchSucceeded}, nil
}

func (fakeBenches) StartBench(_ context.Context, cluster string, _ appliance.BenchRequest) (appliance.Bench, error) {
	return appliance.Bench{ID: fakeBench, Cluster: cluster, State: appliance.BenchRunning}, nil
}

func (fakeBenches) CancelBench(_ context.Context, id string) (appliance.Bench, error) {
	return appliance.Bench{ID: id, State: appliance.BenchRunning}, nil
}

func (fakeBenches) RemoveBench(context.Context, string) error { return nil }

func (fakeBenches) BenchReport(_ context.Context, id, format string) ([]byte, error) {
	return []byte(format + " of " + id), nil
}

func TestBenches(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.Benches = fakeBenches{} })
	ask := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		resp, err := d.unix.Do(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	resp, text := ask(http.MethodPost, "/clusters/main/benches", `{"kind":"run"}`)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != base+"/benches/"+fakeBench || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("begun: %s, %v\n%s", resp.Status, resp.Header, text)
	}
	if _, text := ask(http.MethodGet, "/benches/"+fakeBench, ""); !strings.Contains(text, `"points":[]`) || !strings.Contains(text, `"experiments":[]`) {
		t.Errorf("a bench without points: %s", text)
	}
	resp, text = ask(http.MethodGet, "/benches/"+fakeBench+"/report", "")
	if text != "html of "+fakeBench || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'") {
		t.Errorf("the report: %v\n%s", resp.Header, text)
	}
	if resp, text := ask(http.MethodGet, "/benches/"+fakeBench+"/report?format=doc", ""); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a report in a format that is none: %s\n%s", resp.Status, text)
	}
	for _, id := range []string{"..", "main", fakeBench + "a", "20260301-120000-ABCD"} {
		if resp, _ := ask(http.MethodGet, "/benches/"+id+"/report", ""); resp.StatusCode < 400 {
			t.Errorf("an id %q: %s", id, resp.Status)
		}
	}
}
