package report

import "pgapp/appliance"

// Summary is what an experiment has shown, in a few lines.
type Summary struct {
	Experiment string `json:"experiment"`
	Question   string `json:"question"`
	// Figure is what the variants are compared by, with its unit.
	Figure   string    `json:"figure"`
	Variants []Variant `json:"variants"`
	// Conclusion follows from the figures by rule.
	Conclusion string `json:"conclusion"`
}

// Variant is a variant's figure over its rounds.
type Variant struct {
	Name string `json:"name"`
	Spread
}

// Middle is the median, a dash where nothing was measured.
func (s Spread) Middle() string {
	if s.Rounds == 0 {
		return "–"
	}
	return number(s.Median)
}

// Range is the least and the most of the rounds.
func (s Spread) Range() string {
	switch s.Rounds {
	case 0:
		return "–"
	case 1:
		return "one round"
	}
	return number(s.Min) + " to " + number(s.Max)
}

// Summaries sums up each experiment of a bench, with the figures and the sentences of its
// report.
func Summaries(b appliance.Bench) []Summary {
	var out []Summary
	for _, e := range b.Experiments {
		m := measureOf(e)
		s := Summary{Experiment: e.Name, Question: e.Title, Figure: axisLabel(m), Conclusion: conclusion(b, e)}
		for _, v := range measuredOf(b, e, m) {
			s.Variants = append(s.Variants, Variant{v.Name, Spread(v.spread)})
		}
		out = append(out, s)
	}
	return out
}
