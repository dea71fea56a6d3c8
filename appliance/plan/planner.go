package plan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
)

// Config is what plans need of the rest of the program.
type Config struct {
	Store     appliance.Store
	Providers map[appliance.ProviderKind]appliance.Provider
	// Binaries finds or unpacks PostgreSQL for members on this machine.
	Binaries func(ctx context.Context, s appliance.Spec, origin appliance.PostgresOrigin) (tree.Binaries, error)
	// HostPostgres tells whether this machine has a PostgreSQL to use.
	HostPostgres func(ctx context.Context) (bool, error)
	// Dataset returns the files of an embedded data set, in loading order.
	Dataset func(name string) ([]postgres.LoadFile, error)
	// Template returns the program's packed data directory if it fits the spec, or
	// nil.
	Template func(s appliance.Spec) *template.Template
	// Sessions are kept to members, from step to step.
	Sessions *postgres.Sessions
	// Observer verifies the members.
	Observer *observe.Observer
	// Loaded is told that the SQL that was sent for the cluster may go. It may
	// be nil.
	Loaded func(ctx context.Context, cluster string)
	// Adopted is told that the cluster's record says what really runs. A repeat is
	// safe.
	Adopted func(ctx context.Context, cluster string) error
	// Forget removes what was written for the cluster's clients. A repeat is safe.
	Forget func(cluster string) error
}

// Planner makes plans. It keeps no state: each step reads the stored facts
// when it runs.
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
	if _, ok := p.cfg.Providers[c.Spec.Provider]; !ok {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "provider %q is not available in this program", c.Spec.Provider)
	}
	if o.Decision == nil {
		return nil, appliance.NewProblem(appliance.ErrInternal, "operation %s has no decision", o.ID)
	}
	r := recipe{Planner: p, op: o, decision: *o.Decision, provider: p.cfg.Providers[c.Spec.Provider]}
	if r.decision.Template != "" {
		r.template = p.decidedTemplate(c.Spec, r.decision.Template)
		r.decision.Follow = r.template == nil
	}
	c.Phase, c.Initialised = r.decision.Phase, r.decision.Initialised
	switch o.Kind {
	case appliance.OpUp:
		return r.wanted(r.upTo(c)), nil
	case appliance.OpScale:
		if o.Params.Change == nil {
			return nil, appliance.NewProblem(appliance.ErrInternal, "operation %s does not say how to scale", o.ID)
		}
		return r.scale(c, *o.Params.Change), nil
	case appliance.OpStart:
		return r.start(c, o.Params.Member)
	case appliance.OpStop:
		return r.stop(c, o.Params.Member)
	case appliance.OpRestart:
		return r.restart(c, o.Params.Member)
	case appliance.OpReinit:
		return r.reinit(c, o.Params.Member)
	case appliance.OpDestroy:
		return r.destroy(c), nil
	case appliance.OpAdopt:
		return r.adopt()
	}
	return nil, appliance.NewProblem(appliance.ErrInternal, "no plan for an operation of kind %q", o.Kind)
}

// End settles the cluster's phase, and tells whether its record goes. It may
// run twice.
func (p *Planner) End(ctx context.Context, o appliance.Operation) (bool, error) {
	ok := o.State == appliance.OpSucceeded
	if o.Kind == appliance.OpDestroy && ok {
		return true, nil
	}
	_, err := p.cfg.Store.UpdateCluster(ctx, o.Cluster, func(c *appliance.Cluster) error {
		c.Phase = phaseAfter(*c, o, ok)
		return nil
	})
	if err == nil && ok && o.Kind == appliance.OpUp && p.cfg.Loaded != nil {
		p.cfg.Loaded(ctx, o.Cluster)
	}
	return false, err
}

func phaseAfter(c appliance.Cluster, o appliance.Operation, ok bool) appliance.Phase {
	switch {
	case o.Params.Member != "":
		return c.Phase
	case o.Kind == appliance.OpStop && ok:
		return appliance.PhaseStopped
	case o.Kind == appliance.OpDestroy, o.Kind == appliance.OpScale, o.Kind == appliance.OpAdopt, ok && o.Kind == appliance.OpReinit:
		return c.Phase
	case ok:
		return appliance.PhaseReady
	case c.Phase == appliance.PhaseCreating && o.State == appliance.OpFailed:
		return appliance.PhaseFailed
	}
	return c.Phase
}

// recipe makes the steps of one operation.
type recipe struct {
	*Planner
	op       appliance.Operation
	decision appliance.Decision
	provider appliance.Provider
	// template is set where members are copied from it.
	template *template.Template
}

// facts are what a step needs of the stored record when it runs.
type facts struct {
	cluster appliance.Cluster
	secrets appliance.Secrets
}

func (r recipe) facts(ctx context.Context) (facts, error) {
	c, err := r.cfg.Store.Cluster(ctx, r.op.Cluster)
	if err != nil {
		return facts{}, err
	}
	s, err := r.cfg.Store.Secrets(ctx, r.op.Cluster)
	return facts{c, s}, err
}

// on gives the member's record and machine to f.
func (r recipe) on(ctx context.Context, member string, f func(facts, appliance.Member, appliance.Machine) error) error {
	fs, err := r.facts(ctx)
	if err != nil {
		return err
	}
	m, ok := fs.cluster.Member(member)
	if !ok {
		return appliance.NoMember(fs.cluster.Name, member)
	}
	return f(fs, m, r.provider.Machine(fs.cluster, m))
}

// control opens pgapp's session to a member's maintenance database.
func (f facts) control(ctx context.Context, m appliance.Member) (c *postgres.Control, err error) {
	// An operation is not to fail for a machine that is busy for a moment.
	const tries = 5
	for range tries {
		c, err = postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, f.secrets.Get(appliance.SecretControl))
		if !errors.Is(err, postgres.ErrNoAnswer) || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

// inPrimary runs f in pgapp's session to the primary's maintenance database.
func (r recipe) inPrimary(ctx context.Context, f func(facts, *postgres.Control) error) error {
	fs, err := r.facts(ctx)
	if err != nil {
		return err
	}
	m := fs.cluster.PrimaryMember()
	dial := func(ctx context.Context) (*postgres.Control, error) { return fs.control(ctx, m) }
	return r.cfg.Sessions.Use(ctx, postgres.SessionKey(fs.cluster, m.Name), dial, func(c *postgres.Control) error { return f(fs, c) })
}

// config is what the member's configuration files depend on.
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
		ReplicatorPassword: f.secrets.Get(appliance.SecretReplicator),
	}
	if m.Name != f.cluster.Primary {
		up := f.upstream(m)
		c.Primary = &up
	}
	return c
}

// upstream is where the member streams from.
func (f facts) upstream(m appliance.Member) postgres.Upstream {
	primary := f.cluster.PrimaryMember()
	return postgres.Upstream{Host: primary.Host, Port: primary.Port, Slot: m.Slot}
}

// sources are the addresses that connections may come from. The kernel gives
// every connection within 127/8 the source 127.0.0.1, so there the block stands
// for all members; elsewhere each address is named.
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

// stepID names a step that concerns one member.
func stepID(verb, member string) string { return verb + "/" + member }

// each names the same step of several members.
func each(verb string, members []appliance.Member) []string {
	out := make([]string, 0, len(members))
	for _, m := range members {
		out = append(out, stepID(verb, m.Name))
	}
	return out
}

func (r recipe) member(c appliance.Cluster, name string) (appliance.Member, error) {
	m, ok := c.Member(name)
	if !ok {
		return m, appliance.NoMember(c.Name, name)
	}
	return m, nil
}

// updateCluster stores a fact.
func (r recipe) updateCluster(ctx context.Context, change func(*appliance.Cluster)) error {
	_, err := r.cfg.Store.UpdateCluster(ctx, r.op.Cluster, func(c *appliance.Cluster) error {
		change(c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing what was learnt of cluster %q: %w", r.op.Cluster, err)
	}
	return nil
}
