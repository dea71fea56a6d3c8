package plan

import (
	"context"
	"fmt"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
)

// world gives the steps of one operation the record and the machines.
type world struct {
	*Planner
	op       appliance.Operation
	decision appliance.Decision
	provider appliance.Provider
	// cloning has room for one, and holds it while a member that comes back is cloned.
	cloning chan struct{}
	// settling has room for one, and holds it while the promise is settled; keepers holds
	// the keeper that looks.
	settling, keepers chan struct{}
	// leaders has room for one, and holds what leads on stranded standbys.
	leaders chan struct{}
}

// dataDirs makes, observes and removes data directories.
type dataDirs struct {
	world
	// template is set where members are copied from it.
	template *template.Template
}

// work is what the steps do and observe.
type work struct{ dataDirs }

func (w world) facts(ctx context.Context) (facts, error) {
	c, err := w.cfg.Store.Cluster(ctx, w.op.Cluster)
	if err != nil {
		return facts{}, err
	}
	s, err := w.cfg.Store.Secrets(ctx, w.op.Cluster)
	return facts{c, s}, err
}

// on gives the member's record and machine to f.
func (w world) on(ctx context.Context, member string, f func(facts, appliance.Member, appliance.Machine) error) error {
	fs, err := w.facts(ctx)
	if err != nil {
		return err
	}
	m, ok := fs.cluster.Member(member)
	if !ok {
		return appliance.NoMember(fs.cluster.Name, member)
	}
	return f(fs, m, w.provider.Machine(fs.cluster, m))
}

// inPrimary runs f in pgapp's session to the primary's maintenance database.
func (w world) inPrimary(ctx context.Context, f func(facts, *postgres.Control) error) error {
	fs, err := w.facts(ctx)
	if err != nil {
		return err
	}
	m := fs.cluster.PrimaryMember()
	dial := func(ctx context.Context) (*postgres.Control, error) { return fs.control(ctx, m) }
	return w.cfg.Sessions.Use(ctx, postgres.SessionKey(fs.cluster, m.Name), dial, func(c *postgres.Control) error { return f(fs, c) })
}

// updateCluster changes the cluster's record.
func (w world) updateCluster(ctx context.Context, change func(*appliance.Cluster)) error {
	_, err := w.cfg.Store.UpdateCluster(ctx, w.op.Cluster, func(c *appliance.Cluster) error {
		change(c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing what was learnt of cluster %q: %w", w.op.Cluster, err)
	}
	return nil
}

// primaryName returns the recorded primary's name. It is empty if the record can't be
// read; the next read returns the error.
func (w world) primaryName(ctx context.Context) string {
	c, err := w.cfg.Store.Cluster(ctx, w.op.Cluster)
	if err != nil {
		return ""
	}
	return c.Primary
}

// adds tells whether the operation adds the member. An added member is never a copy
// of the template, since the primary may have changed much since.
func (w world) adds(member string) bool {
	ch := w.op.Params.Change
	return ch != nil && slices.ContainsFunc(ch.Add, func(m appliance.Member) bool { return m.Name == member })
}
