package cli

import (
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// TestProgressReportsLongSteps wants, without a terminal, a line for what is new
// about a step that takes long, and none for what takes short.
func TestProgressReportsLongSteps(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := (&screen{}).newProgress()
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

// TestFailedStepSaysWhyAtOnce wants the reason while other steps run, and not
// twice where the operation's error follows.
func TestFailedStepSaysWhyAtOnce(t *testing.T) {
	t.Parallel()
	o := appliance.Operation{State: appliance.OpRunning, Steps: []appliance.StepRecord{
		{ID: "a", Title: "start PostgreSQL", Member: "node1", State: appliance.StepFailed, Error: appliance.NewProblem(appliance.ErrInternal, "no room\x1b")},
		{ID: "b", Title: "clone", State: appliance.StepRunning},
	}}
	for _, state := range []appliance.OperationState{appliance.OpRunning, appliance.OpFailed} {
		var b strings.Builder
		o.State = state
		p := (&screen{Streams: Streams{Err: &b}}).newProgress()
		p.show(o)
		p.show(o)
		if n := strings.Count(b.String(), "  no room?\n"); n > 1 || (n == 1) != (state == appliance.OpRunning) {
			t.Errorf("%s: it shows the reason %d times:\n%s", state, n, b.String())
		}
	}
}

// TestFitCountsColumns wants lines cut to columns, not to characters.
func TestFitCountsColumns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"clone node1", 39, "clone node1"},
		{"clone node1", 11, "clone node1"},
		{"clone node1", 10, "clone nod…"},
		{"データ", 6, "データ"},
		{"データ", 5, "デー…"},
		{"データ", 4, "デ…"},
		{"clone", 1, "…"},
		{"clone", 0, ""},
		{"clone", -1, ""},
		{"", 0, ""},
	} {
		if got := fit(c.line, c.columns); got != c.want {
			t.Errorf("fit(%q, %d) = %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}
