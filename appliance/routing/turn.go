package routing

import (
	"context"
	"errors"
	"fmt"
)

// errGivenUp ends a turn in favour of a change of primary.
var errGivenUp = errors.New("a change of primary ends the endpoint process")

// turn is held by whoever talks to the process, so that states go there in the order in
// which they were made. The router's mu protects the other fields.
type turn struct {
	held chan struct{}
	// giveUp ends what is done in the turn, nil if nobody has the turn.
	giveUp context.CancelCauseFunc
	// urgent counts those who end the process.
	urgent int
}

// enter waits until nobody else talks to the process. The context that it returns ends if
// the turn is given up.
func (r *Router) enter(ctx context.Context) (held context.Context, leave func(), err error) {
	select {
	case r.turn.held <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	held, giveUp := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn.giveUp = giveUp; r.turn.urgent > 0 {
		giveUp(errGivenUp)
	}
	return held, func() {
		r.mu.Lock()
		r.turn.giveUp = nil
		r.mu.Unlock()
		giveUp(nil)
		<-r.turn.held
	}, nil
}

// kill ends the process, and with it all connections through it. Whoever has the turn gives
// it up before: he may be about to start a process, or to lead connections, by the records
// of before. If he doesn't, the error says so, and the process that is found is ended
// nevertheless.
func (r *Router) kill(ctx context.Context) error {
	r.urge(1)
	defer r.urge(-1)
	waited, cancel := context.WithTimeout(context.WithoutCancel(ctx), asking)
	defer cancel()
	select {
	case r.turn.held <- struct{}{}:
		defer func() { <-r.turn.held }()
		return r.end(ctx)
	case <-waited.Done():
		return errors.Join(fmt.Errorf("waiting for the start of the endpoint process to be given up: %w", waited.Err()), r.end(ctx))
	}
}

// urge counts one who ends the process.
func (r *Router) urge(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn.urgent += n
	if r.turn.urgent > 0 && r.turn.giveUp != nil {
		r.turn.giveUp(errGivenUp)
	}
}

// end ends the process. The caller has the turn.
func (r *Router) end(ctx context.Context) error {
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), asking)
	defer cancel()
	return r.cfg.Process.Kill(asked)
}
