package main

import (
	"io"
	"testing"

	"pgapp/scripts/sim/mutations"
	"pgapp/scripts/sim/world"
)

// TestTenThousandChangesLoseNothing plays at least 10,000 changes of primary.
func TestTenThousandChangesLoseNothing(t *testing.T) {
	t.Parallel()
	changes := 0
	for seed := uint64(1); changes < 10_000; seed++ {
		w, err := world.Run(seed, io.Discard)
		if err != nil {
			t.Fatalf("%v\nplay it again: go run ./scripts/sim -seeds 1 -seed %d -v", err, seed)
		}
		changes += w.Changes
	}
}

// TestEachMutationIsFoundAtItsSeed plays each listed mutation at the listed seed, and
// the core itself at the same seed.
func TestEachMutationIsFoundAtItsSeed(t *testing.T) {
	t.Parallel()
	if n := len(mutations.All()); n < 12 {
		t.Errorf("%d mutations, want at least 12", n)
	}
	all := mutations.All()
	mutants, err := mutations.Build(t.Context(), "../..", all)
	if err != nil {
		t.Fatal(err)
	}
	defer mutants.Remove()
	for i, m := range all {
		if _, err := world.Run(m.Seed, io.Discard); err != nil {
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
