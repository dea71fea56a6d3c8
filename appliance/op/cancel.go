package op

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
)

// Cancel stops the operation and returns it with its outcome. A step that finishes
// cancels itself is told, and goes on until it is done with that; all other steps are
// stopped where they are. An operation that has ended is returned unchanged. An
// operation that the journal calls running but that is not live is journaled as
// cancelled. Cancel returns the error of MayCancel if the operation can't go back any
// more. A repeat is safe.
func (r *Runner) Cancel(ctx context.Context, id string) (appliance.Operation, error) {
	if err := r.cancelLive(ctx, id); err != nil {
		return appliance.Operation{}, err
	}
	o, err := r.cfg.Store.Operation(ctx, id)
	if err != nil || o.State.Final() {
		return o, err
	}
	if err := r.mayCancel(ctx, o); err != nil {
		return o, err
	}
	return r.endCancelled(ctx, o)
}

// endCancelled journals the end of an operation that is not live.
func (r *Runner) endCancelled(ctx context.Context, o appliance.Operation) (appliance.Operation, error) {
	now := time.Now().UTC()
	o.State, o.EndedAt = appliance.OpCancelled, &now
	o.Error = appliance.AsProblem(cancelledProblem(o))
	return o, r.cfg.Store.SaveOperation(ctx, o, false)
}

// cancelLive cancels the operation if it is live, and waits for its end. A step that
// finishes cancels may go past the point of no return in the same moment, so
// MayCancel is asked again after each change of the operation.
func (r *Runner) cancelLive(ctx context.Context, id string) error {
	l := r.lookup(id)
	if l == nil {
		return nil
	}
	for {
		o, changed := l.snapshot()
		if o.State.Final() {
			changed = nil // only the end is left
		} else if err := r.ask(ctx, l, o); err != nil {
			return err
		}
		select {
		case <-l.ended:
			return nil
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for operation %s to stop: %w", id, ctx.Err())
		}
	}
}

// ask tells the running steps that finish cancels themselves. If none does, ask ends
// the context of all steps.
func (r *Runner) ask(ctx context.Context, l *run, o appliance.Operation) error {
	told := l.cancels.ask()
	if err := r.mayCancel(ctx, o); err != nil {
		return err
	}
	if !told {
		l.cancel(errCancelled)
	}
	return nil
}

func (r *Runner) mayCancel(ctx context.Context, o appliance.Operation) error {
	if r.cfg.MayCancel == nil {
		return nil
	}
	return r.cfg.MayCancel(ctx, o)
}

func cancelledProblem(o appliance.Operation) error {
	return appliance.NewProblem(appliance.ErrCancelled, "operation %s was cancelled", o.ID).
		WithHint("run the command again to go on from here")
}

// cancels tells the running steps that finish cancels themselves of a cancel. The zero
// value is ready.
type cancels struct {
	mu    sync.Mutex
	steps []chan struct{}
}

// enter returns the channel by which the step is told of a cancel, nil for a step that
// does not finish cancels. over is called when the step has ended: a cancel that came
// too late for the step is void then.
func (c *cancels) enter(s appliance.Step) (asked <-chan struct{}, over func()) {
	if !s.FinishesCancel {
		return nil, func() {}
	}
	ask := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, ask)
	return ask, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.steps = slices.DeleteFunc(c.steps, func(other chan struct{}) bool { return other == ask })
	}
}

// ask tells the running steps of a cancel. It returns false if no running step
// finishes cancels.
func (c *cancels) ask() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ask := range c.steps {
		select {
		case <-ask: // told before
		default:
			close(ask)
		}
	}
	return len(c.steps) > 0
}

// supersede tells the stopped operation the id of the operation that has begun instead,
// or an empty one if none has.
func (l *run) supersede(by string) {
	select {
	case l.superseded <- by:
	default: // another caller has told
	}
}

// awaitSuperseding waits, if the operation was stopped for another one, until the other
// has begun. It returns true if the other has not: then the operation goes on.
func (l *run) awaitSuperseding(ctx, life context.Context) (goesOn bool) {
	if !errors.Is(context.Cause(ctx), errSuperseded) {
		return false
	}
	select {
	case by := <-l.superseded:
		o, _ := l.snapshot()
		if o.State.Final() {
			return false
		}
		if by == "" {
			return true
		}
		l.update(func(o *appliance.Operation) {
			*o = concluded(*o, appliance.OpSuperseded, nil)
			o.SupersededBy = by
		})
	case <-life.Done():
	}
	return false
}
