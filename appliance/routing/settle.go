package routing

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
)

const (
	// settling bounds how long a change of primary waits for the process.
	settling = time.Second
	// leaving bounds how long the removal of a cluster does.
	leaving = 3 * time.Second
)

// Settle has the process hold what follows from the cluster's record now, and returns when
// it does. Verified is set where the caller has just seen that the recorded primary takes
// writes. During a change of primary a process that doesn't answer in time is killed: then
// nothing leads anywhere until the router has started it anew, with the record of then. So
// rw never leads to a former primary, and no change waits longer. The error says that this
// was done, or that it failed.
func (r *Router) Settle(ctx context.Context, cluster string, verified bool) error {
	return r.settle(ctx, cluster, func(m *memory, c appliance.Cluster) {
		if verified {
			m.verify(c)
		}
	})
}

// Cut has rw lead nowhere until the recorded primary is verified anew. It is for a primary
// that is about to be ended and started again in its place: a machine that is switched off
// ends no connection.
func (r *Router) Cut(ctx context.Context, cluster string) error {
	return r.settle(ctx, cluster, func(m *memory, _ appliance.Cluster) { m.verified, m.cut = "", true })
}

func (r *Router) settle(ctx context.Context, cluster string, note func(*memory, appliance.Cluster)) error {
	c, err := r.cfg.Store.Cluster(ctx, cluster)
	if err != nil || !c.Spec.HasEndpoints() || c.Endpoints == nil {
		return err
	}
	r.mu.Lock()
	m := r.memory(c.UUID)
	note(m, c)
	cut := m.cut
	r.mu.Unlock()
	if !cut && c.Phase != appliance.PhaseRemoving && r.mayOpen(c) {
		r.verify(ctx, c)
	}
	limit, removing := settling, c.Phase == appliance.PhaseRemoving
	if removing {
		limit = leaving
	}
	err = r.push(ctx, limit)
	if errors.Is(err, errGivenUp) { // another cluster's change has ended the process
		err = r.push(ctx, limit)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, endpoint.ErrNotRunning): // nothing leads anywhere
		r.Wake()
		return nil
	case ctx.Err() != nil:
		return err
	}
	defer r.Wake()
	if silent := errors.Is(err, context.DeadlineExceeded); !cut && !Changing(c) && (!removing || !silent) {
		return err
	}
	kerr := r.kill(ctx)
	switch {
	case kerr != nil:
		return errors.Join(err, kerr)
	case removing: // nothing leads to its members any more
		return nil
	}
	return appliance.NewProblem(appliance.ErrTimeout, "the endpoint process did not take a new state within %s and was killed: %w", limit, err)
}

// push applies what follows from the records now, to a process that runs, within that
// time. The end of a process that is not needed may take longer.
func (r *Router) push(whole context.Context, limit time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(whole, limit)
	defer cancel()
	ctx, leave, err := r.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer func() {
		if errors.Is(context.Cause(ctx), errGivenUp) {
			err = errGivenUp
		}
	}()
	clusters, err := r.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	if !r.needed(clusters) {
		return r.endIf(whole)
	}
	held := appliance.RouteStatus{Number: r.number}
	if r.last == nil { // nothing has been applied by this daemon
		// Where no process runs, the kernel may lead connections nevertheless.
		if held, err = r.cfg.Process.Status(ctx); err != nil && !errors.Is(err, endpoint.ErrNotRunning) {
			return err
		}
	}
	routes := r.routes(clusters, held)
	_, err = r.hold(ctx, routes, held)
	if appliance.IsProblem(err, appliance.ErrConflict) { // it holds a state with a higher number
		if held, err = r.cfg.Process.Status(ctx); err == nil {
			_, err = r.hold(ctx, routes, held)
		}
	}
	return err
}
