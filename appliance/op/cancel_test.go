package op_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/op"
	"pgapp/store/storetest"
)

// returning is a step that finishes cancels: it waits for one, then for back, and
// returns the error.
func returning(begun chan<- struct{}, back <-chan struct{}, err error) appliance.Step {
	return appliance.Step{ID: "change", FinishesCancel: true, Do: func(ctx context.Context, report appliance.Report) error {
		close(begun)
		for tick := time.NewTicker(time.Millisecond); !appliance.Cancelled(ctx); {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		report(appliance.Progress{Detail: "going back"})
		select {
		case <-back:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

func TestCancelWaitsForTheStepThatFinishesIt(t *testing.T) {
	t.Parallel()
	w, begun, back := newWorld(), make(chan struct{}), make(chan struct{})
	way := appliance.NewProblem(appliance.ErrCancelled, "node0 is the primary again")
	b := newBench(t, open(t), []appliance.Step{returning(begun, back, way), w.step(t, "never", "change")}, nil)
	b.begin(t, "op1", "main")
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Cancel(short, "op1"); !errors.Is(err, context.DeadlineExceeded) || !b.Alive("op1") {
		t.Fatalf("the cancel did not wait for the way back: %v, alive %v", err, b.Alive("op1"))
	}
	close(back)
	o, err := b.Cancel(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, o, appliance.OpCancelled)
	if o.Error == nil || o.Error.Message != way.Message || len(w.things()) > 0 {
		t.Errorf("error %+v, world %v", o.Error, w.things())
	}
}

func TestCancelIsRefusedPastThePointOfNoReturn(t *testing.T) {
	t.Parallel()
	var past atomic.Bool
	w, begun, back := newWorld(), make(chan struct{}), make(chan struct{})
	conflict := appliance.NewProblem(appliance.ErrConflict, "the candidate is on record")
	after := w.step(t, "after")
	after.After = []string{"change"}
	// The step passes the point of no return when the cancel reaches it.
	step := returning(begun, back, nil)
	do := step.Do
	step.Do = func(ctx context.Context, report appliance.Report) error {
		return do(ctx, func(p appliance.Progress) {
			past.Store(true)
			report(p)
		})
	}
	b := newBench(t, open(t), []appliance.Step{step, after}, func(c *op.Config) {
		c.MayCancel = func(context.Context, appliance.Operation) error {
			if past.Load() {
				return conflict
			}
			return nil
		}
	})
	b.begin(t, "op1", "main")
	<-begun
	for range 2 { // first in the same moment, then afterwards
		if _, err := b.Cancel(t.Context(), "op1"); !appliance.IsProblem(err, appliance.ErrConflict) {
			t.Errorf("cancelling past the point of no return: %v", err)
		}
	}
	close(back)
	wantState(t, b.wait(t, "op1"), appliance.OpSucceeded)
	if !w.has("after") {
		t.Error("the refused cancel stopped the next step")
	}
}

func TestCancelOfAJournaledOperationIsRefusedToo(t *testing.T) {
	t.Parallel()
	st := open(t)
	if err := st.Begin(t.Context(), appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: storetest.NewCluster("main")}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, st, nil, func(c *op.Config) {
		c.MayCancel = func(context.Context, appliance.Operation) error {
			return appliance.NewProblem(appliance.ErrConflict, "no")
		}
	})
	if _, err := b.Cancel(t.Context(), "op1"); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("error %v", err)
	}
	if _, err := st.Running(t.Context(), "main"); err != nil {
		t.Error(err)
	}
}

func TestSupersededOperationNamesTheOther(t *testing.T) {
	t.Parallel()
	st, begun := open(t), make(chan struct{})
	b := newBench(t, st, nil, func(c *op.Config) {
		c.Plan = func(_ context.Context, o appliance.Operation) ([]appliance.Step, error) {
			if o.ID == "op1" {
				return []appliance.Step{returning(begun, nil, nil)}, nil
			}
			return nil, nil
		}
	})
	b.begin(t, "op1", "main")
	<-begun
	last := b.watch(t, "op1", func() {
		second := storetest.NewOperation("op2", "main")
		second.Steps = nil
		if err := b.Start(t.Context(), appliance.Beginning{Operation: second, Supersede: "op1"}); err != nil {
			t.Fatal(err)
		}
	})
	stored, err := st.Operation(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]appliance.Operation{"watched": last, "stored": stored} {
		if o.State != appliance.OpSuperseded || o.SupersededBy != "op2" || o.EndedAt == nil {
			t.Errorf("%s: %s by %q, ended %v", what, o.State, o.SupersededBy, o.EndedAt)
		}
	}
	wantState(t, b.wait(t, "op2"), appliance.OpSucceeded)
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.ended, func(o appliance.Operation) bool { return o.ID == "op1" }) {
		t.Errorf("End was told of the superseded operation: %+v", b.ended)
	}
}

func TestOperationGoesOnIfTheOtherDoesNotBegin(t *testing.T) {
	t.Parallel()
	st, w := open(t), newWorld()
	var runs atomic.Int32
	begun := make(chan struct{})
	step := w.step(t, "hang")
	do := step.Do
	step.Do = func(ctx context.Context, report appliance.Report) error {
		if runs.Add(1) == 1 {
			return hanging(begun).Do(ctx, report)
		}
		return do(ctx, report)
	}
	b := newBench(t, st, []appliance.Step{step}, nil)
	b.begin(t, "op1", "main")
	<-begun
	moved := appliance.NewProblem(appliance.ErrConflict, "the primary has moved")
	err := b.Start(t.Context(), appliance.Beginning{
		Operation: storetest.NewOperation("op2", "main"), Supersede: "op1", Record: func(*appliance.Cluster) error { return moved },
	})
	if !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("error %v", err)
	}
	within(t, "the first operation goes on", func() bool {
		o, err := st.Operation(t.Context(), "op1")
		return err == nil && o.State == appliance.OpSucceeded
	})
}
