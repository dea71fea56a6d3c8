package bench

import (
	"cmp"
	"slices"

	"pgapp/appliance"
)

// Turn is a point that is to be measured.
type Turn struct {
	Experiment, Variant int
	// Round counts from 1.
	Round int
}

// Turns are all points of the experiments, in the order in which they are measured. A
// round has the variants with all standbys first and those with the fewest last, so that
// the cluster is changed seldom, and what moves the primary at the end of its state. Each
// round goes the way of the round before back: the order changes, and the cluster stays as
// it is between two rounds.
func Turns(all []appliance.BenchExperiment) []Turn {
	var round []Turn
	rounds := 0
	for e, x := range all {
		rounds = max(rounds, x.Repeats)
		for v := range x.Variants {
			round = append(round, Turn{Experiment: e, Variant: v})
		}
	}
	variant := func(t Turn) appliance.BenchVariant { return all[t.Experiment].Variants[t.Variant] }
	slices.SortStableFunc(round, func(x, y Turn) int {
		a, b := variant(x), variant(y)
		return cmp.Or(
			cmp.Compare(b.Standbys, a.Standbys),
			cmp.Compare(b.Durability, a.Durability), // quorum before async, which fewer standbys have
			cmp.Compare(a.Event, b.Event),
		)
	})
	var out []Turn
	for n := 1; n <= rounds; n++ {
		for _, t := range round {
			if n <= all[t.Experiment].Repeats {
				t.Round = n
				out = append(out, t)
			}
		}
		slices.Reverse(round)
	}
	return out
}

// Planned is the time in seconds that the loads of these points take by their settings.
func Planned(all []appliance.BenchExperiment, turns []Turn) float64 {
	sum := 0.0
	for _, t := range turns {
		l := all[t.Experiment].Variants[t.Variant].Load
		sum += l.WarmupSeconds + l.DurationSeconds
	}
	return sum
}

// TurnsLeft are the points of a suite that it has not measured to the end.
func TurnsLeft(b appliance.Bench) []Turn {
	type key struct {
		experiment, variant string
		round               int
	}
	done := map[key]bool{}
	for _, p := range b.Points {
		if !p.Partial {
			done[key{p.Experiment, p.Variant, p.Round}] = true
		}
	}
	return slices.DeleteFunc(Turns(b.Experiments), func(t Turn) bool {
		e := b.Experiments[t.Experiment]
		return done[key{e.Name, e.Variants[t.Variant].Name, t.Round}]
	})
}
