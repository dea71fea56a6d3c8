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
	if limit := phaseLimit(ch.Phase); limit > 0 {
		out.Expired = time.Since(p.since) > limit
	}
	glances := p.glances(ctx, f)
	var primaryLimits *postgres.Limits
	for _, g := range glances {
		if g.member.Name == ch.From && g.answered && !g.standing.InRecovery {
			primaryLimits, out.Known.Seen = &g.standing.Limits, max(out.Known.Seen, g.standing.Received)
		}
		if g.answered && g.member.Name != ch.From {
			out.Known.Seen = max(out.Known.Seen, g.standing.Upstream)
		}
	}
	for _, g := range glances {
		if g.member.Name != ch.From {
			out.Standings = append(out.Standings, p.standing(g, primaryLimits))
		}
		if g.member.Name == ch.To {
			out.Candidate = p.candidate(ctx, f, g)
		}
	}
	out.Old = p.old(ctx, f, ch)
	return out
}

// glances looks at all members at the same time.
func (p primaryChange) glances(ctx context.Context, f facts) []glance {
	out := make([]glance, len(f.cluster.Members))
	var wg sync.WaitGroup
	for i, m := range f.cluster.Members {
		wg.Go(func() {
			out[i] = glance{member: m}
			if p.hasEnded(m.Name) {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			out[i].answered = p.ask(ctx, f, m, &out[i]) == nil
		})
	}
	wg.Wait()
	return out
}

// ask asks a member's server, and reads its timelines' ends.
func (p primaryChange) ask(ctx context.Context, f facts, m appliance.Member, g *glance) error {
	err := p.inMember(ctx, f, m, func(c *postgres.Control) (err error) {
		g.standing, err = c.Standing(ctx)
		return err
	})
	if err != nil {
		return err
	}
	timeline := g.standing.Timeline
	if g.standing.InRecovery {
		if timeline, err = postgres.ReplayTimeline(ctx, m.Host, m.Port, f.secrets.Get(appliance.SecretReplicator)); err != nil {
			return err
		}
	}
	if timeline == f.cluster.Timeline && m.Epoch == f.cluster.Epoch {
		g.line = f.cluster.Line()
		return nil
	}
	g.line, err = postgres.ReadLine(ctx, p.work.provider.Machine(f.cluster, m), timeline)
	return err
}

// inMember runs f in a session to the member, a kept one if there is one.
func (p primaryChange) inMember(ctx context.Context, f facts, m appliance.Member, do func(*postgres.Control) error) error {
	dial := func(ctx context.Context) (*postgres.Control, error) {
		return postgres.Connect(ctx, m.Host, m.Port, postgres.MaintenanceDatabase, f.secrets.Get(appliance.SecretControl))
	}
	return p.work.cfg.Sessions.Use(ctx, postgres.SessionKey(f.cluster, m.Name), dial, do)
}

// standing is the glance as the election takes it.
func (p primaryChange) standing(g glance, primary *postgres.Limits) ha.Standing {
	s := g.standing
	out := ha.Standing{
		Member: g.member.Name, Return: g.member.Return, Answered: g.answered, Primary: g.answered && !s.InRecovery, Identifier: s.SystemIdentifier,
		Line: g.line, Received: s.Received, Replayed: s.Replayed, Detached: !s.Receiving,
	}
	position := out.Position()
	last, known := p.seen[g.member.Name]
	out.Settled = known && last == position
	p.seen[g.member.Name] = position
	switch {
	case g.member.WantStopped:
		out.Unfit = "is to be stopped"
	case g.answered && s.PauseState == "paused":
		out.Unfit = "has paused its replay"
	case g.answered && primary != nil && s.Limits.Below(*primary) != "":
		out.Unfit = "has a lower " + s.Limits.Below(*primary) + " than the primary"
	}
	return out
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
		return ha.Server{Writes: ch.Phase == appliance.ChangeReturning && postgres.Accepts(ctx, m.Host, m.Port)}
	}
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil || !d.Initialised {
		return ha.Server{}
	}
	out := ha.Server{Gone: true}
	if d.Ended > 0 && d.SystemIdentifier == f.cluster.SystemIdentifier {
		out.Ended = d.Ended + 1 // the checkpoint's record ends after its beginning
	}
	return out
}

// candidate looks at the member to be promoted.
func (p primaryChange) candidate(ctx context.Context, f facts, g glance) ha.Server {
	if g.answered {
		return ha.Server{Writes: !g.standing.InRecovery, Line: g.line}
	}
	if !p.hasEnded(g.member.Name) {
		return ha.Server{}
	}
	out := ha.Server{Gone: true}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	d, err := postgres.InspectDataDir(ctx, p.work.provider.Machine(f.cluster, g.member))
	if err == nil {
		out.Writes = d.State == "in production"
	}
	return out
}
