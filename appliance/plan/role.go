package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// roleTimeout bounds the look at one server, and the promotion of a primary.
const roleTimeout = 30 * time.Second

// roleReplayTimeout bounds the wait for a standby that refuses pgapp's role until it has
// replayed the role's creation.
const (
	roleReplayTimeout = 10 * time.Second
	roleReplayEvery   = 50 * time.Millisecond
)

// starter starts one member in its recorded role.
type starter struct {
	work   work
	member string
	// apart keeps a standby from connecting to its primary.
	apart bool
	// admits is set if a later step lets the application in.
	admits bool
}

// inRole tells whether the member's server runs in the recorded role, and a standby's
// upstream is the recorded primary. Before the cluster is handed out, any server that
// accepts connections is the right one: standbys may not follow yet, and pgapp may
// have no role to log in with.
func (s starter) inRole(ctx context.Context) (ok bool, err error) {
	err = s.work.on(ctx, s.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		running, err := mc.ServerRunning(ctx)
		if err != nil || !running || !postgres.Accepts(ctx, m.Host, m.Port) {
			return err
		}
		if unused(f.cluster) {
			ok = true
			return nil
		}
		if m.Return != "" || changing(f.cluster, s.work.op) || promising(f.cluster, m.Name) {
			return nil
		}
		seen, err := s.seen(ctx, f, m)
		if appliance.IsProblem(err, appliance.ErrConflict) || postgres.Refused(err) {
			return nil // do says it, or waits
		}
		ok = err == nil && f.inRole(m, seen)
		return err
	})
	return ok, err
}

// inRole tells whether the server has the recorded role and upstream.
func (f facts) inRole(m appliance.Member, seen postgres.Observation) bool {
	if m.Name == f.cluster.Primary {
		return !seen.InRecovery
	}
	return seen.InRecovery && f.followsPrimary(m, seen)
}

// followsPrimary tells whether the standby's receiver, or the one that it would start,
// connects to the recorded primary.
func (f facts) followsPrimary(m appliance.Member, seen postgres.Observation) bool {
	up := f.upstream(m)
	if seen.ReceiverHost != "" && (seen.ReceiverHost != up.Host || seen.ReceiverPort != up.Port) {
		return false
	}
	return seen.UpstreamHost == up.Host && seen.UpstreamPort == up.Port
}

// seen asks the member's server for its role. Data of a later epoch than the record's
// are a conflict: the record is older than they are.
func (s starter) seen(ctx context.Context, f facts, m appliance.Member) (seen postgres.Observation, err error) {
	var epoch uint64
	err = s.in(ctx, f, m, func(ctx context.Context, c *postgres.Control) error {
		if seen, err = c.Observe(ctx); err != nil {
			return err
		}
		epoch, err = c.Epoch(ctx)
		return err
	})
	if err == nil && epoch > f.cluster.Epoch {
		err = foreignPrimary(f.cluster, m.Name)
	}
	return seen, err
}

// replayed is seen for a standby that may have started just now. A standby accepts
// sessions as soon as its data are consistent (PostgreSQL documentation, 26.4.2), at an
// earlier position than the one that it had before a crash. There it may not know pgapp's
// role or its password yet: local standbys are copied before the roles are created.
func (s starter) replayed(ctx context.Context, f facts, m appliance.Member) (seen postgres.Observation, err error) {
	limited, cancel := context.WithTimeout(ctx, roleReplayTimeout)
	defer cancel()
	refused := wait.Until(limited, roleReplayEvery, func(context.Context) (bool, error) {
		seen, err = s.seen(ctx, f, m)
		return !postgres.Refused(err), nil
	})
	if refused != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return seen, err
}

// in runs use in pgapp's session to the member.
func (s starter) in(ctx context.Context, f facts, m appliance.Member, use func(context.Context, *postgres.Control) error) error {
	ctx, cancel := context.WithTimeout(ctx, roleTimeout)
	defer cancel()
	dial := func(ctx context.Context) (*postgres.Control, error) { return f.control(ctx, m) }
	return s.work.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, m.Name), dial, func(c *postgres.Control) error { return use(ctx, c) })
}

// do starts the member in its recorded role.
func (s starter) do(ctx context.Context, report appliance.Report) error {
	return s.work.on(ctx, s.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		if !unused(f.cluster) {
			return s.start(ctx, f, m, mc, report)
		}
		if done, err := joinRunning(ctx, m, mc); done || err != nil {
			return err
		}
		d, err := presentDir(ctx, f.cluster, m.Name, mc)
		if err != nil {
			return err
		}
		return s.launch(ctx, f, m, mc, d)
	})
}

// start starts a member of a cluster that was handed out.
func (s starter) start(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	if changing(f.cluster, s.work.op) {
		return unfinishedChange(f.cluster)
	}
	if m.Return != "" {
		return s.marked(ctx, f, m, mc, report)
	}
	running, err := joinRunning(ctx, m, mc)
	if err != nil {
		return err
	}
	switch primary := m.Name == f.cluster.Primary; {
	case primary:
		return s.startPrimary(ctx, f, m, mc, running, report)
	case running:
		return s.settleStandby(ctx, f, m, mc, report)
	}
	d, err := presentDir(ctx, f.cluster, m.Name, mc)
	if err != nil {
		return err
	}
	if !d.InRecovery { // every clone has standby.signal, and only a promotion removes it
		if err := s.mark(ctx); err != nil {
			return err
		}
		return s.leave(f, m, "it has been a primary", report)
	}
	if err := postgres.Uncover(ctx, mc); err != nil {
		return err
	}
	if stale(f.cluster, m) || d.Wrote() {
		if way, _, err := look(ctx, f.cluster, m, mc, d); err != nil {
			return err
		} else if way != appliance.WayFollow {
			return errors.Join(s.mark(ctx), s.leave(f, m, "its WAL is not the beginning of the primary's", report))
		}
		s.work.handOver(ctx, m, mc, report)
	}
	if err := s.launch(ctx, f, m, mc, d); err != nil {
		return err
	}
	_, err = s.replayed(ctx, f, m)
	return err
}

// startPrimary starts the recorded primary, by promotion if it is a standby, and has
// the standbys connect to it.
func (s starter) startPrimary(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, running bool, report appliance.Report) error {
	if !running {
		if err := s.launchPrimary(ctx, f, m, mc); err != nil {
			return err
		}
	}
	seen, err := s.seen(ctx, f, m)
	if err == nil && (seen.InRecovery || promising(f.cluster, m.Name)) {
		err = s.promote(ctx, f, m, mc, seen, report)
	}
	if err == nil {
		s.work.wake(ctx, f.cluster)
		return nil
	}
	if !running && appliance.IsProblem(err, appliance.ErrConflict) { // it must not take writes
		return errors.Join(err, stopServer(ctx, mc))
	}
	return err
}

// launchPrimary starts the stopped primary if nobody else takes writes.
func (s starter) launchPrimary(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	d, err := presentDir(ctx, f.cluster, m.Name, mc)
	if err != nil {
		return err
	}
	if err := s.lookForOther(ctx, f, m, ""); err != nil {
		return err
	}
	return s.launch(ctx, f, m, mc, d)
}

// settleStandby gives a running server its recorded role as a standby.
func (s starter) settleStandby(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, report appliance.Report) error {
	seen, err := s.replayed(ctx, f, m)
	switch {
	case err != nil:
		return err
	case !seen.InRecovery:
		return s.stray(ctx, f, m, mc, report)
	case f.followsPrimary(m, seen):
		return nil
	}
	if why, err := s.foreign(ctx, f, m, mc, seen); err != nil {
		return err
	} else if why != "" {
		return s.leave(f, m, why, report)
	}
	report(appliance.Progress{Detail: "pointing it to the primary " + f.cluster.Primary})
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return err
	}
	c, err := f.memberConfig(ctx, m, mc, d.Limits)
	if err != nil {
		return err
	}
	if err := postgres.Configure(ctx, mc, c); err != nil {
		return err
	}
	return postgres.Follow(ctx, mc, c)
}
