package routeworld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/endpoint/kernel"
)

// rw is the address of the endpoint for writes.
var rw = netip.MustParseAddrPort("127.0.0.1:5000") //nolint:gochecknoglobals // a constant

var (
	errDead  = errors.New("the daemon has died")
	errFault = errors.New("the kernel refuses it")
)

// most is how often one request may list the connections. A request that never ends would
// run out of time.
const most = 50

// table is the kernel's table and the connections that it leads. It can't wait: a
// connection of a closed endpoint is refused. New rules leave connections where they are,
// until somebody ends them. The daemon may die between any two requests to it.
type table struct {
	*game
	// leads are the rules by the endpoint's address, nil where there is no table.
	leads map[netip.AddrPort]kernel.Lead
	flows []kernel.Flow
	port  uint16
	// listed counts the lists of one request, and sure is set where no request fails.
	listed int
	sure   bool
}

// rw is where connections for writes may lead. Serves is set where the kernel translates
// those that begin.
func (k *table) rw() (to *appliance.RouteMember, serves bool) {
	if k == nil || k.leads == nil {
		return nil, false
	}
	l, serves := k.leads[rw]
	if len(l.May) == 0 {
		return nil, serves
	}
	return &appliance.RouteMember{Name: k.name(l.May[0]), Address: l.May[0].String()}, serves
}

// name is the member's at the address.
func (k *table) name(at netip.AddrPort) string {
	for _, m := range k.Record().Members {
		if m.Host == at.Addr().String() {
			return m.Name
		}
	}
	return at.String()
}

func memberOf(c appliance.Cluster, name string) appliance.RouteMember {
	for _, m := range c.Members {
		if m.Name == name {
			return appliance.RouteMember{Name: name, Address: fmt.Sprintf("%s:%d", m.Host, m.Port)}
		}
	}
	return appliance.RouteMember{Name: name}
}

// ticked has clients come and go. The kernel remembers those that have gone for a while.
func (k *table) ticked() {
	k.call()
	k.flows = slices.DeleteFunc(k.flows, func(f kernel.Flow) bool { return f.Ended && k.rng.IntN(4) == 0 })
	for i := range k.flows {
		k.flows[i].Ended = k.flows[i].Ended || k.rng.IntN(4) == 0
	}
}

// call has a client connect for writes, now and then: at any moment, also between two
// requests of the daemon.
func (k *table) call() {
	l, ok := k.leads[rw]
	if !ok || len(l.To) == 0 || k.rng.IntN(2) == 0 {
		return // the process takes it, or it is refused
	}
	to, open := k.rw()
	k.judge("a connection", to, open)
	if writes, standby, cut := k.world.Seen(k.name(l.To[0])); writes || standby || cut {
		k.port++
		client := netip.AddrPortFrom(rw.Addr(), k.port)
		k.flows = append(k.flows, kernel.Flow{Client: client, At: rw, Member: l.To[0], Back: client})
	}
}

// check finds a connection at a member that the record doesn't call primary, or at one that
// a change has given up. It may say nothing.
func (k *table) check() {
	if k == nil {
		return
	}
	c := k.Record()
	over := changing(c) && c.Change.Phase != appliance.ChangeStopping && k.settled == c.Change.Phase
	for _, f := range k.flows {
		switch name := k.name(f.Member); {
		case f.Ended:
		case name != c.Primary:
			k.world.Fail(fmt.Errorf("a connection for writes goes on at %s, and %s is the primary on record", name, c.Primary))
		case over:
			k.world.Fail(fmt.Errorf("a connection for writes goes on at %s in phase %s", name, c.Change.Phase))
		}
	}
}

// fails tells why a request is not carried out. Clients come before it.
func (k *table) fails() error {
	if k.dead {
		return errDead
	}
	k.call()
	if k.chance(1) {
		k.dead = true
		return errDead
	}
	if !k.sure && k.leads != nil && k.chance(2) {
		return errFault
	}
	return nil
}

// Endpoints returns the addresses that the table leads from.
func (k *table) Endpoints(context.Context) ([]netip.AddrPort, error) {
	return slices.Collect(maps.Keys(k.leads)), k.fails()
}

// Lead replaces the rules. Connections go on where they are.
func (k *table) Lead(_ context.Context, leads []kernel.Lead) error {
	if err := k.fails(); err != nil {
		return err
	}
	k.leads = map[netip.AddrPort]kernel.Lead{}
	for _, l := range leads {
		k.leads[l.At] = l
	}
	return nil
}

// Flows lists the connections.
func (k *table) Flows() ([]kernel.Flow, error) {
	if k.listed++; k.listed > most {
		return nil, context.DeadlineExceeded
	}
	if err := k.fails(); err != nil {
		return nil, err
	}
	return slices.Clone(k.flows), nil
}

// End ends the connections.
func (k *table) End(flows []kernel.Flow) error {
	if err := k.fails(); err != nil {
		return err
	}
	k.flows = slices.DeleteFunc(k.flows, func(f kernel.Flow) bool {
		return slices.ContainsFunc(flows, func(g kernel.Flow) bool { return g.Client == f.Client })
	})
	return nil
}

// Apply has the kernel lead as the routes say.
func (k *table) Apply(ctx context.Context, was, is []appliance.Route) error {
	k.listed = 0
	err := kernel.Change(ctx, k, was, is)
	if err == nil {
		k.checkEnded()
	}
	return err
}

// checkEnded finds a client's port that leads to a member that takes no new connections,
// since the kernel remembers where it led before.
func (k *table) checkEnded() {
	for _, f := range k.flows {
		if l := k.leads[f.At]; f.Ended && !slices.Contains(l.To, f.Member) {
			k.world.Fail(fmt.Errorf("the port of a connection that has ended leads to %s", k.name(f.Member)))
		}
	}
}

// Block refuses every connection. It doesn't fail: where no rules can be set at all, the
// change of primary says so and goes on.
func (k *table) Block(ctx context.Context) error {
	k.listed, k.sure = 0, true
	defer func() { k.sure = false }()
	return kernel.Shut(ctx, k)
}

// Intact is asked for from time to time only, which no game lasts.
func (*table) Intact(context.Context, []appliance.Route) (bool, error) { return true, nil }

// Open is not asked for.
func (*table) Open([]netip.AddrPort) (map[[2]netip.AddrPort]int, error) {
	return map[[2]netip.AddrPort]int{}, nil
}

// Remove is not asked for: the kernel leads as long as it is played.
func (*table) Remove(context.Context) error { return nil }
