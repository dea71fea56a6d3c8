package bench_test

import (
	"slices"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/bench/suitefile"
)

// ownSuite are the experiments of pgapp's own file.
func ownSuite(t *testing.T, quick bool, seed uint64, standbys int) []appliance.BenchExperiment {
	t.Helper()
	f, err := suitefile.Parse(suitefile.Own(quick))
	if err != nil {
		t.Fatal(err)
	}
	f.Seed = seed
	return f.Experiments(standbys, appliance.DurabilityAsync)
}

func TestTurnsMeasureEachPointOftenAndChangeTheClusterSeldom(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{false, true} {
		all := ownSuite(t, quick, 1, 3)
		variants := 0
		for _, e := range all {
			variants += len(e.Variants)
		}
		turns := bench.Turns(all)
		if len(turns) != 3*variants {
			t.Fatalf("%d turns of %d variants in three rounds", len(turns), variants)
		}
		seen := map[bench.Turn]bool{}
		changes, last := 0, appliance.BenchVariant{Standbys: -1}
		for _, turn := range turns {
			v := all[turn.Experiment].Variants[turn.Variant]
			if v.Standbys != last.Standbys || v.Durability != last.Durability {
				changes++
			}
			seen[turn], last = true, v
		}
		if len(seen) != len(turns) {
			t.Errorf("%d of %d turns are repeats", len(turns)-len(seen), len(turns))
		}
		states := 5 // quorum, and 3, 2, 1 and 0 standbys
		if quick {
			states = 3
		}
		if want := states + 2*(states-1); changes != want {
			t.Errorf("quick %t: the cluster changes %d times, want %d", quick, changes, want)
		}
		second := slices.Clone(turns[variants : 2*variants])
		slices.Reverse(second)
		for i := range second {
			if first := turns[i]; second[i].Experiment != first.Experiment || second[i].Variant != first.Variant || second[i].Round != 2 {
				t.Errorf("round 2 is not the way of round 1 back: %+v and %+v", first, second[i])
			}
		}
	}
}

func TestTurnsLeftAreThoseWithoutAWholePoint(t *testing.T) {
	t.Parallel()
	b := appliance.Bench{Experiments: ownSuite(t, true, 1, 1)}
	all := bench.Turns(b.Experiments)
	point := func(turn bench.Turn, partial bool) appliance.BenchPoint {
		e := b.Experiments[turn.Experiment]
		return appliance.BenchPoint{Experiment: e.Name, Variant: e.Variants[turn.Variant].Name, Round: turn.Round, Partial: partial}
	}
	b.Points = []appliance.BenchPoint{point(all[0], false), point(all[1], true), point(all[5], false)}
	left := bench.TurnsLeft(b)
	want := append([]bench.Turn{all[1]}, all[2:5]...)
	want = append(want, all[6:]...)
	if !slices.Equal(left, want) {
		t.Errorf("left: %+v\nwant: %+v", left, want)
	}
}

func TestPlannedIsTheTimeOfTheLoads(t *testing.T) {
	t.Parallel()
	all := []appliance.BenchExperiment{{Repeats: 3, Variants: []appliance.BenchVariant{
		{Load: appliance.BenchLoad{WarmupSeconds: 1, DurationSeconds: 2}}, {Load: appliance.BenchLoad{DurationSeconds: 10}},
	}}}
	if took := bench.Planned(all, bench.Turns(all)); took != 39 {
		t.Errorf("the points take %v s by their loads, want 39", took)
	}
}

func TestFitLeavesOutWhatTheClusterCannotDo(t *testing.T) {
	t.Parallel()
	s := appliance.ClusterStatus{Name: "main", Members: make([]appliance.MemberStatus, 2), Automatic: appliance.AutomaticOff}
	kept, notes, err := bench.Fit(ownSuite(t, false, 1, 3), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range kept {
		for _, v := range e.Variants {
			if v.Standbys > 1 || v.Event != "" || v.Load.Through == "endpoint" {
				t.Errorf("%s of %s is kept", v.Name, e.Name)
			}
			if v.Standbys == 0 && v.Load.ReadFrom != "primary" {
				t.Errorf("%s of %s reads from standbys", v.Name, e.Name)
			}
		}
	}
	if len(kept) == 0 || len(notes) == 0 {
		t.Errorf("%d experiments are kept, with %d notes", len(kept), len(notes))
	}
	if _, _, err := bench.Fit(kept[:1], appliance.ClusterStatus{Members: make([]appliance.MemberStatus, 1)}); err != nil {
		t.Errorf("the primary alone fits a cluster without standbys: %v", err)
	}
	alone := []appliance.BenchExperiment{{Name: "x", Variants: []appliance.BenchVariant{{Name: "three", Standbys: 3}}}}
	if _, _, err := bench.Fit(alone, s); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("nothing fits: %v", err)
	}
	for name, v := range map[string]appliance.BenchVariant{
		"quorum of nobody": {Durability: "quorum"},
		"event of nobody":  {Event: appliance.BenchSwitchover},
	} {
		if _, _, err := bench.Fit([]appliance.BenchExperiment{{Name: "x", Variants: []appliance.BenchVariant{v}}}, s); !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
