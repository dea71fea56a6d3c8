package control

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance/postgres"
)

// sessionIdle is how long a session to a member is kept unused. Opening one
// costs the server a process and both sides a SCRAM exchange, far more than
// what ps asks.
const sessionIdle = time.Minute

// sessions keeps a session to each member for looking at it. What proves
// something, such as verify, opens its own.
type sessions struct {
	mu   sync.Mutex
	open map[string]*session
}

type session struct {
	mu      sync.Mutex
	control *postgres.Control // nil: none yet, or broken
	used    time.Time
}

// use runs f in the member's session. Where a kept one fails, f runs once more
// in a fresh one: the server may have been restarted since.
func (s *sessions) use(ctx context.Context, key string, dial func(context.Context) (*postgres.Control, error), f func(*postgres.Control) error) error {
	e := s.entry(ctx, key)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used = time.Now()
	if e.control != nil {
		if err := f(e.control); err == nil {
			return nil
		}
		e.drop(ctx)
	}
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	e.control = c
	if err := f(c); err != nil {
		e.drop(ctx)
		return err
	}
	return nil
}

// entry returns the member's, and closes those that were not used for long.
func (s *sessions) entry(ctx context.Context, key string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*session{}
	}
	for k, e := range s.open {
		if k != key && e.mu.TryLock() {
			if time.Since(e.used) > sessionIdle {
				e.drop(ctx)
				delete(s.open, k)
			}
			e.mu.Unlock()
		}
	}
	e, ok := s.open[key]
	if !ok {
		e = &session{}
		s.open[key] = e
	}
	return e
}

// drop closes the session; e.mu is held.
func (e *session) drop(ctx context.Context) {
	if e.control != nil {
		_ = e.control.Close(ctx) // what can't be closed is gone already
		e.control = nil
	}
}

// close ends all sessions.
func (s *sessions) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.open {
		e.mu.Lock()
		e.drop(ctx)
		e.mu.Unlock()
		delete(s.open, k)
	}
}
