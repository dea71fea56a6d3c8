package control

import (
	"context"
	"fmt"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// decisionTries bounds how often a request is decided anew because the record
// changed in the meantime. Each change is one that another caller or a running
// operation has stored, so more than a few in a row mean that something loops.
const decisionTries = 20

// decision is what becomes of a request, decided from a look at the record and
// at the hosts. Nobody is locked out while it is made, so it holds only while
// the record and the running operation are those that it was made from.
type decision struct {
	cluster string
	from    basis
	// join is the running operation that the request is answered with.
	join *appliance.Operation
	// Otherwise operation begins, with create where the cluster is new, and
	// ends supersede where that is set.
	operation appliance.Operation
	create    *appliance.NewCluster
	supersede string
}

// basis identifies what a decision was made from.
type basis struct {
	// revision of the record; 0 where there is none.
	revision uint64
	// running is the id of the running operation, if any.
	running string
}

// adds are the members that the decision brings into being.
func (d decision) adds() []appliance.Member {
	switch {
	case d.create != nil:
		return d.create.Cluster.Members
	case d.operation.Params.Change != nil:
		return d.operation.Params.Change.Add
	}
	return nil
}

// admit decides a request and begins the operation, and decides anew where
// another caller was faster. decide looks at records and hosts; nothing is
// locked meanwhile, so a slow host delays only who asked for it.
func (c *Controller) admit(ctx context.Context, cluster string, decide func(context.Context) (decision, error)) (appliance.Operation, error) {
	for range decisionTries {
		d, err := decide(ctx)
		if err != nil {
			return appliance.Operation{}, err
		}
		o, begun, err := c.begin(ctx, d)
		if err != nil || begun {
			return o, err
		}
	}
	return appliance.Operation{}, appliance.NewProblem(appliance.ErrConflict, "cluster %q keeps changing while the request is decided", cluster).
		WithHint("pgapp ops --cluster %s shows what runs; try again", cluster)
}

// begin carries the decision out, in the cluster's turn. It returns false
// where the decision was made from what is no longer so.
func (c *Controller) begin(ctx context.Context, d decision) (appliance.Operation, bool, error) {
	leave, err := c.admission.enter(ctx, d.cluster)
	if err != nil {
		return appliance.Operation{}, false, err
	}
	defer leave()
	now, err := c.basis(ctx, d.cluster)
	if err != nil {
		return appliance.Operation{}, false, err
	}
	if d.join != nil {
		if now.running != d.join.ID {
			return appliance.Operation{}, false, nil
		}
		o, err := c.join(ctx, *d.join)
		return o, true, err
	}
	if now != d.from {
		return appliance.Operation{}, false, nil
	}
	if err := c.mayChange(ctx); err != nil {
		return appliance.Operation{}, false, err
	}
	if len(d.adds()) > 0 {
		done, err := c.admission.enter(ctx, allAddresses)
		if err != nil {
			return appliance.Operation{}, false, err
		}
		defer done()
		if taken, err := c.taken(ctx, d); err != nil || taken {
			return appliance.Operation{}, false, err
		}
	}
	err = c.cfg.Runner.Start(ctx, d.operation, d.create, d.supersede)
	return d.operation, err == nil, err
}

// basis reads what a decision about the cluster rests on.
func (c *Controller) basis(ctx context.Context, cluster string) (basis, error) {
	var b basis
	record, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) {
		return b, err
	}
	b.revision = record.Revision
	running, err := c.running(ctx, cluster)
	if running != nil {
		b.running = running.ID
	}
	return b, err
}

// running returns the cluster's running operation, nil where none runs.
func (c *Controller) running(ctx context.Context, cluster string) (*appliance.Operation, error) {
	o, err := c.cfg.Store.Running(ctx, cluster)
	switch {
	case err == nil:
		return &o, nil
	case appliance.IsProblem(err, appliance.ErrNotFound):
		return nil, nil
	}
	return nil, err
}

// taken tells whether another cluster has been given what the decision's new
// members were allocated: providers are asked before the turn, so two clusters
// may be offered the same.
func (c *Controller) taken(ctx context.Context, d decision) (bool, error) {
	others, err := c.otherMembers(ctx, d.cluster)
	if err != nil {
		return false, err
	}
	for _, m := range d.adds() {
		if slices.ContainsFunc(others, func(o appliance.Member) bool {
			return o.Host == m.Host && o.Port == m.Port || m.MAC != "" && o.MAC == m.MAC
		}) {
			return true, nil
		}
	}
	return false, nil
}

// rule says how a request fares beside the running operation, if any: joined
// is true where that one is the answer, supersede its id where it gives way.
// A request that is refused is a problem operation-running.
func rule(request act, running *appliance.Operation, same bool) (joined bool, supersede string, err error) {
	if running == nil {
		return false, "", nil
	}
	switch rulings()[request][actOf(running.Kind, running.Params)] {
	case supersedes:
		return false, running.ID, nil
	case joins:
		if same {
			return true, "", nil
		}
	case refused:
	}
	return false, "", busy(*running)
}

// act is what a request asks for and what an operation does: the operation's
// kind, except that the daemon's own start is told from a user's.
type act string

// actRevive is the start by which the daemon brings back what should run, as
// after a reboot.
const actRevive act = "revive"

func actOf(kind appliance.OperationKind, p appliance.OperationParams) act {
	if kind == appliance.OpStart && p.KeepStopped {
		return actRevive
	}
	return act(kind)
}

// actCount is how many acts there are: a row of [rulings] has as many columns.
const actCount = 8

// acts are all of them, in the order of the columns of [rulings].
func acts() [actCount]act {
	return [actCount]act{
		act(appliance.OpUp), act(appliance.OpStart), act(appliance.OpStop), act(appliance.OpRestart),
		act(appliance.OpReinit), act(appliance.OpScale), act(appliance.OpDestroy), actRevive,
	}
}

// ruling is how a request fares beside what runs.
type ruling int

// The rulings; none is the zero value, so that a gap in the table shows.
const (
	refused ruling = iota + 1
	// joins: the same request is answered with the running operation; another
	// one is refused.
	joins
	// supersedes: the running operation ends and gives way.
	supersedes
)

// rulings is the table of admission: rulings()[request][running]. A user's
// wish goes before what the daemon does by itself, and a removal before all.
func rulings() map[act]map[act]ruling {
	const r, j, s = refused, joins, supersedes
	rows := map[act][actCount]ruling{
		// running:              up start stop restart reinit scale destroy revive
		act(appliance.OpUp):      {j, r, r, r, r, r, r, s},
		act(appliance.OpStart):   {r, j, r, r, r, r, r, s},
		act(appliance.OpStop):    {r, r, j, r, r, r, r, s},
		act(appliance.OpRestart): {r, r, r, j, r, r, r, s},
		act(appliance.OpReinit):  {r, r, r, r, j, r, r, s},
		act(appliance.OpScale):   {r, r, r, r, r, j, r, s},
		act(appliance.OpDestroy): {s, s, s, s, s, s, j, s},
		actRevive:                {r, r, r, r, r, r, r, j},
	}
	out := make(map[act]map[act]ruling, len(rows))
	for request, row := range rows {
		out[request] = make(map[act]ruling, len(row))
		for i, running := range acts() {
			out[request][running] = row[i]
		}
	}
	return out
}

// admission gives each cluster to one caller at a time. A turn covers store
// transactions, and the end of an operation that gives way; never a look at a
// host or a network.
type admission struct{ turns wait.Turns }

// allAddresses is the turn in which addresses are given to a cluster: no
// cluster has an empty name.
const allAddresses = ""

// enter waits for the turn of that name. The error is that of a context that
// ended first.
func (a *admission) enter(ctx context.Context, name string) (leave func(), err error) {
	leave, err = a.turns.Enter(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("waiting until another change of cluster %q has begun: %w", name, err)
	}
	return leave, nil
}
