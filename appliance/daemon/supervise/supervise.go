// Package supervise runs the daemon's long-running loops. Each loop has a name
// and a context, begins after the loops that it needs and ends before them, and is
// joined. An error or a panic of a loop is logged and kept for [Supervisor.Failures],
// and the loop is started again after a pause.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
)

const (
	// firstPause is the pause after a loop's first failure; each further failure
	// doubles it, up to lastPause.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
	// settled is how long a loop has to run for its last failure to count as over.
	settled = time.Minute
	// endGrace is how long a loop may take to end before it is named in the log.
	endGrace = 10 * time.Second
)

// Loop is work that goes on until its context ends.
type Loop struct {
	// Name is unique among the loops of a supervisor.
	Name string
	// Needs names the loops that begin before this one and end after it. That
	// is an order of beginning and end only: when one of them fails, this loop
	// runs on.
	Needs []string
	// Run works until ctx ends. What it returns after that does not count.
	// Before that an error is a failure, and nil says that the loop has nothing
	// more to do.
	Run func(ctx context.Context) error
}

// Supervisor runs a set of loops.
type Supervisor struct {
	log   *slog.Logger
	loops []*running // in the order of their beginning

	mu     sync.Mutex
	closed bool
}

// running is a loop and how it fares.
type running struct {
	Loop
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	failure appliance.LoopFailure
	began   time.Time // of the current run; zero during a pause
}

// Start begins the loops, each after those that it needs, and returns when the
// last has begun. Their contexts derive from ctx, but end in order only by
// [Supervisor.Close]. A name that is unknown, taken or needs itself is an error,
// and no loop is started then.
func Start(ctx context.Context, log *slog.Logger, loops ...Loop) (*Supervisor, error) {
	ordered, err := order(loops)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{log: log}
	for _, l := range ordered {
		r := &running{Loop: l, ended: make(chan struct{})}
		var own context.Context
		// The end comes from Close, in order, and not from ctx all at once.
		own, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
		begun := make(chan struct{})
		go s.keep(own, r, sync.OnceFunc(func() { close(begun) }))
		<-begun
		s.loops = append(s.loops, r)
	}
	return s, nil
}

// Close ends the loops in the opposite order of their beginning and waits for
// each before it ends the next. A loop that takes long is named in the log and
// waited for: what it uses must not be closed under it. A repeat does nothing.
func (s *Supervisor) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, r := range slices.Backward(s.loops) {
		r.cancel()
		s.join(r)
	}
}

func (s *Supervisor) join(r *running) {
	begin := time.Now()
	tick := time.NewTicker(endGrace)
	defer tick.Stop()
	for {
		select {
		case <-r.ended:
			return
		case <-tick.C:
			s.log.Error("a loop does not end", "loop", r.Name, "waited", time.Since(begin).Round(time.Second).String())
		}
	}
}

// Failures lists the loops that have failed and have not settled since, in the
// order of their beginning.
func (s *Supervisor) Failures() []appliance.LoopFailure {
	var out []appliance.LoopFailure
	for _, r := range s.loops {
		if f, ok := r.state(time.Now()); ok {
			out = append(out, f)
		}
	}
	return out
}

// keep runs the loop again after each failure, until ctx ends.
func (s *Supervisor) keep(ctx context.Context, r *running, begun func()) {
	defer close(r.ended)
	for ctx.Err() == nil {
		r.begin()
		begun()
		err := run(ctx, r.Run)
		if ctx.Err() != nil || err == nil {
			s.crashed(r, err)
			return
		}
		pause := r.failed(err, time.Now())
		s.log.Error("a loop failed", "loop", r.Name, "error", err, "again_in", pause.String(), "stack", stackOf(err))
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// crashed logs a panic of a loop that was told to end: no other error counts then.
func (s *Supervisor) crashed(r *running, err error) {
	if stack := stackOf(err); stack != "" {
		s.log.Error("a loop panicked at its end", "loop", r.Name, "error", err, "stack", stack)
	}
}

// panicError is the error of a loop that panicked.
type panicError struct {
	value any
	stack string
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// stackOf is where the loop panicked, or empty.
func stackOf(err error) string {
	var p *panicError
	if errors.As(err, &p) {
		return p.stack
	}
	return ""
}

// run turns a panic into an error.
func run(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: string(debug.Stack())}
		}
	}()
	return f(ctx)
}

func (r *running) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = time.Now()
}

// failed notes the failure and returns the pause before the next run.
func (r *running) failed(err error, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.began) >= settled {
		r.failure.Failures = 0
	}
	pause := lastPause
	if shift := r.failure.Failures; shift < 16 {
		pause = min(firstPause<<shift, lastPause)
	}
	r.failure = appliance.LoopFailure{Loop: r.Name, Error: err.Error(), FailedAt: now.UTC(), Failures: r.failure.Failures + 1}
	r.began = time.Time{}
	return pause
}

// state returns the failure, where there is one that is not over.
func (r *running) state(now time.Time) (appliance.LoopFailure, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := !r.began.IsZero() && now.Sub(r.began) >= settled
	return r.failure, r.failure.Failures > 0 && !over
}

// order sorts the loops so that each comes after those that it needs, and else
// as they are given.
func order(loops []Loop) ([]Loop, error) {
	named := map[string]Loop{}
	for _, l := range loops {
		if _, taken := named[l.Name]; taken || l.Name == "" {
			return nil, fmt.Errorf("starting the loops: the name %q is taken or empty", l.Name)
		}
		named[l.Name] = l
	}
	var out []Loop
	const visiting, placed = 1, 2
	state := map[string]int{}
	var place func(l Loop) error
	place = func(l Loop) error {
		switch state[l.Name] {
		case placed:
			return nil
		case visiting:
			return fmt.Errorf("starting the loops: loop %q needs itself", l.Name)
		}
		state[l.Name] = visiting
		for _, name := range l.Needs {
			needed, ok := named[name]
			if !ok {
				return fmt.Errorf("starting the loops: loop %q needs loop %q, which is unknown", l.Name, name)
			}
			if err := place(needed); err != nil {
				return err
			}
		}
		state[l.Name] = placed
		out = append(out, l)
		return nil
	}
	for _, l := range loops {
		if err := place(l); err != nil {
			return nil, err
		}
	}
	return out, nil
}
