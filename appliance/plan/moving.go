package plan

import (
	"context"
	"sync"
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
)

// waitMoving waits until the standbys stream, as long as they can. The primary may no
// longer have the WAL that a standby needs, or the standby may have gone its own way:
// then the standby has no receiver and stands still, and waiting longer helps nothing.
func (w world) waitMoving(ctx context.Context, f facts, c *postgres.Control, names []string) error {
	waiting, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if w.standsStill(waiting, f, name) {
				stop(appliance.NewProblem(appliance.ErrReplication, "%s receives nothing from the primary, and stands still for %s: %w", name, standstill, context.DeadlineExceeded).
					WithHint("see the member's log for the reason: 'pgapp logs %s'", name))
			}
		})
	}
	err := waitStreaming(waiting, c, names)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		err = context.Cause(waiting)
	}
	stop(nil)
	wg.Wait()
	return err
}

// standsStill returns true once the standby has stood still for long, and false when ctx
// ends. A standby that doesn't answer is not known to stand still.
func (w world) standsStill(ctx context.Context, f facts, name string) bool {
	m, err := memberOf(f.cluster, name)
	if err != nil {
		return false
	}
	dial := func(ctx context.Context) (*postgres.Control, error) { return f.control(ctx, m) }
	var at appliance.LSN
	moved := time.Now()
	return wait.Until(ctx, standstillPoll, func(ctx context.Context) (still bool, err error) {
		err = w.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, name), dial, func(c *postgres.Control) error {
			s, err := c.Sight(ctx)
			if now := max(s.Received, s.Replayed); err != nil || now != at || !s.InRecovery {
				at, moved = now, time.Now()
			}
			still = !s.Receiving && time.Since(moved) >= standstill
			return err
		})
		if err != nil {
			moved = time.Now()
		}
		return still, nil
	}) == nil
}
