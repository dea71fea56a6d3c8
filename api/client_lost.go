package api

import (
	"context"
	"errors"
	"net"
	"time"

	"pgapp/appliance"
)

// lostLimit bounds the attempts of a request while the daemon comes back.
const lostLimit = time.Minute

// repeated calls once until the daemon answers. Where the request is not safe to repeat,
// only what never reached the daemon is: a daemon that was killed may have done it.
// When lostLimit or ctx ends, the last attempt's problem is returned.
func repeated(ctx context.Context, safe bool, onLost, once func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, lostLimit)
	defer cancel()
	pause := reconnectFirst
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		err := once(ctx)
		if !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) || !safe && !neverSent(err) {
			return err
		}
		if lost := onLost(limited); lost != nil {
			if limited.Err() != nil {
				return err
			}
			return lost
		}
		pause = min(2*pause, reconnectMost)
		t.Reset(pause)
		select {
		case <-t.C:
		case <-limited.Done():
			return err
		}
	}
}

// neverSent tells whether the request failed before there was a connection.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
