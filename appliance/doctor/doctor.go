// Package doctor collects the providers' checks of a host and applies the safe
// remedies. Each provider implements its own checks.
package doctor

import (
	"context"
	"fmt"

	"pgapp/appliance"
)

// Checker returns findings; every provider is a Checker.
type Checker interface {
	// Doctor checks whether this host can run the spec.
	Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding
}

// Run returns the findings of all checkers in order. A finding with the ID and summary of an
// earlier one is left out.
func Run(ctx context.Context, s appliance.Spec, checkers ...Checker) []appliance.Finding {
	var out []appliance.Finding
	seen := map[string]bool{}
	for _, c := range checkers {
		for _, f := range c.Doctor(ctx, s) {
			key := f.ID + "\x00" + f.Summary
			if !seen[key] {
				seen[key] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// Fix applies the safe remedies of findings and returns the IDs of the findings
// fixed. After a failed remedy, Fix continues and returns the failure as a
// finding.
func Fix(ctx context.Context, findings []appliance.Finding) (applied []string, failed []appliance.Finding) {
	for _, f := range findings {
		if f.Apply == nil || f.Level == appliance.LevelPass || f.Level == appliance.LevelSkip {
			continue
		}
		if err := f.Apply(ctx); err != nil {
			failed = append(failed, appliance.Finding{
				ID: f.ID, Level: appliance.LevelFail, Summary: fmt.Sprintf("the fix failed: %v", err), Fix: f.Fix,
			})
			continue
		}
		applied = append(applied, f.ID)
	}
	return applied, failed
}
