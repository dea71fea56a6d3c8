package report

import (
	"math"
	"strings"
	"testing"

	"pgapp/appliance"
)

// pointsOf are points of a variant that differ in the requests a second only.
func pointsOf(variant string, perSecond ...float64) []appliance.BenchPoint {
	var points []appliance.BenchPoint
	for i, v := range perSecond {
		points = append(points, appliance.BenchPoint{
			Experiment: "x", Variant: variant, Round: i + 1,
			Result: appliance.BenchResult{Seconds: 30, PerSecond: v, Kinds: map[string]appliance.BenchLatency{
				"all": {Count: 9, P99: v}, "write": {Count: 9, P50: v}, "read": {Count: 200, P50: v},
			}},
		})
	}
	return points
}

func twoVariants(measure string, reads float64, points ...[]appliance.BenchPoint) (appliance.Bench, appliance.BenchExperiment) {
	load := appliance.BenchLoad{ReadPercent: reads}
	e := appliance.BenchExperiment{Name: "x", Title: "Which?", Measure: measure, Repeats: 3, Variants: []appliance.BenchVariant{{Name: "one", Load: load}, {Name: "three", Load: load}}}
	b := appliance.Bench{Experiments: []appliance.BenchExperiment{e}}
	for _, p := range points {
		b.Points = append(b.Points, p...)
	}
	return b, e
}

func TestConclusionFollowsFromTheFigures(t *testing.T) {
	t.Parallel()
	partial := pointsOf("three", 900)
	partial[0].Partial = true
	late := pointsOf("three", 240, 250, 260)
	late[1].Result.Driver.Late = true
	lagging := pointsOf("three", 1, 1)
	for i := range lagging {
		lagging[i].Result.Redirected = 4
	}
	lost := pointsOf("three", 1, 2)
	for i := range lost {
		lost[i].Event = &appliance.BenchOutage{WritesMillis: 1000 * float64(i+1), Lost: int64(i)}
	}
	for _, c := range []struct {
		name, measure string
		reads         float64
		points        [][]appliance.BenchPoint
		want          string
	}{
		{
			"more reads", "throughput", 100,
			[][]appliance.BenchPoint{pointsOf("one", 100, 101, 99), pointsOf("three", 240, 250, 235)},
			"“three” answered 2.4 times the reads of “one” (2.3 to 2.5 over 3 rounds).",
		},
		{
			"fewer requests", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100, 101, 99), pointsOf("three", 50, 51, 50, 51)},
			"“three” answered 0.51 times the requests of “one” (0.50 to 0.52 over 4 and 3 rounds).",
		},
		{
			"few rounds", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100, 101, 99), pointsOf("three", 50, 51)},
			"“three” answered 0.51 times the requests of “one” (2 and 3 rounds are too few to tell it from chance, so this is no difference yet).",
		},
		{
			"overlap", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100, 110, 120), pointsOf("three", 119, 130, 140)},
			"No difference in requests between “three” and “one”: 130/s (119 to 140) against 110/s (100 to 120).",
		},
		{
			"touching spreads", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100, 120), pointsOf("three", 120, 140)},
			"No difference in requests between “three” and “one”: 130/s (120 to 140) against 110/s (100 to 120).",
		},
		{
			"one round", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100), pointsOf("three", 300)},
			"“three” answered 3.0 times the requests of “one” (one round has no spread, so this is no difference yet).",
		},
		{
			"slower writes", "commit", 50,
			[][]appliance.BenchPoint{pointsOf("one", 2, 2, 2), pointsOf("three", 3, 3, 3)},
			"The median time of a write with “three” was 1.50 times that with “one” (1.50 to 1.50 over 3 rounds).",
		},
		{"nothing finished", "throughput", 95, [][]appliance.BenchPoint{partial}, "No point of this experiment was finished, so nothing follows from it."},
		{
			"no base", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("three", 10, 12)},
			"Answered requests: 11/s (10 to 12) with “three”. Nothing was measured for “one”.",
		},
		{
			"partial points are left out", "throughput", 95,
			[][]appliance.BenchPoint{pointsOf("one", 100, 100), partial},
			"Answered requests: 100/s (all rounds) with “one”. Nothing was measured for “three”.",
		},
		{
			"late driver", "throughput", 100,
			[][]appliance.BenchPoint{pointsOf("one", 100, 100, 100), late},
			"“three” answered 2.5 times the reads of “one” (2.4 to 2.6 over 3 rounds). The driver was late in 1 of 6 points, so there the driver may have been measured, not the cluster.",
		},
		{
			"zero base", "redirects", 95,
			[][]appliance.BenchPoint{pointsOf("one", 1, 1), lagging},
			"The share of reads that the primary had to answer for a standby was 2% (all rounds) with “three” and 0% (all rounds) with “one”. Reads that lacked the client's own writes: 0 with “one”; 0 with “three”.",
		},
		{
			"lost rentals", "outage", 95,
			[][]appliance.BenchPoint{lost},
			"The longest time without an answered write was 1,500 ms (1,000 to 2,000) with “three”. Nothing was measured for “one”. 1 acknowledged rental was lost in 2 events.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := conclusion(twoVariants(c.measure, c.reads, c.points...)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestRoundsTellNoMoreByChanceThanTheReportSays draws all rounds from one distribution: how
// often they are told apart is what the method says.
func TestRoundsTellNoMoreByChanceThanTheReportSays(t *testing.T) {
	t.Parallel()
	m := &made{Rand: madeRand(13)}
	drawn := func(n int) spread {
		v := make([]float64, n)
		for i := range v {
			v[i] = m.ExpFloat64()
		}
		return spreadOf(v)
	}
	const tries = 20_000
	for _, c := range []struct {
		n, m int
		want float64
	}{{1, 1, 0}, {1, 19, 0.1}, {1, 18, 0}, {2, 2, 0}, {2, 3, 0}, {3, 3, 0.1}, {3, 4, 2.0 / 35}, {5, 5, 2.0 / 252}} {
		apart := 0
		for range tries {
			if drawn(c.n).differs(drawn(c.m)) {
				apart++
			}
		}
		if got := float64(apart) / tries; math.Abs(got-c.want) > 0.01 {
			t.Errorf("%d and %d rounds that are alike are told apart in %.3f of all cases, want %.3f", c.n, c.m, got, c.want)
		}
	}
	said := byChance(madeBench(1))
	if !strings.Contains(said, "with 3 rounds each in 1 of 10 comparisons, and this report makes 7.") {
		t.Errorf("the method says %q", said)
	}
	run := appliance.Bench{Experiments: []appliance.BenchExperiment{{Variants: []appliance.BenchVariant{{}}, Repeats: 1}}}
	if said := byChance(run); said != "" {
		t.Errorf("a run compares nothing, and says %q", said)
	}
}

func TestRatioLeavesOutOneWhereSpreadsDoNotOverlap(t *testing.T) {
	t.Parallel()
	m := &made{Rand: madeRand(11)}
	for range 2000 {
		a, b := spreadOf([]float64{m.around(10, 0.2), m.around(10, 0.2)}), spreadOf([]float64{m.around(11, 0.2), m.around(11, 0.2)})
		r, ok := b.ratioTo(a)
		if !ok || (r.Min > 1 || r.Max < 1) == a.overlaps(b) {
			t.Fatalf("ratio %+v of %+v to %+v, which overlap: %v", r, b, a, a.overlaps(b))
		}
	}
}

func TestLimitsNameWhatWeakensTheFigures(t *testing.T) {
	t.Parallel()
	b := madeBench(3)
	b.State, b.Notes = appliance.BenchCancelled, []string{"a note of the suite"}
	b.Points[0].Partial = true
	b.Points[1].Result.Driver = appliance.BenchDriver{Late: true, LateP99: 80, LateMax: 300}
	b.Setting.Share = 0.8
	said := strings.Join(limits(b).Blocks[0].List, "\n")
	for _, want := range []string{
		"The bench is cancelled", "one host", "come to 3.2 cores, and the host has 2", "late in reads-by-standbys, “primary alone”, round 2", "within 80 ms",
		"1 point that ended before", "lasted 30 seconds", "18 requests failed with 57P01", "“primary alone” of reads-by-standbys (2)", "a note of the suite",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("limits lack %q:\n%s", want, said)
		}
	}
	b.Setting.Share = 0
	if said := strings.Join(limits(b).Blocks[0].List, "\n"); !strings.Contains(said, "shared all of the host's 2 cores") {
		t.Errorf("limits don't say that members shared the cores:\n%s", said)
	}
}

func TestNumberHasThreeDigits(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.004: "0", 1.25: "1.25", 9.99: "9.99", 9.996: "10", 12.34: "12.3", 99.96: "100", 1234.5: "1,235", 7: "7"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}
