package op

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"pgapp/appliance"
)

// errShutdown is the cause of a context that ends because the process ends. The
// next process resumes the operation.
var errShutdown = errors.New("the daemon shuts down")

// errCancelled is the cause of a context that ends because a user cancelled the
// operation.
var errCancelled = errors.New("the operation was cancelled")

// errSuperseded is the cause of a context that ends because another operation begins.
// The store journals the end when the other begins.
var errSuperseded = errors.New("the operation was superseded")

// Config is what a runner needs.
type Config struct {
	Store appliance.Journal
	// Decide makes the decision of an operation that began without one, as older
	// programs did. The decision is journaled before the first step. Decide may be nil.
	Decide func(ctx context.Context, o appliance.Operation) (appliance.Decision, error)
	// Plan makes the steps of an operation from the stored facts.
	Plan func(ctx context.Context, o appliance.Operation) ([]appliance.Step, error)
	// End receives the outcome before the outcome is journaled, and tells whether
	// to remove the cluster's record with it. End may run twice for one operation.
	End func(ctx context.Context, o appliance.Operation) (removeCluster bool, err error)
	// MayCancel refuses the cancel of an operation that can't go back any more.
	// MayCancel may be nil.
	MayCancel func(ctx context.Context, o appliance.Operation) error
	Log       *slog.Logger
	// Idle is called when the last live operation ends. Idle may be nil.
	Idle func()
	// Crash is for tests, and nil in the product. An error stops the operation at
	// that boundary as a kill would: nothing is saved afterwards.
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

// Close stops all live operations and waits for their goroutines. The journal
// still calls these operations running, so that the next process resumes them.
func (r *Runner) Close() {
	r.cancel(errShutdown)
	r.wg.Wait()
}

// Start journals the operation's beginning and runs the operation. ctx bounds the
// journaling only. A superseded operation stops before the new one begins, and goes on
// if the new one does not begin.
func (r *Runner) Start(ctx context.Context, b appliance.Beginning) error {
	old := r.lookup(b.Supersede)
	if old == nil {
		return r.start(ctx, b)
	}
	by := ""
	defer func() { old.supersede(by) }()
	old.cancel(errSuperseded)
	select {
	case <-old.stopped:
	case <-ctx.Done():
		return fmt.Errorf("waiting for operation %s to stop: %w", b.Supersede, ctx.Err())
	}
	err := r.start(ctx, b)
	if err == nil {
		by = b.Operation.ID
	}
	return err
}

func (r *Runner) start(ctx context.Context, b appliance.Beginning) error {
	if err := r.cfg.Store.Begin(ctx, b); err != nil {
		return err
	}
	r.launch(b.Operation) //nolint:contextcheck // an operation outlives the request that began it
	return nil
}

// Resume runs every operation that the journal calls running and that is not
// live yet. A repeat is safe.
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

// Operation returns a snapshot of a live operation, or else the journaled one.
func (r *Runner) Operation(ctx context.Context, id string) (appliance.Operation, error) {
	if l := r.lookup(id); l != nil {
		o, _ := l.snapshot()
		return o, nil
	}
	return r.cfg.Store.Operation(ctx, id)
}

// lookup returns the live operation, or nil.
func (r *Runner) lookup(id string) *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[id]
}

// Operations lists the cluster's journaled operations, newest first. An empty
// cluster means all clusters.
func (r *Runner) Operations(ctx context.Context, cluster string) ([]appliance.Operation, error) {
	return r.cfg.Store.Operations(ctx, cluster)
}

// Watch sends a snapshot at once and after each change; a slow receiver misses
// snapshots. The channel closes after the final snapshot, when the operation is
// no longer live, or when ctx ends.
func (r *Runner) Watch(ctx context.Context, id string) (<-chan appliance.Operation, error) {
	l := r.lookup(id)
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
		close(l.stopped)
		goesOn := l.awaitSuperseding(ctx, r.ctx)
		r.mu.Lock()
		delete(r.live, o.ID)
		idle := len(r.live) == 0
		r.mu.Unlock()
		l.close()
		if goesOn {
			left, _ := l.snapshot()
			r.launch(left) //nolint:contextcheck // as in Start
			return
		}
		if idle && r.cfg.Idle != nil {
			r.cfg.Idle()
		}
	})
}
