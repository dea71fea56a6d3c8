package observe

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// Verify proves that the members are one cluster, as [postgres.Verify] describes. It
// keeps the sessions to the members' maintenance databases.
func (o *Observer) Verify(ctx context.Context, c appliance.Cluster, p Machines, s appliance.Secrets) appliance.VerifyReport {
	in, subjects := inputOf(c, p, s)
	in.Look = func(ctx context.Context, member string) (*postgres.Control, postgres.Observation, error) {
		return subjects[member].open(ctx)
	}
	in.Leave = func(ctx context.Context, member string, c *postgres.Control) {
		o.sessions.Keep(ctx, subjects[member].session, c)
	}
	return postgres.Verify(ctx, in)
}

// VerifyEndpoints proves where the cluster's endpoints lead, if it has any, as
// [postgres.VerifyEndpoints] describes.
func (o *Observer) VerifyEndpoints(ctx context.Context, c appliance.Cluster, p Machines, s appliance.Secrets) (checks []appliance.Check, proven bool) {
	e := c.Endpoints
	if !c.Spec.HasEndpoints() || e == nil {
		return nil, true
	}
	in, _ := inputOf(c, p, s)
	return postgres.VerifyEndpoints(ctx, postgres.EndpointInput{
		VerifyInput: in, Host: c.EndpointHost(), RW: e.RW, RO: e.RO, ROPrimary: c.Spec.EndpointSpec.WithDefaults().ROPrimary,
	})
}

func inputOf(c appliance.Cluster, p Machines, s appliance.Secrets) (postgres.VerifyInput, map[string]Subject) {
	in := postgres.VerifyInput{
		SystemIdentifier: c.SystemIdentifier, Database: c.Spec.Database, Password: s.Get(appliance.SecretControl),
		AppPassword: s.Get(appliance.SecretApp), SharedMachine: c.SharesMachine(),
		Quorum: c.Spec.Quorum(), Promise: c.Promise, Sync: c.Sync,
	}
	if _, value, ok := postgres.ApplyDelay(c.Spec.Parameters); ok {
		in.ApplyDelay = value
	}
	subjects := map[string]Subject{}
	for _, one := range Subjects(c, p, s) {
		m := one.Member
		subjects[m.Name] = one
		in.Targets = append(in.Targets, postgres.Target{Member: m.Name, Host: m.Host, Port: m.Port, Primary: one.Primary, Slot: m.Slot})
	}
	return in, subjects
}
