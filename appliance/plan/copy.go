package plan

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
)

// made observes a data directory that `up` makes. A copy of the template does
// without PostgreSQL's programs, which may still be on their way; the start
// looks closer.
func (r recipe) made(member string) func(context.Context) (bool, error) {
	if r.template == nil {
		return r.initialised(member)
	}
	return func(ctx context.Context) (done bool, err error) {
		err = r.on(ctx, member, func(f facts, _ appliance.Member, mc appliance.Machine) error {
			done, err = postgres.Copied(ctx, mc)
			if err == nil && !done {
				return ownedBefore(f.cluster, member, mc)
			}
			done = done && recorded(f.cluster, member)
			return err
		})
		return done, err
	}
}

// recorded tells whether the record knows of the member's data directory: it has to
// know of the primary's.
func recorded(c appliance.Cluster, member string) bool { return member != c.Primary || c.Initialised }

// chooseIdentifier makes the identifier that all copies of the template get.
func (r recipe) chooseIdentifier(ctx context.Context, _ appliance.Report) error {
	f, err := r.facts(ctx)
	if err != nil || f.cluster.SystemIdentifier != "" {
		return err
	}
	id := strconv.FormatUint(template.NewIdentifier(time.Now()), 10)
	return r.updateCluster(ctx, func(c *appliance.Cluster) { c.SystemIdentifier, c.Template = id, identity(r.template) })
}

// copyPrimary copies the template to the primary and records that it is there. A
// kill may have come between the two.
func (r recipe) copyPrimary(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	there, err := postgres.Copied(ctx, mc)
	if err == nil && !there {
		err = r.copyTemplate(ctx, f, m, mc)
	}
	if err != nil {
		return err
	}
	return r.updateCluster(ctx, func(c *appliance.Cluster) { c.Timeline, c.Initialised = 1, true })
}

// copyTemplate copies the template to the member, configured as it will start first.
func (r recipe) copyTemplate(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	id, err := strconv.ParseUint(f.cluster.SystemIdentifier, 10, 64)
	if err != nil {
		return fmt.Errorf("reading the recorded system identifier: %w", err)
	}
	target, ok := mc.(postgres.CopyMachine)
	if !ok {
		return appliance.NewProblem(appliance.ErrInternal, "a member of provider %s can't be copied from the template", f.cluster.Spec.Provider)
	}
	c, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
	if err != nil {
		return err
	}
	c.Apart = m.Name != f.cluster.Primary
	files, err := postgres.Configured(r.template.Files(id), mc.Layout(), c)
	if err != nil {
		return err
	}
	return postgres.CopyDataDir(ctx, target, files)
}
