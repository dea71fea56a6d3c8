package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

const (
	// standstill is how long a standby without a receiver may neither receive nor replay
	// anything. PostgreSQL tries again every 5 s (wal_retrieve_retry_interval).
	standstill     = 20 * time.Second
	standstillPoll = 100 * time.Millisecond
	// lostPoll is the pause between two looks whether the primary has removed WAL that a
	// standby needs.
	lostPoll = time.Second
)

// keepWAL has the primary keep the WAL from now on that the stopped member needs when it
// is back. The slots that a promotion finds keep none, and a look at much WAL, a rewind or
// a clone may take longer than the primary keeps WAL without a slot.
func (w world) keepWAL(ctx context.Context, m appliance.Member) error {
	return w.inPrimary(ctx, func(_ facts, c *postgres.Control) error { return postgres.RenewSlot(ctx, c, m.Slot) })
}

// lacksWAL is a watch for standbys that ask for WAL which the primary no longer has. Their own
// log tells: one that was rewound takes no session before it has that WAL. Its slot tells only
// by chance: the slot goes back to the position that the standby reports, and the primary
// mostly ends the connection before that report comes.
func (w world) lacksWAL(f facts) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) (why *appliance.Problem) {
		m, ok := f.cluster.Member(name)
		if !ok {
			return nil
		}
		log := postgres.ServerLog{Shell: w.provider.Machine(f.cluster, m)}
		began := time.Now()
		_ = wait.Until(ctx, lostPoll, func(ctx context.Context) (bool, error) {
			if time.Since(began) < lostPoll/2 { // most stream within the first pause
				return false, nil
			}
			segment, err := log.RemovedWAL(ctx)
			if err == nil && segment != "" {
				why = noWAL(f.cluster.Name, name, ": it has removed segment "+segment)
			}
			return why != nil, nil
		})
		return why
	}
}

// lostSlot is a watch for standbys whose slot has lost WAL. It finds less than
// [world.lacksWAL], but also where the log is in another language.
func (w world) lostSlot(f facts) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) (why *appliance.Problem) {
		m, ok := f.cluster.Member(name)
		if !ok {
			return nil
		}
		_ = wait.Until(ctx, lostPoll, func(ctx context.Context) (bool, error) {
			lost := false
			err := w.inPrimary(ctx, func(_ facts, c *postgres.Control) (err error) {
				lost, err = postgres.SlotLost(ctx, c, m.Slot)
				return err
			})
			if err == nil && lost {
				why = noWAL(f.cluster.Name, name, "")
			}
			return why != nil, nil
		})
		return why
	}
}

func noWAL(cluster, member, which string) *appliance.Problem {
	return appliance.NewProblem(appliance.ErrReplication, "the primary no longer has the WAL that %s needs%s", member, which).
		WithHint("pgapp reinit %s --cluster %s clones it anew; if that ends in the same way, %s", member, cluster, postgres.MoreWALHint)
}

// waitMoving waits until the standbys stream, as long as they can. The primary may no
// longer have the WAL that a standby needs, or the standby may have gone its own way:
// then the standby has no receiver and stands still, and waiting longer helps nothing. Nor
// does it where the standby's server has ended.
func (w world) waitMoving(ctx context.Context, f facts, c *postgres.Control, names []string) error {
	return unlessStuck(ctx, names, either(w.standsStill(f), w.ends(f), w.lacksWAL(f)), func(ctx context.Context) error { return waitStreaming(ctx, c, names) })
}

// standsStill is a watch for standbys that have stood still for long, or have paused
// their replay. A standby that doesn't answer is not known to stand still.
func (w world) standsStill(f facts) func(context.Context, string) *appliance.Problem {
	return func(ctx context.Context, name string) (why *appliance.Problem) {
		m, err := memberOf(f.cluster, name)
		if err != nil {
			return nil
		}
		dial := func(ctx context.Context) (*postgres.Control, error) { return f.control(ctx, m) }
		var at appliance.LSN
		moved := time.Now()
		_ = wait.Until(ctx, standstillPoll, func(ctx context.Context) (bool, error) {
			receives := true
			err := w.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, name), dial, func(c *postgres.Control) error {
				s, err := c.Sight(ctx)
				if now := max(s.Received, s.Replayed); err != nil || now != at || !s.InRecovery {
					at, moved = now, time.Now()
				}
				receives = s.Receiving
				return err
			})
			switch {
			case err != nil:
				moved = time.Now()
			case !receives && time.Since(moved) >= standstill:
				why = appliance.NewProblem(appliance.ErrReplication, "%s receives nothing from the primary, and stands still for %s: %w", name, standstill, context.DeadlineExceeded).
					WithHint("see the member's log for the reason: 'pgapp logs %s'", name)
			case !receives && time.Since(moved) >= pausedPoll:
				why = w.paused(ctx, f, name, false)
			}
			return why != nil, nil
		})
		return why
	}
}
