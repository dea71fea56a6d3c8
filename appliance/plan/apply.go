package plan

import (
	"context"
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func (w work) inForce(member string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (done bool, err error) {
		err = w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			if err != nil || !running {
				return err
			}
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			c, err := f.memberConfig(ctx, m, mc, d.Limits)
			if err != nil {
				return err
			}
			done, err = postgres.InForce(ctx, mc, c)
			return err
		})
		return done, err
	}
}

func (w work) checkParameters(ch appliance.Change) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, _ appliance.Report) error {
		return w.on(ctx, w.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
			f.cluster = ch.Applied(f.cluster)
			if err := postgres.CheckConfig(ctx, mc, f.config(m)); err != nil {
				return err
			}
			return w.checkStandbys(ctx, f.cluster)
		})
	}
}

// checkStandbys checks that the running standbys have the files, such as libraries,
// that the parameters name.
func (w work) checkStandbys(ctx context.Context, c appliance.Cluster) error {
	for _, m := range c.Standbys() {
		mc := w.provider.Machine(c, m)
		if running, err := mc.ServerRunning(ctx); err != nil || !running {
			continue // the start applies the parameters
		}
		if err := postgres.CheckFiles(ctx, mc, c.Spec.Parameters); err != nil {
			return fmt.Errorf("checking the parameters on %s: %w", m.Name, err)
		}
	}
	return nil
}

// apply applies the recorded configuration to a running member, by a reload or a
// restart. A stopped member applies the configuration when it starts.
func (w work) apply(member string, settle bool) func(context.Context, appliance.Report) error {
	return func(ctx context.Context, report appliance.Report) error {
		return w.on(ctx, member, func(f facts, m appliance.Member, mc appliance.Machine) error {
			running, err := mc.ServerRunning(ctx)
			if err != nil || !running {
				return err
			}
			if settle && !delayed(f.cluster) { // a delayed standby keeps its higher limits
				waits := func(ctx context.Context) error { return waitLimits(ctx, f, mc) }
				if err := unlessStuck(ctx, []string{m.Name}, w.pauses(f, true), waits); err != nil {
					return err
				}
			}
			d, err := postgres.InspectDataDir(ctx, mc)
			if err != nil {
				return err
			}
			if err := configure(ctx, f, m, mc, d.Limits); err != nil {
				return err
			}
			restart, err := reload(ctx, f, m, mc)
			if err != nil || !restart {
				return err
			}
			report(appliance.Progress{Detail: "restarting PostgreSQL"})
			if m.Name == f.cluster.Primary {
				if why := staysFor(w.op.Params.Change); why != "" && len(f.cluster.Standbys()) > 0 {
					report(appliance.Progress{Note: m.Name + " is restarted in place: " + why})
				}
				return w.restartPrimary(ctx, f, m, mc, report)
			}
			return w.restartStandby(ctx, m, mc, report)
		})
	}
}

// restartStandby restarts the running standby, for which no commit waits meanwhile, and
// waits until it streams again.
func (w work) restartStandby(ctx context.Context, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	if err := w.weakenFor(ctx, m.Name, report); err != nil {
		return err
	}
	if err := restartServer(ctx, m, mc); err != nil {
		return err
	}
	return streamsAgain(w, m.Name)(ctx, report)
}

// weakenFor takes the standby, which is about to restart, out of what is promised.
func (w work) weakenFor(ctx context.Context, member string, report appliance.Report) error {
	if !w.decision.Promise {
		return nil
	}
	return settling{work: w, leaving: member, last: lastKeeps, keeps: true}.weaken(ctx, report)
}

// restartPrimary restarts the running primary, and lets the application in when the
// standbys have what the primary has then.
func (w work) restartPrimary(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	shuts := starter{work: w, member: m.Name, admits: w.decision.Promise}.shuts(f, m)
	if shuts {
		conf, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
		if err != nil {
			return err
		}
		conf.Shut = true
		if err := postgres.Configure(ctx, mc, conf); err != nil {
			return err
		}
	}
	if err := restartServer(ctx, m, mc); err != nil {
		return err
	}
	w.wake(ctx, f.cluster)
	if !shuts {
		return nil
	}
	return admission{w}.admit(ctx, report)
}

// reload makes the member reload its configuration, and tells whether the
// configuration needs a restart.
func reload(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) (restart bool, err error) {
	c, err := f.control(ctx, m)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close(ctx) }()
	return postgres.ReloadAndCheckRestart(ctx, mc, m.Port, c)
}

// waitLimits waits until the standby has replayed the primary's present limits, at
// most streamingTimeout.
func waitLimits(ctx context.Context, f facts, mc appliance.Machine) error {
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	want, err := c.Limits(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, streamingTimeout)
	defer cancel()
	return postgres.WaitLimits(ctx, mc, want)
}
