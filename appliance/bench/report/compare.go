package report

import (
	"fmt"
	"maps"
	"slices"

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
	c := Comparison{A: a.ID, B: b.ID, Notes: append(settingNotes(a.Setting, b.Setting), weaknesses(a, b)...)}
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
		{"memory, MiB", fmt.Sprint(a.MemoryMiB), fmt.Sprint(b.MemoryMiB)},
		{"provider", a.Provider, b.Provider},
		{"durability", a.Durability, b.Durability},
		{"members", fmt.Sprint(len(a.Members)), fmt.Sprint(len(b.Members))},
		{"share of a member, cores", number(a.Share), number(b.Share)},
	} {
		if d.a != d.b {
			notes = append(notes, fmt.Sprintf("%s: %s against %s", d.what, dash(d.a), dash(d.b)))
		}
	}
	return append(notes, otherSettings(a, b)...)
}

// ownSettings are those that follow from a cluster's name, place and durability.
func ownSettings() []string {
	return []string{"cluster_name", "listen_addresses", "max_slot_wal_keep_size", "port", "primary_slot_name", "synchronous_standby_names"}
}

// otherSettings names PostgreSQL's settings that differ.
func otherSettings(a, b appliance.BenchSetting) []string {
	var notes []string
	both := maps.Clone(a.Settings)
	if both == nil {
		both = map[string]string{}
	}
	maps.Copy(both, b.Settings)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		x, inA := a.Settings[name]
		y, inB := b.Settings[name]
		if (x != y || inA != inB) && !slices.Contains(ownSettings(), name) {
			notes = append(notes, fmt.Sprintf("PostgreSQL's %s: %s against %s", name, setTo(x, inA), setTo(y, inB)))
		}
	}
	return notes
}

// setTo is the value of a setting; a record lists those that are not PostgreSQL's defaults.
func setTo(value string, listed bool) string {
	switch {
	case !listed:
		return "its default"
	case value == "":
		return "empty"
	}
	return value
}

// weaknesses say what of the two benches their figures don't show.
func weaknesses(a, b appliance.Bench) []string {
	var notes []string
	for _, of := range []struct {
		name string
		appliance.Bench
	}{{"A", a}, {"B", b}} {
		late, points := 0, 0
		for _, e := range of.Experiments {
			l, n := lateDrivers(of.Bench, e.Name)
			late, points = late+l, points+n
		}
		if late > 0 {
			notes = append(notes, fmt.Sprintf("the driver was late in %d of %s of %s, so there the driver may have been measured, not the cluster", late, counted(points, "point"), of.name))
		}
		if of.State != appliance.BenchSucceeded && of.State != "" {
			notes = append(notes, fmt.Sprintf("%s is %s", of.name, of.State))
		}
	}
	return notes
}
