package op_test

import (
	"context"
	"slices"
	"testing"

	"pgapp/appliance"
)

// TestDiscardedIsJournaledWithItsStep has a later step look at the journal: what a
// member loses is there before anything of it is lost.
func TestDiscardedIsJournaledWithItsStep(t *testing.T) {
	t.Parallel()
	st := open(t)
	want := []appliance.Discarded{{Member: "node1", Bytes: 3, Commits: 1}, {Member: "node0", Bytes: 9, Commits: 2}}
	count := appliance.Step{ID: "count", Do: func(_ context.Context, report appliance.Report) error {
		for _, d := range []appliance.Discarded{{Member: "node0", Unknown: "earlier attempt"}, want[0], want[1]} {
			report(appliance.Progress{Detail: "counted", Discarded: &d})
		}
		return nil
	}}
	var before []appliance.Discarded
	act := appliance.Step{ID: "act", After: []string{"count"}, Do: func(ctx context.Context, _ appliance.Report) error {
		o, err := st.Operation(ctx, "op1")
		before = o.Discarded
		return err
	}}
	b := newBench(t, st, []appliance.Step{count, act}, nil)
	b.begin(t, "op1", "main")
	o := b.wait(t, "op1")
	wantState(t, o, appliance.OpSucceeded)
	if !slices.Equal(before, want) || !slices.Equal(o.Discarded, want) {
		t.Errorf("journaled before the next step: %+v, at the end: %+v, want %+v", before, o.Discarded, want)
	}
	if p := o.Steps[0].Progress; p.Detail != "counted" || p.Discarded != nil {
		t.Errorf("the step's progress is %+v", p)
	}
}
