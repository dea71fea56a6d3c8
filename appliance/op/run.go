package op

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// run is one operation while it runs in this process.
type run struct {
	cfg    Config
	cancel context.CancelCauseFunc
	ended  chan struct{}
	// stopped is closed when the steps have ended; a superseded operation then waits
	// for the id of the other in superseded, which is empty if it did not begin.
	stopped    chan struct{}
	superseded chan string
	saves      wait.Group[struct{}, struct{}]

	mu      sync.Mutex
	op      appliance.Operation
	changed chan struct{}
	cancels cancels
}

func newRun(cfg Config, o appliance.Operation, cancel context.CancelCauseFunc) *run {
	return &run{
		cfg: cfg, cancel: cancel, op: o, ended: make(chan struct{}), changed: make(chan struct{}),
		stopped: make(chan struct{}), superseded: make(chan string, 1),
	}
}

// save returns once all changes made before the call are in the journal. Steps
// that end at the same time share one write.
func (l *run) save(ctx context.Context) error {
	_, err := l.saves.Do(context.WithoutCancel(ctx), "", struct{}{}, func(ctx context.Context, _ []struct{}) (struct{}, error) {
		o, _ := l.snapshot()
		return struct{}{}, l.cfg.Store.SaveOperation(ctx, o, false)
	})
	return err
}

// snapshot returns a copy of the operation and a channel that closes at the
// next change.
func (l *run) snapshot() (appliance.Operation, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.op
	o.Steps = append([]appliance.StepRecord(nil), l.op.Steps...)
	return o, l.changed
}

func (l *run) update(change func(*appliance.Operation)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.op)
	l.op.Revision++
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *run) close() { close(l.ended) }

func (l *run) follow(ctx context.Context, out chan<- appliance.Operation) {
	defer close(out)
	for {
		o, changed := l.snapshot()
		select {
		case out <- o:
		case <-ctx.Done():
			return
		}
		if o.State.Final() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-l.ended:
			// The operation may have changed between the snapshot and the end.
			if last, _ := l.snapshot(); last.Revision != o.Revision {
				select {
				case out <- last:
				case <-ctx.Done():
				}
			}
			return
		}
	}
}

// execute runs the operation until the operation ends, or until a shutdown, a
// failed save or an injected crash stops it.
func (l *run) execute(ctx context.Context) {
	err := l.steps(ctx)
	cause := context.Cause(ctx)
	var lost *saveError
	switch {
	case errors.Is(cause, errShutdown) || errors.Is(cause, errSuperseded) || errors.Is(err, errCrash):
		return
	case errors.As(err, &lost):
		l.cfg.Log.Error("operation stopped: its journal can't be written", "op", l.op.ID, "error", err)
		l.show(appliance.OpFailed, err)
		return
	case appliance.IsProblem(err, appliance.ErrCancelled):
		l.end(ctx, appliance.OpCancelled, err)
	case errors.Is(cause, errCancelled):
		l.end(ctx, appliance.OpCancelled, cancelledProblem(l.op))
	case err != nil:
		l.end(ctx, appliance.OpFailed, err)
	default:
		l.end(ctx, appliance.OpSucceeded, nil)
	}
}

// show sets the outcome that watchers see, and journals nothing.
func (l *run) show(state appliance.OperationState, err error) {
	l.update(func(o *appliance.Operation) { *o = concluded(*o, state, err) })
}

// concluded returns the operation with its outcome and the time of its end.
func concluded(o appliance.Operation, state appliance.OperationState, err error) appliance.Operation {
	now := time.Now().UTC()
	o.State, o.EndedAt = state, &now
	if err != nil {
		o.Error = appliance.AsProblem(err).WithOperation(o.ID)
	}
	return o
}

// end journals the outcome, then shows it to watchers.
func (l *run) end(ctx context.Context, state appliance.OperationState, err error) {
	ctx = context.WithoutCancel(ctx)
	final, _ := l.snapshot()
	final = concluded(final, state, err)
	remove, endErr := l.cfg.End(ctx, final)
	if endErr == nil {
		endErr = l.crash("end")
	}
	if endErr == nil {
		endErr = l.cfg.Store.SaveOperation(ctx, final, remove)
	}
	if errors.Is(endErr, errCrash) {
		return
	}
	if endErr != nil {
		l.cfg.Log.Error("operation's end can't be journaled", "op", final.ID, "error", endErr)
		l.show(appliance.OpFailed, fmt.Errorf("journaling the end: %w", endErr))
		return
	}
	l.update(func(o *appliance.Operation) {
		revision := o.Revision
		*o = final
		o.Revision = revision
	})
}

// steps plans the operation and runs the planned steps.
func (l *run) steps(ctx context.Context) error {
	if err := l.decide(ctx); err != nil {
		return err
	}
	o, _ := l.snapshot()
	plan, err := l.cfg.Plan(ctx, o)
	if err != nil {
		return err
	}
	if err := checkGraph(plan); err != nil {
		return err
	}
	l.update(func(o *appliance.Operation) { o.Steps = mergeRecords(o.Steps, plan) })
	done := make(map[string]chan struct{}, len(plan))
	for _, s := range plan {
		done[s.ID] = make(chan struct{})
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed = map[string]bool{}
		errs   []error
	)
	for _, s := range plan {
		wg.Go(func() {
			defer close(done[s.ID])
			blocked := false
			for _, dep := range s.After {
				<-done[dep]
				mu.Lock()
				blocked = blocked || failed[dep]
				mu.Unlock()
			}
			err := l.maybe(ctx, s, blocked)
			if err != nil || blocked {
				mu.Lock()
				failed[s.ID] = true
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return joinErrors(errs)
}

// decide makes and journals the decision of an operation that has none.
func (l *run) decide(ctx context.Context) error {
	o, _ := l.snapshot()
	if o.Decision != nil || l.cfg.Decide == nil {
		return nil
	}
	d, err := l.cfg.Decide(ctx, o)
	if err != nil {
		return err
	}
	l.update(func(o *appliance.Operation) { o.Decision = &d })
	if err := l.save(ctx); err != nil {
		return &saveError{err}
	}
	return nil
}

// maybe runs the step, or marks the step as skipped if a step that it needs failed.
func (l *run) maybe(ctx context.Context, s appliance.Step, blocked bool) error {
	if blocked {
		l.step(s.ID, func(r *appliance.StepRecord) { r.State = appliance.StepSkipped })
		return nil
	}
	return l.runStep(ctx, s)
}

func (l *run) runStep(ctx context.Context, s appliance.Step) error {
	start := time.Now()
	if err := l.crash("before " + s.ID); err != nil {
		return err
	}
	l.step(s.ID, func(r *appliance.StepRecord) {
		now := start.UTC()
		*r = appliance.StepRecord{ID: s.ID, Title: s.Title, Member: s.Member, Kind: s.Kind, State: appliance.StepRunning, StartedAt: &now}
	})
	asked, over := l.cancels.enter(s)
	already, err := l.attempt(appliance.WithCancelled(ctx, asked), s)
	over()
	if errors.Is(err, errCrash) {
		return err
	}
	if err != nil && ctx.Err() != nil {
		l.step(s.ID, func(r *appliance.StepRecord) { r.State = appliance.StepPending })
		return err
	}
	end := time.Now().UTC()
	l.step(s.ID, func(r *appliance.StepRecord) {
		r.EndedAt, r.Seconds, r.AlreadyDone = &end, time.Since(start).Seconds(), already
		r.State, r.Error = appliance.StepDone, nil
		if err != nil {
			r.State, r.Error = appliance.StepFailed, appliance.AsProblem(err)
		}
	})
	if saveErr := l.save(ctx); saveErr != nil {
		l.cancel(saveErr)
		return &saveError{saveErr}
	}
	if err == nil {
		err = l.crash("saved " + s.ID)
	}
	return err
}

// attempt calls Done, and calls Do unless the step is done.
func (l *run) attempt(ctx context.Context, s appliance.Step) (already bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if s.Done != nil {
		ok, err := s.Done(ctx)
		if err != nil || ok {
			return ok, err
		}
	}
	if err := s.Do(ctx, func(p appliance.Progress) { l.report(s.ID, p) }); err != nil {
		return false, err
	}
	return false, l.crash("did " + s.ID)
}

func (l *run) step(id string, change func(*appliance.StepRecord)) {
	l.update(func(o *appliance.Operation) {
		for i := range o.Steps {
			if o.Steps[i].ID == id {
				change(&o.Steps[i])
			}
		}
	})
}

// errCrash marks an injected crash.
var errCrash = errors.New("injected crash")

func (l *run) crash(point string) error {
	if l.cfg.Crash == nil {
		return nil
	}
	if err := l.cfg.Crash(point); err != nil {
		l.cancel(errShutdown) // no further step of this operation may run
		return errors.Join(errCrash, err)
	}
	return nil
}

// saveError reports that the journal could not be written.
type saveError struct{ err error }

func (e *saveError) Error() string { return "journaling the step: " + e.err.Error() }
func (e *saveError) Unwrap() error { return e.err }

// joinErrors returns the first error, with the others as its detail. Context
// cancellations are left out unless every error is one. An injected crash or a
// failed save is returned alone.
func joinErrors(errs []error) error {
	var first error
	var more []string
	for _, err := range errs {
		var lost *saveError
		switch {
		case errors.Is(err, errCrash) || errors.As(err, &lost):
			return err
		case first == nil || errors.Is(first, context.Canceled) && !errors.Is(err, context.Canceled):
			first = err
		case !errors.Is(err, context.Canceled):
			more = append(more, err.Error())
		}
	}
	if first == nil || len(more) == 0 {
		return first
	}
	p := appliance.AsProblem(first)
	return p.WithDetail(p.Detail + "\n" + strings.Join(more, "\n"))
}

// mergeRecords keeps an earlier run's records of the plan's done steps. All other
// steps are pending, also those that the earlier run began.
func mergeRecords(old []appliance.StepRecord, plan []appliance.Step) []appliance.StepRecord {
	byID := make(map[string]appliance.StepRecord, len(old))
	for _, r := range old {
		byID[r.ID] = r
	}
	out := make([]appliance.StepRecord, 0, len(plan))
	for _, s := range plan {
		r := byID[s.ID]
		if r.State != appliance.StepDone {
			r = appliance.StepRecord{State: appliance.StepPending}
		}
		r.ID, r.Title, r.Member, r.Kind = s.ID, s.Title, s.Member, s.Kind
		out = append(out, r)
	}
	return out
}

// checkGraph refuses a plan that could never end: one with duplicate ids, or with
// a step that waits for itself, for a later step, or for a step not in the plan.
func checkGraph(plan []appliance.Step) error {
	seen := make(map[string]bool, len(plan))
	for _, s := range plan {
		for _, dep := range s.After {
			if !seen[dep] {
				return fmt.Errorf("planning: step %q waits for %q, which does not come before it", s.ID, dep)
			}
		}
		if seen[s.ID] {
			return fmt.Errorf("planning: two steps %q", s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}
