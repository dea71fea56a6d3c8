package report

import (
	"testing"

	"pgapp/appliance"
)

func TestSummariesHaveTheFiguresAndTheSentenceOfTheReport(t *testing.T) {
	t.Parallel()
	b := appliance.Bench{Experiments: []appliance.BenchExperiment{{
		Name: "x", Title: "More?", Measure: "throughput",
		Variants: []appliance.BenchVariant{{Name: "a", Load: appliance.BenchLoad{ReadPercent: 50}}, {Name: "b"}, {Name: "c"}},
	}}}
	for variant, rates := range map[string][]float64{"a": {100, 104, 102}, "b": {50}} {
		for _, r := range rates {
			b.Points = append(b.Points, appliance.BenchPoint{Experiment: "x", Variant: variant, Result: appliance.BenchResult{PerSecond: r, Seconds: 1}})
		}
	}
	all := Summaries(b)
	if len(all) != 1 || all[0].Experiment != "x" || all[0].Question != "More?" || all[0].Figure != "answered requests a second" || all[0].Conclusion != conclusion(b, b.Experiments[0]) {
		t.Fatalf("%+v", all)
	}
	for i, want := range []struct{ name, middle, spread string }{{"a", "102", "100 to 104"}, {"b", "50", "one round"}, {"c", "–", "–"}} {
		if v := all[0].Variants[i]; v.Name != want.name || v.Middle() != want.middle || v.Range() != want.spread {
			t.Errorf("%s: %s, %s; want %+v", v.Name, v.Middle(), v.Range(), want)
		}
	}
}
