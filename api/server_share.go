package api

import (
	"context"
	"sync"
	"time"
)

// lookPatience bounds a look that is made for several: it doesn't end with the
// request of whoever makes it.
const lookPatience = 30 * time.Second

// shared lets those who ask for the same at the same time have one look
// together. It is always one that begins after they asked: who has just
// changed something never sees what was before.
type shared[T any] struct {
	mu    sync.Mutex
	lines map[string]*line[T]
}

// line is the look that is being made, or is about to be, and the one after it.
type line[T any] struct{ now, next *look[T] }

type look[T any] struct {
	turn  chan struct{} // holds one token for whoever makes the look
	done  chan struct{} // closed when value and err are set
	begun bool
	value T
	err   error
}

func newShared[T any]() *shared[T] { return &shared[T]{lines: map[string]*line[T]{}} }

func newLook[T any]() *look[T] {
	return &look[T]{turn: make(chan struct{}, 1), done: make(chan struct{})}
}

// get returns what observe finds. What it returns is others' too: it must not
// be changed.
func (s *shared[T]) get(ctx context.Context, key string, observe func(context.Context) (T, error)) (T, error) {
	l := s.join(key)
	select {
	case <-l.done:
	case <-l.turn:
		s.look(ctx, key, l, observe)
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	return l.value, l.err
}

// join finds the look that has not begun.
func (s *shared[T]) join(key string) *look[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[key]
	if l == nil {
		l = &line[T]{now: newLook[T]()}
		l.now.turn <- struct{}{}
		s.lines[key] = l
	}
	if !l.now.begun {
		return l.now
	}
	if l.next == nil {
		l.next = newLook[T]()
	}
	return l.next
}

func (s *shared[T]) look(ctx context.Context, key string, l *look[T], observe func(context.Context) (T, error)) {
	s.mu.Lock()
	l.begun = true
	s.mu.Unlock()
	defer s.done(key, l)
	l.err = context.Canceled // stays where observe panics
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookPatience)
	defer cancel()
	l.value, l.err = observe(ctx)
}

// done gives the turn to one of those who wait for the next look. Where all
// of them have gone, it is there for who comes.
func (s *shared[T]) done(key string, l *look[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(l.done)
	next := s.lines[key].next
	if next == nil {
		delete(s.lines, key)
		return
	}
	s.lines[key] = &line[T]{now: next}
	next.turn <- struct{}{}
}
