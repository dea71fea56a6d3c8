package control

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/observe"
	"pgapp/appliance/op"
)

// Store is what a controller needs of the store.
type Store interface {
	appliance.Records
	// Running and Operations are [appliance.Journal]'s.
	Running(ctx context.Context, cluster string) (appliance.Operation, error)
	Operations(ctx context.Context, cluster string) ([]appliance.Operation, error)
}

// Config is what a controller needs.
type Config struct {
	Store  Store
	Runner *op.Runner
	// Decide makes the decision of an operation on a record that need not be stored.
	Decide func(ctx context.Context, o appliance.Operation, c appliance.Cluster) (appliance.Decision, error)
	// Preview plans the steps of an operation on a record that need not be stored.
	Preview   func(ctx context.Context, o appliance.Operation, c appliance.Cluster) ([]appliance.Step, error)
	Providers map[appliance.ProviderKind]appliance.Provider
	// AutoProvider resolves provider auto, and says why in one line.
	AutoProvider func(ctx context.Context, s appliance.Spec) (appliance.ProviderKind, string)
	Info         appliance.Info
	Log          *slog.Logger
	// ClientDir holds the users' password files. Only the daemon's user can read it.
	ClientDir string
	// Settings may be nil. The controller then never observes only.
	Settings Settings
	// Observer looks at members.
	Observer *observe.Observer
	// Routes is what the endpoint process says about itself. The error says why it says
	// nothing, or why it doesn't follow the records. Routes may be nil.
	Routes func(ctx context.Context) (appliance.RouteStatus, error)
	// KernelEndpoints tells whether this machine's kernel can lead endpoints. The error
	// names what is missing.
	KernelEndpoints func(ctx context.Context) error
	// Watching tells what the watch over a cluster has found out last.
	Watching func(cluster string) appliance.Watching
	// Psql finds a psql on this machine.
	Psql func(ctx context.Context, c appliance.Cluster) (string, error)
}

// Controller implements api.Service. Its methods are safe for concurrent use.
type Controller struct {
	cfg       Config
	admission admission
}

// New makes a controller.
func New(cfg Config) *Controller { return &Controller{cfg: cfg} }

// Close ends the sessions to members. The members keep running.
func (c *Controller) Close(ctx context.Context) { c.cfg.Observer.Close(ctx) }

// Info describes the daemon.
func (c *Controller) Info(ctx context.Context) appliance.Info {
	info := c.cfg.Info
	if o, err := c.observeOnly(ctx); err == nil && len(o.Clusters) > 0 {
		info.Mode, info.Reason = "observing", o.Reason
	}
	return info
}

// Up creates the cluster, or changes an existing one to match the spec. A repeat
// joins a running up of the same cluster.
func (c *Controller) Up(ctx context.Context, s appliance.Spec, w appliance.UpOptions) (appliance.Operation, error) {
	wanted := s.WithDefaults()
	if err := wanted.Validate(); err != nil {
		return appliance.Operation{}, err
	}
	if err := readable(s.SQL, w.DryRun); err != nil {
		return appliance.Operation{}, err
	}
	if w.DryRun {
		return c.previewUp(ctx, wanted, s, w)
	}
	return c.admit(ctx, Act(appliance.OpUp), wanted.Name, func(ctx context.Context) (decision, error) {
		d, _, err := c.decideUp(ctx, wanted, s, w)
		return d, err
	})
}

// previewUp shows what Up would do. It holds no lock.
func (c *Controller) previewUp(ctx context.Context, wanted, s appliance.Spec, w appliance.UpOptions) (appliance.Operation, error) {
	d, record, err := c.decideUp(ctx, wanted, s, w)
	if err != nil {
		return appliance.Operation{}, err
	}
	o, err := c.cfg.withDecision(ctx, d.operation, record)
	if err != nil {
		return appliance.Operation{}, err
	}
	return c.preview(ctx, o, record)
}

// decideUp also returns the record that the operation will work on.
func (c *Controller) decideUp(ctx context.Context, wanted, s appliance.Spec, w appliance.UpOptions) (decision, appliance.Cluster, error) {
	if err := c.mayChange(ctx, Act(appliance.OpUp)); err != nil {
		return decision{}, appliance.Cluster{}, err
	}
	existing, err := c.cfg.Store.Cluster(ctx, wanted.Name)
	if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) {
		return decision{}, appliance.Cluster{}, err
	}
	if w.Check != nil {
		if err := w.Check(existing.Revision); err != nil {
			return decision{}, appliance.Cluster{}, err
		}
	}
	if err == nil {
		d, err := c.decideUpExisting(ctx, existing, s, w.DryRun)
		return d, existing, err
	}
	return c.decideCreate(ctx, wanted)
}

// readable refuses a missing SQL file before anything is created. On a dry run the
// file may be missing: the client sends its own files only for a real up.
func readable(files []string, dryRun bool) error {
	for _, path := range files {
		_, err := appliance.CheckSQLFile(path)
		if dryRun && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return &appliance.Problem{
				ID: appliance.ErrInvalidSpec, Message: "an SQL file can't be read",
				Fields: []appliance.FieldError{{Field: "sql", Message: err.Error()}},
				Hint:   "name files that the daemon's user can read",
			}
		}
	}
	return nil
}

func (c *Controller) decideCreate(ctx context.Context, s appliance.Spec) (d decision, record appliance.Cluster, err error) {
	var why string
	if s.Provider == appliance.ProviderAuto {
		s.Provider, why = c.cfg.AutoProvider(ctx, s)
		if s.Provider == appliance.ProviderLocal {
			s = localOnly(s)
		}
		s = s.WithDefaults()
		if err := s.Validate(); err != nil {
			return d, record, err
		}
	}
	provider, err := c.provider(s.Provider)
	if err != nil {
		return d, record, err
	}
	others, err := c.otherMembers(ctx, s.Name)
	if err != nil {
		return d, record, err
	}
	names := make([]string, 0, s.StandbyCount()+1)
	for i := range s.StandbyCount() + 1 {
		names = append(names, appliance.MemberName(i))
	}
	id := uuid.NewString()
	members, err := provider.Allocate(ctx, appliance.AllocateRequest{Spec: s, Cluster: s.Name, UUID: id, Names: names, Others: others})
	if err != nil {
		return d, record, err
	}
	if err := c.cfg.mayLead(ctx, s.EndpointSpec); err != nil {
		return d, record, err
	}
	ports, err := c.cfg.ports(ctx, s.Name, s)
	if err != nil {
		return d, record, err
	}
	record = appliance.Cluster{
		Name: s.Name, UUID: id, Spec: s, Phase: appliance.PhaseCreating,
		Primary: members[0].Name, Epoch: 1, Timeline: 1, Members: members, Endpoints: ports, CreatedAt: time.Now().UTC(), Revision: 1,
	}
	o := c.newOperation(s.Name, appliance.OpUp, appliance.OperationParams{})
	o.Note = why
	return decision{
		cluster: s.Name, operation: o,
		create: &appliance.NewCluster{Cluster: record, Secrets: appliance.GenerateSecrets()},
	}, record, nil
}

// localOnly clears the fields that only virtual machines have, for a spec whose
// provider auto became local.
func localOnly(s appliance.Spec) appliance.Spec {
	s.Primary, s.Image, s.ImageDigest, s.Accel, s.AptMirror, s.AptProxy = "", "", "", "", "", ""
	s.Network, s.FirstAddress, s.VCPUs, s.MemoryMiB, s.DiskGiB = "", "", 0, 0, 0
	return s
}

// join returns the running operation, and resumes one that an earlier process left.
func (c *Controller) join(ctx context.Context, o appliance.Operation) (appliance.Operation, error) {
	if c.cfg.Runner.Alive(o.ID) {
		return c.cfg.Runner.Operation(ctx, o.ID)
	}
	if o.Build == c.cfg.Info.Build {
		return o, c.cfg.Runner.Resume(ctx)
	}
	next := c.newOperation(o.Cluster, o.Kind, o.Params)
	return next, c.cfg.Runner.Start(ctx, appliance.Beginning{Operation: next, Supersede: o.ID, Record: func(r *appliance.Cluster) error {
		if r.Change != nil && r.Change.Operation == o.ID {
			r.Change.Operation = next.ID
		}
		return nil
	}})
}

// Submit starts an operation on an existing cluster. A removal supersedes the
// running operation; a repeated removal joins the running one.
func (c *Controller) Submit(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error) {
	o := c.newOperation(cluster, kind, p)
	return c.admit(ctx, actOf(o), cluster, func(ctx context.Context) (decision, error) { return c.decideSubmit(ctx, o) })
}

func (c *Controller) decideSubmit(ctx context.Context, o appliance.Operation) (decision, error) {
	cluster, kind, p := o.Cluster, o.Kind, o.Params
	record, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return decision{}, err
	}
	if err := c.mayChange(ctx, actOf(o)); err != nil {
		return decision{}, err
	}
	if p.Member != "" {
		m, ok := record.Member(p.Member)
		if !ok {
			return decision{}, appliance.NoMember(cluster, p.Member)
		}
		if kind == appliance.OpReinit && m.Name == record.Primary {
			return decision{}, appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't be cloned from itself", m.Name, cluster)
		}
	}
	running, err := c.running(ctx, cluster)
	if err != nil {
		return decision{}, err
	}
	same := running != nil && running.Kind == kind && running.Params.Equal(p)
	joined, supersede, err := rule(actOf(o), running, record.Change, same)
	if err != nil {
		return decision{}, err
	}
	if joined {
		return decision{cluster: cluster, join: running}, nil
	}
	if record.Phase == appliance.PhaseRemoving && kind != appliance.OpDestroy {
		return decision{}, removingProblem(cluster)
	}
	if o, err = goOn(record, o); err != nil {
		return decision{}, err
	}
	if record, err = c.cfg.lookAhead(ctx, record, o); err != nil {
		return decision{}, err
	}
	return decision{
		cluster: cluster, from: basisOf(record, supersede), operation: o, supersede: supersede, record: recordOf(record, o),
	}, nil
}

func (c *Controller) newOperation(cluster string, kind appliance.OperationKind, p appliance.OperationParams) appliance.Operation {
	return appliance.Operation{
		ID: uuid.Must(uuid.NewV7()).String(), Cluster: cluster, Kind: kind, State: appliance.OpRunning,
		Params: p, Build: c.cfg.Info.Build, CreatedAt: time.Now().UTC(),
	}
}

func (c *Controller) provider(kind appliance.ProviderKind) (appliance.Provider, error) {
	p, ok := c.cfg.Providers[kind]
	if !ok {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "provider %q is not available here", kind).
			WithHint("pgapp up --provider local needs no virtual machines")
	}
	return p, nil
}

// Recover resumes the operations that an earlier process left running, and starts
// clusters that should run but don't, as after a reboot. It returns when all of
// them have begun. While pgapp only observes, Recover resumes adoptions only.
func (c *Controller) Recover(ctx context.Context) error {
	o, err := c.observeOnly(ctx)
	if err != nil {
		return err
	}
	clusters, err := c.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	observing := len(o.Clusters) > 0
	if !observing {
		observing = c.cfg.recoverKnown(ctx, clusters)
	}
	var errs []error
	for _, record := range clusters {
		running, err := c.cfg.Store.Running(ctx, record.Name)
		switch {
		case observing && (err != nil || !actOf(running).admittedObserving()):
			continue
		case err == nil:
			_, err = c.join(ctx, running)
		case appliance.IsProblem(err, appliance.ErrNotFound):
			err = c.bringBack(ctx, record)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// bringBack starts a cluster that should run and doesn't. A pause keeps the daemon from
// starting single members, as the pause does while the daemon runs: somebody may have
// stopped them for work on them. Where nothing of the cluster runs, the host was started
// again, and the cluster is brought back in spite of the pause: the pause leaves members as
// they are, and doesn't say that the cluster shall be down.
func (c *Controller) bringBack(ctx context.Context, record appliance.Cluster) error {
	if record.Phase != appliance.PhaseReady || record.WantStopped {
		return nil
	}
	if unfinished(record) != nil {
		_, err := c.Submit(ctx, record.Name, appliance.OpStart, appliance.OperationParams{KeepStopped: true})
		return err
	}
	provider, err := c.provider(record.Spec.Provider)
	if err != nil {
		return err
	}
	var down []string
	anyRuns := false
	for _, m := range record.Members {
		if m.WantStopped {
			continue
		}
		running, err := provider.Machine(record, m).ServerRunning(ctx)
		anyRuns = anyRuns || err == nil && running
		if err != nil || !running {
			down = append(down, m.Name)
		}
	}
	if len(down) == 0 {
		return nil
	}
	if anyRuns && record.Spec.Automatic != appliance.AutomaticOff && record.Pause.Holds(time.Now()) {
		c.cfg.Log.Warn("not starting members that should be running: a user has paused it", "cluster", record.Name, "members", down)
		return nil
	}
	c.cfg.Log.Info("starting a cluster that should be running", "cluster", record.Name, "members", down)
	_, err = c.Submit(ctx, record.Name, appliance.OpStart, appliance.OperationParams{KeepStopped: true})
	return err
}

// clientFile returns a path below ClientDir.
func (c *Controller) clientFile(parts ...string) string {
	return filepath.Join(append([]string{c.cfg.ClientDir}, parts...)...)
}
