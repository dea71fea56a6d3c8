package wait

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Group serves callers that come at the same time by one run: of a key, one run
// goes on at a time, and callers that come meanwhile share the next. A run thus
// begins after all of its callers have asked: a result is never older than the
// question, and a write holds what every caller wants written. A caller that
// finds no run under way doesn't wait for others. The zero value is ready.
//
// (A singleflight would give a caller the result of a run that began before.)
type Group[In, Out any] struct {
	// Fresh, where it is set, lets callers have the run that is under way, and
	// its result until that long after its beginning.
	Fresh time.Duration

	mu    sync.Mutex
	lines map[string]*line[In, Out]
}

// line holds the round that runs, or is about to, and the round after it.
type line[In, Out any] struct{ now, next *round[In, Out] }

// round is one run and its callers.
type round[In, Out any] struct {
	turn  chan struct{} // holds one token for the caller that is to run it
	done  chan struct{} // closed when out and err are set
	in    []In
	begun time.Time
	ended bool
	out   Out
	err   error
}

// errNotFinished is what the other callers of a run get that panicked.
var errNotFinished = errors.New("what was done for several callers at once has panicked")

func newRound[In, Out any]() *round[In, Out] {
	return &round[In, Out]{turn: make(chan struct{}, 1), done: make(chan struct{})}
}

// Do returns what run returns for the callers of the key, in whose number the
// caller is with in. One of them calls run, with its own context, which the
// others' wait depends on too; so run may have to detach it. A result is shared
// and must not be changed. A caller whose context ends leaves with the cause,
// and its in stays among those of the run.
func (g *Group[In, Out]) Do(ctx context.Context, key string, in In, run func(ctx context.Context, all []In) (Out, error)) (Out, error) {
	r := g.join(key, in)
	select {
	case <-r.done:
	case <-r.turn:
		g.lead(ctx, key, r, run)
	case <-ctx.Done():
		var none Out
		return none, context.Cause(ctx)
	}
	return r.out, r.err
}

// join finds the round that serves a caller who comes now.
func (g *Group[In, Out]) join(key string, in In) *round[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lines == nil {
		g.lines = map[string]*line[In, Out]{}
	}
	g.forget()
	l := g.lines[key]
	if l == nil {
		l = &line[In, Out]{now: newRound[In, Out]()}
		l.now.turn <- struct{}{}
		g.lines[key] = l
	}
	r := l.now
	if !r.begun.IsZero() {
		if g.Fresh > 0 {
			return r
		}
		if l.next == nil {
			l.next = newRound[In, Out]()
		}
		r = l.next
	}
	r.in = append(r.in, in)
	return r
}

// forget drops results that are no longer fresh.
func (g *Group[In, Out]) forget() {
	if g.Fresh == 0 {
		return // the others are dropped when they end
	}
	for key, l := range g.lines {
		if l.now.ended && time.Since(l.now.begun) > g.Fresh {
			delete(g.lines, key)
		}
	}
}

func (g *Group[In, Out]) lead(ctx context.Context, key string, r *round[In, Out], run func(context.Context, []In) (Out, error)) {
	g.mu.Lock()
	r.begun = time.Now()
	g.mu.Unlock()
	defer g.end(key, r)
	r.err = errNotFinished
	r.out, r.err = run(ctx, r.in)
}

// end gives the turn to one of the callers of the next round. Where all of them
// have left, the next caller to come takes the turn.
func (g *Group[In, Out]) end(key string, r *round[In, Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.ended = true
	close(r.done)
	l := g.lines[key]
	switch {
	case l.next != nil:
		l.now, l.next = l.next, nil
		l.now.turn <- struct{}{}
	case g.Fresh == 0:
		delete(g.lines, key)
	}
}
