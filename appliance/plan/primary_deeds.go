package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// deedLimit bounds each command of a change of primary but the stop of a server, the fence
// and the start of a candidate, which have their own limits.
const deedLimit = 10 * time.Second

// carryOut carries out the step's commands at the same time; but the old primary is
// marked before anything else. A command that has succeeded in this phase is not
// repeated, unless it is one that watches its effect itself.
func (p primaryChange) carryOut(ctx context.Context, f facts, next ha.Step) error {
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	todo := slices.DeleteFunc(slices.Clone(next.Commands), func(c ha.Command) bool { return p.given[c] })
	for _, c := range todo {
		do := func() {
			if err := p.command(ctx, f, next, c); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s %s: %w", c.Verb, c.Member, err))
				mu.Unlock()
				return
			}
			mu.Lock()
			p.given[c] = c.Verb == ha.Mark || c.Verb == ha.Point || c.Verb == ha.Promote || c.Verb == ha.Detach
			mu.Unlock()
		}
		if c.Verb == ha.Mark { // before any promotion
			do()
			if p.runs(ctx, f, c.Member) { // somebody started it, maybe without the mark
				p.fenced.Delete(c.Member)
				return errors.Join(append(errs, fmt.Errorf("%s was started by somebody", c.Member))...)
			}
			continue
		}
		wg.Go(do)
	}
	wg.Wait()
	if next.Known != nil && ctx.Err() == nil {
		errs = append(errs, p.noteEpoch(ctx, f, next))
	}
	return errors.Join(errs...)
}

// runs tells whether a server of the member is known to run. A proof of its end counts for
// a machine that is off only: on this one a person may have started the server since.
func (p primaryChange) runs(ctx context.Context, f facts, member string) bool {
	m, err := memberOf(f.cluster, member)
	if err != nil || m.Placement == appliance.PlacementVM && p.hasEnded(member) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	running, err := p.work.provider.Machine(f.cluster, m).ServerRunning(ctx)
	return err == nil && running
}

func (p primaryChange) command(ctx context.Context, f facts, next ha.Step, c ha.Command) error {
	m, err := memberOf(f.cluster, c.Member)
	if err != nil {
		return err
	}
	mc := p.work.provider.Machine(f.cluster, m)
	if c.Verb == ha.Fence {
		if err := mc.Fence(ctx); err != nil {
			return err
		}
		p.ended(m.Name)
		if m.Name == next.Change.From {
			readRest(ctx, p, f, next.Change, mc)
		}
		if m.Name == next.Change.To {
			inspectEnded(ctx, p, f, m, mc)
		}
		return nil
	}
	if c.Verb == ha.Start && m.Name == next.Change.To {
		return startCandidate(ctx, p, f, m, mc)
	}
	if c.Verb == ha.Stop {
		ctx, cancel := context.WithTimeout(ctx, phaseLimit(appliance.ChangeStopping))
		defer cancel()
		return p.stop(ctx, f, m, mc)
	}
	ctx, cancel := context.WithTimeout(ctx, deedLimit)
	defer cancel()
	switch c.Verb {
	case ha.Checkpoint:
		return p.inMember(ctx, f, m, func(c *postgres.Control) error { return c.Checkpoint(ctx) })
	case ha.Mark:
		if m.Placement == appliance.PlacementVM && p.hasEnded(m.Name) {
			return nil // the machine is off, and only pgapp starts its server
		}
		return postgres.MarkStandby(ctx, mc)
	case ha.Detach:
		return p.detach(ctx, f, m, mc)
	case ha.Promote:
		return promoteOrStart(ctx, p, f, m, mc, next.Change)
	case ha.Point, ha.Attach:
		return p.point(ctx, f, m, mc, next.Change.To)
	case ha.Start:
		return p.startAgain(ctx, f, m)
	default: // a rejoin is a step of its own
		return nil
	}
}

// nothingLeft tells whether a detached standby has replayed all that it has received, so
// that no query can hold up its promotion.
func nothingLeft(s postgres.Standing) bool {
	return !s.Receiving && s.Received > 0 && s.Replayed >= s.Received
}

// detach ends the receiver of a standby that answers.
func (p primaryChange) detach(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	return p.inMember(ctx, f, m, func(c *postgres.Control) error {
		asked, cancel := context.WithTimeout(ctx, lookLimit)
		s, err := c.Standing(asked)
		cancel()
		if err != nil || !s.InRecovery || m.Return != "" {
			return err
		}
		conf, err := p.config(ctx, f, m, mc, s.Limits)
		if err != nil {
			return err
		}
		if err := postgres.Detach(ctx, mc, conf, c); err != nil {
			return err
		}
		p.ready.apart.Store(m.Name, true)
		return nil
	})
}

// config is the member's configuration.
func (p primaryChange) config(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, limits postgres.Limits) (postgres.Config, error) {
	size, err := p.ready.diskSize(ctx, m, mc)
	if err != nil {
		return postgres.Config{}, err
	}
	return f.configOn(m, limits, size), nil
}

// stop stops the old primary cleanly. A fast stop waits until the standbys have all WAL,
// so the walsenders of those that have taken none for a while are ended before.
func (p primaryChange) stop(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) error {
	if p.ready.goal > 0 {
		asked, cancel := context.WithTimeout(ctx, lookLimit)
		_ = p.inMember(asked, f, m, func(c *postgres.Control) error { return c.EndStuckWalsenders(asked, p.ready.goal) })
		cancel()
	}
	return mc.StopServer(ctx, appliance.StopFast)
}

// promote asks the candidate to become a primary. The slots of its followers come first.
// A candidate that has not replayed all of its WAL is freed of the queries that its
// replay may wait for; the others are promoted without a delay. A repeat is safe.
func (p primaryChange) promote(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, ch appliance.PrimaryChange) error {
	return p.inMember(ctx, f, m, func(c *postgres.Control) error {
		s, err := c.Standing(ctx)
		if err != nil || !s.InRecovery {
			return err
		}
		if !p.ready.slots {
			if err := c.PrepareSlots(ctx, followersSlots(f.cluster, m.Name)); err != nil {
				return err
			}
		}
		born, err := c.PromiseInForce(ctx)
		if err != nil {
			return err
		}
		kept := born.Equal(ha.Without(f.cluster.Sync, m.Name))
		if ch.Kind == appliance.OpSwitchover && !s.Receiving && s.Replayed >= ch.LSN && kept {
			return postgres.Promote(ctx, mc, c)
		}
		if _, apart := p.ready.apart.Load(m.Name); apart && kept && nothingLeft(s) {
			return postgres.Promote(ctx, mc, c)
		}
		conf, err := p.config(ctx, f, m, mc, s.Limits)
		if err != nil {
			return err
		}
		// Without a restore_command: a promotion would run it several times.
		conf.FreeReplay = true
		if err := postgres.Detach(ctx, mc, conf, c); err != nil {
			return err
		}
		if !kept {
			if _, err := c.Enforce(ctx); err != nil {
				return err
			}
		}
		if err := postgres.Promote(ctx, mc, c); err != nil {
			return err
		}
		return postgres.WaitPromoted(ctx, mc, m.Port, c)
	})
}

// point has a standby follow the candidate, or the recorded primary if there is no
// candidate.
func (p primaryChange) point(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, to string) error {
	if m.Return != "" || m.WantStopped {
		return nil
	}
	_, ok := p.ready.own.Load(m.Name)
	if !ok { // it doesn't answer
		running, err := mc.ServerRunning(ctx)
		if err != nil || !running {
			return nil //nolint:nilerr // it follows when it is started
		}
	}
	limits, err := limitsOf(ctx, p, m, mc)
	if err != nil {
		return err
	}
	if to != "" {
		f.cluster.Primary = to
	}
	conf, err := p.config(ctx, f, m, mc, limits)
	if err != nil {
		return err
	}
	p.ready.apart.Delete(m.Name)
	if !ok {
		return postgres.Follow(ctx, mc, conf)
	}
	return postgres.FollowBy(ctx, mc, conf, reloading(p, f, m))
}

// reloading makes a member's server reload its files, in a session.
func reloading(p primaryChange, f facts, m appliance.Member) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		defer cancel()
		return p.inMember(ctx, f, m, func(c *postgres.Control) error { return c.Reload(ctx) })
	}
}

// startAgain starts the old primary on its own timeline.
func (p primaryChange) startAgain(ctx context.Context, f facts, m appliance.Member) error {
	p.fenced.Delete(m.Name)
	if err := p.work.provider.StartMachine(ctx, f.cluster, m, func(appliance.Progress) {}); err != nil {
		return err
	}
	return starter{work: p.work, member: m.Name, admits: p.work.decision.Promise}.do(ctx, func(appliance.Progress) {})
}

// letIn lets the application into the primary after a change that has promoted nobody
// and may have started the old primary again.
func (p primaryChange) letIn(ctx context.Context, ch appliance.PrimaryChange, report appliance.Report) error {
	a := admission{p.work}
	if ch.Phase == appliance.ChangeDone || !p.work.decision.Promise {
		return nil
	}
	shut, err := a.shut(ctx)
	if err != nil || !shut {
		return ctx.Err() // a primary out of reach is let in by its next start
	}
	return a.admit(ctx, report)
}

// noteEpoch writes the promotion into the new primary's data, and gives the primary its
// configuration.
func (p primaryChange) noteEpoch(ctx context.Context, f facts, next ha.Step) error {
	ctx, cancel := context.WithTimeout(ctx, deedLimit)
	defer cancel()
	m, err := memberOf(f.cluster, next.Known.Primary)
	if err != nil {
		return err
	}
	f.cluster.Primary = m.Name
	mc := p.work.provider.Machine(f.cluster, m)
	conf, err := p.config(ctx, f, m, mc, postgres.Limits{})
	if err != nil {
		return err
	}
	err = p.inMember(ctx, f, m, func(c *postgres.Control) error {
		return c.RecordPromotion(ctx, promotionOf(*next.Known, next.Change, time.Now()))
	})
	return errors.Join(err, postgres.FollowBy(ctx, mc, conf, reloading(p, f, m)))
}
