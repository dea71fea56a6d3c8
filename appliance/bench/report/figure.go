package report

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"pgapp/appliance"
)

// measure is what the points of an experiment are compared by.
type measure struct {
	// Noun names the figure in a sentence.
	Noun string
	// Axis names the figure at the axis of a plot.
	Axis string
	// Unit follows a number.
	Unit string
	// Higher is set where a higher figure is better.
	Higher bool
	// Kind is the kind of request whose latencies belong to the figure.
	Kind string
	// Of is the figure of a point; ok is false where the point has none.
	Of func(appliance.BenchPoint) (value float64, ok bool)
}

// The kinds of requests that every result has.
const (
	kindAll   = "all"
	kindRead  = "read"
	kindWrite = "write"
)

const mebibyte = 1 << 20

// measureOf is the measure of an experiment.
func measureOf(e appliance.BenchExperiment) measure {
	switch e.Measure {
	case "latency":
		return measure{
			Noun: "the 99th percentile of the time of a request", Axis: "99th percentile of a request's time", Unit: "ms", Kind: kindAll,
			Of: func(p appliance.BenchPoint) (float64, bool) {
				l, ok := p.Result.Kinds[kindAll]
				return l.P99, ok && l.Count > 0
			},
		}
	case "commit":
		return measure{
			Noun: "the median time of a write", Axis: "median time of a write", Unit: "ms", Kind: kindWrite,
			Of: func(p appliance.BenchPoint) (float64, bool) {
				l, ok := p.Result.Kinds[kindWrite]
				return l.P50, ok && l.Count > 0
			},
		}
	case "lag":
		return measure{
			Noun: "the largest lag of a standby", Axis: "largest lag of a standby", Unit: "MiB", Kind: kindWrite,
			Of: func(p appliance.BenchPoint) (float64, bool) { return largestLag(p.Result.Series) },
		}
	case "outage":
		return measure{
			Noun: "the longest time without an answered write", Axis: "longest time without an answered write", Unit: "ms", Kind: kindWrite,
			Of: func(p appliance.BenchPoint) (float64, bool) {
				if p.Event == nil {
					return 0, false
				}
				return p.Event.WritesMillis, true
			},
		}
	case "redirects":
		return measure{
			Noun: "the share of reads that the primary had to answer for a standby", Axis: "reads that the primary answered for a standby", Unit: "%", Kind: kindRead,
			Of: func(p appliance.BenchPoint) (float64, bool) {
				reads := p.Result.Kinds[kindRead].Count
				return 100 * float64(p.Result.Redirected) / float64(max(1, reads)), reads > 0
			},
		}
	}
	return throughputOf(e)
}

// throughputOf measures answered requests, which are reads where no variant writes.
func throughputOf(e appliance.BenchExperiment) measure {
	m := measure{Noun: "requests", Axis: "answered requests a second", Unit: "/s", Higher: true, Kind: kindAll}
	if len(e.Variants) > 0 && !slices.ContainsFunc(e.Variants, func(v appliance.BenchVariant) bool { return v.Load.ReadPercent < 100 }) {
		m.Noun, m.Axis, m.Kind = "reads", "answered reads a second", kindRead
	}
	m.Of = func(p appliance.BenchPoint) (float64, bool) { return p.Result.PerSecond, p.Result.Seconds > 0 }
	return m
}

// largestLag is in MiB; ok is false where no second has a standby's lag.
func largestLag(series []appliance.BenchSecond) (lag float64, ok bool) {
	for _, s := range series {
		for _, n := range s.LagBytes {
			lag, ok = max(lag, float64(n)/mebibyte), true
		}
	}
	return lag, ok
}

// spread sums up the rounds of a variant.
type spread struct {
	Rounds           int
	Median, Min, Max float64
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + middle) / 2
	}
	return spread{Rounds: len(v), Median: middle, Min: v[0], Max: v[len(v)-1]}
}

// overlaps tells whether some value lies in both spreads.
func (s spread) overlaps(t spread) bool { return s.Min <= t.Max && t.Min <= s.Max }

// mostChance is how often spreads of figures that are alike may lie apart by chance, for a
// difference to be told from them: as often as those of three rounds each do.
const mostChance = 0.1

// chanceApart is how often the spreads of so many rounds of figures that are alike lie
// apart: of all orders of the rounds, two have one side wholly before the other.
func chanceApart(n, m int) float64 {
	orders := 1.0
	for i := 1; i <= n; i++ {
		orders *= float64(m+i) / float64(i)
	}
	return min(1, 2/orders)
}

// enough tells whether there are enough rounds to tell a difference from chance.
func (s spread) enough(t spread) bool {
	return s.Rounds > 0 && t.Rounds > 0 && chanceApart(s.Rounds, t.Rounds) < mostChance*1.001
}

// differs tells whether s and t show a difference.
func (s spread) differs(t spread) bool { return s.enough(t) && !s.overlaps(t) }

// ratioTo is s in terms of base, with the least and the most that two rounds allow; ok
// is false where base has a round of zero.
func (s spread) ratioTo(base spread) (r spread, ok bool) {
	if base.Min <= 0 || s.Rounds == 0 {
		return spread{}, false
	}
	return spread{Rounds: s.Rounds, Median: s.Median / base.Median, Min: s.Min / base.Max, Max: s.Max / base.Min}, true
}

// finished are the points of a variant that ran to their end.
func finished(b appliance.Bench, experiment, variant string) []appliance.BenchPoint {
	var points []appliance.BenchPoint
	for _, p := range b.Points {
		if p.Experiment == experiment && p.Variant == variant && !p.Partial {
			points = append(points, p)
		}
	}
	return points
}

// spreadBy sums up a figure of points.
func spreadBy(points []appliance.BenchPoint, of func(appliance.BenchPoint) (float64, bool)) spread {
	var values []float64
	for _, p := range points {
		if v, ok := of(p); ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			values = append(values, v)
		}
	}
	return spreadOf(values)
}

// middlePoint is the point whose figure is nearest to the median; ok is false where no
// point has a figure.
func middlePoint(points []appliance.BenchPoint, of func(appliance.BenchPoint) (float64, bool)) (at appliance.BenchPoint, ok bool) {
	middle, best := spreadBy(points, of).Median, math.Inf(1)
	for _, p := range points {
		if v, has := of(p); has && math.Abs(v-middle) < best {
			at, ok, best = p, true, math.Abs(v-middle)
		}
	}
	return at, ok
}

// number writes three digits, or all before the point.
func number(v float64) string {
	digits := 2
	switch a := math.Abs(v); {
	case a >= 99.95:
		return humanize.Comma(int64(math.Round(v)))
	case a >= 9.995:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// quantity is a number with its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "":
		return number(v)
	case "/s", "%":
		return number(v) + unit
	}
	return number(v) + " " + unit
}

// ratioDigits is how many digits after the point a ratio and its range have: two near 1.
func ratioDigits(r spread) int {
	if r.Min >= 1.945 {
		return 1
	}
	return 2
}

// times is the median of a ratio, and between is its range.
func (s spread) times() string { return strconv.FormatFloat(s.Median, 'f', ratioDigits(s), 64) }

func (s spread) between() string {
	digits := ratioDigits(s)
	return strconv.FormatFloat(s.Min, 'f', digits, 64) + " to " + strconv.FormatFloat(s.Max, 'f', digits, 64)
}
