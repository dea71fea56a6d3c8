//go:build integration

package cli_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestStandbysServeManyReaders has 200 clients read at once while a standby restarts: none
// is refused, and the daemon's memory stays bounded. How fast it is, scripts/bench/api
// tells. It leaves no time for others, so it isn't parallel.
func TestStandbysServeManyReaders(t *testing.T) {
	program := filepath.Join(t.TempDir(), "load")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "pgapp/scripts/bench/load").CombinedOutput(); err != nil {
		t.Fatalf("building the load generator: %v\n%s", err, out)
	}
	b := newBox(t).shareTree()
	b.up("--standbys", "1")
	info, err := b.api().Info(t.Context())
	b.must(err)
	out, err := b.tool(program, "-json", "-duration", "5s", "-clients", "200", "-url", info.URL, "-pid", strconv.Itoa(info.PID), "-token-file", filepath.Join(b.home, "token")).CombinedOutput()
	var r struct {
		API struct {
			Requests int
			Errors   int
			P50      float64 `json:"p50_ms"`
			P99      float64 `json:"p99_ms"`
		}
		Operations int
		OpError    string                                `json:"operation_error"`
		RSS        struct{ Before, Peak, After float64 } `json:"rss_mib"`
		Failures   []string
	}
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, jsonErr, out, b.log())
	}
	t.Logf("%d requests, %d operations, p50 %.0f ms, p99 %.0f ms, RSS %.0f, %.0f, %.0f MiB", r.API.Requests, r.Operations, r.API.P50, r.API.P99, r.RSS.Before, r.RSS.Peak, r.RSS.After)
	if err != nil || r.OpError != "" || r.API.Errors > 0 || r.API.Requests < 200 || r.Operations == 0 {
		t.Errorf("%v: %d of %d requests failed, %d operations were done: %q, %s", err, r.API.Errors, r.API.Requests, r.Operations, r.Failures, r.OpError)
	}
	const most = 200 // MiB
	if r.RSS.Peak > most {
		t.Errorf("the daemon had %.0f MiB", r.RSS.Peak)
	}
	b.verified()
}
