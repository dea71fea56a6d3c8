package daemon

import (
	"slices"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/bench"
)

// TestBenchWithoutALoadTakesTheWayThatThereIs holds for clusters without endpoints, which
// the usual load goes through where there are some.
func TestBenchWithoutALoadTakesTheWayThatThereIs(t *testing.T) {
	t.Parallel()
	args, err := benchArgs("main", appliance.BenchRequest{Kind: appliance.BenchRun})
	if err != nil || slices.Contains(args, "--through") || !slices.Contains(args, "main") {
		t.Errorf("the usual load: %q, %v", args, err)
	}
	l := bench.DefaultLoad()
	args, err = benchArgs("main", appliance.BenchRequest{Kind: appliance.BenchRun, Load: &l})
	if i := slices.Index(args, "--through"); err != nil || i < 0 || args[i+1] != "endpoint" {
		t.Errorf("a load through the endpoint: %q, %v", args, err)
	}
}
