package op_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/op"
	"pgapp/store/storetest"
)

func TestStartRunsStepsInOrderAndJournalsThem(t *testing.T) {
	t.Parallel()
	w, st := newWorld(), open(t)
	b := newBench(t, st, []appliance.Step{
		w.step(t, "a"), w.step(t, "b", "a"), w.step(t, "c", "a"), w.step(t, "d", "b", "c"),
	}, nil)
	b.begin(t, "op1", "main")
	o := b.wait(t, "op1")
	wantState(t, o, appliance.OpSucceeded)
	if w.order[0] != "a" || w.order[3] != "d" || len(w.order) != 4 {
		t.Errorf("steps ran in the order %v, want a first and d last of four", w.order)
	}
	stored, err := st.Operation(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stored.Steps {
		if s.State != appliance.StepDone || s.AlreadyDone || s.StartedAt == nil || s.EndedAt == nil || s.Title == "" {
			t.Errorf("journal of %s: %+v", s.ID, s)
		}
	}
	if _, err := st.Running(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("the cluster still has a running operation: %v", err)
	}
	if len(b.ended) != 1 || b.ended[0].State != appliance.OpSucceeded {
		t.Errorf("End was told %+v", b.ended)
	}
}

func TestStartRunsIndependentStepsConcurrently(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	both.Add(2)
	meet := func(ctx context.Context, _ appliance.Report) error {
		both.Done()
		met := make(chan struct{})
		go func() { both.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := newBench(t, open(t), []appliance.Step{{ID: "left", Do: meet}, {ID: "right", Do: meet}}, nil)
	b.begin(t, "op1", "main")
	wantState(t, b.wait(t, "op1"), appliance.OpSucceeded)
}

func TestStartSkipsDoOfDoneSteps(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.do("a")
	always := appliance.Step{ID: "always", After: []string{"a"}, Do: func(context.Context, appliance.Report) error {
		w.do("always")
		return nil
	}}
	b := newBench(t, open(t), []appliance.Step{w.step(t, "a"), always, w.step(t, "b", "always")}, nil)
	b.begin(t, "op1", "main")
	o := b.wait(t, "op1")
	wantState(t, o, appliance.OpSucceeded)
	if w.does["a"] != 1 || w.does["always"] != 1 || w.does["b"] != 1 {
		t.Errorf("Do calls per step: %v, want one each", w.does)
	}
	if !o.Steps[0].AlreadyDone || o.Steps[1].AlreadyDone {
		t.Errorf("steps %+v", o.Steps)
	}
}

func TestStartReportsAllFailures(t *testing.T) {
	t.Parallel()
	w := newWorld()
	fail := func(id string, err error, after ...string) appliance.Step {
		return appliance.Step{ID: id, After: after, Do: func(context.Context, appliance.Report) error { return err }}
	}
	b := newBench(t, open(t), []appliance.Step{
		w.step(t, "a"),
		fail("clone/1", appliance.NewProblem(appliance.ErrClone, "the first clone broke").WithHint("mend it"), "a"),
		fail("clone/2", errors.New("the second clone broke"), "a"),
		w.step(t, "clone/3", "a"),
		w.step(t, "start/1", "clone/1"), w.step(t, "start/3", "clone/3"),
		w.step(t, "all", "start/1", "start/3"),
		{ID: "look", After: []string{"a"}, Done: func(context.Context) (bool, error) { return false, errors.New("can't look") }},
	}, nil)
	b.begin(t, "op1", "main")
	o := b.wait(t, "op1")
	wantState(t, o, appliance.OpFailed)
	got, want := stepStates(o), map[string]appliance.StepState{
		"a": appliance.StepDone, "clone/1": appliance.StepFailed, "clone/2": appliance.StepFailed, "clone/3": appliance.StepDone,
		"start/1": appliance.StepSkipped, "start/3": appliance.StepDone, "all": appliance.StepSkipped, "look": appliance.StepFailed,
	}
	if !maps.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	text := o.Error.Message + "\n" + o.Error.Detail
	for _, part := range []string{"the first clone broke", "the second clone broke", "can't look"} {
		if !strings.Contains(text, part) {
			t.Errorf("the error hides %q: %s", part, text)
		}
	}
	if o.Error.Operation != "op1" || o.Error.ID == "" {
		t.Errorf("error %+v", o.Error)
	}
}

func TestWatchSendsProgress(t *testing.T) {
	t.Parallel()
	seen := make(chan struct{})
	next := sync.OnceFunc(func() { close(seen) })
	b := newBench(t, open(t), []appliance.Step{{ID: "copy", Do: func(ctx context.Context, report appliance.Report) error {
		report(appliance.Progress{BytesDone: 3, BytesTotal: 9})
		select {
		case <-seen:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}}, nil)
	b.begin(t, "op1", "main")
	ch, err := b.Watch(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	for o := range ch {
		if len(o.Steps) > 0 && o.Steps[0].Progress.BytesDone == 3 {
			next()
		}
	}
	o, err := b.Operation(t.Context(), "op1")
	if err != nil || o.Steps[0].Progress.BytesTotal != 9 {
		t.Errorf("journal %+v, %v", o.Steps, err)
	}
	// Watch of an ended operation sends one snapshot; Watch of an unknown operation fails.
	if late := b.wait(t, "op1"); late.State != appliance.OpSucceeded {
		t.Errorf("late watcher got %+v", late)
	}
	if _, err := b.Watch(t.Context(), "op2"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("watching an unknown operation: %v", err)
	}
}

// hanging returns a step that closes begun and then runs until its context ends.
func hanging(begun chan<- struct{}) appliance.Step {
	return appliance.Step{ID: "hang", Do: func(ctx context.Context, _ appliance.Report) error {
		close(begun)
		<-ctx.Done()
		return fmt.Errorf("hanging: %w", ctx.Err())
	}}
}

func TestCancelStopsLiveOperation(t *testing.T) {
	t.Parallel()
	w, begun := newWorld(), make(chan struct{})
	b := newBench(t, open(t), []appliance.Step{hanging(begun), w.step(t, "never", "hang")}, nil)
	b.begin(t, "op1", "main")
	<-begun
	o, err := b.Cancel(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, o, appliance.OpCancelled)
	if o.Error == nil || o.Error.ID != appliance.ErrCancelled || o.Error.Hint == "" {
		t.Errorf("error %+v", o.Error)
	}
	if b.Alive("op1") || len(w.things()) > 0 {
		t.Errorf("alive %v, world %v", b.Alive("op1"), w.things())
	}
	again, err := b.Cancel(t.Context(), "op1")
	if err != nil || again.State != appliance.OpCancelled {
		t.Errorf("cancelling again: %+v, %v", again, err)
	}
	if _, err := b.Cancel(t.Context(), "op2"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("cancelling an unknown operation: %v", err)
	}
}

func TestStartRefusesSecondOperationUnlessSuperseding(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	st := open(t)
	first := newBench(t, st, []appliance.Step{hanging(begun)}, func(c *op.Config) {
		hang := c.Plan
		c.Plan = func(ctx context.Context, o appliance.Operation) ([]appliance.Step, error) {
			if o.ID == "op1" {
				return hang(ctx, o)
			}
			return nil, nil
		}
	})
	first.begin(t, "op1", "main")
	<-begun
	second := storetest.NewOperation("op2", "main")
	second.Steps = nil
	err := first.Start(t.Context(), appliance.Beginning{Operation: second})
	if !appliance.IsProblem(err, appliance.ErrOperationRunning) || appliance.AsProblem(err).Operation != "op1" {
		t.Fatalf("starting a second operation on the cluster: %v", err)
	}
	if err := first.Start(t.Context(), appliance.Beginning{Operation: second, Supersede: "op1"}); err != nil {
		t.Fatal(err)
	}
	wantState(t, first.wait(t, "op2"), appliance.OpSucceeded)
	o, err := st.Operation(t.Context(), "op1")
	if err != nil || !o.State.Final() || o.State == appliance.OpSucceeded {
		t.Errorf("the superseded operation is %s, %v", o.State, err)
	}
}

func TestCloseLeavesOperationRunningInJournal(t *testing.T) {
	t.Parallel()
	w, st, begun := newWorld(), open(t), make(chan struct{})
	b := newBench(t, st, []appliance.Step{w.step(t, "a"), {ID: "hang", After: []string{"a"}, Do: hanging(begun).Do}}, nil)
	b.begin(t, "op1", "main")
	<-begun
	ch, err := b.Watch(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	for range ch { // the channel closes although the operation has not ended
	}
	o, err := st.Operation(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, o, appliance.OpRunning)
	if len(b.ended) > 0 {
		t.Errorf("End was told %+v", b.ended)
	}
	next := newBench(t, st, []appliance.Step{w.step(t, "a"), w.step(t, "hang", "a")}, nil)
	for range 2 { // a second Resume does nothing
		if err := next.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantState(t, next.wait(t, "op1"), appliance.OpSucceeded)
	if w.does["a"] != 1 {
		t.Errorf("Do calls per step: %v, want one of a", w.does)
	}
}

func TestResumeAsksDoneForJournaledSteps(t *testing.T) {
	t.Parallel()
	w, st, begun := newWorld(), open(t), make(chan struct{})
	b := newBench(t, st, []appliance.Step{w.step(t, "a"), {ID: "hang", After: []string{"a"}, Do: hanging(begun).Do}}, nil)
	b.begin(t, "op1", "main")
	<-begun
	b.Close()
	delete(w.done, "a") // as a reboot undoes a step that the journal calls done
	next := newBench(t, st, []appliance.Step{w.step(t, "a"), w.step(t, "hang", "a")}, nil)
	if err := next.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, next.wait(t, "op1"), appliance.OpSucceeded)
	if w.does["a"] != 2 {
		t.Errorf("Do calls per step: %v, want two of a", w.does)
	}
}

func TestCancelEndsJournaledOperation(t *testing.T) {
	t.Parallel()
	st := open(t)
	o := storetest.NewOperation("op1", "main")
	if err := st.Begin(t.Context(), appliance.Beginning{Operation: o, Create: storetest.NewCluster("main")}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, st, nil, nil)
	got, err := b.Cancel(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, got, appliance.OpCancelled)
	if _, err := st.Running(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("the cluster still has a running operation: %v", err)
	}
}

func TestStartRefusesInvalidGraphs(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string][]appliance.Step{
		"waits for itself":          {{ID: "a", After: []string{"a"}}},
		"waits for a later step":    {{ID: "a", After: []string{"b"}}, {ID: "b"}},
		"waits for an unknown step": {{ID: "a", After: []string{"x"}}},
		"duplicate id":              {{ID: "a", Do: func(context.Context, appliance.Report) error { return nil }}, {ID: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, open(t), plan, nil)
			b.begin(t, "op1", "main")
			wantState(t, b.wait(t, "op1"), appliance.OpFailed)
		})
	}
}

func TestStartFailsOperationOnPlanError(t *testing.T) {
	t.Parallel()
	b := newBench(t, open(t), nil, func(c *op.Config) {
		c.Plan = func(context.Context, appliance.Operation) ([]appliance.Step, error) {
			return nil, appliance.NewProblem(appliance.ErrConflict, "no plan")
		}
	})
	b.begin(t, "op1", "main")
	o := b.wait(t, "op1")
	wantState(t, o, appliance.OpFailed)
	if o.Error.ID != appliance.ErrConflict {
		t.Errorf("error %+v", o.Error)
	}
}

func TestOperationsFiltersByCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t, open(t), nil, nil)
	for i, cluster := range []string{"main", "shop"} {
		b.begin(t, fmt.Sprintf("op%d", i), cluster)
		b.wait(t, fmt.Sprintf("op%d", i))
	}
	all, err := b.Operations(t.Context(), "")
	if err != nil || len(all) != 2 {
		t.Fatalf("operations of all clusters: %v, %v", all, err)
	}
	one, err := b.Operations(t.Context(), "shop")
	if err != nil || len(one) != 1 || !slices.ContainsFunc(one, func(o appliance.Operation) bool { return o.ID == "op1" }) {
		t.Errorf("operations of shop: %v, %v", one, err)
	}
}
