package cli

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/bench/load"
	"pgapp/appliance/program"
	"pgapp/appliance/rental"
	"pgapp/appliance/wait"
)

// benchHands drive loads on a cluster.
type benchHands struct {
	drillCommands
	api *api.Client
}

const (
	// settleLimit bounds the wait for a standby that has not replayed all.
	settleLimit = 2 * time.Minute
	// benchLeave bounds the end of a bench: the look at what was acknowledged, and the
	// removal of the database, which may have to wait for a primary.
	benchLeave = 2 * time.Minute
)

// open makes the bench's database. The caller closes it.
func (h benchHands) open(ctx context.Context) error {
	s, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return err
	}
	if s.Database == appliance.BenchDatabase {
		return appliance.NewProblem(appliance.ErrConflict, "no bench: the cluster's own database has the name %s", s.Database)
	}
	own, err := h.connection(ctx, "rw", load.ThroughMembers)
	if err != nil {
		return err
	}
	own.Database = s.Database
	if err := (load.Base{Write: libpqURL(own, false)}).IsPagila(ctx); err != nil {
		return err
	}
	base := benchBase(h)
	if err := base.create(ctx, s.Database); err != nil {
		h.close(ctx)
		return err
	}
	return nil
}

// close removes the bench's database, also after ctx has ended.
func (h benchHands) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchLeave)
	defer cancel()
	if err := benchBase(h).drop(ctx); err != nil {
		h.note("database %s is left, and the next bench removes it: %s", appliance.BenchDatabase, clean(err.Error()))
	}
}

// connection leads to the bench's database.
func (h benchHands) connection(ctx context.Context, role, through string) (appliance.Connection, error) {
	conn, err := h.api.Connection(ctx, h.cluster, role, true)
	if err != nil {
		return conn, err
	}
	conn.Database = appliance.BenchDatabase
	conn.Hosts, err = h.onlyKind(conn.Hosts, through)
	return conn, err
}

// started are the hosts without those of the members that are stopped: a virtual machine
// that is off refuses no connection, it is silent.
func started(hosts []appliance.HostPort, s appliance.ClusterStatus) []appliance.HostPort {
	return slices.DeleteFunc(hosts, func(at appliance.HostPort) bool {
		return slices.ContainsFunc(s.Members, func(m appliance.MemberStatus) bool {
			return m.Name == at.Member && m.State == appliance.StateStopped && m.Name != s.Primary
		})
	})
}

// siteConfig says how the load's site reaches the cluster.
func (h benchHands) siteConfig(ctx context.Context, l appliance.BenchLoad) (rental.Config, error) {
	cfg := rental.Config{Consistency: rental.Consistency(l.Consistency), Conns: l.Clients}
	s, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return cfg, err
	}
	write, err := h.connection(ctx, "rw", l.Through)
	if err != nil {
		return cfg, err
	}
	write.Hosts = started(write.Hosts, s)
	cfg.Write = libpqURL(write, false)
	cfg.Read = cfg.Write
	if l.ReadFrom == load.FromStandbys {
		read, err := h.connection(ctx, "ro", l.Through)
		if err != nil {
			return cfg, err
		}
		read.Hosts = started(read.Hosts, s)
		cfg.Read = libpqURL(read, false)
	}
	all, err := h.connection(ctx, "any", load.ThroughMembers)
	if err != nil {
		return cfg, err
	}
	for _, m := range started(all.Hosts, s) {
		one := all
		one.Hosts = []appliance.HostPort{m}
		cfg.Members = append(cfg.Members, rental.Member{Name: m.Member, Conn: libpqURL(one, false)})
	}
	return cfg, nil
}

// settle waits until each standby that streams has replayed all.
func (h benchHands) settle(ctx context.Context, base load.Base, members []rental.Member) error {
	s, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for _, m := range members {
		if !slices.ContainsFunc(s.Members, func(of appliance.MemberStatus) bool {
			return of.Name == m.Name && (of.State == appliance.StateStreaming || of.State == appliance.StateCatchup)
		}) {
			continue
		}
		if err := base.Replicated(ctx, m.Conn); err != nil {
			return fmt.Errorf("waiting until %s has replayed what was written: %w", m.Name, err)
		}
	}
	return nil
}

// beside is what happens beside a load. The zero value is nothing.
type beside struct {
	// begin is called at the end of the warm-up, and end when the last request has ended.
	begin, end func()
	// event happens in the middle.
	event func(context.Context) error
}

// measure drives the load. What was measured until ctx ended, or the event failed, is
// returned; the caller says what it belongs to.
func (h benchHands) measure(ctx context.Context, l appliance.BenchLoad, also beside) (appliance.BenchPoint, error) {
	p := appliance.BenchPoint{Load: l}
	cfg, err := h.siteConfig(ctx, l)
	if err != nil {
		return p, err
	}
	base := load.Base{Write: cfg.Write}
	site, err := rental.Open(ctx, cfg)
	if err != nil {
		return p, err
	}
	defer site.Close()
	catalogue, err := base.Catalogue(ctx, l.Seed)
	if err != nil {
		return p, err
	}
	if err := h.settle(ctx, base, cfg.Members); err != nil {
		return p, err
	}
	watching, unwatch := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer unwatch()
	wg.Go(func() { site.Watch(watching) })
	visitors := load.Visitors{Site: site, Catalogue: catalogue, Load: l, Ledger: &load.Ledger{}}
	m, err := load.Run(ctx, load.Config{Load: l, Client: visitors.Client(), Lag: func() map[string]int64 { return standbyLag(site.Members()) }, Begin: also.begin, End: also.end, Event: also.event})
	p.StartedAt, p.Result, p.Event, p.Partial = m.StartedAt, m.Result, m.Outage, m.Partial
	if err != nil || m.Outage == nil {
		return p, err
	}
	return p, h.aftermath(ctx, base, visitors.Ledger, m.Outage)
}

// standbyLag is how much of the log each standby that answers has still to replay.
func standbyLag(members []rental.MemberState) map[string]int64 {
	out := map[string]int64{}
	for _, m := range members {
		if m.Up && m.Standby {
			out[m.Name] = int64(min(m.Behind, 1<<62)) // #nosec G115 -- bounded
		}
	}
	return out
}

// aftermath finds what the event has left: who is the primary, and what is lost.
func (h benchHands) aftermath(ctx context.Context, base load.Base, l *load.Ledger, o *appliance.BenchOutage) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchLeave)
	defer cancel()
	var last error
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		o.Lost, last = base.Lost(ctx, l) // there may be no primary yet
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	s, err := h.api.Status(ctx, h.cluster)
	o.NewPrimary = s.Primary
	return err
}

// setting is what is measured, and on what.
func (h benchHands) setting(ctx context.Context, seed uint64) (appliance.BenchSetting, error) {
	out := appliance.BenchSetting{Pgapp: program.Version(), Seed: seed}
	s, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return out, err
	}
	out.Provider, out.Durability = string(s.Provider), string(s.Durability)
	for _, m := range s.Members {
		of := appliance.BenchMember{Name: m.Name, Role: string(m.Role), Address: fmt.Sprintf("%s:%d", m.Host, m.Port), Place: string(m.Placement), Sync: m.SyncState}
		if m.Name != s.Primary {
			of.Upstream = s.Primary
		}
		out.Members = append(out.Members, of)
	}
	conn, err := h.connection(ctx, "rw", load.ThroughMembers)
	if err != nil {
		return out, err
	}
	conn.Database = s.Database
	err = load.Base{Write: libpqURL(conn, false)}.Setting(ctx, &out)
	return out, err
}
