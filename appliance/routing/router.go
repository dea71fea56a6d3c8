package routing

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

const (
	// every is the longest time between two turns. A turn finds a process that has ended,
	// and what has changed in the records. The looks at a cluster of local members come a
	// little more often, and each makes a turn.
	every = 600 * time.Millisecond
	// asking bounds each question to the process.
	asking = time.Second
	// askEvery is how long a process that runs is believed to be as it said: what it holds is
	// the router's own. Another program may have taken a port, or the kernel's rules.
	askEvery = 2 * time.Second
	// hungFor is how long a process may answer nothing before the router kills it.
	hungFor = 3 * time.Second
	// ending bounds the end of a process that is not needed, which is killed if it has
	// not ended in less.
	ending = 5 * time.Second
	// lookAge is the age from which on a look says nothing any more.
	lookAge = 5 * time.Second
)

// Store is what a router needs of the store.
type Store interface {
	Cluster(ctx context.Context, name string) (appliance.Cluster, error)
	Clusters(ctx context.Context) ([]appliance.Cluster, error)
	Secrets(ctx context.Context, cluster string) (appliance.Secrets, error)
}

// Process is the home's endpoint process. Where none runs, Apply and Status return
// [endpoint.ErrNotRunning].
type Process interface {
	// Ensure starts the process with the routes where none of this build answers.
	Ensure(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error)
	// Apply returns when the process holds the routes.
	Apply(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error)
	Status(ctx context.Context) (appliance.RouteStatus, error)
	// Lives tells, without asking it, whether the process with that id still runs, which said
	// its status.
	Lives(pid int) bool
	// Kill ends a process that doesn't answer. Stop ends one that is not needed, also if
	// it doesn't answer, and leaves nothing of it.
	Kill(ctx context.Context) error
	Stop(ctx context.Context) error
}

// layer is a process with the kernel over it.
type layer interface {
	// Count adds the kernel's connections to the process's.
	Count(s appliance.RouteStatus) error
	// KillProcess ends a process that doesn't answer, and leaves the kernel as it is.
	KillProcess(ctx context.Context) error
}

// Ports are the clusters' ports on record.
type Ports interface {
	// Allot gives ports to the clusters that lack them.
	Allot(ctx context.Context) error
	// Hold notes that the endpoints listen at the cluster's ports.
	Hold(ctx context.Context, cluster string, at appliance.Endpoints) error
	// Move chooses other ports for a cluster whose endpoints never listened at these.
	Move(ctx context.Context, cluster string, from appliance.Endpoints) error
}

// Config is what a router needs.
type Config struct {
	Store   Store
	Process Process
	// Build is this program's. A process of another one is replaced.
	Build string
	// Observing says why nothing may be changed, empty if something may.
	Observing func(ctx context.Context) (string, error)
	Ports     Ports
	Log       *slog.Logger
	// Serves tells whether the recorded primary takes writes and lets the application in.
	// The default connects to it.
	Serves func(ctx context.Context, c appliance.Cluster) bool
	// First is greater than the number of any state that an earlier daemon has made. The
	// default is the clock's, in milliseconds.
	First uint64
}

// Router has the endpoint process hold what follows from the records and the looks.
type Router struct {
	cfg   Config
	wake  chan struct{}
	begin chan struct{}
	once  sync.Once

	turn turn
	// The following are the turn's.
	number uint64
	last   []appliance.Route
	hung   time.Time
	// said is what the process has answered last, and saidAt when it was asked, zero after a
	// failure.
	said   appliance.RouteStatus
	saidAt time.Time
	none   bool
	// seen is set once this daemon has had a cluster on record.
	seen bool

	mu    sync.Mutex
	known map[string]*memory
	// trouble is why the last turn failed.
	trouble error
}

// New makes a router. It does nothing before [Router.Run].
func New(cfg Config) *Router {
	r := &Router{
		cfg: cfg, wake: make(chan struct{}, 1), begin: make(chan struct{}), turn: turn{held: make(chan struct{}, 1)}, known: map[string]*memory{},
		number: cmp.Or(cfg.First, uint64(time.Now().UnixMilli())), //nolint:gosec // after 1970
	}
	if r.cfg.Serves == nil {
		r.cfg.Serves = r.asks
	}
	return r
}

// Begin lets the router work: the daemon's parts are together then. A repeat does nothing.
func (r *Router) Begin() { r.once.Do(func() { close(r.begin) }) }

// Wake makes the router look at the records at once.
func (r *Router) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

// Looked tells the router what a look that began then has seen of a cluster's members.
func (r *Router) Looked(uuid string, began time.Time, seen []ha.Sighting) {
	looks := map[string]Look{}
	for _, s := range seen {
		looks[s.Member] = LookOf(s)
	}
	r.mu.Lock()
	m := r.memory(uuid)
	m.looks, m.at = looks, began
	r.mu.Unlock()
	r.Wake()
}

// memory returns the cluster's. The caller holds mu.
func (r *Router) memory(uuid string) *memory {
	m, ok := r.known[uuid]
	if !ok {
		m = &memory{}
		r.known[uuid] = m
	}
	return m
}

// Run works until ctx ends. The process goes on then.
func (r *Router) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.begin:
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	said := ""
	for {
		err := r.Work(ctx)
		r.note(err)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			r.cfg.Log.Error("leading the endpoints", "error", err)
		} else if err == nil {
			said = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.wake:
			tick.Reset(every)
		}
	}
}

func (r *Router) note(trouble error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = trouble
}

// Status returns what the process says about itself. The error says why it says nothing,
// or why it doesn't follow the records.
func (r *Router) Status(ctx context.Context) (appliance.RouteStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	s, err := r.cfg.Process.Status(ctx)
	if k, ok := r.cfg.Process.(layer); ok && err == nil {
		err = k.Count(s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return s, cmp.Or(r.trouble, err)
}

// Work looks at the records once, verifies what has to be verified, and applies.
func (r *Router) Work(ctx context.Context) error {
	if why, err := r.cfg.Observing(ctx); err != nil || why != "" {
		return err // the process keeps a state that is no older than the record
	}
	clusters, err := r.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	lacks := func(c appliance.Cluster) bool { return c.Spec.HasEndpoints() && c.Endpoints == nil }
	var lacking error
	if slices.ContainsFunc(clusters, lacks) {
		lacking = r.cfg.Ports.Allot(ctx) // the others' endpoints don't wait for it
	}
	r.verifyAll(ctx, clusters)
	return errors.Join(lacking, r.apply(ctx))
}
