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

// made tells whether the member has the data directory that up makes. For copies of
// a template, made needs none of PostgreSQL's programs, which may not be installed
// yet; the start step checks more.
func (d dataDirs) made(member string) func(context.Context) (bool, error) {
	if d.template == nil {
		return d.initialised(member)
	}
	return func(ctx context.Context) (done bool, err error) {
		err = d.on(ctx, member, func(f facts, _ appliance.Member, mc appliance.Machine) error {
			copied, err := postgres.CopiedFromTemplate(ctx, mc)
			done = copied && recorded(f.cluster, member)
			return err
		})
		return done, err
	}
}

// chooseIdentifier records a new system identifier, which all copies of the template
// get, unless one is on record. A repeat is safe.
func (d dataDirs) chooseIdentifier(ctx context.Context, _ appliance.Report) error {
	f, err := d.facts(ctx)
	if err != nil || f.cluster.SystemIdentifier != "" {
		return err
	}
	id := strconv.FormatUint(template.NewIdentifier(time.Now()), 10)
	return d.updateCluster(ctx, func(c *appliance.Cluster) { c.SystemIdentifier, c.Template = id, identity(d.template) })
}

// copyPrimary copies the template to the primary unless a copy exists, and records
// that the primary has a data directory.
func (d dataDirs) copyPrimary(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	copied, err := postgres.CopiedFromTemplate(ctx, mc)
	if err != nil {
		return err
	}
	if !copied {
		if err := primaryGone(f.cluster, m.Name, mc.Layout().DataDir); err != nil {
			return err
		}
		if err := d.copyTemplate(ctx, f, m, mc); err != nil {
			return err
		}
	}
	return d.updateCluster(ctx, func(c *appliance.Cluster) { c.Timeline, c.Initialised = 1, true })
}

// copyTemplate copies the template to the member, with the configuration of the
// member's first start.
func (d dataDirs) copyTemplate(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	id, err := strconv.ParseUint(f.cluster.SystemIdentifier, 10, 64)
	if err != nil {
		return fmt.Errorf("reading the recorded system identifier: %w", err)
	}
	target, ok := mc.(postgres.TemplateTarget)
	if !ok {
		return appliance.NewProblem(appliance.ErrInternal, "a member of provider %s can't be copied from the template", f.cluster.Spec.Provider)
	}
	c, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
	if err != nil {
		return err
	}
	c.Apart = m.Name != f.cluster.Primary
	files, err := postgres.Configured(d.template.Files(id), mc.Layout(), c)
	if err != nil {
		return err
	}
	return postgres.CopyTemplate(ctx, target, files)
}
