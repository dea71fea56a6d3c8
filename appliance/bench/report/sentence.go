package report

import (
	"fmt"
	"strings"

	"pgapp/appliance"
)

// measured is a variant with the spread of its figure.
type measured struct {
	Name string
	spread
}

// measuredOf sums up each variant of an experiment by m, in the experiment's order.
func measuredOf(b appliance.Bench, e appliance.BenchExperiment, m measure) []measured {
	var all []measured
	for _, v := range e.Variants {
		all = append(all, measured{v.Name, spreadBy(finished(b, e.Name, v.Name), m.Of)})
	}
	return all
}

// conclusion is what follows from the figures of an experiment, by rule.
func conclusion(b appliance.Bench, e appliance.BenchExperiment) string {
	m := measureOf(e)
	all := measuredOf(b, e, m)
	said := []string{compared(m, all)}
	if missing := unmeasured(all); len(missing) > 0 && len(missing) < len(all) {
		said = append(said, "Nothing was measured for "+joined(missing)+".")
	}
	if s := lostRentals(b, e.Name); s != "" {
		said = append(said, s)
	}
	if s := missedReads(b, e); s != "" {
		said = append(said, s)
	}
	if late, points := lateDrivers(b, e.Name); late > 0 {
		said = append(said, fmt.Sprintf("The driver was late in %d of %s, so there the driver may have been measured, not the cluster.", late, counted(points, "point")))
	}
	return strings.Join(said, " ")
}

// compared compares each variant with the first.
func compared(m measure, all []measured) string {
	var have []measured
	for _, v := range all {
		if v.Rounds > 0 {
			have = append(have, v)
		}
	}
	switch {
	case len(have) == 0:
		return "No point of this experiment was finished, so nothing follows from it."
	case len(have) == 1 || all[0].Rounds == 0:
		return capital(absolute(m, have)) + "."
	}
	var clauses []string
	for _, v := range have[1:] {
		clauses = append(clauses, clause(m, v, have[0]))
	}
	return capital(strings.Join(clauses, "; ")) + "."
}

// absolute tells the figures without comparing them.
func absolute(m measure, have []measured) string {
	var each []string
	for _, v := range have {
		each = append(each, fmt.Sprintf("%s with %s", ranged(v.spread, m.Unit), quoted(v.Name)))
	}
	if m.Higher {
		return "answered " + m.Noun + ": " + strings.Join(each, "; ")
	}
	return m.Noun + " was " + strings.Join(each, "; ")
}

// clause compares v with base in one clause.
func clause(m measure, v, base measured) string {
	name, other := quoted(v.Name), quoted(base.Name)
	r, ok := v.ratioTo(base.spread)
	switch {
	case v.Rounds > 1 && base.Rounds > 1 && v.overlaps(base.spread):
		return fmt.Sprintf("no difference in %s between %s and %s: %s against %s", m.Noun, name, other, ranged(v.spread, m.Unit), ranged(base.spread, m.Unit))
	case !ok:
		return fmt.Sprintf("%s was %s with %s and %s with %s", m.Noun, ranged(v.spread, m.Unit), name, ranged(base.spread, m.Unit), other)
	case v.Rounds < 2 || base.Rounds < 2:
		return ratioClause(m, name, other, r.times()) + " (one round has no spread, so this is no difference yet)"
	case !v.differs(base.spread):
		return fmt.Sprintf("%s (%s are too few to tell it from chance, so this is no difference yet)", ratioClause(m, name, other, r.times()), rounds(v.Rounds, base.Rounds))
	}
	return fmt.Sprintf("%s (%s over %s)", ratioClause(m, name, other, r.times()), r.between(), rounds(v.Rounds, base.Rounds))
}

func ratioClause(m measure, name, other, ratio string) string {
	if m.Higher {
		return fmt.Sprintf("%s answered %s times the %s of %s", name, ratio, m.Noun, other)
	}
	return fmt.Sprintf("%s with %s was %s times that with %s", m.Noun, name, ratio, other)
}

// ranged is a median with its spread.
func ranged(s spread, unit string) string {
	switch {
	case s.Rounds < 2:
		return quantity(s.Median, unit) + " (one round)"
	case s.Min == s.Max:
		return quantity(s.Median, unit) + " (all rounds)"
	}
	return fmt.Sprintf("%s (%s to %s)", quantity(s.Median, unit), number(s.Min), number(s.Max))
}

func rounds(n, m int) string {
	if n == m {
		return counted(n, "round")
	}
	return fmt.Sprintf("%d and %s", n, counted(m, "round"))
}

func unmeasured(all []measured) []string {
	var missing []string
	for _, v := range all {
		if v.Rounds == 0 {
			missing = append(missing, quoted(v.Name))
		}
	}
	return missing
}

// lostRentals says whether events lost what had been acknowledged; empty without events.
func lostRentals(b appliance.Bench, experiment string) string {
	events, lost := 0, int64(0)
	for _, p := range b.Points {
		if p.Experiment == experiment && p.Event != nil {
			events++
			lost += p.Event.Lost
		}
	}
	switch {
	case events == 0:
		return ""
	case lost == 0:
		return fmt.Sprintf("No acknowledged rental was lost in %s.", counted(events, "event"))
	}
	return fmt.Sprintf("%s lost in %s.", plural(lost, "acknowledged rental was", "acknowledged rentals were"), counted(events, "event"))
}

// missedReads counts, by variant, the reads that did not show the client's own writes.
func missedReads(b appliance.Bench, e appliance.BenchExperiment) string {
	if e.Measure != "redirects" {
		return ""
	}
	var each []string
	for _, v := range e.Variants {
		var missed int64
		points := finished(b, e.Name, v.Name)
		for _, p := range points {
			missed += p.Result.Missed
		}
		if len(points) > 0 {
			each = append(each, fmt.Sprintf("%s with %s", number(float64(missed)), quoted(v.Name)))
		}
	}
	if len(each) == 0 {
		return ""
	}
	return "Reads that lacked the client's own writes: " + strings.Join(each, "; ") + "."
}

// lateDrivers counts the points of an experiment whose driver was late.
func lateDrivers(b appliance.Bench, experiment string) (late, points int) {
	for _, p := range b.Points {
		if p.Experiment != experiment || p.Partial {
			continue
		}
		points++
		if p.Result.Driver.Late {
			late++
		}
	}
	return late, points
}

func quoted(name string) string { return "“" + name + "”" }

func counted(n int, noun string) string { return plural(int64(n), noun, noun+"s") }

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(float64(n)) + " " + more
}

func joined(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// capital begins a sentence with a capital letter.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
