package op_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/op"
)

// graph returns a plan shaped like a cluster's: a root, three branches, a join.
func graph(t *testing.T, w *world) []appliance.Step {
	plan := []appliance.Step{w.step(t, "facts")}
	var ends []string
	for i := range 3 {
		n := fmt.Sprintf("node%d", i)
		plan = append(plan, w.step(t, "clone/"+n, "facts"), w.step(t, "start/"+n, "clone/"+n))
		ends = append(ends, "start/"+n)
	}
	plan = append(plan, w.step(t, "streaming", ends...))
	// A step without Done runs on every resume.
	return append(plan, appliance.Step{ID: "verify", After: []string{"streaming"}, Do: func(context.Context, appliance.Report) error {
		w.do("verify")
		return nil
	}})
}

// points lists the boundaries of a run without a crash.
func points(t *testing.T) []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	b := newBench(t, open(t), graph(t, newWorld()), func(c *op.Config) {
		c.Crash = func(point string) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, point)
			return nil
		}
	})
	b.begin(t, "op", "main")
	wantState(t, b.wait(t, "op"), appliance.OpSucceeded)
	slices.Sort(all)
	return all
}

func TestResumeCompletesAfterCrashAtEachBoundary(t *testing.T) {
	t.Parallel()
	all := points(t)
	want := newWorld()
	for _, s := range graph(t, want) {
		want.do(s.ID)
	}
	const boundariesOfAStep = 3 // before, did, saved
	if len(all) != len(want.things())*boundariesOfAStep+1 {
		t.Errorf("got %d boundaries: %v", len(all), all)
	}
	t.Logf("%d boundaries", len(all))
	for _, point := range all {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w, st := newWorld(), open(t)
			crashed := errors.New("here")
			b := newBench(t, st, graph(t, w), func(c *op.Config) {
				c.Crash = func(p string) error {
					if p == point {
						return crashed
					}
					return nil
				}
			})
			b.begin(t, "op1", "main")
			b.wait(t, "op1")
			b.Close()
			o, err := st.Operation(t.Context(), "op1")
			if err != nil {
				t.Fatal(err)
			}
			wantState(t, o, appliance.OpRunning)
			next := newBench(t, st, graph(t, w), nil)
			if err := next.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantState(t, next.wait(t, "op1"), appliance.OpSucceeded)
			if !slices.Equal(w.things(), want.things()) {
				t.Errorf("things made: %v, want %v", w.things(), want.things())
			}
			for id, n := range w.does {
				if n != 1 && id != "verify" {
					t.Errorf("Do of %s ran %d times, want once", id, n)
				}
			}
		})
	}
}

// broken is a journal whose SaveOperation blocks until watched closes, and
// fails after the given number of saves.
type broken struct {
	appliance.Journal
	watched chan struct{}
	mu      sync.Mutex
	after   int
}

var errDisk = errors.New("no space left")

func (s *broken) SaveOperation(ctx context.Context, o appliance.Operation, remove bool) error {
	<-s.watched
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after--; s.after < 0 {
		return errDisk
	}
	return s.Journal.SaveOperation(ctx, o, remove)
}

// TestRunStopsWhenSaveFails fails each save in turn: no later step
// may run, and Resume completes the operation.
func TestRunStopsWhenSaveFails(t *testing.T) {
	t.Parallel()
	for after := range 5 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			w, st := newWorld(), open(t)
			plan := func() []appliance.Step {
				return []appliance.Step{w.step(t, "a"), w.step(t, "b", "a"), w.step(t, "c", "b"), w.step(t, "d", "c")}
			}
			bad := &broken{Journal: st, watched: make(chan struct{}), after: after}
			b := newBench(t, st, plan(), func(c *op.Config) { c.Store = bad })
			b.begin(t, "op1", "main")
			o := b.watch(t, "op1", func() { close(bad.watched) })
			wantState(t, o, appliance.OpFailed)
			if o.Error == nil || !errors.Is(o.Error, errDisk) {
				t.Errorf("watchers see %v", o.Error)
			}
			if n := len(w.things()); n != min(after+1, 4) {
				t.Errorf("%d steps ran, want %d", n, min(after+1, 4))
			}
			stored, err := st.Operation(t.Context(), "op1")
			if err != nil {
				t.Fatal(err)
			}
			wantState(t, stored, appliance.OpRunning)
			next := newBench(t, st, plan(), nil)
			if err := next.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantState(t, next.wait(t, "op1"), appliance.OpSucceeded)
			if n := len(w.things()); n != 4 {
				t.Errorf("%d steps have run after Resume, want 4", n)
			}
		})
	}
}

// TestRunStaysRunningInJournalWhenEndFails also resumes the operation, with an
// End that succeeds and removes the cluster.
func TestRunStaysRunningInJournalWhenEndFails(t *testing.T) {
	t.Parallel()
	w, st := newWorld(), open(t)
	b := newBench(t, st, []appliance.Step{w.step(t, "a")}, func(c *op.Config) {
		c.End = func(context.Context, appliance.Operation) (bool, error) { return false, errDisk }
	})
	b.begin(t, "op1", "main")
	wantState(t, b.wait(t, "op1"), appliance.OpFailed)
	o, err := st.Operation(t.Context(), "op1")
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, o, appliance.OpRunning)
	next := newBench(t, st, []appliance.Step{w.step(t, "a")}, func(c *op.Config) {
		c.End = func(context.Context, appliance.Operation) (bool, error) { return true, nil }
	})
	if err := next.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, next.wait(t, "op1"), appliance.OpSucceeded)
	if _, err := st.Cluster(t.Context(), "main"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("the cluster's record is not removed: %v", err)
	}
	within(t, "the operation stops being live", func() bool { return !next.Alive("op1") })
}
