package daemon

import (
	"context"
	"sync/atomic"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/daemon/statebackup"
)

// renewal replaces the state of a running daemon.
type renewal struct {
	// stop ends the serving of the replaced state.
	stop  func()
	again atomic.Bool
	held  atomic.Pointer[appliance.Problem]
}

// heldBy is the reason why requests are refused now, or nil.
func (r *renewal) heldBy() *appliance.Problem { return r.held.Load() }

// renew stops all work, closes the store, calls change, and ends the serving of
// this state, so that the daemon composes itself again. New requests are refused
// from the start; the request that calls renew is still answered.
func (d *composition) renew(change func() error) error {
	d.held.Store(appliance.NewProblem(appliance.ErrDaemonRecovery, "the state is being replaced").WithHint("try again in a moment"))
	d.close()
	err := change()
	d.again.Store(true)
	d.stop()
	return err
}

// adopter adopts a cluster and wakes the backups of the state.
type adopter struct {
	ctl   *control.Controller
	saved *statebackup.Loop
}

// Adopt implements api.Adopter.
func (a adopter) Adopt(ctx context.Context, cluster string) (appliance.Adoption, error) {
	r, err := a.ctl.Adopt(ctx, cluster)
	a.saved.Wake()
	return r, err
}
