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
	// failed are the standbys that could not take it in this round.
	failed map[string]bool
	// begun is when the first one began to take it.
	begun time.Time
	// lost is set if nobody will take it, which the operation has noted.
	lost bool
}

// settled tells whether an election can be held: a standby that has the remainder
// answers, or there is no hope for it.
func (r *remainder) settled() bool { return r.held || r.lost }

// answers notes whether a holder answered in the look.
func (r *remainder) answers(glances []glance) {
	r.held = slices.ContainsFunc(glances, func(g glance) bool { return g.answered && r.holders[g.member.Name] })
}

// next chooses the standby that takes the remainder. What it lacks now, the directory may
// have: the member that was asked for may be behind another one.
func (r *remainder) next(seen ha.Facts, ch appliance.PrimaryChange) ha.Choice {
	ch.AllowDataLoss = true
	tried := ch.Tried
	ch.Tried = slices.Concat(tried, slices.Collect(maps.Keys(r.failed)))
	choice := ha.Elect(seen.Known, seen.Standings, ch, seen.Lag)
	if choice.Member == "" && len(r.failed) > 0 {
		clear(r.failed)
		ch.Tried = tried
		return ha.Elect(seen.Known, seen.Standings, ch, seen.Lag)
	}
	return choice
}

// takeRest has the best standby replay what the ended primary's directory on this host
// still holds, so that a failover under asynchronous replication loses no acknowledged
// commit. One that fails or falls silent is followed by the next. Where the directory
// can't be read, the election goes on with what the standbys have, and the operation
// notes it. A promised quorum needs none of this.
func (p primaryChange) takeRest(ctx context.Context, f facts, ch appliance.PrimaryChange, report appliance.Report) {
	r := &p.ready.rest
	if r.settled() || !takesRest(f, ch) || !p.hasEnded(ch.From) {
		return
	}
	seen := p.look(ctx, f, ch)
	lost := func(has appliance.LSN, err error) {
		r.lost = true
		report(appliance.Progress{Note: lostNote(ch.From, has, seen.Known.Seen, err)})
	}
	choice := r.next(seen, ch)
	if choice.Member == "" || r.holders[choice.Member] {
		if seen.Expired && !r.held && ctx.Err() == nil {
			lost(seen.Known.Seen, errors.New("no standby answered for long enough"))
		}
		return
	}
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	err := p.takeFrom(ctx, f, choice.Member, ch.From)
	p.ready.at = time.Now()
	switch {
	case err == nil:
		r.holders[choice.Member] = true
	case ctx.Err() != nil:
	case errors.Is(err, postgres.ErrUnreadable) || time.Since(r.begun) > takeLimit:
		lost(choice.LSN, err)
	default:
		r.failed[choice.Member] = true
	}
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

// takeFrom has the standby replay the rest of the WAL of the ended member from.
func (p primaryChange) takeFrom(ctx context.Context, f facts, standby, from string) error {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	m, err := memberOf(f.cluster, standby)
	if err != nil {
		return err
	}
	old, err := memberOf(f.cluster, from)
	if err != nil {
		return err
	}
	mc := p.work.provider.Machine(f.cluster, m)
	dir := p.work.provider.Machine(f.cluster, old).Layout().DataDir
	return p.inMember(ctx, f, m, func(c *postgres.Control) error {
		asked, cancel := context.WithTimeout(ctx, lookLimit)
		s, err := c.Standing(asked)
		cancel()
		if err != nil || !s.InRecovery {
			return err
		}
		conf, err := p.config(ctx, f, m, mc, s.Limits)
		if err != nil {
			return err
		}
		p.ready.apart.Delete(standby)
		at, err := postgres.TakeWAL(ctx, mc, conf, c, dir, f.cluster.Timeline, s.Replayed)
		if err == nil {
			p.seen[standby] = at // a look that finds the same position needs no second one
		}
		return err
	})
}
