package daemon

import (
	"context"
	"sync/atomic"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/daemon/statebackup"
)

// renewal is how a daemon lets its state be replaced while it lives.
type renewal struct {
	// stop ends the serving of the state that was.
	stop  func()
	again atomic.Bool
	held  atomic.Pointer[appliance.Problem]
}

// heldBy is why no request is served at the moment, or nil.
func (r *renewal) heldBy() *appliance.Problem { return r.held.Load() }

// renew stops all work and closes the store, runs change, and has the daemon
// begin anew with whatever state there is then. Requests are refused from the
// first moment on; the one that calls this is still answered.
func (d *composition) renew(change func() error) error {
	d.held.Store(appliance.NewProblem(appliance.ErrDaemonRecovery, "the state is being replaced").WithHint("try again in a moment"))
	d.close()
	err := change()
	d.again.Store(true)
	d.stop()
	return err
}

// adopter adopts, and has the state backed up as it is then.
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
