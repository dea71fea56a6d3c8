package routing

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
)

// apply has the process hold what follows from the records now. It starts the process if
// it doesn't run, and ends it if no cluster needs it.
func (r *Router) apply(ctx context.Context) error {
	ctx, leave, err := r.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	// Read in the turn: a state that goes to the process later comes of records that are no
	// older.
	clusters, err := r.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	if !r.needed(clusters) {
		return r.endIf(ctx)
	}
	r.none = false
	status, err := r.ask(ctx)
	if err != nil && !errors.Is(err, endpoint.ErrNotRunning) {
		return r.silent(ctx, err)
	}
	r.hung = time.Time{}
	routes := r.routes(clusters, status)
	if status.Build != r.cfg.Build { // or none runs
		r.last, r.saidAt = nil, time.Time{}
		if status, err = r.cfg.Process.Ensure(ctx, r.next(routes, status.Number)); err != nil {
			return err
		}
		if clusters, err = r.cfg.Store.Clusters(ctx); err != nil { // the records may have changed meanwhile
			return err
		}
		routes = r.routes(clusters, status)
	}
	if status, err = r.hold(ctx, routes, status); err != nil {
		return err
	}
	return r.keepPorts(ctx, clusters, status)
}

// ask asks the process for its status, unless it runs and has just said it.
func (r *Router) ask(ctx context.Context) (appliance.RouteStatus, error) {
	if time.Since(r.saidAt) < askEvery && r.cfg.Process.Lives(r.said.PID) {
		return r.said, nil
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	s, err := r.cfg.Process.Status(ctx)
	if r.said, r.saidAt = s, time.Now(); err != nil {
		r.saidAt = time.Time{}
	}
	return s, err
}

// keepPorts notes for each cluster whether its endpoints have got their ports. Where another
// program was quicker, the cluster gets other ones.
func (r *Router) keepPorts(ctx context.Context, clusters []appliance.Cluster, status appliance.RouteStatus) error {
	var errs []error
	for _, c := range clusters {
		s, ok := status.Cluster(c.Name)
		at := c.Endpoints
		if !ok || at == nil || c.EndpointsHeld {
			continue
		}
		rw, ro := c.EndpointAddresses()
		switch {
		case s.RW.Address != rw || s.RO.Address != ro:
		case s.RW.Problem == "" && s.RO.Problem == "":
			errs = append(errs, r.cfg.Ports.Hold(ctx, c.Name, *at))
		default:
			errs = append(errs, r.cfg.Ports.Move(ctx, c.Name, *at))
			r.Wake()
		}
	}
	return errors.Join(errs...)
}

// needed tells whether a cluster has endpoints.
func (r *Router) needed(clusters []appliance.Cluster) bool {
	r.seen = r.seen || len(clusters) > 0
	return slices.ContainsFunc(clusters, func(c appliance.Cluster) bool {
		_, ok := Of(c, Facts{})
		return ok
	})
}

// hold applies the routes unless the process holds them, and returns the process's status.
func (r *Router) hold(ctx context.Context, routes []appliance.Route, held appliance.RouteStatus) (appliance.RouteStatus, error) {
	if held.Number == r.number && reflect.DeepEqual(routes, r.last) {
		return held, nil
	}
	asked, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	status, err := r.cfg.Process.Apply(asked, r.next(routes, held.Number))
	if err != nil {
		r.last, r.saidAt = nil, time.Time{}
		return held, err
	}
	r.last, r.said = routes, status
	return status, nil
}

// next numbers the routes so that the process takes them.
func (r *Router) next(routes []appliance.Route, held uint64) appliance.Routes {
	r.number = max(r.number, held) + 1
	return appliance.Routes{Number: r.number, Clusters: routes}
}

// silent kills a process that has answered nothing for a while. What goes through it
// hangs anyway.
func (r *Router) silent(ctx context.Context, err error) error {
	if r.hung.IsZero() {
		r.hung = time.Now()
	}
	if time.Since(r.hung) < hungFor {
		return err
	}
	r.hung = time.Time{}
	if l, ok := r.cfg.Process.(layer); ok {
		asked, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		return errors.Join(err, l.KillProcess(asked))
	}
	return errors.Join(err, r.end(ctx))
}

// endIf ends the process, which no cluster needs. A daemon that has never known a cluster
// leaves it: its state was lost, and the process serves clusters that may live.
func (r *Router) endIf(ctx context.Context) error {
	if r.none || !r.seen {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, ending)
	defer cancel()
	err := r.cfg.Process.Stop(asked)
	r.none, r.last = err == nil, nil
	return err
}

// routes are where all endpoints lead by the records and the looks, in order of the
// clusters' names. Of a cluster that nothing is known of yet, the process's status says
// what is open: so a new daemon closes nothing.
func (r *Router) routes(clusters []appliance.Cluster, held appliance.RouteStatus) []appliance.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []appliance.Route{}
	there := map[string]bool{}
	for _, c := range clusters {
		there[c.UUID] = true
		m := r.memory(c.UUID)
		if m.serving == nil {
			m.remember(c, held)
		}
		route, ok := Of(c, m.facts(c))
		if !ok {
			continue
		}
		for _, s := range route.Standbys {
			m.serving[s.Name] = s.New
		}
		out = append(out, route)
	}
	maps.DeleteFunc(r.known, func(uuid string, _ *memory) bool { return !there[uuid] })
	return out
}
