package watch

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// Store is what a watcher needs of the store.
type Store interface {
	Clusters(ctx context.Context) ([]appliance.Cluster, error)
	Cluster(ctx context.Context, name string) (appliance.Cluster, error)
	Secrets(ctx context.Context, cluster string) (appliance.Secrets, error)
	// Running is [appliance.Journal]'s.
	Running(ctx context.Context, cluster string) (appliance.Operation, error)
	// Changed returns a channel that is closed as soon as something may have been written.
	Changed() <-chan struct{}
}

// Config is what a watcher needs.
type Config struct {
	Store     Store
	Providers map[appliance.ProviderKind]appliance.Provider
	// Submit begins an operation.
	Submit func(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error)
	// Observing says why nothing may be changed, empty if something may.
	Observing func(ctx context.Context) (string, error)
	// Looked gets what each look has seen, and when it began. It returns at once.
	Looked func(uuid string, began time.Time, seen []ha.Sighting)
	// Lend are the operations' sessions. They get the watcher's before a failover begins; nil
	// for none.
	Lend *postgres.Sessions
	Log  *slog.Logger
}

// Watcher watches all clusters that shall keep themselves, and looks at those that have
// endpoints.
type Watcher struct {
	cfg      Config
	sessions *postgres.Sessions
	begin    chan struct{}
	once     sync.Once

	mu      sync.Mutex
	reports map[string]appliance.Watching
}

// New makes a watcher. It does nothing before [Watcher.Run].
func New(cfg Config) *Watcher {
	return &Watcher{cfg: cfg, sessions: &postgres.Sessions{}, begin: make(chan struct{}), reports: map[string]appliance.Watching{}}
}

// Begin lets the watcher look and act: what an earlier daemon left running goes on
// first. A repeat does nothing.
func (w *Watcher) Begin() { w.once.Do(func() { close(w.begin) }) }

// Watching is what the watcher has found out about the cluster last.
func (w *Watcher) Watching(cluster string) appliance.Watching {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reports[cluster]
}

func (w *Watcher) report(cluster string, r appliance.Watching) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports[cluster] = r
}

// Run watches until ctx ends. All that it has begun has ended then, except for
// operations.
func (w *Watcher) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-w.begin:
	}
	watched := map[string]context.CancelFunc{}
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		w.sessions.Close(context.WithoutCancel(ctx))
	}()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		changed := w.cfg.Store.Changed()
		clusters, err := w.cfg.Store.Clusters(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		shall := map[string]appliance.Cluster{}
		for _, c := range clusters {
			if (keeps(c) || c.Spec.HasEndpoints()) && c.Phase != appliance.PhaseCreating && c.Phase != appliance.PhaseRemoving {
				shall[c.UUID] = c
			}
		}
		maps.DeleteFunc(watched, func(id string, end context.CancelFunc) bool {
			_, ok := shall[id]
			if !ok {
				end()
			}
			return !ok
		})
		for id, c := range shall {
			if _, ok := watched[id]; ok {
				continue
			}
			own, end := context.WithCancel(ctx)
			watched[id] = end
			wg.Go(func() { w.watch(own, c) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// keeps tells whether pgapp keeps the cluster by itself.
func keeps(c appliance.Cluster) bool { return c.Spec.Automatic != appliance.AutomaticOff }
