package endpoint

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint/relay"
)

const (
	// drainTime is how long connections to a member that leaves may end by themselves.
	drainTime = 10 * time.Second
	// silence is how long a client may take to send its first packet.
	silence = 10 * time.Second
)

// endpoint is one address and its connections. server.mu protects the fields.
type endpoint struct {
	s       *server
	cluster string
	role    role
	// route is the cluster's part of the state held. gone is set when the endpoint is
	// no part of the state any more.
	route appliance.Route
	gone  bool
	// changed is closed when the state changes, and replaced.
	changed chan struct{}

	// listener is nil if the address can't be bound; problem then says why, and again
	// is the timer of the next attempt.
	listener *net.TCPListener
	again    *time.Timer
	address  string
	problem  string

	conns map[*conn]struct{}
	loads map[appliance.RouteMember]load
	turn  uint64
	// drains holds the timers of members that are drained.
	drains map[appliance.RouteMember]*time.Timer
	since  time.Time
	to     []string
	cuts   uint64
}

// server is the process.
type server struct {
	log     *slog.Logger
	build   string
	started time.Time

	// applying is held while a state is taken over; states are taken in turn.
	applying sync.Mutex
	file     *stateFile
	// drainers are earlier processes whose connections are not over.
	drainers []*drainer

	mu sync.Mutex
	// held is the state; it changes only while applying is held as well.
	held      appliance.Routes
	endpoints []*endpoint
	// inherited are the sockets of an earlier process that are not used yet.
	inherited map[string]*net.TCPListener
	// retired is set when the listeners have been handed over.
	retired bool

	// relay moves the bytes of connections that are open.
	relay *relay.Relay
	// work counts the goroutines of connections and listeners.
	work sync.WaitGroup
	// ctx ends with the process.
	done    context.Context //nolint:containedctx // the life of the process, which outlasts every call
	endWork context.CancelCauseFunc
}

func newServer(ctx context.Context, log *slog.Logger, build string, file *stateFile) (*server, error) {
	r, err := relay.New(relayThreads())
	if err != nil {
		return nil, fmt.Errorf("starting the endpoints: %w", err)
	}
	s := &server{log: log, build: build, started: time.Now(), file: file, relay: r}
	s.done, s.endWork = context.WithCancelCause(ctx)
	return s, nil
}

// relayThreads is how many threads move bytes: those of one processor in two, since each
// message costs the member more than it costs here.
func relayThreads() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// wait waits for the end of all connections after shut.
func (s *server) wait() {
	s.work.Wait()
	s.relay.Close()
}

// ended waits for the end of the process and returns its cause.
func (s *server) ended() error {
	<-s.done.Done()
	return context.Cause(s.done)
}

// find returns the endpoint, or nil.
func (s *server) find(cluster string, r role) *endpoint {
	i := slices.IndexFunc(s.endpoints, func(e *endpoint) bool { return e.cluster == cluster && e.role == r })
	if i < 0 {
		return nil
	}
	return s.endpoints[i]
}

// take makes the state the one that is held: connections that it no longer allows are
// cut before take returns.
func (s *server) take(routes appliance.Routes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = routes
	seen := map[*endpoint]bool{}
	for _, route := range routes.Clusters {
		for _, r := range []role{rw, ro} {
			if address(r, route) == "" {
				continue
			}
			e := s.find(route.Cluster, r)
			if e == nil {
				e = &endpoint{
					s: s, cluster: route.Cluster, role: r, route: route, changed: make(chan struct{}), since: time.Now(),
					conns: map[*conn]struct{}{}, loads: map[appliance.RouteMember]load{}, drains: map[appliance.RouteMember]*time.Timer{},
				}
				s.endpoints = append(s.endpoints, e)
			}
			seen[e] = true
			e.take(route)
		}
	}
	s.endpoints = slices.DeleteFunc(s.endpoints, func(e *endpoint) bool {
		if seen[e] {
			return false
		}
		e.end()
		return true
	})
}

func address(r role, route appliance.Route) string {
	if r == rw {
		return route.RW
	}
	return route.RO
}

// take gives the endpoint its part of a state.
func (e *endpoint) take(route appliance.Route) {
	was := e.route
	e.route = route
	for c := range e.conns {
		e.judge(was, c)
	}
	for m, t := range e.drains { // also of a member without connections
		if fateOf(e.role, route, route, m) == keep {
			t.Stop()
			delete(e.drains, m)
		}
	}
	to := []string{}
	for _, m := range usualTargets(e.role, route, e.loads) {
		to = append(to, m.Name)
	}
	slices.Sort(to)
	if !slices.Equal(e.to, to) {
		e.to, e.since = to, time.Now()
		e.s.log.Info("new connections", "cluster", e.cluster, "endpoint", e.role, "to", to)
	}
	e.listen()
	close(e.changed)
	e.changed = make(chan struct{})
}

// judge decides about a connection after a change of the state.
func (e *endpoint) judge(was appliance.Route, c *conn) {
	switch c.phase {
	case leading:
		if targets := newTargets(e.role, e.route, e.loads); !slices.Contains(targets, c.member) {
			c.abandon()
		}
	case open:
		switch fateOf(e.role, was, e.route, c.member) {
		case cut:
			e.cut(c)
		case drain:
			e.drain(c.member)
		case keep:
		}
	}
}

// cut ends an open connection at once.
func (e *endpoint) cut(c *conn) {
	e.cuts++
	c.reset()
	e.release(c, over)
}

// drain cuts the member's connections after drainTime, unless a state before that
// keeps them.
func (e *endpoint) drain(m appliance.RouteMember) {
	if e.drains[m] != nil {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(drainTime, func() {
		e.s.mu.Lock()
		defer e.s.mu.Unlock()
		if e.drains[m] != t {
			return
		}
		delete(e.drains, m)
		for c := range e.conns {
			if c.member == m && c.phase == open {
				e.cut(c)
			}
		}
	})
	e.drains[m] = t
}

// end closes the endpoint and cuts its connections.
func (e *endpoint) end() {
	e.gone = true
	e.unlisten()
	for _, t := range e.drains {
		t.Stop()
	}
	clear(e.drains)
	for c := range e.conns {
		if c.phase == open {
			e.cut(c)
			continue
		}
		c.reset()
	}
	close(e.changed)
	e.changed = make(chan struct{})
}

// status returns the process's status without that of earlier processes.
func (s *server) status() appliance.RouteStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := appliance.RouteStatus{Number: s.held.Number, PID: os.Getpid(), Build: s.build, StartedAt: s.started, Clusters: []appliance.ClusterRouteStatus{}}
	for _, e := range s.endpoints {
		i := slices.IndexFunc(out.Clusters, func(c appliance.ClusterRouteStatus) bool { return c.Cluster == e.cluster })
		if i < 0 {
			i = len(out.Clusters)
			out.Clusters = append(out.Clusters, appliance.ClusterRouteStatus{Cluster: e.cluster, Primary: e.route.Primary, Closed: e.route.Closed})
		}
		if e.role == rw {
			out.Clusters[i].RW = e.status()
		} else {
			out.Clusters[i].RO = e.status()
		}
	}
	return out
}

func (e *endpoint) status() appliance.EndpointStatus {
	out := appliance.EndpointStatus{Address: address(e.role, e.route), To: e.to, Since: e.since, Cut: e.cuts, Problem: e.problem}
	count := map[appliance.RouteMember]int{}
	for c := range e.conns {
		switch c.phase {
		case open:
			out.Open++
			count[c.member]++
		case waiting, leading:
			out.Waiting++
		}
	}
	out.Members = memberCounts(count)
	return out
}
