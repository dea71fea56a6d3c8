package postgres

import "context"

// Pause is why a standby's replay is paused.
type Pause struct {
	// Below is a parameter, such as max_connections, of which the server has less than its
	// WAL asks for: PostgreSQL goes on after a restart with more only. Below is empty if
	// somebody asked for the pause.
	Below string
	// Has and Needs are the parameter's values.
	Has, Needs int
	// Receiving is set while a receiver runs. A paused standby starts no new one.
	Receiving bool
}

// Paused returns why the standby's replay is paused, nil if it isn't. The session is to
// the same member.
func Paused(ctx context.Context, sh Shell, c *Control) (*Pause, error) {
	s, err := c.Standing(ctx)
	if err != nil || s.PauseState != "paused" {
		return nil, err
	}
	d, err := InspectDataDir(ctx, sh)
	if err != nil {
		return nil, err
	}
	p := &Pause{Receiving: s.Receiving, Below: s.Limits.Below(d.Limits)}
	for i, name := range limitNames() {
		if name == p.Below {
			p.Has, p.Needs = s.Limits[i], d.Limits[i]
		}
	}
	return p, nil
}
