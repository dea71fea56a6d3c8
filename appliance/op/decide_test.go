package op_test

import (
	"context"
	"errors"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/op"
)

// TestRunJournalsDecisionBeforeFirstStep runs an operation that has no decision, as
// an older program began it. Decide runs once, and the journal has the decision when
// the first step begins.
func TestRunJournalsDecisionBeforeFirstStep(t *testing.T) {
	t.Parallel()
	st := open(t)
	decided := 0
	look := appliance.Step{ID: "look", Do: func(ctx context.Context, _ appliance.Report) error {
		o, err := st.Operation(ctx, "op1")
		if err == nil && (o.Decision == nil || o.Decision.Parallel != 3) {
			err = errors.New("the journal has no decision")
		}
		return err
	}}
	decide := func(c *op.Config) {
		c.Decide = func(context.Context, appliance.Operation) (appliance.Decision, error) {
			decided++
			return appliance.Decision{Parallel: 3}, nil
		}
	}
	b := newBench(t, st, []appliance.Step{look, hanging(make(chan struct{}, 1))}, decide)
	b.begin(t, "op1", "main")
	within(t, "the first step is done", func() bool {
		o, err := b.Operation(t.Context(), "op1")
		return err == nil && stepStates(o)["look"] == appliance.StepDone
	})
	b.Close()
	b = newBench(t, st, []appliance.Step{look}, decide)
	if err := b.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, b.wait(t, "op1"), appliance.OpSucceeded)
	if decided != 1 {
		t.Errorf("Decide ran %d times, want once", decided)
	}
}
