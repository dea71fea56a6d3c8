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
			if done, err = postgres.Seeded(ctx, mc); err != nil || !done || member != f.cluster.Primary || f.cluster.Initialised {
				return err
			}
			return r.recordSeeded(ctx)
		})
		return done, err
	}
}

// recordSeeded records that the primary is there, as a copy of the template.
func (r recipe) recordSeeded(ctx context.Context) error {
	return r.updateCluster(ctx, func(c *appliance.Cluster) { c.Timeline, c.Initialised = 1, true })
}

// chooseIdentifier makes the identifier that all copies of the template get.
func (r recipe) chooseIdentifier(ctx context.Context, _ appliance.Report) error {
	f, err := r.facts(ctx)
	if err != nil || f.cluster.SystemIdentifier != "" {
		return err
	}
	id := strconv.FormatUint(template.NewIdentifier(time.Now()), 10)
	return r.updateCluster(ctx, func(c *appliance.Cluster) { c.SystemIdentifier = id })
}

// seed copies the template to the member, configured as it will start first.
func (r recipe) seed(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	id, err := strconv.ParseUint(f.cluster.SystemIdentifier, 10, 64)
	if err != nil {
		return fmt.Errorf("reading the recorded system identifier: %w", err)
	}
	seeded, ok := mc.(postgres.SeedMachine)
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
	return postgres.SeedDataDir(ctx, seeded, files)
}
