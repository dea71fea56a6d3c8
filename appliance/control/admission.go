package control

import (
	"context"
	"slices"

	"pgapp/appliance"
)

// decisionTries limits how often a request is decided again because the record
// has changed. Another caller or a running operation stores each change, so more
// than a few in a row mean that something loops.
const decisionTries = 20

// decision is the outcome of a request, made from a look at the record and at the
// hosts. No lock is held during the look, so a decision is valid only as long as
// the record and the running operation stay the same.
type decision struct {
	cluster string
	from    basis
	// nothing is set where the request needs no operation. The field operation then
	// holds the result.
	nothing bool
	// join is the running operation that the request is answered with.
	join *appliance.Operation
	// Otherwise operation begins. It creates the cluster in create, if set, and
	// ends the operation with the id supersede, if set.
	operation appliance.Operation
	create    *appliance.NewCluster
	supersede string
	// record changes the stored record when the operation begins, if set.
	record func(*appliance.Cluster) error
}

// basis identifies the state that a decision was made from.
type basis struct {
	// revision of the record; 0 for a cluster without a record.
	revision uint64
	// epoch, primary and change are the record's. The revision doesn't count them.
	epoch   uint64
	primary string
	change  changeMark
	// running is the id of the running operation, empty if none runs.
	running string
}

// changeMark is what decisions depend on of a change of primary. A change goes through
// its phases while requests are decided.
type changeMark struct {
	operation        string
	committed, final bool
}

func basisOf(c appliance.Cluster, running string) basis {
	b := basis{revision: c.Revision, epoch: c.Epoch, primary: c.Primary, running: running}
	if ch := c.Change; ch != nil {
		b.change = changeMark{ch.Operation, ch.Phase.Committed(), ch.Phase.Final()}
	}
	return b
}

// adds returns the members that the decision creates.
func (d decision) adds() []appliance.Member {
	switch {
	case d.create != nil:
		return d.create.Cluster.Members
	case d.operation.Params.Change != nil:
		return d.operation.Params.Change.Add
	}
	return nil
}

// admit decides a request and begins the operation. If another caller changes the
// cluster first, admit decides again. decide looks at records and hosts without a
// lock, so a slow host delays only requests for its own cluster.
func (c *Controller) admit(ctx context.Context, a Act, cluster string, decide func(context.Context) (decision, error)) (appliance.Operation, error) {
	for range decisionTries {
		if err := c.admission.pass(ctx, a); err != nil {
			return appliance.Operation{}, err
		}
		d, err := decide(ctx)
		if err != nil {
			return appliance.Operation{}, err
		}
		if d, err = c.cfg.planned(ctx, d); err != nil {
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

// planned adds to an operation that is to begin the facts that shape its plan. They
// are journaled with it. Looking for them may take time, so it holds no lock.
func (cfg Config) planned(ctx context.Context, d decision) (decision, error) {
	if d.nothing || d.join != nil {
		return d, nil
	}
	var record appliance.Cluster
	var err error
	if d.create != nil {
		record = d.create.Cluster
	} else if record, err = cfg.Store.Cluster(ctx, d.cluster); err != nil {
		return d, err
	}
	d.operation, err = cfg.withDecision(ctx, d.operation, record)
	return d, err
}

func (cfg Config) withDecision(ctx context.Context, o appliance.Operation, record appliance.Cluster) (appliance.Operation, error) {
	facts, err := cfg.Decide(ctx, o, record)
	o.Decision = &facts
	return o, err
}

// begin carries out the decision in the cluster's turn. It returns false if the
// decision is out of date.
func (c *Controller) begin(ctx context.Context, d decision) (appliance.Operation, bool, error) {
	if d.nothing {
		return d.operation, true, nil
	}
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
	if now != d.from || c.admission.marked() != nil {
		return appliance.Operation{}, false, nil
	}
	if err := c.mayChange(ctx, actOf(d.operation)); err != nil {
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
	err = c.cfg.Runner.Start(ctx, appliance.Beginning{Operation: d.operation, Create: d.create, Supersede: d.supersede, Record: d.record, Request: appliance.RequestOf(ctx)})
	return d.operation, err == nil, err
}

// basis returns the cluster's present basis.
func (c *Controller) basis(ctx context.Context, cluster string) (basis, error) {
	record, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) {
		return basis{}, err
	}
	b := basisOf(record, "")
	running, err := c.running(ctx, cluster)
	if running != nil {
		b.running = running.ID
	}
	return b, err
}

// running returns the cluster's running operation, nil if none runs.
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

// taken tells whether another cluster has got an address of the decision's new
// members. Providers allocate before the turn, so they may offer one address to
// two clusters.
func (c *Controller) taken(ctx context.Context, d decision) (bool, error) {
	if shares, err := c.cfg.sharesEndpoint(ctx, d.create); err != nil || shares {
		return shares, err
	}
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

// Alone calls work while no operation runs, and lets none begin before work
// returns. It returns a problem operation-running if an operation runs, and a
// problem conflict if other work runs alone. A request for an operation is not
// blocked meanwhile: it is refused with a message that names the work.
func (c *Controller) Alone(ctx context.Context, a Act, work func(context.Context) error) error {
	lift, err := c.admission.leaveMark(ctx, a)
	if err != nil {
		return err
	}
	defer lift()
	records, err := c.cfg.Store.Clusters(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		running, err := c.running(ctx, r.Name)
		if err != nil {
			return err
		}
		if _, _, err := rule(a, running, r.Change, false); err != nil {
			return err
		}
	}
	return work(ctx)
}
