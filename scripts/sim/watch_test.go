package main

import (
	"io"
	"testing"

	"pgapp/scripts/sim/watchworld"
)

// TestTenThousandFailoversThatBeginByThemselves plays clusters that keep themselves until
// 10,000 failovers have begun.
func TestTenThousandFailoversThatBeginByThemselves(t *testing.T) {
	t.Parallel()
	failovers := 0
	for seed := uint64(1); failovers < 10_000; seed++ {
		w, err := watchworld.Run(seed, io.Discard)
		if err != nil {
			t.Fatalf("%v\nplay it again: go run ./scripts/sim -watch -seeds 1 -seed %d -v", err, seed)
		}
		failovers += w.Failovers
	}
}
