package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
)

// sessionIdle is how long an unused session is kept. Opening a session costs the
// server a process and both sides a SCRAM exchange, far more than ps's queries.
const sessionIdle = time.Minute

// Sessions keeps a session to each member's maintenance database, for
// observations and for small steps of operations. A proof such as [Verify] opens
// new sessions, and may leave them here. The zero value is ready, and safe for
// concurrent use: a session has one user at a time.
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

// Use runs f in the member's idle session, or dials. If the kept session turns
// out to have ended, as by a restart of the server, f runs once more in a new
// session; but not if f's own time limit ended the session.
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

// UseNew runs f in a new session, since a kept one doesn't prove that the member
// still accepts logins. Only if the server has no free connection does it use
// the kept session; at a connection limit of the database or the role it doesn't,
// since the limit doesn't pass by itself.
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

// serverFull tells whether all of the server's connections are taken. The refusal
// by a connection limit has the same SQLSTATE, but another message.
func serverFull(err error) bool {
	var s *ServerError
	return errors.As(err, &s) && s.Code == stateTooMany && !strings.HasPrefix(s.Message, "too many connections for ")
}

// Keep keeps a session for later users, for a minute only: an open session
// prevents copies of the database and a smart shutdown. An ended session is not
// kept, nor a second one of the same member.
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

// Give gives the idle session of the key, if there is one, to those that have none for it.
func (s *Sessions) Give(ctx context.Context, to *Sessions, key string) {
	to.mu.Lock()
	_, has := to.idle[key]
	to.mu.Unlock()
	if has {
		return
	}
	if c := s.take(key); c != nil {
		to.Keep(ctx, key, c)
	}
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

// forget tells whether the session was still idle; then it belongs to the caller.
func (s *Sessions) forget(key string, c *Control) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle[key].control != c {
		return false
	}
	delete(s.idle, key)
	return true
}

// Close ends all idle sessions. It may take a second for each unreachable
// machine, so it doesn't hold the lock meanwhile.
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
