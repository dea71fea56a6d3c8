package report

import (
	"fmt"

	"pgapp/appliance"
)

// Comparison is two benches side by side.
type Comparison struct {
	// A and B are the ids of the benches.
	A string `json:"a"`
	B string `json:"b"`
	// Rows are the figures that both have, in the order of A's experiments.
	Rows []Row `json:"rows"`
	// Notes say what besides the figures differs, as the machine or a load.
	Notes []string `json:"notes,omitempty"`
}

// Row is a figure of a variant that both benches have.
type Row struct {
	Experiment string `json:"experiment"`
	Variant    string `json:"variant"`
	Figure     string `json:"figure"`
	Unit       string `json:"unit"`
	A          Spread `json:"a"`
	B          Spread `json:"b"`
	// Ratio is B's median in terms of A's, with its range; nil where A has a round of zero.
	Ratio *Spread `json:"ratio,omitempty"`
	// Verdict is more or less, for B against A, or that there is no difference.
	Verdict string `json:"verdict"`
}

// Spread sums up the rounds of a variant.
type Spread struct {
	Rounds int     `json:"rounds"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// String is the median with its range.
func (s Spread) String() string { return spreadCell(spread(s)) }

// Compare puts the figures of b beside those of a, by experiment and variant. A Problem
// (conflict) says that the benches have no variant in common that both measured.
func Compare(a, b appliance.Bench) (Comparison, error) {
	c := Comparison{A: a.ID, B: b.ID, Notes: settingNotes(a.Setting, b.Setting)}
	for _, e := range a.Experiments {
		for _, v := range e.Variants {
			other, same := variantOf(b, e.Name, v.Name)
			if !same {
				continue
			}
			rows := variantRows(a, b, e, v.Name)
			if len(rows) > 0 && !alike(v, other) {
				c.Notes = append(c.Notes, fmt.Sprintf("%s, %s: the two were loaded or set up differently", e.Name, quoted(v.Name)))
			}
			c.Rows = append(c.Rows, rows...)
		}
	}
	if len(c.Rows) == 0 {
		return Comparison{}, appliance.NewProblem(appliance.ErrConflict, "benches %q and %q have no measured variant of an experiment in common", a.ID, b.ID).
			WithHint("experiments and variants are compared by their names")
	}
	return c, nil
}

func variantOf(b appliance.Bench, experiment, name string) (appliance.BenchVariant, bool) {
	for _, e := range b.Experiments {
		if e.Name != experiment {
			continue
		}
		for _, v := range e.Variants {
			if v.Name == name {
				return v, true
			}
		}
	}
	return appliance.BenchVariant{}, false
}

// alike tells whether two variants ask for the same. Chance may be drawn differently.
func alike(v, w appliance.BenchVariant) bool {
	v.Load.Seed, w.Load.Seed = 0, 0
	return v == w
}

// compareMeasures are the experiment's own measure and those that every load has.
func compareMeasures(e appliance.BenchExperiment) []measure {
	own, rate := measureOf(e), throughputOf(e)
	all := []measure{own}
	if own.Axis != rate.Axis {
		all = append(all, rate)
	}
	for _, kind := range []string{kindRead, kindWrite} {
		if own.Noun != "the median time of a "+kind {
			all = append(all, measure{Axis: "median time of a " + kind, Unit: "ms", Of: latency(kind, half)})
		}
		all = append(all, measure{Axis: "99th percentile of a " + kind + "'s time", Unit: "ms", Of: latency(kind, ninetyNine)})
	}
	return all
}

func variantRows(a, b appliance.Bench, e appliance.BenchExperiment, variant string) []Row {
	var rows []Row
	for _, m := range compareMeasures(e) {
		x, y := spreadBy(finished(a, e.Name, variant), m.Of), spreadBy(finished(b, e.Name, variant), m.Of)
		if x.Rounds == 0 || y.Rounds == 0 {
			continue
		}
		row := Row{Experiment: e.Name, Variant: variant, Figure: m.Axis, Unit: m.Unit, A: Spread(x), B: Spread(y), Verdict: verdict(y, x)}
		if r, ok := y.ratioTo(x); ok {
			ratio := Spread(r)
			row.Ratio = &ratio
		}
		rows = append(rows, row)
	}
	return rows
}

// settingNotes names what differs between two settings.
func settingNotes(a, b appliance.BenchSetting) []string {
	var notes []string
	for _, d := range []struct{ what, a, b string }{
		{"pgapp", a.Pgapp, b.Pgapp},
		{"PostgreSQL", a.PostgreSQL, b.PostgreSQL},
		{"kernel", a.Kernel, b.Kernel},
		{"processor", a.CPU, b.CPU},
		{"cores", fmt.Sprint(a.Cores), fmt.Sprint(b.Cores)},
		{"provider", a.Provider, b.Provider},
		{"durability", a.Durability, b.Durability},
		{"members", fmt.Sprint(len(a.Members)), fmt.Sprint(len(b.Members))},
		{"share of a member, cores", number(a.Share), number(b.Share)},
	} {
		if d.a != d.b {
			notes = append(notes, fmt.Sprintf("%s: %s against %s", d.what, dash(d.a), dash(d.b)))
		}
	}
	return notes
}
