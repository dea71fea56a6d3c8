// Package doctor asks what a host needs for a cluster, sums up the findings,
// and mends what can be mended safely. The checks themselves are the
// providers': each knows what it stands on.
package doctor

import (
	"context"
	"fmt"

	"pgapp/appliance"
)

// Checker is what brings findings: a provider.
type Checker interface {
	// Doctor checks what the spec needs of this host.
	Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding
}

// Run collects the findings of all checkers, in their order, leaving out what
// an earlier one has said in the same words.
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

// Fix applies every finding's remedy that is safe, and tells which were
// applied. It goes on after one that fails; the failures become findings of
// their own.
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
