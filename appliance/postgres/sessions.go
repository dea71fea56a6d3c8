package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"pgapp/appliance"
)

// sessionIdle is how long a session to a member is kept unused. Opening one
// costs the server a process and both sides a SCRAM exchange, far more than
// what ps asks.
const sessionIdle = time.Minute

// Sessions keeps a session to each member's maintenance database, for looking
// at it and for the small steps of an operation. What proves something, such as
// [Verify], opens its own, and may leave them here. The zero value is ready,
// and safe for concurrent use: a session is with one user at a time.
type Sessions struct {
	mu   sync.Mutex
	idle map[string]idleSession
}

type idleSession struct {
	control *Control
	since   time.Time
}

// SessionKey names a member's session.
func SessionKey(c appliance.Cluster, member string) string { return c.UUID + "/" + member }

// Use runs f in the member's session, dialling where none is idle. Where a kept
// one turns out to have ended, f runs once more in a fresh one: the server may
// have been restarted since. A limit of f's own that was over is no such end.
func (s *Sessions) Use(ctx context.Context, key string, dial func(context.Context) (*Control, error), f func(*Control) error) error {
	if c := s.take(ctx, key); c != nil {
		err := f(c)
		s.Keep(ctx, key, c)
		if err == nil || !c.conn.IsClosed() || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	defer s.Keep(ctx, key, c)
	return f(c)
}

// Keep leaves a session for others, and ends those that were idle for long. A
// session that has ended isn't kept, nor one more than the member's.
func (s *Sessions) Keep(ctx context.Context, key string, c *Control) {
	spare := s.prune(sessionIdle)
	s.mu.Lock()
	if _, ok := s.idle[key]; ok || c.conn.IsClosed() {
		spare = append(spare, c)
	} else {
		if s.idle == nil {
			s.idle = map[string]idleSession{}
		}
		s.idle[key] = idleSession{c, time.Now()}
		// Nobody may come by any more, and an open session is in the way of who
		// wants to copy the database, or a server that stops when all have left.
		later := context.WithoutCancel(ctx)
		time.AfterFunc(sessionIdle+time.Second, func() { closeAll(later, s.prune(sessionIdle)) })
	}
	s.mu.Unlock()
	closeAll(ctx, spare)
}

func (s *Sessions) take(ctx context.Context, key string) *Control {
	closeAll(ctx, s.prune(sessionIdle))
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.idle[key]
	delete(s.idle, key)
	return e.control
}

// Close ends all idle sessions.
func (s *Sessions) Close(ctx context.Context) { closeAll(ctx, s.prune(0)) }

// prune takes out what was idle for longer.
func (s *Sessions) prune(idle time.Duration) []*Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Control
	for k, e := range s.idle {
		if time.Since(e.since) > idle {
			out = append(out, e.control)
			delete(s.idle, k)
		}
	}
	return out
}

// closeAll takes a second for each whose machine is away, so nobody waits for
// it with a lock held.
func closeAll(ctx context.Context, sessions []*Control) {
	for _, c := range sessions {
		c.closeQuietly(ctx)
	}
}
