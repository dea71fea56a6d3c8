package control

import (
	"context"
	"errors"
	"net"
	"strconv"

	"pgapp/appliance"
)

// AllotEndpoints gives a pair of ports to each cluster that shall have endpoints and has
// no ports yet: one of an older program, or one whose endpoints were off so far. While
// pgapp only observes, it chooses none: what it doesn't know of may have the same.
func AllotEndpoints(ctx context.Context, c *Controller) error {
	if o, err := c.observeOnly(ctx); err != nil || len(o.Clusters) > 0 {
		return err
	}
	records, err := c.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		if wantsPorts(r) {
			errs = append(errs, allotEndpoints(ctx, c, r))
		}
	}
	return errors.Join(errs...)
}

// allotEndpoints records the ports in the turn for addresses, so that no other cluster
// gets them.
func allotEndpoints(ctx context.Context, c *Controller, r appliance.Cluster) error {
	leave, err := c.admission.enter(ctx, allAddresses)
	if err != nil {
		return err
	}
	defer leave()
	ports, err := c.cfg.ports(ctx, r.Name, r.Spec)
	if err != nil {
		return err
	}
	_, err = c.cfg.Store.UpdateCluster(ctx, r.Name, func(now *appliance.Cluster) error {
		if now.UUID == r.UUID && wantsPorts(*now) {
			now.Endpoints = ports
		}
		return nil
	})
	return err
}

// HoldEndpoints notes that the endpoint process listens at the cluster's ports, which the
// cluster keeps from then on.
func HoldEndpoints(ctx context.Context, c *Controller, cluster string, at appliance.Endpoints) error {
	_, err := c.cfg.Store.UpdateCluster(ctx, cluster, func(now *appliance.Cluster) error {
		now.EndpointsHeld = now.EndpointsHeld || now.Endpoints != nil && *now.Endpoints == at
		return nil
	})
	return err
}

// MoveEndpoints gives the cluster another pair of ports if another program, such as the
// endpoint process of another home, has got one of the pair before the cluster's endpoints
// ever listened there.
func MoveEndpoints(ctx context.Context, c *Controller, cluster string, from appliance.Endpoints) error {
	leave, err := c.admission.enter(ctx, allAddresses)
	if err != nil {
		return err
	}
	defer leave()
	record, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return err
	}
	ports, err := c.cfg.ports(ctx, cluster, record.Spec)
	if err != nil {
		return err
	}
	_, err = c.cfg.Store.UpdateCluster(ctx, cluster, func(now *appliance.Cluster) error {
		if now.UUID == record.UUID && now.Endpoints != nil && *now.Endpoints == from && !now.EndpointsHeld {
			now.Endpoints = ports
		}
		return nil
	})
	return err
}

func wantsPorts(r appliance.Cluster) bool {
	return r.Spec.HasEndpoints() && r.Endpoints == nil && r.Phase != appliance.PhaseRemoving
}

// ports chooses the ports of the cluster's endpoints, nil if it shall have none.
func (cfg Config) ports(ctx context.Context, cluster string, s appliance.Spec) (*appliance.Endpoints, error) {
	if !s.HasEndpoints() {
		return nil, nil
	}
	records, err := cfg.Store.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	others := records[:0:0]
	for _, r := range records {
		if r.Name != cluster {
			others = append(others, r)
		}
	}
	e, ok := appliance.FreeEndpoints(others, func(port int) bool { return portFree(ctx, port) })
	if !ok {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "no pair of ports is free on %s for the endpoints of cluster %q", appliance.EndpointHost, cluster).
			WithHint("--endpoint off makes the cluster without endpoints")
	}
	return &e, nil
}

// mayLead refuses endpoints that this machine's kernel can't lead.
func (cfg Config) mayLead(ctx context.Context, e appliance.EndpointSpec) error {
	if e.Endpoint != appliance.EndpointKernel || cfg.KernelEndpoints == nil {
		return nil
	}
	return cfg.KernelEndpoints(ctx)
}

// NextEndpoints returns the pair of ports that a first cluster would get now.
func NextEndpoints(ctx context.Context) (appliance.Endpoints, bool) {
	return appliance.FreeEndpoints(nil, func(port int) bool { return portFree(ctx, port) })
}

// addEndpoints says where the cluster's endpoints lead.
func (cfg Config) addEndpoints(ctx context.Context, s *appliance.ClusterStatus, r appliance.Cluster) {
	if !r.Spec.HasEndpoints() || r.Endpoints == nil || cfg.Routes == nil {
		return
	}
	s.Endpoints = &appliance.EndpointsStatus{Endpoints: *r.Endpoints, Kernel: r.Spec.Endpoint == appliance.EndpointKernel}
	if host := r.EndpointHost(); host != appliance.EndpointHost {
		s.Endpoints.Host = host
	}
	status, err := cfg.Routes(ctx)
	if err != nil {
		s.Endpoints.Problem = appliance.AsProblem(err).Message
	}
	if now, ok := status.Cluster(r.Name); ok {
		s.Endpoints.Writes, s.Endpoints.Reads = &now.RW, &now.RO
	}
}

// excuse skips failed checks of the endpoints of a cluster that pgapp only observes.
func excuse(checks []appliance.Check) {
	for i := range checks {
		if c := &checks[i]; !c.OK {
			c.OK, c.Skipped, c.Detail = true, true, c.Detail+"; pgapp only observes, and leads no endpoints before pgapp adopt"
		}
	}
}

// portFree tells whether nobody listens at the port.
func portFree(ctx context.Context, port int) bool {
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp4", net.JoinHostPort(appliance.EndpointHost, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// sharesEndpoint tells whether another cluster has a port of the new one.
func (cfg Config) sharesEndpoint(ctx context.Context, created *appliance.NewCluster) (bool, error) {
	if created == nil {
		return false, nil
	}
	records, err := cfg.Store.Clusters(ctx)
	for _, r := range records {
		if r.Name != created.Cluster.Name && r.SharesEndpoint(created.Cluster) {
			return true, nil
		}
	}
	return false, err
}
