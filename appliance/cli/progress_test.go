package cli

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestLongStepsAreHeardOf wants, without a terminal, a line for what is new
// about a step that takes long, and none for what takes short.
func TestLongStepsAreHeardOf(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := (&app{}).newProgress()
	tell := func(after time.Duration, detail string) string {
		var b strings.Builder
		p.tell(&b, appliance.Operation{Steps: []appliance.StepRecord{
			{ID: "golden", Title: "make the golden image", State: appliance.StepRunning, Progress: appliance.Progress{Detail: detail}},
			{ID: "later", Title: "later", State: appliance.StepPending},
		}}, begun.Add(after))
		return b.String()
	}
	for _, step := range []struct {
		after        time.Duration
		detail, want string
	}{
		{0, "", ""},
		{9 * time.Second, "booting", ""},
		{10 * time.Second, "booting", "· make the golden image                            10s  booting\n"},
		{40 * time.Second, "booting", ""},
		{41 * time.Second, "Unpacking\x1b[31m postgresql-17", "· make the golden image                            41s  Unpacking"},
		{45 * time.Second, "Setting up postgresql-17", ""},
		{51 * time.Second, "Setting up postgresql-17", "Setting up postgresql-17\n"},
	} {
		got := tell(step.after, step.detail)
		if step.want == "" && got != "" || !strings.Contains(got, step.want) || strings.Contains(got, "\x1b") {
			t.Errorf("after %s: got %q, want %q", step.after, got, step.want)
		}
	}
}
