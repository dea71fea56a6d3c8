package plan

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// lookLimit bounds each look at a member during a change of primary.
const lookLimit = 2 * time.Second

// deadLimit bounds the look at a primary that the watch has found dead by several looks.
// What it says still, as where it takes no new connections only, is its last position.
const deadLimit = 200 * time.Millisecond

// phaseLimit is the longest time of a phase, 0 for no limit: a fence is tried until it
// is proven or cancelled.
func phaseLimit(p appliance.ChangePhase) time.Duration {
	switch p {
	case appliance.ChangeLooking:
		return 5 * time.Second
	case appliance.ChangeStopping:
		return 30 * time.Second
	case appliance.ChangeElecting:
		return 20 * time.Second
	case appliance.ChangePromoting:
		return time.Minute
	case appliance.ChangeReturning:
		return 2 * time.Minute
	default:
		return 0
	}
}

// glance is one member as found by a look.
type glance struct {
	member   appliance.Member
	standing postgres.Standing
	line     appliance.Line
	answered bool
	// runs is set if the member doesn't answer while electing, but its server runs.
	runs bool
	// ended is set if the candidate doesn't answer while it is promoted, and its machine says
	// that its server has ended.
	ended bool
}

// look gathers the facts for the next decision. What a member doesn't answer is unknown.
func (p primaryChange) look(ctx context.Context, f facts, ch appliance.PrimaryChange) ha.Facts {
	out := ha.Facts{
		Known: ha.Known{
			Identifier: f.cluster.SystemIdentifier, Line: f.cluster.Line(), Promise: f.cluster.Promise,
			Primary: ch.From, Epoch: f.cluster.Epoch,
		},
		Lag: ha.DefaultLag, Cancelled: appliance.Cancelled(ctx),
	}
	if ch.Phase == appliance.ChangeLooking && p.hasRest(ctx, f, ch) {
		out.Lag = ^appliance.LSN(0)
	}
	out.Expired = p.ready.expired(ch.Phase, p.since)
	var glances []glance
	var wg sync.WaitGroup
	wg.Go(func() { glances = p.glances(ctx, f, ch) })
	wg.Go(func() { out.Old = p.old(ctx, f, ch) })
	wg.Wait()
	if p.ready.candidateEnded(ch, glances, time.Now()) { // it has forgotten what it was asked for
		delete(p.given, ha.Command{Verb: ha.Promote, Member: ch.To})
	}
	for _, g := range glances {
		if g.member.Name == ch.From && g.answered && !g.standing.InRecovery {
			p.ready.limits, p.ready.seen = &g.standing.Limits, max(p.ready.seen, g.standing.Received)
		}
		if g.answered && g.member.Name != ch.From {
			p.ready.seen = max(p.ready.seen, g.standing.Upstream)
			if g.line.Timeline == f.cluster.Timeline {
				p.ready.rest.from = max(p.ready.rest.from, g.standing.Replayed)
			}
		}
	}
	out.Known.Seen = max(p.ready.seen, ch.Seen)
	p.ready.rest.answers(glances)
	for _, g := range glances {
		if g.member.Name != ch.From {
			out.Standings = append(out.Standings, p.standing(g, ch))
		}
		if g.member.Name == ch.To {
			out.Candidate = p.candidate(g)
		}
	}
	if ch.Phase == appliance.ChangeElecting {
		p.await(f, ch, out.Standings)
	}
	if ch.Phase == appliance.ChangeLooking && p.ready.goal > 0 {
		out.Known.Seen = p.ready.goal // as the standings, see standing
	}
	if ch.Phase == appliance.ChangeStopping && p.ready.endedFor() > handoverLimit {
		out.Expired = true
	}
	return out
}

// glances looks at all members at the same time. A primary that is being stopped or
// killed isn't asked; nor is anybody during the fence, which depends on no answer.
func (p primaryChange) glances(ctx context.Context, f facts, ch appliance.PrimaryChange) []glance {
	out := make([]glance, len(f.cluster.Members))
	var wg sync.WaitGroup
	for i, m := range f.cluster.Members {
		out[i] = glance{member: m}
		if ch.Phase == appliance.ChangeFencing || p.hasEnded(m.Name) || m.Name == ch.From && ch.Phase != appliance.ChangeLooking {
			continue
		}
		limit := lookLimit
		if m.Name == ch.From && p.work.op.Params.Reason != "" {
			limit = deadLimit
		}
		wg.Go(func() {
			asked, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			if out[i].answered = p.ask(asked, f, ch, m, &out[i]) == nil; out[i].answered {
				p.ready.own.Store(m.Name, out[i].standing.Limits)
				return
			}
			p.ready.own.Delete(m.Name)
			switch {
			case ch.Phase == appliance.ChangeElecting:
				out[i].runs = p.runs(ctx, f, m.Name)
			case ch.Phase == appliance.ChangePromoting && m.Name == ch.To:
				out[i].ended = hasNoServer(ctx, p.work.provider.Machine(f.cluster, m))
			}
		})
	}
	wg.Wait()
	return out
}

// lineAt is a standby's line when it had replayed up to a position.
type lineAt struct {
	replayed appliance.LSN
	line     appliance.Line
}

// ask asks a member's server, and reads its timelines' ends. The line is the one known
// where it can't have changed, since each question costs a session: of a standby that has
// replayed nothing since, while a switchover stops the primary, and of a candidate that is
// still in recovery.
func (p primaryChange) ask(ctx context.Context, f facts, ch appliance.PrimaryChange, m appliance.Member, g *glance) error {
	err := p.inMember(ctx, f, m, func(c *postgres.Control) (err error) {
		g.standing, err = c.Standing(ctx)
		return err
	})
	if err != nil {
		return err
	}
	timeline := g.standing.Timeline
	if g.standing.InRecovery {
		known, ok := p.ready.lines.Load(m.Name)
		if ok && (ch.Phase == appliance.ChangeStopping || ch.Phase == appliance.ChangePromoting || known.(lineAt).replayed == g.standing.Replayed) {
			g.line = known.(lineAt).line
			return nil
		}
		if timeline, err = p.ready.replayTimeline(ctx, f, m); err != nil {
			return err
		}
	}
	if timeline == f.cluster.Timeline && m.Epoch == f.cluster.Epoch {
		g.line = f.cluster.Line()
	} else if g.line, err = lineOn(ctx, p.work, f, m, timeline); err != nil {
		return err
	}
	if g.standing.InRecovery {
		p.ready.lines.Store(m.Name, lineAt{g.standing.Replayed, g.line})
	}
	return nil
}

// replayTimeline asks a standby for the timeline that it replays, in a session that is kept
// until the change has ended.
func (r *readiness) replayTimeline(ctx context.Context, f facts, m appliance.Member) (uint32, error) {
	if kept, ok := r.replication.LoadAndDelete(m.Name); ok {
		s := kept.(*postgres.Replication)
		if timeline, err := s.ReplayTimeline(ctx); err == nil {
			r.replication.Store(m.Name, s)
			return timeline, nil
		}
		s.Close(ctx) // the server may have been started anew
	}
	s, err := postgres.ConnectReplication(ctx, m.Host, m.Port, f.secrets.Get(appliance.SecretReplicator))
	if err != nil {
		return 0, err
	}
	timeline, err := s.ReplayTimeline(ctx)
	if err != nil {
		s.Close(ctx)
		return 0, err
	}
	r.replication.Store(m.Name, s)
	return timeline, nil
}

// close ends what goes on beside the change: the kept replication sessions, and the reading of
// the old primary's WAL.
func (r *readiness) close(ctx context.Context) {
	r.rest.stop()
	r.replication.Range(func(name, kept any) bool {
		r.replication.Delete(name)
		kept.(*postgres.Replication).Close(ctx)
		return true
	})
}

// lineOn returns the ends of the timeline's ancestors on the member. A virtual machine's server
// is asked itself, which is quicker than a command in the guest.
func lineOn(ctx context.Context, w work, f facts, m appliance.Member, timeline uint32) (appliance.Line, error) {
	if m.Placement == appliance.PlacementVM {
		line, err := postgres.AskLine(ctx, m.Host, m.Port, f.secrets.Get(appliance.SecretReplicator), timeline)
		if err == nil || ctx.Err() != nil {
			return line, err
		}
	}
	return postgres.ReadLine(ctx, w.provider.Machine(f.cluster, m), timeline)
}

// inMember runs f in a session to the member, a kept one if there is one.
func (p primaryChange) inMember(ctx context.Context, f facts, m appliance.Member, do func(*postgres.Control) error) error {
	dial := func(ctx context.Context) (*postgres.Control, error) {
		return postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, f.secrets.Get(appliance.SecretControl))
	}
	return p.work.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, m.Name), dial, do)
}

// old looks at the machine of the primary that is replaced.
func (p primaryChange) old(ctx context.Context, f facts, ch appliance.PrimaryChange) ha.Server {
	if p.hasEnded(ch.From) {
		return ha.Server{Gone: true}
	}
	if ch.Phase == appliance.ChangeLooking || ch.Kind != appliance.OpSwitchover && ch.Phase != appliance.ChangeReturning {
		return ha.Server{}
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	m, _ := f.cluster.Member(ch.From)
	mc := p.work.provider.Machine(f.cluster, m)
	running, err := mc.ServerRunning(ctx)
	if err != nil {
		return ha.Server{}
	}
	if running {
		p.ready.ended(false)
		return ha.Server{Writes: ch.Phase == appliance.ChangeReturning && postgres.Accepts(ctx, m.Host, m.Port)}
	}
	if ch.Phase == appliance.ChangePromoting {
		return ha.Server{Gone: true}
	}
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil || !d.Initialised {
		return ha.Server{}
	}
	p.ready.ended(true)
	out := ha.Server{Gone: true}
	if d.Ended > 0 && d.SystemIdentifier == f.cluster.SystemIdentifier {
		out.Ended = d.Ended + 1 // the checkpoint's record ends after its beginning
	}
	return out
}
