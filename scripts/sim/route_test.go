package main

import (
	"io"
	"testing"

	"pgapp/scripts/sim/mutations"
	"pgapp/scripts/sim/routeworld"
)

// TestEndpointsLeadToTheRecordedPrimaryOnly plays changes of primary with endpoints, whose
// process and daemon are killed.
func TestEndpointsLeadToTheRecordedPrimaryOnly(t *testing.T) {
	t.Parallel()
	var all routeworld.Result
	for seed := uint64(1); all.Changes < 5_000; seed++ {
		r, err := routeworld.Run(seed, io.Discard)
		if err != nil {
			t.Fatalf("%v\nplay it again: go run ./scripts/sim -endpoints -seeds 1 -seed %d -v", err, seed)
		}
		all.Changes, all.Opened = all.Changes+r.Changes, all.Opened+r.Opened
	}
	if all.Opened < all.Changes {
		t.Errorf("rw was found open %d times in %d changes", all.Opened, all.Changes)
	}
}

// TestEachMutationOfTheEndpointsIsFoundAtItsSeed plays each listed mutation at the listed
// seed, and the router itself at the same seed.
func TestEachMutationOfTheEndpointsIsFoundAtItsSeed(t *testing.T) {
	t.Parallel()
	all := mutations.Routed()
	if n := len(all); n < 7 {
		t.Errorf("%d mutations, want at least 7", n)
	}
	mutants, err := mutations.Build(t.Context(), "../..", all)
	if err != nil {
		t.Fatal(err)
	}
	defer mutants.Remove()
	for i, m := range all {
		if _, err := routeworld.Run(m.Seed, io.Discard); err != nil {
			t.Errorf("the router itself fails: %v", err)
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
