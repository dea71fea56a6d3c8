package plan

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/tree"
)

// up brings a cluster from nothing, or from wherever it is, to its spec. The
// standbys are cloned while the data set is loaded: what is loaded then
// streams once, instead of being written and copied. With a template nothing
// is cloned or loaded: every member is a copy of it, of one identifier.
func (r recipe) up(c appliance.Cluster) []appliance.Step {
	primary, standbys := c.PrimaryMember(), c.Standbys()
	steps := r.provider.CreateSteps(c, c.Members)
	steps = append(steps, appliance.Step{ID: "postgres", Title: "find PostgreSQL 17", After: hostStep(c, steps), Done: r.binariesKnown, Do: r.findBinaries})
	add := func(s ...appliance.Step) { steps = append(steps, s...) }
	basis := "postgres"
	if r.template != nil {
		basis = "identity"
		add(appliance.Step{ID: basis, Title: "choose the system identifier", Do: r.chooseIdentifier})
	}
	add(
		appliance.Step{
			ID: stepID("init", primary.Name), Title: "initialise the primary", Member: primary.Name,
			After: []string{basis, stepID("machine", primary.Name)},
			Done:  r.made(primary.Name), Do: r.initialise(primary.Name),
		},
		r.startStep(primary, stepID("init", primary.Name), "postgres"),
		appliance.Step{
			ID: "roles", Title: "create the roles", Member: primary.Name, After: []string{stepID("start", primary.Name)},
			Done: r.rolesThere, Do: r.createRoles,
		},
		appliance.Step{
			ID: "slots", Title: "create the replication slots", Member: primary.Name, After: []string{"roles"}, Do: r.createSlots,
		},
		appliance.Step{
			ID: "load", Title: "load " + loadTitle(c.Spec), Member: primary.Name, After: []string{"roles"},
			Done: r.loaded, Do: r.load,
		},
	)
	source := "slots" // a base backup needs WAL kept for it
	if r.template != nil {
		source = stepID("init", primary.Name) // so that it starts while the others are copied
	}
	for i, m := range standbys {
		add(
			appliance.Step{
				ID: stepID("clone", m.Name), Title: "clone the standby", Member: m.Name, Kind: appliance.StepOfClone,
				After: append(r.inTurn("clone", standbys, i), source, stepID("machine", m.Name)),
				Done:  r.made(m.Name), Do: r.clone(m.Name),
			},
		)
		switch {
		case r.decision.Follow:
			add(r.startStep(m, stepID("clone", m.Name), "slots"), r.followStep(m, stepID("start", m.Name), "slots"))
		case r.template == nil:
			add(r.startStep(m, stepID("clone", m.Name), "slots"))
		default:
			add(r.startApartStep(m, append(r.inTurn("start", standbys, i), stepID("clone", m.Name), "postgres")...), r.followStep(m, stepID("start", m.Name), "slots"))
		}
	}
	ready, loaded := r.standbysReady(c, standbys)
	add(loaded...)
	add(
		r.streamingStep(standbys, append(ready, "slots")...),
		r.accessStep("load"),
		appliance.Step{ID: "sync", Title: "write everything to disk", After: []string{"access", "streaming"}, Do: r.syncAll},
		appliance.Step{ID: "verify", Title: "verify the cluster", After: []string{"access", "streaming"}, Do: r.verify},
	)
	return append(steps, r.delaySteps(c, "sync", "verify")...)
}

// standbysReady names what the standbys' streaming waits for, with the steps of
// it that are not there yet.
func (r recipe) standbysReady(c appliance.Cluster, standbys []appliance.Member) ([]string, []appliance.Step) {
	ready := each("start", standbys)
	if r.template != nil || r.decision.Follow {
		ready = each("follow", standbys)
	}
	loaded := r.loadedTablespaces(c, standbys, append(ready, "load")...)
	return append(ready, ids(loaded)...), loaded
}

func ids(steps []appliance.Step) []string {
	out := make([]string, 0, len(steps))
	for _, s := range steps {
		out = append(out, s.ID)
	}
	return out
}

// upTo is up, with the change of the spec where there is one.
func (r recipe) upTo(c appliance.Cluster) []appliance.Step {
	if ch := r.op.Params.Change; ch != nil {
		return r.upChanged(c, *ch)
	}
	return r.upUnchanged(c)
}

// inTurn is the step that the standby's waits for so that, with a template, one
// processor is left to the primary, which all of them need. Without one the
// steps of standbys wait for other things most of the time.
func (r recipe) inTurn(verb string, standbys []appliance.Member, i int) []string {
	width := r.decision.Parallel
	if r.template == nil || i < width {
		return nil
	}
	return []string{stepID(verb, standbys[i-width].Name)}
}

func loadTitle(s appliance.Spec) string {
	var parts []string
	if s.Dataset != appliance.DatasetNone {
		parts = append(parts, s.Dataset)
	}
	for _, f := range s.SQL {
		parts = append(parts, filepath.Base(f))
	}
	if len(parts) == 0 {
		return "nothing: create database " + s.Database
	}
	return strings.Join(parts, ", ") + " into database " + s.Database
}

func (r recipe) binariesKnown(ctx context.Context) (bool, error) {
	f, err := r.facts(ctx)
	if err != nil || f.cluster.PostgresBin == "" {
		return false, err
	}
	// The directory may have gone since: a tree that was cleared, a package removed.
	_, err = tree.Probe(ctx, f.cluster.PostgresBin)
	return err == nil, nil
}

func (r recipe) findBinaries(ctx context.Context, report appliance.Report) error {
	f, err := r.facts(ctx)
	if err != nil {
		return err
	}
	b, err := r.cfg.Binaries(ctx, f.cluster.Spec, r.decision.Postgres)
	if err != nil {
		return fmt.Errorf("finding PostgreSQL 17: %w", err)
	}
	report(appliance.Progress{Detail: fmt.Sprintf("%s (%s)", b.Version, b.Source)})
	return r.updateCluster(ctx, func(c *appliance.Cluster) {
		c.PostgresBin, c.PostgresVersion, c.PostgresTree = b.Dir, b.Version, b.Source == tree.SourceTree
		c.PostgresEnv = b.Env()
	})
}

// initialised observes the primary's data directory: it has to be that of the
// identifier on record, where there is one.
func (r recipe) initialised(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = r.on(ctx, member, func(f facts, _ appliance.Member, mc appliance.Machine) error {
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			done, err = ownDataDir(f.cluster, member, mc, d)
			done = done && recorded(f.cluster, member)
			return err
		})
		return done, err
	}
}

// recordDataDir tells whether the directory is the cluster's, and records the new
// primary's.
func (r recipe) recordDataDir(ctx context.Context, c appliance.Cluster, member string, mc appliance.Machine, d postgres.DataDir) (bool, error) {
	own, err := ownDataDir(c, member, mc, d)
	if err != nil || !own || recorded(c, member) {
		return own, err
	}
	return true, r.updateCluster(ctx, func(c *appliance.Cluster) {
		c.SystemIdentifier, c.Timeline, c.Initialised = d.SystemIdentifier, d.Timeline, true
	})
}

// ownDataDir tells whether the directory is the cluster's.
func ownDataDir(c appliance.Cluster, member string, mc appliance.Machine, d postgres.DataDir) (bool, error) {
	dir := mc.Layout().DataDir
	switch {
	case d.Foreign:
		return false, appliance.NewProblem(appliance.ErrDataDirForeign, "%s of member %s holds files that are not a PostgreSQL 17 data directory of pgapp", dir, member).
			WithHint("move them elsewhere; pgapp touches nothing that it did not make")
	case !d.Exists:
		return false, ownedBefore(c, member, mc)
	case c.SystemIdentifier != "" && c.SystemIdentifier != d.SystemIdentifier:
		return false, appliance.NewProblem(appliance.ErrDataDirForeign, "%s of member %s belongs to another cluster: its system identifier is %s, not %s", dir, member, d.SystemIdentifier, c.SystemIdentifier).
			WithHint("move it elsewhere, then run the same command again")
	}
	return true, nil
}

// ownedBefore refuses to make a data directory again that held the primary's data.
func ownedBefore(c appliance.Cluster, member string, mc appliance.Machine) error {
	if !c.Initialised || member != c.Primary {
		return nil
	}
	return appliance.NewProblem(appliance.ErrDataDirForeign, "the data directory of the primary %s is gone: %s", member, mc.Layout().DataDir).
		WithHint("put it back, or remove the cluster with 'pgapp down --volumes'")
}

func (r recipe) initialise(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			if r.template != nil {
				return r.copyPrimary(ctx, f, m, mc)
			}
			if err := r.forgetIdentifier(ctx, &f, member, mc); err != nil {
				return err
			}
			if err := postgres.Initdb(ctx, mc, postgres.InitOptions{Locale: f.cluster.Spec.Locale, SyncLater: true}); err != nil {
				return err
			}
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			_, err = r.recordDataDir(ctx, f.cluster, member, mc, d)
			return err
		})
	}
}

// forgetIdentifier takes an identifier off the record that was chosen for copies of a
// template that is not used any more. No member has it: the primary is copied first.
func (r recipe) forgetIdentifier(ctx context.Context, f *facts, member string, mc appliance.Machine) error {
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return err
	}
	if own, err := ownDataDir(f.cluster, member, mc, d); err != nil || own || f.cluster.SystemIdentifier == "" {
		return err
	}
	f.cluster.SystemIdentifier, f.cluster.Template = "", ""
	return r.updateCluster(ctx, func(c *appliance.Cluster) { c.SystemIdentifier, c.Template = "", "" })
}

// rolesThere is a login as pgapp's own role with the password on record.
func (r recipe) rolesThere(ctx context.Context) (bool, error) {
	f, err := r.facts(ctx)
	if err != nil {
		return false, err
	}
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return false, nil // not there yet, or with another password: Do mends both
	}
	defer func() { _ = c.Close(ctx) }()
	return postgres.RolesComplete(ctx, c)
}

func (r recipe) createRoles(ctx context.Context, _ appliance.Report) error {
	return r.on(ctx, r.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		return postgres.EnsureRoles(ctx, mc, m.Port, f.secrets, f.cluster.Spec.Database)
	})
}

// primaryName is the recorded primary's; an unreadable record shows itself at
// the next look at it.
func (r recipe) primaryName(ctx context.Context) string {
	c, err := r.cfg.Store.Cluster(ctx, r.op.Cluster)
	if err != nil {
		return ""
	}
	return c.Primary
}

// createSlots makes a slot for every standby; it reserves WAL from now on.
func (r recipe) createSlots(ctx context.Context, _ appliance.Report) error {
	return r.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		for _, m := range f.cluster.Standbys() {
			if err := postgres.EnsureSlot(ctx, c, m.Slot); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r recipe) clone(member string) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		return r.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			if r.template != nil && !r.adds(member) {
				return r.copyTemplate(ctx, f, m, mc)
			}
			c, err := f.control(ctx, f.cluster.PrimaryMember())
			if err != nil {
				return err
			}
			defer func() { _ = c.Close(ctx) }()
			if err := readyToClone(ctx, f, m, c); err != nil {
				return err
			}
			return postgres.Clone(ctx, mc, postgres.CloneOptions{
				Upstream: f.upstream(m), Member: member, OperationID: r.op.ID, Primary: c,
				SystemIdentifier: f.cluster.SystemIdentifier, SyncLater: true,
				ReplicatorPassword: f.secrets.Get(appliance.SecretReplicator),
			}, report)
		})
	}
}

// syncAll makes durable what was written without waiting for the disk.
func (r recipe) syncAll(ctx context.Context, _ appliance.Report) error {
	f, err := r.facts(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range f.cluster.Members {
		g.Go(func() error { return postgres.SyncDataDir(ctx, r.provider.Machine(f.cluster, m)) })
	}
	return g.Wait()
}

// waitReplayed lets the standbys catch up with what was loaded. Where one
// doesn't, verify says why.
func (r recipe) waitReplayed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	_ = r.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		var names []string
		for _, m := range f.cluster.Standbys() {
			if !m.WantStopped {
				names = append(names, m.Name)
			}
		}
		return postgres.WaitReplayed(ctx, c, names)
	})
}
