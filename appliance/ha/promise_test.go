package ha

import (
	"fmt"
	"slices"
	"testing"

	"pgapp/appliance"
)

// promises enumerates every promise over the members, the empty one too.
func promises(members []string) []appliance.Promise {
	all := []appliance.Promise{{}}
	for bits := 1; bits < 1<<len(members); bits++ {
		var set []string
		for i, m := range members {
			if bits&(1<<i) != 0 {
				set = append(set, m)
			}
		}
		for k := 1; k <= len(set); k++ {
			all = append(all, appliance.Promise{Set: set, K: k})
		}
	}
	return all
}

// holds tells whether a commit that the members of flushed have fulfils p.
func holds(p appliance.Promise, flushed []string) bool {
	n := 0
	for _, m := range p.Set {
		if slices.Contains(flushed, m) {
			n++
		}
	}
	return n >= p.K
}

func subsets(members []string) [][]string {
	var all [][]string
	for bits := range 1 << len(members) {
		var set []string
		for i, m := range members {
			if bits&(1<<i) != 0 {
				set = append(set, m)
			}
		}
		all = append(all, set)
	}
	return all
}

func TestImpliesAgreesWithEnumeration(t *testing.T) {
	t.Parallel()
	members := []string{"a", "b", "c", "d"}
	for _, p := range promises(members) {
		for _, q := range promises(members) {
			want := true
			for _, flushed := range subsets(members) {
				if holds(p, flushed) && !holds(q, flushed) {
					want = false
				}
			}
			if got := Implies(p, q); got != want {
				t.Fatalf("%v implies %v: got %v, want %v", p, q, got, want)
			}
		}
	}
}

func TestSurvivesAgreesWithEnumeration(t *testing.T) {
	t.Parallel()
	members := []string{"a", "b", "c", "d"}
	for _, p := range promises(members) {
		for _, reachable := range subsets(members) {
			want := !p.None()
			for _, flushed := range subsets(members) {
				if holds(p, flushed) && !slices.ContainsFunc(flushed, func(m string) bool { return slices.Contains(reachable, m) }) {
					want = false
				}
			}
			if got := Survives(p, reachable); got != want {
				t.Fatalf("%v with %v reachable: got %v, want %v", p, reachable, got, want)
			}
		}
	}
}

// TestMovesKeepTheStoredPromise goes through all moves between all promises
// over four members, with a commit acknowledged at each moment by each set of
// members that the setting in force allows.
func TestMovesKeepTheStoredPromise(t *testing.T) {
	t.Parallel()
	members := []string{"a", "b", "c", "d"}
	for _, from := range promises(members) {
		for _, to := range promises(members) {
			if err := follow(members, from, to); err != nil {
				t.Fatalf("from %v to %v: %v", from, to, err)
			}
		}
	}
}

func follow(members []string, from, to appliance.Promise) error {
	stored, inForce, flushed := from, from, false
	// weakest holds the settings under which commits were acknowledged that the
	// wanted set may not have flushed.
	history := []appliance.Promise{from}
	for range 10 {
		for _, old := range history {
			for _, f := range subsets(members) {
				if holds(old, f) && !holds(stored, f) {
					return fmt.Errorf("stored %v, but %v was acknowledged under %v", stored, f, old)
				}
			}
		}
		switch m := Moves(stored, inForce, to, flushed); {
		case m == (Move{}):
			if !stored.Equal(to) || !inForce.Equal(to) {
				return fmt.Errorf("ended with stored %v, in force %v", stored, inForce)
			}
			return nil
		case m.Store != nil:
			stored = *m.Store
		case m.Set != nil:
			inForce, flushed = *m.Set, false
			history = append(history, inForce)
		default:
			// What older settings acknowledged is flushed by the wanted set too.
			flushed, history = true, []appliance.Promise{inForce}
		}
	}
	return fmt.Errorf("did not end: stored %v, in force %v", stored, inForce)
}

func TestMovesFollowTheSettingSomebodyChanged(t *testing.T) {
	t.Parallel()
	ab := Over("a", "b")
	m := Moves(ab, appliance.Promise{}, ab, false)
	if m.Store == nil || !m.Store.None() {
		t.Errorf("with the setting gone, got %+v, want the record to promise nothing", m)
	}
}

func TestSettingQuotesNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p    appliance.Promise
		want string
	}{
		{appliance.Promise{}, ""},
		{Over("node2", "node1"), `ANY 1 ("node1", "node2")`},
		{Over("pg-1", "pg-2", "pg-3"), `ANY 2 ("pg-1", "pg-2", "pg-3")`},
	} {
		if got := tc.p.Setting(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}
