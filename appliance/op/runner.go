package op

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pgapp/appliance"
)

// errShutdown is the cause of a context that ended because the process does:
// the operation goes on in the next one.
var errShutdown = errors.New("the daemon shuts down")

// errCancelled is the cause of a context that ended because a user said so.
var errCancelled = errors.New("the operation was cancelled")

// Config is what a runner needs.
type Config struct {
	Store appliance.Journal
	// Decide makes the decision of an operation that began without one, as under an
	// older program. It is journaled before the first step. It may be nil.
	Decide func(ctx context.Context, o appliance.Operation) (appliance.Decision, error)
	// Plan makes the steps of an operation from the stored facts.
	Plan func(ctx context.Context, o appliance.Operation) ([]appliance.Step, error)
	// End is told the outcome before it is journaled, and says whether the
	// cluster's record goes with it. It may run twice for one operation.
	End func(ctx context.Context, o appliance.Operation) (removeCluster bool, err error)
	Log *slog.Logger
	// Idle, where it is set, is called when no operation runs any more.
	Idle func()
	// Crash is for tests: an error stops the operation at that boundary as a
	// kill would, with nothing saved after it. Nil in the product.
	Crash func(point string) error
}

// Runner runs operations, each in a goroutine of its own.
type Runner struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // the life of the runner's goroutines, ended by Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	live map[string]*run
}

// New makes a runner whose operations live until ctx ends or Close is called.
func New(ctx context.Context, cfg Config) *Runner {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Runner{cfg: cfg, ctx: ctx, cancel: cancel, live: map[string]*run{}}
}

// Close stops all operations where they are, waits for their goroutines, and
// leaves the operations running in the journal.
func (r *Runner) Close() {
	r.cancel(errShutdown)
	r.wg.Wait()
}

// Start journals the operation and runs it. The context covers the
// journaling only. See [appliance.Journal] for create and supersede; a
// superseded operation has stopped before the new one begins.
func (r *Runner) Start(ctx context.Context, o appliance.Operation, create *appliance.NewCluster, supersede string) error {
	if supersede != "" {
		if err := r.stop(ctx, supersede); err != nil {
			return err
		}
	}
	if err := r.cfg.Store.Begin(ctx, o, create, supersede); err != nil {
		return err
	}
	r.launch(o) //nolint:contextcheck // an operation outlives the request that began it
	return nil
}

// Resume runs every operation that the journal calls running and that isn't
// live. It is safe to repeat.
func (r *Runner) Resume(ctx context.Context) error {
	ops, err := r.cfg.Store.Operations(ctx, "")
	if err != nil {
		return err
	}
	for _, o := range ops {
		if !o.State.Final() {
			r.launch(o) //nolint:contextcheck // as in Start
		}
	}
	return nil
}

// Alive tells whether the operation runs in this process.
func (r *Runner) Alive(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.live[id]
	return ok
}

// Operation returns the live snapshot, or the journaled one.
func (r *Runner) Operation(ctx context.Context, id string) (appliance.Operation, error) {
	r.mu.Lock()
	l := r.live[id]
	r.mu.Unlock()
	if l != nil {
		o, _ := l.snapshot()
		return o, nil
	}
	return r.cfg.Store.Operation(ctx, id)
}

// Operations lists the journal, newest first; cluster may be empty for all.
func (r *Runner) Operations(ctx context.Context, cluster string) ([]appliance.Operation, error) {
	return r.cfg.Store.Operations(ctx, cluster)
}

// Cancel stops the operation and returns how it ended. An operation that has
// ended is returned as it is; one that is journaled as running but not live
// is ended in the journal.
func (r *Runner) Cancel(ctx context.Context, id string) (appliance.Operation, error) {
	if err := r.stop(ctx, id); err != nil {
		return appliance.Operation{}, err
	}
	o, err := r.cfg.Store.Operation(ctx, id)
	if err != nil || o.State.Final() {
		return o, err
	}
	o.State = appliance.OpCancelled
	o.Error = appliance.AsProblem(cancelledProblem(o))
	now := time.Now().UTC()
	o.EndedAt = &now
	return o, r.cfg.Store.SaveOperation(ctx, o, false)
}

func cancelledProblem(o appliance.Operation) error {
	return appliance.NewProblem(appliance.ErrCancelled, "operation %s was cancelled", o.ID).
		WithHint("run the command again to go on from here")
}

func (r *Runner) stop(ctx context.Context, id string) error {
	r.mu.Lock()
	l := r.live[id]
	r.mu.Unlock()
	if l == nil {
		return nil
	}
	l.cancel(errCancelled)
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for operation %s to stop: %w", id, ctx.Err())
	}
}

// Watch sends a snapshot now and after each change, leaving out those that
// the receiver was too slow for; the channel closes after the final one, when
// the operation stops being live, or when ctx ends.
func (r *Runner) Watch(ctx context.Context, id string) (<-chan appliance.Operation, error) {
	r.mu.Lock()
	l := r.live[id]
	r.mu.Unlock()
	out := make(chan appliance.Operation, 1)
	if l == nil {
		o, err := r.cfg.Store.Operation(ctx, id)
		if err != nil {
			return nil, err
		}
		out <- o
		close(out)
		return out, nil
	}
	go l.follow(ctx, out)
	return out, nil
}

func (r *Runner) launch(o appliance.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.live[o.ID]; ok || r.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	l := newRun(r.cfg, o, cancel)
	r.live[o.ID] = l
	r.wg.Go(func() {
		defer cancel(nil)
		l.execute(ctx)
		r.mu.Lock()
		delete(r.live, o.ID)
		idle := len(r.live) == 0
		r.mu.Unlock()
		l.close()
		if idle && r.cfg.Idle != nil {
			r.cfg.Idle()
		}
	})
}
