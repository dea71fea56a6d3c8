package cli

import (
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/bench/report"
)

// suiteTable shows each variant's figure, and the sentence of the report on each
// experiment.
func (a benchCommands) suiteTable(b appliance.Bench) error {
	all := report.Summaries(b)
	t := newTable("experiment", "variant", "figure", "rounds", "median", "spread")
	for _, e := range all {
		for _, v := range e.Variants {
			t.AppendRow([]any{clean(e.Experiment), clean(v.Name), e.Figure, v.Rounds, v.Middle(), v.Range()})
		}
	}
	if err := a.renderTable(t); err != nil {
		return err
	}
	for _, e := range all {
		if _, err := fmt.Fprintf(a.Out, "\n%s: %s\n  %s\n", clean(e.Experiment), clean(e.Question), clean(e.Conclusion)); err != nil {
			return err
		}
	}
	return nil
}
