package plan

import (
	"context"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// handoverLimit is how long a switchover waits for a standby with all WAL of a primary
// that has ended. A clean stop ends when the standbys in reach have it.
const handoverLimit = 5 * time.Second

// takeLimit bounds each attempt to replay what the dead primary's directory holds, and the
// attempts of all standbys of which none gets on.
const takeLimit = 30 * time.Second

// readiness is what one process has found out and prepared before a change of primary.
type readiness struct {
	// goal is a position of the primary that a switchover's candidate has to reach before
	// the primary is stopped, so that a standby that takes nothing is no candidate.
	goal appliance.LSN
	// confirmed are the standbys whose answer that they have the goal got to the primary.
	// A primary that gets no answer doesn't end in time.
	confirmed []string
	// at is when the last preparation ended. It doesn't count as time of the phase.
	at time.Time
	// backup is set while the primary sends a base backup.
	backup bool
	// slots is set if every standby has the slots of its followers.
	slots bool
	// limits are the old primary's, if it answered.
	limits *postgres.Limits
	// seen is the furthest flushed position of the old primary that was seen.
	seen appliance.LSN
	// lines are the standbys' lines at the positions to which they had replayed, when
	// they were asked for them.
	lines sync.Map
	// replication are the standbys' kept replication sessions.
	replication sync.Map
	// own are the limits of the members that answered in the last look.
	own sync.Map
	// apart are the standbys that the fence's phase has detached: their configuration names
	// no primary and no directory to restore from.
	apart sync.Map
	// replayed is how far the candidate has replayed that is promoted, and endedLooks the
	// number of consecutive looks that found its server ended.
	replayed   appliance.LSN
	endedLooks int
	// wrote tells of each candidate that was ended whether it had been promoted.
	wrote sync.Map
	// disks are the sizes of the members' file systems; measured is set once they were
	// asked for.
	disks    sync.Map
	measured bool
	// since is when the old primary was first seen stopped, zero while it runs.
	since time.Time
	// rest is the WAL that only the old primary's directory has.
	rest remainder
}

func newReadiness() *readiness {
	return &readiness{rest: remainder{holders: map[string]bool{}, failed: map[string]bool{}, reached: map[string]appliance.LSN{}}}
}

// ended notes whether the old primary is stopped.
func (r *readiness) ended(stopped bool) {
	switch {
	case !stopped:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = time.Now()
	}
}

// endedFor is how long the old primary has been stopped.
func (r *readiness) endedFor() time.Duration {
	if r.since.IsZero() {
		return 0
	}
	return time.Since(r.since)
}

// prepare does before a change what would cost time during it, and what changes nothing
// if the change is refused. What fails is tried again in the next look, or is done later.
func (p primaryChange) prepare(ctx context.Context, f facts, ch appliance.PrimaryChange, report appliance.Report) {
	if ch.Phase == appliance.ChangeElecting {
		p.takeRest(ctx, f, ch, report)
	}
	if ch.Phase != appliance.ChangeLooking {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deedLimit)
	defer cancel()
	var wg sync.WaitGroup
	if !p.ready.slots {
		wg.Go(func() { p.ready.slots = p.prepareSlots(ctx, f, ch.From) })
	}
	if ch.Kind == appliance.OpSwitchover {
		wg.Go(func() { p.readyPrimary(ctx, f, ch.From) })
	}
	if !p.ready.measured {
		p.ready.measured = true
		wg.Go(func() { p.ready.measureDisks(ctx, p.work, f, ch.From) })
	}
	wg.Wait()
}

// measureDisks asks once for the sizes of the others' file systems, which their
// configurations depend on. What a member doesn't answer in time is asked again when its
// configuration is written.
func (r *readiness) measureDisks(ctx context.Context, w work, f facts, from string) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range f.cluster.Members {
		if m.Name != from && m.Return == "" && !m.WantStopped {
			wg.Go(func() { _, _ = r.diskSize(ctx, m, w.provider.Machine(f.cluster, m)) })
		}
	}
	wg.Wait()
}

// diskSize is the size of the member's file system. It is asked for once.
func (r *readiness) diskSize(ctx context.Context, m appliance.Member, mc appliance.Machine) (int64, error) {
	if known, ok := r.disks.Load(m.Name); ok {
		return known.(int64), nil
	}
	n, err := postgres.FileSystemBytes(ctx, mc)
	if err == nil {
		r.disks.Store(m.Name, n)
	}
	return n, err
}

// readyPrimary has the primary write a checkpoint, so that its stop is short, and takes
// the position after it as the goal, which standbys then confirm. It also looks for a
// base backup.
func (p primaryChange) readyPrimary(ctx context.Context, f facts, from string) {
	m, err := memberOf(f.cluster, from)
	if err != nil {
		return
	}
	_ = p.inMember(ctx, f, m, func(c *postgres.Control) (err error) {
		if p.ready.backup, err = c.BackingUp(ctx); err != nil {
			return err
		}
		if p.ready.goal > 0 {
			rows, err := c.Replication(ctx)
			p.ready.confirmed = confirmedBy(rows, p.ready.goal)
			return err
		}
		if err := c.Checkpoint(ctx); err != nil {
			return err
		}
		s, err := c.Standing(ctx)
		if err == nil && !s.InRecovery {
			p.ready.goal, p.ready.at = s.Received, time.Now()
		}
		return err
	})
}

// confirmedBy are the standbys that have flushed the position, as far as their answers
// got to the primary.
func confirmedBy(rows []appliance.ReplicationRow, lsn appliance.LSN) []string {
	var out []string
	for _, r := range rows {
		if flushed, err := appliance.ParseLSN(r.FlushLSN); err == nil && r.State == "streaming" && flushed >= lsn {
			out = append(out, r.ApplicationName)
		}
	}
	return out
}

// prepareSlots makes the slots of each standby's followers, and tells whether all
// standbys in reach have them.
func (p primaryChange) prepareSlots(ctx context.Context, f facts, from string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	members := f.cluster.Members
	made := make([]bool, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		if m.Name == from || m.Return != "" {
			made[i] = true
			continue
		}
		wg.Go(func() {
			made[i] = p.inMember(ctx, f, m, func(c *postgres.Control) error {
				return c.PrepareSlots(ctx, followersSlots(f.cluster, m.Name))
			}) == nil
		})
	}
	wg.Wait()
	for _, ok := range made {
		if !ok {
			return false
		}
	}
	return true
}

// followersSlots are the slots that the others need on the member.
func followersSlots(c appliance.Cluster, member string) []string {
	var out []string
	for _, o := range c.Members {
		if o.Name != member && o.Slot != "" {
			out = append(out, o.Slot)
		}
	}
	return out
}

// standing is the glance as the election takes it. While the primary of a switchover
// still writes, positions of different moments can't be compared: all standbys that have
// the goal count as equal.
func (p primaryChange) standing(g glance, ch appliance.PrimaryChange) ha.Standing {
	s := g.standing
	out := ha.Standing{
		Member: g.member.Name, Return: g.member.Return, Answered: g.answered, Primary: g.answered && !s.InRecovery, Identifier: s.SystemIdentifier,
		Line: g.line, Received: s.Received, Replayed: s.Replayed, Detached: !s.Receiving,
	}
	position := out.Position()
	last, known := p.seen[g.member.Name]
	out.Settled = g.answered && known && last == position && (ch.AllowDataLoss || reachesNoFurther(s) || p.ready.rest.holders[g.member.Name])
	if g.answered {
		p.seen[g.member.Name] = position
	} else {
		out.Awaited = !g.member.WantStopped && (known || g.runs)
	}
	switch {
	case g.member.WantStopped:
		out.Unfit = "is to be stopped"
	case g.answered:
		out.Unfit = p.unfit(g, ch)
	}
	if ch.Kind == appliance.OpSwitchover && ch.Phase == appliance.ChangeLooking && p.ready.goal > 0 && position >= p.ready.goal {
		out.Received, out.Replayed = p.ready.goal, p.ready.goal
	}
	return out
}

// reachesNoFurther tells whether the standby's WAL ends at its position. A restart loses
// what was received: until the WAL in the standby's directory is replayed, it reaches
// further than anything that the server tells, and a stalled replay stands still.
func reachesNoFurther(s postgres.Standing) bool {
	return s.Received > 0 && s.Received >= s.Replayed || s.Waits
}

// unfit says why a member that answered could not be promoted, or nothing.
func (p primaryChange) unfit(g glance, ch appliance.PrimaryChange) string {
	s := g.standing
	looking := ch.Kind == appliance.OpSwitchover && ch.Phase == appliance.ChangeLooking
	lower := ""
	if p.ready.limits != nil {
		lower = s.Limits.Below(*p.ready.limits)
	}
	switch {
	case lower != "":
		return "has a lower " + lower + " than the primary"
	case s.PauseState == "paused" && (looking || p.ready.limits == nil):
		return unfitPaused
	case looking && p.ready.backup:
		return "has to wait, since the primary sends a base backup"
	case looking && !s.Receiving:
		return "does not stream"
	case looking && (p.ready.goal == 0 || max(s.Received, s.Replayed) < p.ready.goal):
		return "has not yet received what the primary wrote last"
	case looking && !slices.Contains(p.ready.confirmed, g.member.Name):
		return "has received what the primary wrote last, but no answer of it gets to the primary"
	default:
		return ""
	}
}
