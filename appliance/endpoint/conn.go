package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint/relay"
)

// phase is how far a connection is.
type phase int

const (
	// silent is a connection whose first packet has not come yet, and a cancel request.
	silent phase = iota
	// waiting is a connection that waits for a member that takes it.
	waiting
	// leading is a connection that is being opened to a member. The client has got no
	// byte of that member's session, so another member may still be tried.
	leading
	// open is a connection that leads to a member.
	open
	// over is a connection that was cut.
	over
)

const (
	// again is the pause after every member has refused.
	again = 50 * time.Millisecond
	// peek is how often a waiting client is looked at.
	peek = 250 * time.Millisecond
	// patience bounds an attempt at one of several members.
	patience = 3 * time.Second
)

// errRetry says that an attempt failed before the client got a byte of the session.
var errRetry = errors.New("the member does not take the connection")

// conn is one client's connection. server.mu protects phase, member and abandon.
type conn struct {
	e      *endpoint
	client *net.TCPConn
	phase  phase
	member appliance.RouteMember
	// abandon ends the attempt that is under way.
	abandon context.CancelFunc

	// ends protects server, pair and closed, so that a reset reaches both sides.
	ends   sync.Mutex
	server *net.TCPConn
	closed bool
	// pair has both sides once bytes are moved.
	pair *relay.Pair

	// packet is what the next member gets first.
	kind   kind
	packet []byte
	// refusal is the last error with which a member refused.
	refusal []byte
}

// serve handles one client.
func (e *endpoint) serve(ctx context.Context, client *net.TCPConn) {
	c := &conn{e: e, client: client}
	limit, ok := e.admit(c)
	defer e.leave(c)
	if !ok {
		return
	}
	if err := c.readPacket(); err != nil {
		return
	}
	switch {
	case c.kind == cancelRequest:
	case limit:
		c.refuse(tooManyConnections, "the endpoint has reached its limit of connections")
	default:
		c.lead(ctx)
	}
	// It may also come after a negotiation that was refused: libpq's PQcancelBlocking asks
	// for encryption first where the session had asked.
	if c.kind == cancelRequest {
		e.passCancel(ctx, c.packet)
	}
}

// admit counts the connection. limit is set if only a cancel request may pass; ok is
// false if the connection has to be closed.
func (e *endpoint) admit(c *conn) (limit, ok bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if e.gone {
		return false, false
	}
	most := e.route.MaxConnections
	if most <= 0 {
		most = appliance.DefaultMaxConnections
	}
	n := len(e.conns)
	e.conns[c] = struct{}{}
	// Connections beyond the limit are read only to be refused properly.
	return n >= most, n < 2*most
}

// leave forgets the connection and closes it.
func (e *endpoint) leave(c *conn) {
	e.s.mu.Lock()
	e.release(c, silent)
	delete(e.conns, c)
	e.s.mu.Unlock()
	c.close(false)
}

// release takes the connection from its member. The caller holds server.mu.
func (e *endpoint) release(c *conn, p phase) {
	if c.phase == leading || c.phase == open {
		l := e.loads[c.member]
		l.conns--
		e.loads[c.member] = l
	}
	c.phase, c.member = p, appliance.RouteMember{}
}

// readPacket reads the client's first packet, or the one after a refused negotiation.
func (c *conn) readPacket() (err error) {
	if err := c.client.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return fmt.Errorf("limiting the wait for the first packet: %w", err)
	}
	c.kind, c.packet, err = readFirst(c.client)
	if err == nil {
		err = c.client.SetReadDeadline(time.Time{})
	}
	return err
}

// refuse answers the client's first packet with an error. To a negotiation it says 'N'
// first, as a server without encryption does: libpq shows no error that comes instead. A
// cancel request that follows is left to the caller.
func (c *conn) refuse(sqlstate, message string) {
	_ = c.client.SetWriteDeadline(time.Now().Add(silence))
	for c.kind == negotiation {
		if _, err := c.client.Write([]byte{'N'}); err != nil {
			return
		}
		if err := c.readPacket(); err != nil {
			return
		}
	}
	if c.kind != startup {
		return
	}
	answer := c.refusal
	if answer == nil {
		answer = fatal(sqlstate, message)
	}
	if _, err := c.client.Write(answer); err == nil {
		_ = c.client.CloseWrite()
	}
}

// lead opens the connection to a member, waiting for one if need be, and moves bytes
// until the end.
func (c *conn) lead(ctx context.Context) {
	e := c.e
	e.s.mu.Lock()
	wait := e.route.Wait
	e.s.mu.Unlock()
	over := time.Now().Add(wait)
	ctx, cancel := context.WithTimeout(ctx, max(wait, patience))
	defer cancel()
	tried := map[appliance.RouteMember]bool{}
	for ctx.Err() == nil {
		attempt, member, changed, ok := e.pick(ctx, c, tried)
		if !ok {
			if !c.await(ctx, changed, len(tried) > 0, over) {
				break
			}
			clear(tried)
			continue
		}
		err := c.attempt(attempt, member)
		if err == nil {
			c.move()
			return
		}
		if c.kind == cancelRequest {
			e.drop(c)
			return
		}
		if !errors.Is(err, errRetry) {
			return
		}
		tried[member] = true
		e.drop(c)
	}
	if e.s.done.Err() == nil {
		c.refuse(cannotConnectNow, "no member takes connections of the endpoint "+string(e.role)+" of cluster "+e.cluster+" now")
	}
}

// pick chooses a member for the connection. The attempt's context ends if a new state
// no longer allows that member. Without a member, changed is closed by the next state.
func (e *endpoint) pick(ctx context.Context, c *conn, tried map[appliance.RouteMember]bool) (attempt context.Context, m appliance.RouteMember, changed <-chan struct{}, ok bool) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	c.phase = waiting
	if e.gone {
		return nil, m, e.changed, false
	}
	m, ok = choose(newTargets(e.role, e.route, e.loads), tried)
	if !ok {
		return nil, m, e.changed, false
	}
	e.turn++
	e.loads[m] = load{conns: e.loads[m].conns + 1, turn: e.turn}
	c.phase, c.member = leading, m
	if e.role == ro {
		attempt, c.abandon = context.WithTimeout(ctx, patience)
	} else {
		attempt, c.abandon = context.WithCancel(ctx)
	}
	return attempt, m, e.changed, true
}

// drop ends the attempt that failed.
func (e *endpoint) drop(c *conn) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	c.abandon()
	e.release(c, waiting)
	c.detach()
}

// await waits for another state or, if the members have refused, for a moment. It
// returns false if the wait is over, or if the client has gone.
func (c *conn) await(ctx context.Context, changed <-chan struct{}, refused bool, over time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	var pause <-chan time.Time
	if refused {
		pause = time.After(again)
	}
	look := time.NewTicker(peek)
	defer look.Stop()
	for {
		select {
		case <-changed:
			return !c.gone()
		case <-pause:
			return !c.gone()
		case <-ctx.Done():
			return false
		case <-look.C:
			if c.gone() {
				return false
			}
		}
	}
}
