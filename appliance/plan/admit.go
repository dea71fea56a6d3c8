package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// admitLimit bounds the time that the application waits for a restarted primary.
const admitLimit = 30 * time.Second

// admitSteps draws, behind each start of the primary, the step that lets the application
// in. Rows whose commits waited for standbys become visible in a crash recovery, so the
// primary starts without the application until standbys have them.
func admitSteps(r *recipe, c appliance.Cluster) {
	start := r.of(kindStart, c.Primary)
	if !r.decision.Promise || start == nil || unused(c) {
		return
	}
	s := each(kindAdmit, c.Primary, "let the application in")
	s.Do = admission{r.work}.admit
	admit := r.add(s, start)
	for _, n := range r.nodes {
		k := n.step.Kind
		moved := k == kindChange && r.op.Kind == appliance.OpUp // a restart moves the primary before its start
		if moved || k == kindPromise || k == kindVerify || k == kindApply && n.step.Member == c.Primary {
			n.need(admit)
		}
	}
}

// admission lets the application into the primary.
type admission struct{ work work }

// shuts tells whether the member starts without the application.
func (s starter) shuts(f facts, m appliance.Member) bool {
	return s.admits && m.Name == f.cluster.Primary && !f.cluster.Sync.None() && !unused(f.cluster)
}

// admit lets the application in once the standbys have flushed what the primary has
// recovered, and after admitLimit in any case. A repeat is safe.
func (a admission) admit(ctx context.Context, report appliance.Report) error {
	return a.work.on(ctx, a.work.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		shut, err := isShut(ctx, f, m, mc)
		if err == nil && shut {
			err = a.await(ctx, f.cluster.Sync, report)
		}
		if err != nil {
			return err
		}
		conf, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
		if err != nil {
			return err
		}
		if err := postgres.Configure(ctx, mc, conf); err != nil {
			return err
		}
		if err := postgres.ReloadConfig(ctx, mc, m.Port); err != nil {
			return err
		}
		a.work.cfg.settleEndpoints(ctx, a.work.op.Cluster)
		return nil
	})
}

// shut tells whether the primary's files keep the application out.
func (a admission) shut(ctx context.Context) (shut bool, err error) {
	err = a.work.on(ctx, a.work.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		shut, err = isShut(ctx, f, m, mc)
		return err
	})
	return shut, err
}

func isShut(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) (bool, error) {
	conf, err := f.memberConfig(ctx, m, mc, postgres.Limits{})
	if err != nil {
		return false, err
	}
	conf.Shut = true
	return postgres.HasAccessRules(ctx, mc, conf)
}

// await waits until the standbys have flushed what the primary has now.
func (a admission) await(ctx context.Context, promise appliance.Promise, report appliance.Report) error {
	if promise.None() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, admitLimit)
	defer cancel()
	// PostgreSQL may restart by itself meanwhile, after one of its processes has crashed.
	err := wait.Until(limited, promisePoll, func(ctx context.Context) (bool, error) {
		err := a.work.inPrimary(ctx, func(_ facts, c *postgres.Control) error {
			at, err := c.Mark(ctx)
			if err != nil {
				return err
			}
			return c.WaitFlushed(ctx, promise.Set, promise.K, at)
		})
		return err == nil, ctx.Err()
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		report(appliance.Progress{Note: "the application was let in before the standbys had all that the primary recovered: " +
			promise.String() + " did not flush it within " + admitLimit.String()})
		return nil
	}
	return err
}
