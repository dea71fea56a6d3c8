package routing_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/routing"
)

var errNone = errors.New("there are none")

// records are those of a home whose members nobody can ask.
type records []appliance.Cluster

func (r records) Clusters(context.Context) ([]appliance.Cluster, error) { return r, nil }

func (r records) Cluster(_ context.Context, name string) (appliance.Cluster, error) {
	for _, c := range r {
		if c.Name == name {
			return c, nil
		}
	}
	return appliance.Cluster{}, errNone
}

func (r records) Secrets(context.Context, string) (appliance.Secrets, error) {
	return appliance.Secrets{}, errNone
}

// process holds a state, as the endpoint process does.
type process struct {
	status appliance.RouteStatus
	routes appliance.Routes
}

func (p *process) Ensure(ctx context.Context, r appliance.Routes) (appliance.RouteStatus, error) {
	return p.Apply(ctx, r)
}

func (p *process) Apply(_ context.Context, r appliance.Routes) (appliance.RouteStatus, error) {
	if r.Number <= p.status.Number {
		return p.status, appliance.NewProblem(appliance.ErrConflict, "the state is older")
	}
	p.routes, p.status.Number = r, r.Number
	return p.status, nil
}

func (p *process) Status(context.Context) (appliance.RouteStatus, error) { return p.status, nil }
func (p *process) Lives(int) bool                                        { return true }
func (p *process) Kill(context.Context) error                            { return errNone }
func (p *process) Stop(context.Context) error                            { return errNone }

// TestTwoClusters has two clusters keep apart in one process: a new daemon takes for true
// what is open, of each cluster its own, and what it finds out about one leaves the other
// as it was.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	open, shut := newScene(), newScene()
	open.c.UUID, shut.c.UUID, shut.c.Name = "1", "2", "other"
	shut.c.Endpoints = &appliance.Endpoints{RW: 5002, RO: 5003}
	node0 := &appliance.RouteMember{Name: "node0", Address: "127.0.1.1:5432"}
	p := &process{status: appliance.RouteStatus{Number: 1 << 62, Clusters: []appliance.ClusterRouteStatus{
		{Cluster: "main", Primary: node0, RW: appliance.EndpointStatus{To: []string{"node0"}}, RO: appliance.EndpointStatus{To: []string{"node1"}}},
		{Cluster: "other", RO: appliance.EndpointStatus{To: []string{"node2"}}},
	}}}
	r := routing.New(routing.Config{Store: records{open.c, shut.c}, Process: p, Log: slog.New(slog.DiscardHandler)})
	states := func(main, other string) {
		t.Helper()
		if len(p.routes.Clusters) != 2 {
			t.Fatalf("got %+v", p.routes)
		}
		a, b := p.routes.Clusters[0], p.routes.Clusters[1]
		if said(a) != main || said(b) != other || a.RW == b.RW || a.RO == b.RO {
			t.Errorf("got %q at %s and %q at %s, want %q and %q", said(a), a.RW, said(b), b.RW, main, other)
		}
	}
	if err := r.Settle(t.Context(), "main", false); err != nil {
		t.Fatal(err)
	}
	states("rw: node0 ro: node0 node1+ node2", "rw: node0 waits ro: node0 node1 node2+")
	if err := r.Settle(t.Context(), "other", true); err != nil {
		t.Fatal(err)
	}
	states("rw: node0 ro: node0 node1+ node2", "rw: node0 ro: node0 node1 node2+")
	if err := r.Cut(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	states("rw: waits ro: node0 node1+ node2", "rw: node0 ro: node0 node1 node2+")
	if err := r.Settle(t.Context(), "main", false); err != nil {
		t.Fatal(err)
	}
	states("rw: waits ro: node0 node1+ node2", "rw: node0 ro: node0 node1 node2+")
	if err := r.Settle(t.Context(), "main", true); err != nil {
		t.Fatal(err)
	}
	states("rw: node0 ro: node0 node1+ node2", "rw: node0 ro: node0 node1 node2+")
}

// TestMovedPrimaryIsVerified has a new daemon find a process that is open to the primary at
// another address than the record's, as with the file of an earlier cluster.
func TestMovedPrimaryIsVerified(t *testing.T) {
	t.Parallel()
	s := newScene()
	p := &process{status: appliance.RouteStatus{Number: 1 << 62, Clusters: []appliance.ClusterRouteStatus{
		{Cluster: "main", Primary: &appliance.RouteMember{Name: "node0", Address: "127.0.9.1:5432"}, RW: appliance.EndpointStatus{To: []string{"node0"}}},
	}}}
	r := routing.New(routing.Config{Store: records{s.c}, Process: p, Log: slog.New(slog.DiscardHandler)})
	if err := r.Settle(t.Context(), "main", false); err != nil {
		t.Fatal(err)
	}
	if got, want := said(p.routes.Clusters[0]), "rw: node0 waits ro: node0 node1 node2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// slow is a process whose start takes until it is given up, or whose status does.
type slow struct {
	process
	begun chan struct{}
	// starting is set while a start is under way, and late if the process was killed
	// meanwhile.
	starting, late atomic.Bool
}

func (s *slow) Status(context.Context) (appliance.RouteStatus, error) {
	return appliance.RouteStatus{}, endpoint.ErrNotRunning
}

func (s *slow) Ensure(ctx context.Context, _ appliance.Routes) (appliance.RouteStatus, error) {
	s.starting.Store(true)
	defer s.starting.Store(false)
	s.begun <- struct{}{}
	<-ctx.Done()
	return appliance.RouteStatus{}, context.Cause(ctx)
}

func (s *slow) Apply(context.Context, appliance.Routes) (appliance.RouteStatus, error) {
	return appliance.RouteStatus{}, endpoint.ErrNotRunning
}

func (s *slow) Kill(context.Context) error {
	s.late.Store(s.starting.Load())
	return nil
}

// TestSettleGivesUpAStart has the primary change while the process starts with the records
// of before: it must not come to lead anywhere after the change was told that nothing does.
func TestSettleGivesUpAStart(t *testing.T) {
	t.Parallel()
	s := newScene()
	p := &slow{begun: make(chan struct{})}
	c := records{s.c}
	r := routing.New(routing.Config{
		Store: c, Process: p, Log: slog.New(slog.DiscardHandler), Build: "one",
		Observing: func(context.Context) (string, error) { return "", nil },
		Serves:    func(context.Context, appliance.Cluster) bool { return true },
	})
	worked := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { worked <- r.Work(ctx) }()
	<-p.begun
	s.change(appliance.ChangeFencing, "")
	c[0] = s.c
	if err := r.Settle(t.Context(), "main", false); !appliance.IsProblem(err, appliance.ErrTimeout) {
		t.Errorf("settling during a start: error %v, want %s", err, appliance.ErrTimeout)
	}
	if p.late.Load() || p.starting.Load() {
		t.Error("the start goes on after the change was told that nothing leads anywhere")
	}
	stop()
	if err := <-worked; err == nil {
		t.Error("the turn with the start has no error")
	}
}
