package routing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
)

// intactEvery is how often it is looked whether another program has removed the kernel's
// rules. Until then the endpoint process serves their connections.
const intactEvery = 5 * time.Second

// Kernel is the part of the kernel that leads connections.
type Kernel interface {
	// Apply returns when the kernel leads as the routes say, in place of the routes was,
	// and no connection leads elsewhere.
	Apply(ctx context.Context, was, is []appliance.Route) error
	// Open counts the connections from the endpoints at the addresses, by endpoint and
	// member.
	Open(at []netip.AddrPort) (map[[2]netip.AddrPort]int, error)
	// Intact tells whether the kernel has the rules of these routes.
	Intact(ctx context.Context, routes []appliance.Route) (bool, error)
	// Block has every endpoint refuse connections, and cuts those that are open.
	Block(ctx context.Context) error
	// Remove cuts the connections and leaves nothing, also where nothing is.
	Remove(ctx context.Context) error
}

// layered is a process with the kernel's rules over it: the routes that are the kernel's go
// to both. The process has the ports, says where they lead, and serves what the kernel
// doesn't translate.
type layered struct {
	Process
	kernel Kernel

	mu sync.Mutex
	// asked are the kernel's routes that were asked for last, nil if the kernel shall lead
	// nowhere.
	asked []appliance.Route
	// taken are the addresses of these at which another program listens. The kernel would
	// lead that program's clients astray.
	taken map[string]bool
	// held are the kernel's routes as they were applied last, if known is set.
	held   []appliance.Route
	known  bool
	looked time.Time
	// problem is why the kernel's rules could not be looked at.
	problem error
}

// Over lays the kernel over the process. Where no process runs, Apply says so once the
// kernel has the routes.
func Over(p Process, k Kernel) Process { return &layered{Process: p, kernel: k} }

// Ensure starts the process, and has the kernel hold the routes.
func (l *layered) Ensure(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	kerr := l.apply(ctx, routes)
	status, err := l.Process.Ensure(ctx, routes)
	if kerr == nil && err == nil {
		kerr = l.yield(ctx, status)
	}
	return status, errors.Join(kerr, err)
}

// Apply has both hold the routes.
func (l *layered) Apply(ctx context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	kerr := l.apply(ctx, routes)
	status, err := l.Process.Apply(ctx, routes)
	if kerr != nil && errors.Is(err, endpoint.ErrNotRunning) {
		return status, kerr // the kernel may lead somewhere
	}
	if kerr == nil && err == nil {
		kerr = l.yield(ctx, status)
	}
	return status, errors.Join(kerr, err)
}

func (l *layered) apply(ctx context.Context, routes appliance.Routes) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = slices.DeleteFunc(slices.Clone(routes.Clusters), func(r appliance.Route) bool { return !r.Kernel })
	return l.set(ctx)
}

// yield leaves the addresses to another program at which the process can't listen, and takes
// those back at which it can again.
func (l *layered) yield(ctx context.Context, status appliance.RouteStatus) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.yieldLocked(ctx, status)
}

func (l *layered) yieldLocked(ctx context.Context, status appliance.RouteStatus) error {
	now := map[string]bool{}
	for _, r := range l.asked {
		c := find(status, r.Cluster)
		if c == nil {
			continue
		}
		for _, e := range []appliance.EndpointStatus{c.RW, c.RO} {
			if e.Problem != "" {
				now[e.Address] = true
			}
		}
	}
	if len(l.asked) == 0 || maps.Equal(now, l.taken) {
		return nil
	}
	before := l.taken
	l.taken = now
	err := l.set(ctx)
	if err != nil {
		l.taken = before // so it is tried again
	}
	return err
}

// set has the kernel lead as it was asked to, but for the addresses that are taken. The
// caller holds mu.
func (l *layered) set(ctx context.Context) error {
	is := slices.Clone(l.asked)
	for i := range is {
		if l.taken[is[i].RW] {
			is[i].RW = ""
		}
		if l.taken[is[i].RO] {
			is[i].RO = ""
		}
	}
	if l.known && reflect.DeepEqual(is, l.held) {
		return nil
	}
	if len(is) == 0 {
		return l.remove(ctx)
	}
	was := l.held
	if !l.known {
		was = l.before(ctx)
	}
	l.known = false
	if err := l.kernel.Apply(ctx, was, is); err != nil {
		return fmt.Errorf("leading connections by the kernel: %w", err)
	}
	l.held, l.known, l.looked, l.problem = is, true, time.Now(), nil
	return nil
}

// before returns what an earlier daemon has applied, as far as the process knows it.
func (l *layered) before(ctx context.Context) []appliance.Route {
	status, err := l.Process.Status(ctx)
	if err != nil {
		return nil
	}
	var out []appliance.Route
	for _, c := range status.Clusters {
		out = append(out, appliance.Route{Cluster: c.Cluster, Primary: c.Primary, Closed: c.Closed})
	}
	return out
}

func (l *layered) remove(ctx context.Context) error {
	if err := l.kernel.Remove(ctx); err != nil {
		return fmt.Errorf("removing the kernel's rules: %w", err)
	}
	l.held, l.known, l.taken = nil, true, nil
	return nil
}

// Status returns the process's, and sets the kernel's rules again where they are gone.
func (l *layered) Status(ctx context.Context) (appliance.RouteStatus, error) {
	status, err := l.Process.Status(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if yerr := l.yieldLocked(ctx, status); yerr != nil {
			l.problem = yerr
		}
	}
	l.mend(ctx)
	if l.problem == nil {
		return status, err
	}
	for _, r := range l.held {
		if c := find(status, r.Cluster); c != nil {
			c.RW.Problem, c.RO.Problem = l.problem.Error(), l.problem.Error()
		}
	}
	return status, err
}

func find(s appliance.RouteStatus, cluster string) *appliance.ClusterRouteStatus {
	for i := range s.Clusters {
		if s.Clusters[i].Cluster == cluster {
			return &s.Clusters[i]
		}
	}
	return nil
}

// mend looks at the kernel's rules from time to time.
func (l *layered) mend(ctx context.Context) {
	if !l.known || len(l.held) == 0 || time.Since(l.looked) < intactEvery {
		return
	}
	intact, err := l.kernel.Intact(ctx, l.held)
	if err == nil && !intact {
		err = l.kernel.Apply(ctx, l.held, l.held)
	}
	if l.problem = err; err != nil {
		l.problem = fmt.Errorf("looking at the kernel's rules: %w", err)
	}
	l.looked = time.Now()
}

// Count adds the connections that the kernel leads to those of the process.
func (l *layered) Count(s appliance.RouteStatus) error {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	var at []netip.AddrPort
	for _, r := range held {
		at = append(at, addresses(r.RW, r.RO)...)
	}
	if len(at) == 0 {
		return nil
	}
	open, err := l.kernel.Open(at)
	if err != nil {
		return err
	}
	for _, r := range held {
		if c := find(s, r.Cluster); c != nil {
			count(&c.RW, r, open)
			count(&c.RO, r, open)
		}
	}
	return nil
}

// count adds the endpoint's connections to each of the route's members.
func count(e *appliance.EndpointStatus, r appliance.Route, open map[[2]netip.AddrPort]int) {
	members := map[appliance.RouteMember]bool{}
	for _, s := range r.Standbys {
		members[s.RouteMember] = true
	}
	if r.Primary != nil {
		members[*r.Primary] = true
	}
	for m := range members {
		ends := addresses(e.Address, m.Address)
		if len(ends) < 2 || open[[2]netip.AddrPort(ends)] == 0 {
			continue
		}
		n := open[[2]netip.AddrPort(ends)]
		e.Open += n
		if i := slices.IndexFunc(e.Members, func(c appliance.MemberConnCount) bool { return c.RouteMember == m }); i >= 0 {
			e.Members[i].Open += n
		} else {
			e.Members = append(e.Members, appliance.MemberConnCount{RouteMember: m, Open: n})
		}
	}
	slices.SortFunc(e.Members, func(a, b appliance.MemberConnCount) int { return cmp.Compare(a.Name, b.Name) })
}

// addresses are those that are an address and a port.
func addresses(all ...string) (out []netip.AddrPort) {
	for _, s := range all {
		if a, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// KillProcess ends the process. The kernel goes on.
func (l *layered) KillProcess(ctx context.Context) error { return l.Process.Kill(ctx) }

// Kill ends the process, and has the kernel lead nowhere.
func (l *layered) Kill(ctx context.Context) error {
	var block error
	var both sync.WaitGroup // neither has to wait for the other
	both.Go(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.known, l.asked = false, nil
		block = l.kernel.Block(ctx)
	})
	err := l.Process.Kill(ctx)
	both.Wait()
	return errors.Join(block, err)
}

// Stop ends the process, and leaves nothing in the kernel.
func (l *layered) Stop(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.remove(ctx), l.Process.Stop(ctx))
}
