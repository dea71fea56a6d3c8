package observe

import (
	"context"
	"errors"
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// Known looks at all members at the same time for the epoch and the timeline that their
// data know. A member that gives no session is looked at on disk, if its disk is this
// host's: a virtual machine that is off answers nobody.
func (o *Observer) Known(ctx context.Context, subjects []Subject) []Look {
	return known(ctx, subjects, func(ctx context.Context, s Subject, do func(*postgres.Control) error) error {
		c, err := s.dial(ctx)
		if err != nil {
			return err
		}
		err = do(c)
		_ = c.Close(ctx) // nothing was written that could be lost
		return err
	})
}

// KnownSoon is [Observer.Known] in kept sessions, for a failover that waits for the answers: the
// watch has just connected to whom it doubts.
func (o *Observer) KnownSoon(ctx context.Context, subjects []Subject) []Look {
	return known(ctx, subjects, func(ctx context.Context, s Subject, do func(*postgres.Control) error) error {
		return o.sessions.Use(ctx, s.session, s.dial, do)
	})
}

func known(ctx context.Context, subjects []Subject, in func(context.Context, Subject, func(*postgres.Control) error) error) []Look {
	return each(subjects, func(s Subject) Look {
		l := s.look()
		asking, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var server postgres.Observation
		err := in(asking, s, func(c *postgres.Control) (err error) {
			if server, err = c.Observe(asking); err == nil {
				l.Epoch = answer(c.Epoch(asking))
			}
			return err
		})
		if l.Server = answer(server, err); err == nil {
			return l
		}
		if _, own := s.Machine.(appliance.Powered); !own {
			looking, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			l.DataDir = answer(postgres.InspectDataDir(looking, s.Machine))
		}
		return l
	})
}

// Line returns the member's timeline with its ancestors, as its history file names them.
func (o *Observer) Line(ctx context.Context, s Subject, timeline uint32) (appliance.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l := Look{Server: Known(postgres.Observation{Timeline: timeline})}
	if timeline > 1 {
		l.Ancestors = answer(postgres.TimelineHistory(ctx, s.Machine, timeline))
	}
	return l.Line(), l.Ancestors.err
}

// ErrUnconfirmed means that the member takes writes, and that the standbys don't confirm
// them.
var ErrUnconfirmed = errors.New("no standby confirms what it writes")

// Serves proves in a new session that the member is a primary that takes writes, and that
// the standbys confirm a write as the promise says: else the error is [ErrUnconfirmed], and
// all commits of the application wait where that is promised. No answer in time is an error as every other; it does not mean that the server is
// dead.
func (o *Observer) Serves(ctx context.Context, s Subject, promise appliance.Promise) error {
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, server, err := s.open(asking)
	if err != nil {
		return err
	}
	if server.InRecovery {
		err = appliance.NewProblem(appliance.ErrConflict, "%s is in recovery", s.Member.Name)
	} else {
		err = c.ProveWrite(asking)
	}
	if err == nil && !promise.None() {
		confirming, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err = confirmed(confirming, c, promise); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnconfirmed, err)
		}
	}
	_ = c.Close(asking) // the write's outcome is known
	return err
}

// confirmed waits until the standbys have flushed what the primary has written. Nothing
// waits in the primary itself: a commit that no standby confirms could not be ended.
func confirmed(ctx context.Context, c *postgres.Control, promise appliance.Promise) error {
	at, err := c.Mark(ctx)
	if err != nil {
		return err
	}
	return c.WaitFlushed(ctx, promise.Set, promise.K, at)
}
