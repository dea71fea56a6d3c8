package main

import (
	"io"
	"testing"

	"pgapp/scripts/sim/mutations"
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

// TestEachMutationOfTheWatchIsFoundAtItsSeed plays each listed mutation at the listed
// seed, and the core itself at the same seed.
func TestEachMutationOfTheWatchIsFoundAtItsSeed(t *testing.T) {
	t.Parallel()
	if n := len(mutations.Watched()); n < 12 {
		t.Errorf("%d mutations, want at least 12", n)
	}
	all := mutations.Watched()
	mutants, err := mutations.Build(t.Context(), "../..", all)
	if err != nil {
		t.Fatal(err)
	}
	defer mutants.Remove()
	for i, m := range all {
		if _, err := watchworld.Run(m.Seed, io.Discard); err != nil {
			t.Errorf("the core itself fails: %v", err)
		}
		found, err := mutants.Play(t.Context(), i, m.Seed, 1)
		if err != nil {
			t.Fatal(err)
		}
		if found != m.Seed {
			t.Errorf("seed %d does not find the mutation %q", m.Seed, m.Name)
		}
	}
}
