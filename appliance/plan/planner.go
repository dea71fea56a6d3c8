package plan

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
)

// Store is the part of the store that plans use.
type Store interface {
	appliance.Records
	// Operations is the method of [appliance.Journal].
	Operations(ctx context.Context, cluster string) ([]appliance.Operation, error)
}

// Config holds the other parts of the program that plans use.
type Config struct {
	Store     Store
	Providers map[appliance.ProviderKind]appliance.Provider
	// Binaries finds or unpacks PostgreSQL for members on this machine.
	Binaries func(ctx context.Context, s appliance.Spec, origin appliance.PostgresOrigin) (tree.Binaries, error)
	// HostPostgres tells whether this machine has a usable PostgreSQL.
	HostPostgres func(ctx context.Context) (bool, error)
	// Dataset returns the files of an embedded data set, in loading order.
	Dataset func(name string) ([]postgres.LoadFile, error)
	// Template returns the program's packed data directory if it fits the spec, or
	// nil.
	Template func(s appliance.Spec) *template.Template
	// Endpoints leads the endpoints. It may be nil.
	Endpoints Endpoints
	// Sessions holds the sessions to members, which later steps reuse.
	Sessions *postgres.Sessions
	// Observer verifies the members.
	Observer *observe.Observer
	// Loaded is called when the SQL files sent for the cluster may be removed. Loaded
	// may be nil.
	Loaded func(ctx context.Context, cluster string)
	// Adopted is called when the cluster's record matches the running servers. A
	// repeat is safe.
	Adopted func(ctx context.Context, cluster string) error
	// Forget removes the files written for the cluster's clients. A repeat is safe.
	Forget func(cluster string) error
}

// Planner makes plans. Planner keeps no state: each step reads the stored facts
// when the step runs.
type Planner struct{ cfg Config }

// New makes a planner.
func New(cfg Config) *Planner { return &Planner{cfg} }

// Plan returns the operation's steps.
func (p *Planner) Plan(ctx context.Context, o appliance.Operation) ([]appliance.Step, error) {
	c, err := p.cfg.Store.Cluster(ctx, o.Cluster)
	if err != nil {
		return nil, err
	}
	return p.Preview(ctx, o, c)
}

// Preview returns the steps that the operation has on that record, which need not
// be stored. They follow from the record, the parameters and the decision alone.
func (p *Planner) Preview(_ context.Context, o appliance.Operation, c appliance.Cluster) ([]appliance.Step, error) {
	provider, ok := p.cfg.Providers[c.Spec.Provider]
	if !ok {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "provider %q is not available in this program", c.Spec.Provider)
	}
	if o.Decision == nil {
		return nil, appliance.NewProblem(appliance.ErrInternal, "operation %s has no decision", o.ID)
	}
	dirs := dataDirs{world: world{
		Planner: p, op: o, decision: *o.Decision, provider: provider,
		cloning: make(chan struct{}, 1), settling: make(chan struct{}, 1), keepers: make(chan struct{}, 1),
		leaders: make(chan struct{}, 1),
	}}
	if id := dirs.decision.Template; id != "" {
		dirs.template = p.decidedTemplate(c.Spec, id)
		dirs.decision.Follow = dirs.template == nil
	}
	c.Phase, c.Initialised = dirs.decision.Phase, dirs.decision.Initialised
	if from := dirs.decision.Primary; from != "" {
		c.Primary = from
	}
	r := recipe{work: work{dirs}, graph: &graph{}}
	if err := r.draw(c); err != nil {
		return nil, err
	}
	admitSteps(&r, c)
	if from := r.decision.Primary; from != "" {
		newMove(r.work, from).shield(r.of(kindChange, ""))
	}
	return r.steps(), nil
}

// draw draws the operation's graph.
func (r *recipe) draw(c appliance.Cluster) error {
	switch r.op.Kind {
	case appliance.OpUp:
		r.up(c)
		return nil
	case appliance.OpScale:
		return r.scale(c)
	case appliance.OpStart:
		return r.start(c, r.op.Params.Member)
	case appliance.OpStop:
		return r.stop(c, r.op.Params.Member)
	case appliance.OpRestart:
		return r.restart(c, r.op.Params.Member)
	case appliance.OpReinit:
		return r.reinit(c, r.op.Params.Member)
	case appliance.OpDestroy:
		r.destroy(c)
		return nil
	case appliance.OpAdopt:
		return r.adopt()
	case appliance.OpSwitchover, appliance.OpFailover:
		drawChange(r, c)
		return nil
	case appliance.OpRejoin:
		return drawRejoin(r, c, r.op.Params.Member)
	}
	return appliance.NewProblem(appliance.ErrInternal, "no plan for an operation of kind %q", r.op.Kind)
}

// End records the cluster's phase after the operation, and tells whether to remove
// the cluster's record. A repeat is safe.
func (p *Planner) End(ctx context.Context, o appliance.Operation) (bool, error) {
	ok := o.State == appliance.OpSucceeded
	if o.Kind == appliance.OpDestroy && ok {
		return true, nil
	}
	_, err := p.cfg.Store.UpdateCluster(ctx, o.Cluster, func(c *appliance.Cluster) error {
		c.Phase = phaseAfter(*c, o, ok)
		// A change that has done nothing ends with its operation.
		if ch := c.Change; ch != nil && ch.Operation == o.ID && ch.Phase == appliance.ChangeLooking {
			ch.Phase = appliance.ChangeCancelled
		}
		if ok && o.Kind == appliance.OpUp {
			allStream(c)
		}
		return nil
	})
	if err == nil && ok && o.Kind == appliance.OpUp && p.cfg.Loaded != nil {
		p.cfg.Loaded(ctx, o.Cluster)
	}
	return false, err
}

// allStream records that all members have been seen to stream in the present epoch.
func allStream(c *appliance.Cluster) {
	for i, m := range c.Members {
		if m.Return == "" {
			c.Members[i].Epoch = c.Epoch
		}
	}
}

func phaseAfter(c appliance.Cluster, o appliance.Operation, ok bool) appliance.Phase {
	switch {
	case o.Params.Member != "":
		return c.Phase
	case o.Kind == appliance.OpStop && ok:
		return appliance.PhaseStopped
	case slices.Contains(keepPhase(), o.Kind), ok && o.Kind == appliance.OpReinit:
		return c.Phase
	case ok:
		return appliance.PhaseReady
	case c.Phase == appliance.PhaseCreating && o.State == appliance.OpFailed:
		return appliance.PhaseFailed
	}
	return c.Phase
}

// keepPhase returns the kinds of operation that leave the cluster's phase as it is.
func keepPhase() []appliance.OperationKind {
	return []appliance.OperationKind{
		appliance.OpDestroy, appliance.OpScale, appliance.OpAdopt, appliance.OpSwitchover, appliance.OpFailover, appliance.OpRejoin,
	}
}

// recipe draws the graph of one operation.
type recipe struct {
	work
	*graph
}

// facts are the stored cluster and secrets, as a step reads them when it runs.
type facts struct {
	cluster appliance.Cluster
	secrets appliance.Secrets
}

// control opens pgapp's session to a member's maintenance database.
func (f facts) control(ctx context.Context, m appliance.Member) (c *postgres.Control, err error) {
	// Retry, so that a briefly busy machine doesn't fail the operation.
	const tries = 5
	for range tries {
		c, err = postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, f.secrets.Get(appliance.SecretControl))
		if !errors.Is(err, postgres.ErrNoAnswer) || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

// config returns the input of the member's configuration files that the record
// holds.
func (f facts) config(m appliance.Member) postgres.Config {
	c := postgres.Config{
		Cluster:            f.cluster.Name,
		Member:             m.Name,
		Host:               m.Host,
		Port:               m.Port,
		Database:           f.cluster.Spec.Database,
		Sources:            sources(f.cluster),
		Parameters:         f.cluster.Spec.Parameters,
		Standbys:           len(f.cluster.Members) - 1,
		Promise:            ha.Without(f.cluster.Sync, m.Name),
		ReplicatorPassword: f.secrets.Get(appliance.SecretReplicator),
	}
	if m.Name != f.cluster.Primary {
		up := f.upstream(m)
		c.Primary = &up
	}
	return c
}

// upstream returns the server that the member streams from.
func (f facts) upstream(m appliance.Member) postgres.Upstream {
	primary := f.cluster.PrimaryMember()
	return postgres.Upstream{Host: primary.Host, Port: primary.Port, Slot: m.Slot}
}

// sources returns the addresses that connections may come from. The kernel gives
// every connection within 127/8 the source 127.0.0.1, so that block stands for all
// local members; other addresses are listed one by one.
func sources(c appliance.Cluster) []netip.Prefix {
	var out []netip.Prefix
	seen := map[netip.Prefix]bool{}
	add := func(addr string) {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return
		}
		p := netip.PrefixFrom(a, a.BitLen())
		if a.IsLoopback() && a.Is4() {
			p = netip.MustParsePrefix("127.0.0.0/8")
		}
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	for _, m := range c.Members {
		add(m.Host)
		if m.ControlFrom != "" {
			add(m.ControlFrom)
		}
	}
	return out
}

func memberOf(c appliance.Cluster, name string) (appliance.Member, error) {
	m, ok := c.Member(name)
	if !ok {
		return m, appliance.NoMember(c.Name, name)
	}
	return m, nil
}
