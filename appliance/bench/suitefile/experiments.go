package suitefile

import (
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"pgapp/appliance"
)

// measures are what points are compared by, as the report knows them.
func measures() []string {
	return []string{"throughput", "latency", "commit", "lag", "outage", "redirects"}
}

// The fields besides the settings. Only a suite and an experiment say how often.
func fileFields() []string {
	return slices.Concat([]string{"name", "seed", "repeats"}, settingNames(), []string{"experiments"})
}

func experimentFields() []string {
	return slices.Concat([]string{"name", "title", "measure", "repeats"}, settingNames(), []string{"variants"})
}

func variantFields() []string { return append([]string{"name"}, settingNames()...) }

// file reads the whole file.
func (r *reader) file(body ast.Node) File {
	top := r.object(field{line: 1, node: body}, fileFields())
	f := File{Name: r.word(top.member("name")), Seed: 1}
	if seed := top.member("seed"); seed.given() {
		var ok bool
		if f.Seed, ok = whole(seed.node); !ok {
			r.fail(seed, "has to be a whole number from 0 on, not %s", shown(seed.node))
		}
	}
	repeats := r.repeats(top.member("repeats"), leastRepeats)
	inherited := r.over(map[string]field{}, top)
	var names []string
	for _, at := range r.list(top.member("experiments"), mostExperiments) {
		e := r.experiment(at, inherited, repeats, &names)
		f.experiments = append(f.experiments, e)
	}
	r.total(f.experiments, top.member("experiments"))
	return f
}

// total refuses a suite that takes too long.
func (r *reader) total(all []appliance.BenchExperiment, at field) {
	points, seconds := 0, 0.0
	for _, e := range all {
		for _, v := range e.Variants {
			points += e.Repeats
			seconds += float64(e.Repeats) * (v.Load.WarmupSeconds + v.Load.DurationSeconds)
		}
	}
	if len(r.wrong) > 0 {
		return
	}
	if points > mostPoints {
		r.fail(at, "have %d points with all repeats, and the most is %d", points, mostPoints)
	}
	if seconds > mostSeconds {
		r.fail(at, "take %.1f hours with all repeats, and the most is %d", seconds/3600, mostSeconds/3600)
	}
}

func (r *reader) experiment(at field, inherited map[string]field, repeats int, names *[]string) appliance.BenchExperiment {
	o := r.object(at, experimentFields())
	e := appliance.BenchExperiment{
		Name: r.word(o.member("name")), Title: r.title(o.member("title")), Measure: r.measure(o.member("measure")), Repeats: r.repeats(o.member("repeats"), repeats),
	}
	r.once(names, e.Name, o.member("name"))
	given := r.over(inherited, o)
	var variants []string
	for _, at := range r.list(o.member("variants"), mostVariants) {
		own := r.object(at, variantFields())
		v := r.variant(r.over(given, own), at)
		v.Name = r.label(own.member("name"))
		r.once(&variants, v.Name, own.member("name"))
		r.measurable(e.Measure, v, at)
		e.Variants = append(e.Variants, v)
	}
	return e
}

// once refuses a name that is there already.
func (r *reader) once(names *[]string, name string, at field) {
	if name != "" && slices.Contains(*names, name) {
		r.fail(at, "is there twice: %q", name)
	}
	*names = append(*names, name)
}

// measurable refuses a variant that has no figure of the measure.
func (r *reader) measurable(measure string, v appliance.BenchVariant, at field) {
	switch {
	case measure == "outage" && v.Event == "":
		r.fail(at, "has no event, and the measure is outage")
	case measure == "outage" && v.Load.ReadPercent == 100, measure == "commit" && v.Load.ReadPercent == 100:
		r.fail(at, "has no writes, since read_percent is 100, and the measure is %s", measure)
	case measure == "lag" && v.Standbys == 0:
		r.fail(at, "has no standby, and the measure is lag")
	case measure == "redirects" && v.Load.ReadPercent == 0:
		r.fail(at, "has no reads, since read_percent is 0, and the measure is redirects")
	}
}

func (r *reader) repeats(at field, usual int) int {
	if !at.given() {
		return usual
	}
	n, ok := whole(at.node)
	if !ok || n < leastRepeats || n > mostRepeats {
		r.fail(at, "has to be a whole number from %d to %d, not %s", leastRepeats, mostRepeats, shown(at.node))
		return usual
	}
	return int(n) // #nosec G115 -- bounded
}

func (r *reader) measure(at field) string {
	s := r.text(at)
	if s != "" && !slices.Contains(measures(), s) {
		r.fail(at, "has to be %s, not %s", choice(measures()), shown(at.node))
	}
	return s
}

// word is the name of a suite or an experiment.
func (r *reader) word(at field) string {
	s := r.text(at)
	if s != "" && !regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`).MatchString(s) {
		r.fail(at, "has to be a word of at most 40 small letters, digits and hyphens that begins with a letter, not %s", shown(at.node))
	}
	return s
}

// label is the name of a variant. It begins as no formula of a spreadsheet does.
func (r *reader) label(at field) string {
	s := r.text(at)
	if s != "" && !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9 %.,_-]{0,38}[A-Za-z0-9%])?$`).MatchString(s) {
		r.fail(at, "has to be at most 40 letters, digits, spaces and %%.,_- that begin and end with a letter or a digit, not %s", shown(at.node))
	}
	return s
}

// title is a line of text that begins with a letter or a digit.
func (r *reader) title(at field) string {
	const most = 120
	s := r.text(at)
	first, _ := utf8.DecodeRuneInString(s)
	odd := func(c rune) bool { return !unicode.IsPrint(c) }
	if s != "" && (utf8.RuneCountInString(s) > most || slices.ContainsFunc([]rune(s), odd) || !unicode.IsLetter(first) && !unicode.IsDigit(first)) {
		r.fail(at, "has to be a line of at most %d characters that begins with a letter or a digit, not %s", most, shown(at.node))
	}
	return s
}

// text is a field that has to be given; empty after a failure.
func (r *reader) text(at field) string {
	s, ok := at.node.(*ast.StringNode)
	if !ok || s.Value == "" {
		r.fail(at, "has to be text, not %s", shown(at.node))
		return ""
	}
	return s.Value
}
