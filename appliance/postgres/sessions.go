package postgres

import (
	"context"
	"errors"
	"strings"
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
	end     *time.Timer
}

// SessionKey names a member's session.
func SessionKey(c appliance.Cluster, member string) string { return c.UUID + "/" + member }

// Use runs f in the member's session, dialling where none is idle. Where a kept
// one turns out to have ended, f runs once more in a fresh one: the server may
// have been restarted since. A limit of f's own that was over is no such end.
func (s *Sessions) Use(ctx context.Context, key string, dial func(context.Context) (*Control, error), f func(*Control) error) error {
	if c := s.take(key); c != nil {
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

// UseNew runs f in a session that it opens, so that a member that lets nobody
// in isn't taken for one that does. A kept session serves only where the server
// has no connection left; a limit of the database or of the role is another
// matter, since it doesn't pass by itself.
func (s *Sessions) UseNew(ctx context.Context, key string, dial func(context.Context) (*Control, error), f func(*Control) error) error {
	c, err := dial(ctx)
	switch {
	case serverFull(err):
		return s.Use(ctx, key, dial, f)
	case err != nil:
		return err
	}
	defer s.Keep(ctx, key, c)
	return f(c)
}

// serverFull tells whether all of the server's connections are taken. A limit's
// refusal has the same SQLSTATE, and begins with other words.
func serverFull(err error) bool {
	var s *ServerError
	return errors.As(err, &s) && s.Code == stateTooMany && !strings.HasPrefix(s.Message, "too many connections for ")
}

// Keep leaves a session for others, for a minute: an open one is in the way of
// who wants to copy the database, or of a server that stops when all have left.
// A session that has ended isn't kept, nor one more than the member's.
func (s *Sessions) Keep(ctx context.Context, key string, c *Control) {
	s.mu.Lock()
	_, taken := s.idle[key]
	if taken || c.conn.IsClosed() {
		s.mu.Unlock()
		c.closeQuietly(ctx)
		return
	}
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = map[string]idleSession{}
	}
	later := context.WithoutCancel(ctx)
	s.idle[key] = idleSession{c, time.AfterFunc(sessionIdle, func() {
		if s.forget(key, c) {
			c.closeQuietly(later)
		}
	})}
}

func (s *Sessions) take(key string) *Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.idle[key]
	if !ok {
		return nil
	}
	e.end.Stop()
	delete(s.idle, key)
	return e.control
}

// forget tells whether the session was still idle, and so is the caller's.
func (s *Sessions) forget(key string, c *Control) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle[key].control != c {
		return false
	}
	delete(s.idle, key)
	return true
}

// Close ends all idle sessions. It may take a second for each whose machine is
// away, so nobody waits for it with the lock held.
func (s *Sessions) Close(ctx context.Context) {
	s.mu.Lock()
	all := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, e := range all {
		e.end.Stop()
		e.control.closeQuietly(ctx)
	}
}
