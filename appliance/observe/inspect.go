package observe

import (
	"context"

	"pgapp/appliance/postgres"
)

// Inspect looks at all members at the same time: at their servers and their data
// directories.
func (o *Observer) Inspect(ctx context.Context, subjects []Subject) []Look {
	return each(subjects, func(s Subject) Look { return inspect(ctx, s) })
}

func inspect(ctx context.Context, s Subject) Look {
	l := s.look()
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, server, err := s.open(asking)
	if err == nil {
		l.Epoch = answer(c.Epoch(asking))
		_ = c.Close(asking) // nothing was written that could be lost
	}
	l.Server = answer(server, err)
	if l.Process = answer(s.Machine.ServerRunning(ctx)); !l.Process.Known() {
		return l
	}
	l.DataDir = answer(postgres.InspectDataDir(ctx, s.Machine))
	if l.DataDir.Value().Initialised && l.Timeline() > 1 {
		l.Ancestors = answer(postgres.TimelineHistory(ctx, s.Machine, l.Timeline()))
	}
	return l
}

// open opens a session, which the caller closes, and observes the server.
func (s Subject) open(ctx context.Context) (*postgres.Control, postgres.Observation, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, postgres.Observation{}, err
	}
	server, err := c.Observe(ctx)
	if err != nil {
		_ = c.Close(ctx)
		return nil, server, err
	}
	return c, server, nil
}
