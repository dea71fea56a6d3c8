package watch

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// oneCluster is a store with a cluster and maybe an operation.
type oneCluster struct {
	cluster appliance.Cluster
	running *appliance.Operation
}

func (s *oneCluster) Clusters(context.Context) ([]appliance.Cluster, error) {
	return []appliance.Cluster{s.cluster}, nil
}

func (s *oneCluster) Cluster(context.Context, string) (appliance.Cluster, error) {
	return s.cluster, nil
}

func (s *oneCluster) Secrets(context.Context, string) (appliance.Secrets, error) {
	return appliance.Secrets{}, nil
}

func (s *oneCluster) Running(context.Context, string) (appliance.Operation, error) {
	if s.running == nil {
		return appliance.Operation{}, appliance.NewProblem(appliance.ErrNotFound, "nothing runs")
	}
	return *s.running, nil
}

func (s *oneCluster) Changed() <-chan struct{} { return nil }

// dead is a provider of machines without servers, which tells when it is asked.
type dead struct {
	machines
	asked func()
}

func (d *dead) Sign(context.Context, appliance.Cluster, appliance.Member) (appliance.Sign, error) {
	d.asked()
	return ended, nil
}

// TestOperationThatEndsDuringALookHoldsItsActs ends a restart of the primary in the middle
// of a look that has seen the primary down. The look proves nothing; the next one does.
func TestOperationThatEndsDuringALookHoldsItsActs(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := appliance.Member{Name: "node0", Placement: appliance.PlacementVM, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil { // nobody listens there
		t.Fatal(err)
	}
	store := &oneCluster{
		cluster: appliance.Cluster{UUID: "1", Name: "main", Phase: appliance.PhaseReady, Primary: "node0", Members: []appliance.Member{m}},
		running: &appliance.Operation{ID: "7", Kind: appliance.OpRestart},
	}
	provider := &dead{asked: func() {}}
	begun := 0
	w := New(Config{
		Store: store, Log: slog.New(slog.DiscardHandler),
		Observing: func(context.Context) (string, error) { return "", nil },
		Looked:    func(string, time.Time, []ha.Sighting) {},
		Submit: func(context.Context, string, appliance.OperationKind, appliance.OperationParams) (appliance.Operation, error) {
			begun++
			return appliance.Operation{ID: "8"}, nil
		},
	})
	g := &guard{
		w: w, id: "1", look: looker{sessions: w.sessions, provider: provider, limit: time.Second, fresh: map[string]time.Time{}},
		eyes: map[string]context.CancelFunc{}, wake: make(chan struct{}, 1), clock: newClock(),
	}
	ctx, stop := context.WithCancel(t.Context())
	defer g.wg.Wait()
	defer stop()
	look := func() {
		g.clock.due(0)
		g.turn(ctx, "main")
	}
	look()
	look()
	provider.asked = func() { store.running = nil }
	if look(); begun != 0 {
		t.Error("an act was begun for what an operation did that has ended since")
	}
	if look(); begun != 1 {
		t.Errorf("%d acts were begun for a primary that stays down, want 1", begun)
	}
}
