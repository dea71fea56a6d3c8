package plan

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// accessStep draws the step that grants pgapp's roles the privileges that they use.
// The step connects through the primary's socket, so that revoked privileges don't
// lock it out.
func (r *recipe) accessStep(needs ...*node) *node {
	s := whole(kindAccess, "grant the roles their access")
	s.Done, s.Do = r.accessThere, func(ctx context.Context, _ appliance.Report) error {
		return r.on(ctx, r.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
			return postgres.EnsureAccess(ctx, mc, m.Port, f.cluster.Spec.Database)
		})
	}
	return r.add(s, needs...)
}

func (w work) accessThere(ctx context.Context) (bool, error) {
	f, err := w.facts(ctx)
	if err != nil {
		return false, err
	}
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return false, nil // Do grants a revoked privilege to connect
	}
	defer func() { _ = c.Close(ctx) }()
	ok, err := postgres.HasAccess(ctx, c, f.cluster.Spec.Database)
	return ok && err == nil, nil
}
