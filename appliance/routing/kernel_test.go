package routing_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/routing"
)

// kernelRules are those of a kernel that does what it is told, or fails.
type kernelRules struct {
	was, is []appliance.Route
	applied int
	blocked bool
	removed int
	fails   error
}

func (k *kernelRules) Apply(_ context.Context, was, is []appliance.Route) error {
	if k.fails != nil {
		return k.fails
	}
	k.was, k.is, k.blocked = was, is, false
	k.applied++
	return nil
}

func (k *kernelRules) Intact(context.Context, []appliance.Route) (bool, error) { return true, nil }

func (k *kernelRules) Open(at []netip.AddrPort) (map[[2]netip.AddrPort]int, error) {
	member := netip.MustParseAddrPort("127.0.122.1:5432")
	return map[[2]netip.AddrPort]int{{at[0], member}: 3}, nil
}

func (k *kernelRules) Block(context.Context) error { k.blocked = true; return nil }

func (k *kernelRules) Remove(context.Context) error { k.is = nil; k.removed++; return nil }

// absent is a process that doesn't run.
type absent struct{ process }

func (*absent) Apply(context.Context, appliance.Routes) (appliance.RouteStatus, error) {
	return appliance.RouteStatus{}, endpoint.ErrNotRunning
}

func (*absent) Kill(context.Context) error { return nil }

func routesOf(number uint64, kernel bool) appliance.Routes {
	return appliance.Routes{Number: number, Clusters: []appliance.Route{
		{Cluster: "main", RW: "127.0.0.1:5000", Kernel: kernel, Primary: &appliance.RouteMember{Name: "node0", Address: "127.0.122.1:5432"}},
		{Cluster: "other", RW: "127.0.0.1:5002"},
	}}
}

func TestKernelGetsItsClustersOnly(t *testing.T) {
	t.Parallel()
	k := &kernelRules{}
	p := &process{status: appliance.RouteStatus{Clusters: []appliance.ClusterRouteStatus{
		{Cluster: "main", Primary: &appliance.RouteMember{Name: "node1"}, RW: appliance.EndpointStatus{Address: "127.0.0.1:5000", Open: 1}},
	}}}
	both := routing.Over(p, k)
	apply := func(r appliance.Routes) {
		t.Helper()
		if _, err := both.Apply(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	apply(routesOf(1, true))
	if len(k.is) != 1 || k.is[0].Cluster != "main" || len(p.routes.Clusters) != 2 {
		t.Fatalf("the kernel has %+v, the process %+v", k.is, p.routes)
	}
	if len(k.was) != 1 || k.was[0].Primary.Name != "node1" {
		t.Errorf("a new daemon takes %+v for what was, want what the process says", k.was)
	}
	apply(routesOf(2, true))
	if k.applied != 1 {
		t.Errorf("the same routes were applied %d times", k.applied)
	}
	if c, ok := both.(interface {
		Count(s appliance.RouteStatus) error
	}); !ok || c.Count(p.status) != nil || p.status.Clusters[0].RW.Open != 4 {
		t.Errorf("the connections are %+v, want 4", p.status.Clusters[0].RW)
	}
	apply(routesOf(3, false))
	if k.removed != 1 || k.is != nil {
		t.Errorf("without its clusters the kernel has %+v, removed %d times", k.is, k.removed)
	}
}

// TestKernelThatFailsMayLeadSomewhere has neither a kernel nor a process that does what it
// is told: nobody may believe that nothing leads anywhere.
func TestKernelThatFailsMayLeadSomewhere(t *testing.T) {
	t.Parallel()
	k := &kernelRules{}
	both := routing.Over(&absent{}, k)
	if _, err := both.Apply(t.Context(), routesOf(1, true)); !errors.Is(err, endpoint.ErrNotRunning) || k.applied != 1 {
		t.Fatalf("without a process: %v, want %v once the kernel has the routes", err, endpoint.ErrNotRunning)
	}
	next := routesOf(2, true)
	next.Clusters[0].Primary = nil
	k.fails = errNone
	if _, err := both.Apply(t.Context(), next); !errors.Is(err, errNone) || errors.Is(err, endpoint.ErrNotRunning) {
		t.Errorf("got %v, want only that the kernel failed", err)
	}
	if err := both.Kill(t.Context()); err != nil || !k.blocked {
		t.Errorf("after a failure the kernel is blocked: %v, error %v", k.blocked, err)
	}
	k.fails = nil
	if _, err := both.Apply(t.Context(), next); !errors.Is(err, endpoint.ErrNotRunning) || k.blocked {
		t.Errorf("the kernel leads again: blocked %v, error %v", k.blocked, err)
	}
}

// TestKernelLeavesAPortToAnotherProgram has another program listen at an endpoint's address:
// the kernel must not lead that program's clients to a member.
func TestKernelLeavesAPortToAnotherProgram(t *testing.T) {
	t.Parallel()
	k := &kernelRules{}
	p := &process{status: appliance.RouteStatus{Clusters: []appliance.ClusterRouteStatus{
		{Cluster: "main", RW: appliance.EndpointStatus{Address: "127.0.0.1:5000", Problem: "address already in use"}, RO: appliance.EndpointStatus{Address: "127.0.0.1:5001"}},
	}}}
	both := routing.Over(p, k)
	leads := func(why, rw string) {
		t.Helper()
		if len(k.is) != 1 || k.is[0].RW != rw || k.is[0].RO != "127.0.0.1:5001" {
			t.Errorf("%s: the kernel has %+v; want rw at %q", why, k.is, rw)
		}
	}
	routes := routesOf(1, true)
	routes.Clusters[0].RO = "127.0.0.1:5001"
	apply := func() {
		t.Helper()
		if _, err := both.Apply(t.Context(), routes); err != nil {
			t.Fatal(err)
		}
		routes.Number++
	}
	status := func() {
		t.Helper()
		if _, err := both.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	leads("the port is taken", "")
	routes.Clusters[0].Closed = true
	apply()
	leads("another state", "")
	p.status.Clusters[0].RW.Problem = ""
	status()
	leads("the port is free again", "127.0.0.1:5000")
	p.status.Clusters[0].RW.Problem = "address already in use"
	k.fails = errNone
	status()
	k.fails, p.status.Clusters[0].RO.Problem = nil, ""
	leads("taken again, and the kernel refuses", "127.0.0.1:5000")
	status()
	leads("taken again", "")
}
