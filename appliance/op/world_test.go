package op_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pgapp/appliance"
	"pgapp/appliance/op"
	"pgapp/store"
	"pgapp/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// world holds the things that steps make and observe. Like a real machine, world
// survives a crash of the runner.
type world struct {
	mu    sync.Mutex
	done  map[string]bool
	does  map[string]int // Do calls per step
	order []string       // steps in the order of their Do calls
}

func newWorld() *world { return &world{done: map[string]bool{}, does: map[string]int{}} }

func (w *world) has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done[id]
}

func (w *world) do(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[id] = true
	w.does[id]++
	w.order = append(w.order, id)
}

func (w *world) things() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.done))
}

// step returns a step that makes the thing named id, and reports an error if a
// thing named in after is missing.
func (w *world) step(t *testing.T, id string, after ...string) appliance.Step {
	return appliance.Step{
		ID: id, Title: "make " + id, After: after,
		Done: func(context.Context) (bool, error) { return w.has(id), nil },
		Do: func(context.Context, appliance.Report) error {
			for _, dep := range after {
				if !w.has(dep) {
					t.Errorf("%s ran before %s", id, dep)
				}
			}
			w.do(id)
			return nil
		},
	}
}

// bench is a runner on a real store.
type bench struct {
	*op.Runner
	store *store.Store
	ended []appliance.Operation // the arguments of End
	mu    sync.Mutex
}

// open opens a store, which outlives the runners of a test.
func open(t *testing.T) *store.Store {
	t.Helper()
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), dir, store.Options{Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(st.Close(), lock.Release()); err != nil {
			t.Error(err)
		}
	})
	return st
}

// newBench makes a runner that always has the same plan.
func newBench(t *testing.T, st *store.Store, plan []appliance.Step, change func(*op.Config)) *bench {
	t.Helper()
	b := &bench{store: st}
	cfg := op.Config{
		Store: st, Log: slog.New(slog.DiscardHandler),
		Plan: func(context.Context, appliance.Operation) ([]appliance.Step, error) { return plan, nil },
		End: func(_ context.Context, o appliance.Operation) (bool, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ended = append(b.ended, o)
			return false, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	b.Runner = op.New(t.Context(), cfg)
	t.Cleanup(b.Close)
	return b
}

// begin starts a new operation on a new cluster.
func (b *bench) begin(t *testing.T, id, cluster string) {
	t.Helper()
	o := storetest.NewOperation(id, cluster)
	o.Steps = nil
	if err := b.Start(t.Context(), appliance.Beginning{Operation: o, Create: storetest.NewCluster(cluster)}); err != nil {
		t.Fatal(err)
	}
}

// wait watches the operation until it is no longer live, and returns the last
// snapshot.
func (b *bench) wait(t *testing.T, id string) appliance.Operation {
	t.Helper()
	return b.watch(t, id, func() {})
}

// watch is like wait, and calls watching after the watch has begun.
func (b *bench) watch(t *testing.T, id string, watching func()) appliance.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ch, err := b.Watch(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	watching()
	var last appliance.Operation
	for o := range ch {
		if o.Revision < last.Revision {
			t.Errorf("revision %d came after %d", o.Revision, last.Revision)
		}
		last = o
	}
	if ctx.Err() != nil {
		t.Fatalf("operation %s did not end: %+v", id, last)
	}
	return last
}

func wantState(t *testing.T, o appliance.Operation, want appliance.OperationState) {
	t.Helper()
	if o.State != want {
		t.Errorf("operation %s is %s, want %s; error: %v", o.ID, o.State, want, o.Error)
	}
}

// stepStates returns the state of each step by id.
func stepStates(o appliance.Operation) map[string]appliance.StepState {
	out := map[string]appliance.StepState{}
	for _, s := range o.Steps {
		out[s.ID] = s.State
	}
	return out
}

// within waits until ok returns true, and fails the test after patience.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}
