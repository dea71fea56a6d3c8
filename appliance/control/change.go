package control

import (
	"context"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// decideUpExisting changes an existing cluster to match the spec, and starts it.
func (c *Controller) decideUpExisting(ctx context.Context, old appliance.Cluster, s appliance.Spec, dryRun bool) (decision, error) {
	running, err := c.running(ctx, old.Name)
	if err != nil {
		return decision{}, err
	}
	target := old
	if running != nil && running.Params.Change != nil {
		target = running.Params.Change.Without(running.Params.Change.Applied(old))
	}
	diff, err := differences(target, s)
	if err != nil {
		return decision{}, err
	}
	joined, supersede, err := rule(Act(appliance.OpUp), running, old.Change, diff.none() && !dryRun)
	if err != nil {
		return decision{}, err
	}
	if joined {
		return decision{cluster: old.Name, join: running}, nil
	}
	if old.Phase == appliance.PhaseRemoving {
		return decision{}, removingProblem(old.Name)
	}
	if old.Phase == appliance.PhaseReady && !dryRun {
		if _, err := c.cfg.checkNewer(ctx, old); err != nil {
			return decision{}, err
		}
	}
	if diff.endpoint != nil {
		if err := c.cfg.mayLead(ctx, *diff.endpoint); err != nil {
			return decision{}, err
		}
	}
	o := c.newOperation(old.Name, appliance.OpUp, appliance.OperationParams{WantRunning: old.AnyWantStopped() || old.Phase == appliance.PhaseFailed})
	if !diff.none() {
		ch, err := c.change(ctx, old, diff)
		if err != nil {
			return decision{}, err
		}
		o.Params.Change = &ch
	}
	if o, err = goOn(old, o); err != nil {
		return decision{}, err
	}
	return decision{
		cluster: old.Name, from: basisOf(old, supersede), operation: o, supersede: supersede, record: recordOf(old, o),
	}, nil
}

func removingProblem(cluster string) error {
	return appliance.NewProblem(appliance.ErrConflict, "cluster %q is being removed", cluster).
		WithHint("pgapp down --volumes finishes the removal")
}

// Scale adds or removes standbys. A repeat of the running request joins its
// operation. An operation with nothing to change verifies the cluster. Removing the
// primary is a problem conflict.
func (c *Controller) Scale(ctx context.Context, cluster string, w appliance.ScaleWish) (appliance.Operation, error) {
	return c.admit(ctx, Act(appliance.OpScale), cluster, func(ctx context.Context) (decision, error) { return c.decideScale(ctx, cluster, w) })
}

func (c *Controller) decideScale(ctx context.Context, cluster string, w appliance.ScaleWish) (decision, error) {
	old, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return decision{}, clusterNotFound(err, cluster)
	}
	if err := c.mayChange(ctx, Act(appliance.OpScale)); err != nil {
		return decision{}, err
	}
	running, err := c.running(ctx, cluster)
	if err != nil {
		return decision{}, err
	}
	joined, supersede, err := rule(Act(appliance.OpScale), running, old.Change, running != nil && sameScale(*running, old, w))
	if err != nil {
		return decision{}, err
	}
	if joined {
		return decision{cluster: cluster, join: running}, nil
	}
	if err := mayScale(old); err != nil {
		return decision{}, err
	}
	if _, err := goOn(old, c.newOperation(cluster, appliance.OpScale, appliance.OperationParams{})); err != nil {
		return decision{}, err
	}
	ch, err := c.scaleChange(ctx, old, w)
	if err != nil {
		return decision{}, err
	}
	return decision{
		cluster: cluster, from: basisOf(old, supersede),
		operation: c.newOperation(cluster, appliance.OpScale, appliance.OperationParams{Change: &ch, Force: w.Force}), supersede: supersede,
	}, nil
}

// sameScale tells whether the running operation does what the wish asks for.
func sameScale(o appliance.Operation, c appliance.Cluster, w appliance.ScaleWish) bool {
	ch := o.Params.Change
	if o.Kind != appliance.OpScale || ch == nil || o.Params.Force != w.Force {
		return false
	}
	if w.Remove != "" {
		return w.Remove != c.Primary && len(ch.Remove) == 1 && ch.Removes(w.Remove)
	}
	return w.Standbys != nil && *w.Standbys == ch.Standbys
}

// mayScale refuses a cluster whose primary is stopped, since no standby can be
// cloned from it.
func mayScale(c appliance.Cluster) error {
	switch {
	case c.Phase == appliance.PhaseRemoving:
		return removingProblem(c.Name)
	case c.Phase == appliance.PhaseStopped || c.WantStopped || c.PrimaryMember().WantStopped:
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q is stopped and can't be scaled", c.Name).
			WithHint("start it first: pgapp start --cluster %s", c.Name)
	case c.Phase != appliance.PhaseReady:
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q is %s and can't be scaled", c.Name, c.Phase).
			WithHint("finish it first: pgapp up --cluster %s", c.Name)
	}
	return nil
}

func (c *Controller) scaleChange(ctx context.Context, old appliance.Cluster, w appliance.ScaleWish) (appliance.Change, error) {
	if w.Remove != "" {
		return removal(old, w.Remove)
	}
	n := len(old.Members) - 1 + w.Add
	if w.Standbys != nil {
		n = *w.Standbys
	}
	if n < 0 || n > appliance.MaxStandbys {
		s := old.Spec
		s.Standbys = &n
		return appliance.Change{}, s.WithDefaults().Validate()
	}
	return c.change(ctx, old, difference{standbys: &n})
}

func removal(old appliance.Cluster, member string) (appliance.Change, error) {
	m, ok := old.Member(member)
	if !ok {
		return appliance.Change{}, appliance.NoMember(old.Name, member)
	}
	if member == old.Primary {
		return appliance.Change{}, appliance.NewProblem(appliance.ErrConflict, "%s is the primary of cluster %q and can't be removed", member, old.Name).
			WithHint("pgapp ps shows which members are standbys; 'pgapp down --volumes' removes the whole cluster")
	}
	ch := appliance.Change{Standbys: len(old.Members) - 2, Remove: []appliance.Member{m}}
	return ch, ch.Applied(old).Spec.CheckDurability()
}

// change decides which members a difference adds, with their addresses, which
// members it removes, and which parameters need a restart.
func (c *Controller) change(ctx context.Context, old appliance.Cluster, d difference) (appliance.Change, error) {
	ch := appliance.Change{Standbys: len(old.Members) - 1, Durability: d.durability, Automatic: d.automatic, OnLastStandby: d.last, Size: d.size, Endpoint: d.endpoint}
	if d.standbys != nil {
		ch.Standbys = *d.standbys
	}
	if d.parameters != nil {
		ch.SetParameters, ch.Parameters = true, d.parameters
	}
	if err := ch.Applied(old).Spec.CheckDurability(); err != nil {
		return ch, err
	}
	provider, err := c.provider(old.Spec.Provider)
	if err != nil {
		return ch, err
	}
	ch.Remove = old.LastStandbys(len(old.Members) - 1 - ch.Standbys)
	if n := ch.Standbys - (len(old.Members) - 1); n > 0 {
		others, err := c.otherMembers(ctx, old.Name)
		if err != nil {
			return ch, err
		}
		spec := old.Spec
		spec.Standbys = &ch.Standbys
		ch.Add, err = provider.Allocate(ctx, appliance.AllocateRequest{
			Spec: spec, Cluster: old.Name, UUID: old.UUID, Names: old.NewMembers(n), Existing: old.Members, Others: others,
		})
		if err != nil {
			return ch, err
		}
	}
	if d.parameters == nil {
		return ch, nil
	}
	ch.Restart, err = restartNeeded(ctx, old, provider, d.names)
	return ch, err
}

// restartNeeded asks the primary which parameters need a restart. A stopped primary
// needs none: it reads all of them when it starts.
func restartNeeded(ctx context.Context, old appliance.Cluster, provider appliance.Provider, names []string) ([]string, error) {
	m := old.PrimaryMember()
	mc := provider.Machine(old, m)
	running, err := mc.ServerRunning(ctx)
	if err != nil || !running {
		return nil, err
	}
	return postgres.RestartNeeded(ctx, mc, m.Port, names)
}

// otherMembers returns the members of all other clusters, with those that running
// operations are adding.
func (c *Controller) otherMembers(ctx context.Context, cluster string) ([]appliance.Member, error) {
	all, err := c.cfg.Store.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []appliance.Member
	for _, o := range all {
		if o.Name == cluster {
			continue
		}
		out = append(out, o.Members...)
		running, err := c.cfg.Store.Running(ctx, o.Name)
		switch {
		case err == nil && running.Params.Change != nil:
			for _, m := range running.Params.Change.Add {
				if !slices.ContainsFunc(o.Members, func(x appliance.Member) bool { return x.Name == m.Name }) {
					out = append(out, m)
				}
			}
		case err != nil && !appliance.IsProblem(err, appliance.ErrNotFound):
			return nil, err
		}
	}
	return out, nil
}

// previewTimeout bounds the looks at the world of a dry run.
const previewTimeout = 10 * time.Second

// preview is what the operation would do. Steps that find the world as they
// want it are marked; nothing is changed or stored.
func (c *Controller) preview(ctx context.Context, o appliance.Operation, record appliance.Cluster) (appliance.Operation, error) {
	steps, err := c.cfg.Preview(ctx, o, record)
	if err != nil {
		return appliance.Operation{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	o.ID, o.State = "", appliance.OpPlanned
	for _, s := range steps {
		r := appliance.StepRecord{ID: s.ID, Title: s.Title, Member: s.Member, Kind: s.Kind, State: appliance.StepPending}
		if s.Done != nil {
			if ok, err := s.Done(ctx); err == nil && ok {
				r.State, r.AlreadyDone = appliance.StepDone, true
			}
		}
		o.Steps = append(o.Steps, r)
	}
	return o, nil
}
