package plan

import (
	"context"
	"errors"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// letIn draws the step that restores pgapp's access. A member that refuses role
// pgapp, and whose configuration in force is not the recorded one, restarts with the
// recorded configuration. The other steps need sessions.
func (r *recipe) letIn(c appliance.Cluster, needs ...*node) *node {
	s := whole(kindLetIn, "see that PostgreSQL lets pgapp in")
	s.Done = func(ctx context.Context) (bool, error) {
		out, err := r.shutOut(ctx, c)
		return len(out) == 0, err
	}
	s.Do = func(ctx context.Context, report appliance.Report) error {
		out, err := r.shutOut(ctx, c)
		if err != nil {
			return err
		}
		for _, name := range out {
			report(appliance.Progress{Detail: "restarting PostgreSQL on " + name})
			if err := r.restartConfigured(ctx, name, report); err != nil {
				return err
			}
		}
		return nil
	}
	return r.add(s, needs...)
}

// shutOut returns the running members that refuse role pgapp and whose configuration
// in force is not the recorded one. Standbys come first, since a standby's limits must
// not be below the primary's.
func (w work) shutOut(ctx context.Context, c appliance.Cluster) ([]string, error) {
	var out []string
	for _, m := range append(c.Standbys(), c.PrimaryMember()) {
		err := w.on(ctx, m.Name, func(f facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			if err != nil || !running || !postgres.Accepts(ctx, m.Host, m.Port) {
				return nil //nolint:nilerr // the start step applies the recorded configuration, and reports errors
			}
			s, err := f.control(ctx, m)
			if err == nil {
				return s.Close(ctx)
			}
			if errors.Is(err, postgres.ErrNoAnswer) || ctx.Err() != nil {
				return ctx.Err()
			}
			if inForce, err := w.inForce(m.Name)(ctx); err != nil || !inForce {
				out = append(out, m.Name)
			}
			return ctx.Err()
		})
		if err != nil && !appliance.IsProblem(err, appliance.ErrNotFound) { // a new member isn't on record yet
			return nil, err
		}
	}
	return out, nil
}

// restartConfigured restarts the member with the recorded configuration.
func (w work) restartConfigured(ctx context.Context, member string, report appliance.Report) error {
	return w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		d, err := postgres.InspectDataDir(ctx, mc)
		if err != nil {
			return err
		}
		if err := configure(ctx, f, m, mc, d.Limits); err != nil {
			return err
		}
		if m.Name == f.cluster.Primary {
			return w.restartPrimary(ctx, f, m, mc, report)
		}
		return restartServer(ctx, m, mc) // the primary may refuse pgapp too
	})
}

// restartServer stops the server in mode fast, starts the server, and waits until
// it accepts connections.
func restartServer(ctx context.Context, m appliance.Member, mc appliance.Machine) error {
	if err := stopServer(ctx, mc); err != nil {
		return err
	}
	if err := mc.StartServer(ctx); err != nil {
		return err
	}
	return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
}
