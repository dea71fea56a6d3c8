package plan

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func (w work) verify(ctx context.Context, report appliance.Report) error {
	f, err := w.facts(ctx)
	if err != nil {
		return err
	}
	if w.template == nil && !delayed(f.cluster) { // only then may loaded data still be unreplayed
		w.waitReplayed(ctx)
	}
	v := w.cfg.Observer.Verify(ctx, f.cluster, w.provider, f.secrets)
	// All standbys stream, so a member that doesn't answer is busy, as an emulated
	// guest is after its start. Verify again.
	for start := time.Now(); silent(v) && time.Since(start) < replayTimeout && ctx.Err() == nil; {
		v = w.cfg.Observer.Verify(ctx, f.cluster, w.provider, f.secrets)
	}
	var bad, skipped []string
	for _, c := range v.Checks {
		if !c.OK {
			bad = append(bad, fmt.Sprintf("%s on %s: %s", c.Name, c.Member, c.Detail))
		}
		if c.Skipped {
			skipped = append(skipped, fmt.Sprintf("%s on %s: %s", c.Name, c.Member, c.Detail))
		}
	}
	if !v.OK && len(bad) == 0 {
		return appliance.NewProblem(appliance.ErrVerifyFailed, "%d of %d checks are not proven", len(skipped), len(v.Checks)).
			WithDetail(strings.Join(skipped, "\n")).WithHint("pgapp verify looks again")
	}
	if !v.OK {
		return appliance.NewProblem(appliance.ErrVerifyFailed, "%d of %d checks failed", len(bad), len(v.Checks)).
			WithDetail(strings.Join(bad, "\n")).WithHint("pgapp verify looks again")
	}
	detail := fmt.Sprintf("%d checks passed", len(v.Checks)-len(skipped))
	if len(skipped) > 0 {
		detail += fmt.Sprintf(", %d skipped, since the standbys' replay is delayed", len(skipped))
	}
	report(appliance.Progress{Detail: detail})
	return nil
}

// silent tells whether verification failed only because members did not answer in
// time, or because a check did not finish. Each verification waits for the answers.
func silent(v appliance.VerifyReport) bool {
	found := false
	for _, c := range v.Checks {
		if !c.OK && !strings.HasSuffix(c.Detail, postgres.ErrNoAnswer.Error()) {
			return false
		}
		found = found || !c.OK || c.Skipped && !v.OK
	}
	return found
}
