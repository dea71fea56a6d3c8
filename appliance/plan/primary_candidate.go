package plan

import (
	"context"
	"errors"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// inspectLimit bounds the look at the data directory of a candidate that was ended. A
// virtual machine has to boot for it.
const inspectLimit = time.Minute

// expired tells whether a phase that began at that time has taken longer than it may. What
// was prepared in it, and the replay of a candidate that goes on, don't count.
func (r *readiness) expired(phase appliance.ChangePhase, since time.Time) bool {
	if r.at.After(since) {
		since = r.at
	}
	limit := phaseLimit(phase)
	return limit > 0 && time.Since(since) > limit
}

// candidateEnded notes how the candidate gets on that is promoted, and tells whether its
// server has ended. One that replays has time: it may have much WAL to replay, and was
// chosen since nobody has more.
func (r *readiness) candidateEnded(ch appliance.PrimaryChange, glances []glance, now time.Time) bool {
	if ch.Phase != appliance.ChangePromoting {
		r.replayed, r.endedLooks = 0, 0
		return false
	}
	for _, g := range glances {
		if g.member.Name != ch.To {
			continue
		}
		if r.endedLooks++; !g.ended {
			r.endedLooks = 0
		}
		if g.answered && g.standing.Replayed > r.replayed {
			r.replayed, r.at = g.standing.Replayed, now
		}
	}
	return r.endedLooks >= endedLooks
}

// candidate looks at the member to be promoted.
func (p primaryChange) candidate(g glance) ha.Server {
	if g.answered {
		return ha.Server{Writes: !g.standing.InRecovery, Line: g.line}
	}
	if !p.hasEnded(g.member.Name) {
		return ha.Server{}
	}
	wrote, ok := p.ready.wrote.Load(g.member.Name)
	return ha.Server{Gone: true, Writes: ok && wrote.(bool)}
}

// inspectEnded finds out whether a candidate that was ended had been promoted: then it may
// have acknowledged commits, and no other one may be promoted. A look that fails proves
// nothing and is repeated. A virtual machine that was fenced is off, and answers when it
// runs again; only pgapp starts its server. A directory that can't be read in time counts
// as one that was not promoted, since nobody could start the server either.
func inspectEnded(ctx context.Context, p primaryChange, f facts, m appliance.Member, mc appliance.Machine) {
	p.ready.wrote.Delete(m.Name)
	ctx, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	_ = wait.Until(ctx, fencePause, func(ctx context.Context) (bool, error) {
		if m.Placement == appliance.PlacementVM {
			if err := p.work.provider.StartMachine(ctx, f.cluster, m, quiet); err != nil {
				return false, nil //nolint:nilerr // tried again
			}
		}
		d, err := postgres.InspectDataDir(ctx, mc)
		if err != nil || !d.Initialised {
			return false, nil //nolint:nilerr // tried again
		}
		p.ready.wrote.Store(m.Name, d.Wrote())
		return true, nil
	})
}

// startCandidate starts a candidate that has ended, as what it is by its own files: a primary
// if it had been promoted. The record calls it a standby still, and a start in the recorded
// role would leave one that was promoted stopped. One that ended in its promotion is a standby.
func startCandidate(ctx context.Context, p primaryChange, f facts, m appliance.Member, mc appliance.Machine) error {
	p.fenced.Delete(m.Name)
	ctx, cancel := context.WithTimeout(ctx, phaseLimit(appliance.ChangePromoting))
	defer cancel()
	if err := p.work.provider.StartMachine(ctx, f.cluster, m, quiet); err != nil {
		return err
	}
	d, err := postgres.InspectDataDir(ctx, mc)
	if err == nil && d.Unpromoted() {
		err = postgres.MarkStandby(ctx, mc)
	}
	if err != nil {
		return err
	}
	if err := mc.StartServer(ctx); err != nil {
		return err
	}
	return postgres.WaitAccepting(ctx, mc, m.Host, m.Port)
}

// promoteOrStart promotes the candidate. If its server has ended, it is started, and the next
// attempt promotes it: to give it up would cost all WAL that only it has.
func promoteOrStart(ctx context.Context, p primaryChange, f facts, m appliance.Member, mc appliance.Machine, ch appliance.PrimaryChange) error {
	err := p.promote(ctx, f, m, mc, ch)
	if err == nil || ctx.Err() != nil || !hasNoServer(ctx, mc) {
		return err
	}
	return errors.Join(err, startCandidate(ctx, p, f, m, mc))
}

// hasNoServer tells whether the machine says that no server of the member runs. A machine
// that gives no answer says nothing.
func hasNoServer(ctx context.Context, mc appliance.Machine) bool {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	running, err := mc.ServerRunning(ctx)
	return err == nil && !running
}
