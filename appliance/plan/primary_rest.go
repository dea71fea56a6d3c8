package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// remainder is what is known of the WAL that only the ended primary's directory holds.
type remainder struct {
	// holders are the standbys that have replayed it; held is set if one of them answered
	// in the last look.
	holders map[string]bool
	held    bool
	// told is the standby that was told last to take it, and may still do so.
	told string
	// failed are the standbys that could not take it in this round, and why the last one
	// could not.
	failed map[string]bool
	why    error
	// reached is how far each one was seen to have replayed it.
	reached map[string]appliance.LSN
	// begun is when the first one began to take it, or when one was last seen to get on.
	begun time.Time
	// lost is set if nobody will take it, which the operation has noted.
	lost bool
	// from is the furthest position to which a standby on the recorded timeline was seen to
	// have replayed, and end waits for the end of the WAL beyond it, nil if nobody reads it.
	from appliance.LSN
	end  func(context.Context) (appliance.LSN, error)
	// began is when the reading began.
	began time.Time
	// cancel is what stop calls.
	cancel context.CancelFunc
}

// read begins to look for the end of the WAL in the ended primary's directory, on the machine
// of a standby beside it, so that it is known when the election begins. It goes on until the
// change has ended at the latest, see [remainder.stop].
func (r *remainder) read(ctx context.Context, mc appliance.Machine, dir string, timeline uint32) {
	r.stop()
	if r.from == 0 {
		return
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.began = time.Now()
	from, found := r.from, make(chan struct{})
	var end appliance.LSN
	var err error
	go func() {
		defer close(found)
		end, err = postgres.EndOfRest(ctx, mc, dir, timeline, from)
	}()
	r.end = func(ctx context.Context) (appliance.LSN, error) {
		select {
		case <-found:
			return end, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// stop ends the reading. A repeat does nothing.
func (r *remainder) stop() {
	if r.end != nil {
		r.cancel()
		r.end = nil
	}
}

// readFresh is how old the end of the WAL may be: somebody may start the old primary while an
// election waits for answers.
const readFresh = 2 * time.Second

// endFor is the end of the WAL for a standby that has replayed up to that position. What was
// read before counts where it proves that the WAL reaches from there to its end.
func (r *remainder) endFor(ctx context.Context, mc appliance.Machine, dir string, timeline uint32, replayed appliance.LSN) (appliance.LSN, error) {
	if r.end != nil {
		end, err := r.end(ctx)
		if err == nil && (end > r.from || replayed >= r.from) && time.Since(r.began) < readFresh {
			return max(end, replayed), nil
		}
		if ctx.Err() != nil { // it is read on
			return 0, ctx.Err()
		}
		r.stop()
	}
	return postgres.EndOfRest(ctx, mc, dir, timeline, replayed)
}

// settled tells whether an election can be held: a standby that has the remainder
// answers, or there is no hope for it.
func (r *remainder) settled() bool { return r.held || r.lost }

// answers notes whether a holder answered in the look.
func (r *remainder) answers(glances []glance) {
	r.held = slices.ContainsFunc(glances, func(g glance) bool { return g.answered && r.holders[g.member.Name] })
}

// next chooses the standby that takes the remainder, among those that have not failed in this
// round. What it lacks now, the directory may have: the member that was asked for may be
// behind another one. Where that one can't take it, another one does.
func (r *remainder) next(seen ha.Facts, ch appliance.PrimaryChange) ha.Choice {
	ch.AllowDataLoss = true
	ch.Tried = slices.Concat(ch.Tried, slices.Collect(maps.Keys(r.failed)))
	if r.failed[ch.Wanted] || seen.Expired {
		ch.Wanted = ""
	}
	return ha.Elect(seen.Known, seen.Standings, ch, seen.Lag)
}

// roundOver tells whether each standby that could take the remainder has failed to. One that
// gives no answer now, but runs, may do so in the next look.
func (r *remainder) roundOver(seen ha.Facts) bool {
	return len(r.failed) > 0 && (seen.Expired || !slices.ContainsFunc(seen.Standings, func(s ha.Standing) bool {
		return s.Awaited && s.Return == "" && !r.failed[s.Member]
	}))
}

// takeRest has the best standby replay what the ended primary's directory on this host
// still holds, so that a failover under asynchronous replication loses no acknowledged
// commit. One that fails or falls silent is followed by the next; one that gets on has time,
// since nobody has more to replay. Where the directory can't be read, or all have failed for
// too long, the election goes on with what the standbys have, and the operation notes it. A
// promised quorum needs none of this.
func (p primaryChange) takeRest(ctx context.Context, f facts, ch appliance.PrimaryChange, report appliance.Report) {
	r := &p.ready.rest
	if r.settled() || !takesRest(f, ch) || !p.hasEnded(ch.From) {
		return
	}
	seen := p.look(ctx, f, ch)
	lost := func(has appliance.LSN, err error) {
		r.lost = true
		leaveRest(ctx, p, f)
		report(appliance.Progress{Note: lostNote(ch.From, has, seen.Known.Seen, err)})
	}
	choice := r.next(seen, ch)
	if choice.Member == "" && r.roundOver(seen) {
		clear(r.failed)
		if choice = r.next(seen, ch); time.Since(r.begun) > takeLimit {
			lost(choice.LSN, r.why)
			return
		}
	}
	if choice.Member == "" || r.holders[choice.Member] {
		if seen.Expired && !r.held && ctx.Err() == nil {
			lost(seen.Known.Seen, errors.New("no standby answered for long enough"))
		}
		return
	}
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	if r.told != choice.Member {
		leaveRest(ctx, p, f)
	}
	moved, err := p.takeFrom(ctx, f, choice.Member, ch.From)
	p.ready.at = time.Now()
	switch {
	case err == nil:
		r.holders[choice.Member] = true
	case ctx.Err() != nil:
	case errors.Is(err, postgres.ErrUnreadable):
		lost(choice.LSN, err)
	case moved:
		r.begun = p.ready.at
	default:
		r.failed[choice.Member], r.why = true, err
	}
}

// readRest begins to look for the end of the WAL of a primary that was just proven to have
// ended. The machine of a standby reads it, since the primary's may refuse to: its marker may
// be lost, and its WAL not.
func readRest(ctx context.Context, p primaryChange, f facts, ch appliance.PrimaryChange, dead appliance.Machine) {
	p.ready.rest.stop()
	if ch.Phase != appliance.ChangeFencing || !takesRest(f, ch) {
		return
	}
	for _, m := range f.cluster.Members {
		if _, answers := p.ready.own.Load(m.Name); answers && m.Name != ch.From {
			p.ready.rest.read(ctx, p.work.provider.Machine(f.cluster, m), dead.Layout().DataDir, f.cluster.Timeline)
			return
		}
	}
}

// leaveRest has the standby that was told last to take the remainder take no more of it, so
// that one that was silent can't get ahead of the one that is promoted.
func leaveRest(ctx context.Context, p primaryChange, f facts) {
	m, ok := f.cluster.Member(p.ready.rest.told)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deedLimit)
	defer cancel()
	mc := p.work.provider.Machine(f.cluster, m)
	running, err := mc.ServerRunning(ctx)
	if err != nil || !running {
		return // its next start writes its configuration anew
	}
	limits, err := limitsOf(ctx, p, m, mc)
	if err != nil {
		return
	}
	conf, err := p.config(ctx, f, m, mc, limits)
	if err == nil && postgres.LeaveWAL(ctx, mc, conf) == nil {
		p.ready.rest.told = ""
	}
}

// limitsOf are the parameters of the member's server, by its files if it was silent in the
// last look.
func limitsOf(ctx context.Context, p primaryChange, m appliance.Member, mc appliance.Machine) (postgres.Limits, error) {
	if limits, ok := p.ready.own.Load(m.Name); ok {
		return limits.(postgres.Limits), nil
	}
	d, err := postgres.InspectDataDir(ctx, mc)
	return d.Limits, err
}

// await keeps an election from being held without the remainder of the old primary's WAL:
// until a standby that has it answers, no position counts as the last one. An answer that
// is missing matters no more then, since nobody has more.
func (p primaryChange) await(f facts, ch appliance.PrimaryChange, standings []ha.Standing) {
	for i := range standings {
		if takesRest(f, ch) && !p.ready.rest.settled() {
			standings[i].Settled = false
		}
		if p.ready.rest.held {
			standings[i].Awaited = false
		}
	}
}

// takesRest tells whether the change has its candidate take the WAL in the old primary's
// directory, if it can be read.
func takesRest(f facts, ch appliance.PrimaryChange) bool {
	return ch.Kind == appliance.OpFailover && f.cluster.Promise.None() && f.cluster.SharesMachine()
}

// hasRest tells whether the candidate will find the old primary's WAL, so that what it
// lacks now is no reason to refuse.
func (p primaryChange) hasRest(ctx context.Context, f facts, ch appliance.PrimaryChange) bool {
	if !takesRest(f, ch) {
		return false
	}
	m, ok := f.cluster.Member(ch.From)
	if !ok {
		return false
	}
	mc := p.work.provider.Machine(f.cluster, m)
	if file, err := postgres.ReadControlFile(ctx, mc); err == nil {
		return file.SystemIdentifier == f.cluster.SystemIdentifier
	}
	d, err := postgres.InspectDataDir(ctx, mc) // a server may write the file just now
	return err == nil && d.Initialised && d.SystemIdentifier == f.cluster.SystemIdentifier
}

// lostNote says what the new primary may lack where the old one's WAL can't be read.
func lostNote(from string, has, seen appliance.LSN, err error) string {
	note := fmt.Sprintf("the WAL of %s could not be read, so commits that no standby had received are lost", from)
	if seen > has {
		note += fmt.Sprintf(": %d bytes up to the last position seen, %s", uint64(seen-has), seen)
	}
	var exit *appliance.ExitError
	if errors.As(err, &exit) {
		return note
	}
	return note + " (" + err.Error() + ")"
}

// takeFrom has the standby replay the rest of the WAL of the ended member from, and tells
// whether it got on, also with an error.
func (p primaryChange) takeFrom(ctx context.Context, f facts, standby, from string) (moved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	m, err := memberOf(f.cluster, standby)
	if err != nil {
		return false, err
	}
	old, err := memberOf(f.cluster, from)
	if err != nil {
		return false, err
	}
	mc := p.work.provider.Machine(f.cluster, m)
	dir := p.work.provider.Machine(f.cluster, old).Layout().DataDir
	err = p.inMember(ctx, f, m, func(c *postgres.Control) error {
		asked, cancel := context.WithTimeout(ctx, lookLimit)
		s, err := c.Standing(asked)
		cancel()
		if err != nil || !s.InRecovery {
			return err
		}
		end, err := p.ready.rest.endFor(ctx, mc, dir, f.cluster.Timeline, s.Replayed)
		if err != nil {
			return err
		}
		if s.Replayed >= end { // the primary had sent all that it wrote
			p.seen[standby] = max(s.Received, s.Replayed)
			return nil
		}
		conf, err := p.config(ctx, f, m, mc, s.Limits)
		if err != nil {
			return err
		}
		p.ready.apart.Delete(standby)
		p.ready.rest.told = standby
		at, err := postgres.TakeWAL(ctx, mc, conf, c, dir, f.cluster.Timeline, s.Replayed, end)
		moved = at > max(s.Replayed, p.ready.rest.reached[standby])
		p.ready.rest.reached[standby] = max(at, p.ready.rest.reached[standby])
		if err == nil {
			p.seen[standby] = at // a look that finds the same position needs no second one
		}
		return err
	})
	return moved, err
}
