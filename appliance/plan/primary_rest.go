package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// takeRest has the best standby replay what the ended primary's directory on this host
// still holds, so that a failover under asynchronous replication loses no acknowledged
// commit. Where the directory can't be read, the standby goes on with what it has, and
// the operation notes it. A promised quorum needs none of this.
func (p primaryChange) takeRest(ctx context.Context, f facts, ch appliance.PrimaryChange, report appliance.Report) {
	if p.ready.taken || !takesRest(f, ch) || !p.hasEnded(ch.From) {
		return
	}
	seen := p.look(ctx, f, ch)
	// What the candidate lacks now, the directory may have: the member that was asked
	// for may be behind another one.
	ch.AllowDataLoss = true
	choice := ha.Elect(seen.Known, seen.Standings, ch, ^appliance.LSN(0))
	if choice.Member == "" {
		return
	}
	p.ready.taken = true
	defer func() { p.ready.at = time.Now() }()
	if err := p.takeFrom(ctx, f, choice.Member, ch.From); err != nil && ctx.Err() == nil {
		report(appliance.Progress{Note: lostNote(ch.From, choice.LSN, seen.Known.Seen, err)})
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
	d, err := postgres.InspectDataDir(ctx, p.work.provider.Machine(f.cluster, m))
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
		s, err := c.Standing(ctx)
		if err != nil || !s.InRecovery {
			return err
		}
		conf, err := f.memberConfig(ctx, m, mc, s.Limits)
		if err != nil {
			return err
		}
		return postgres.TakeWAL(ctx, mc, conf, c, dir, f.cluster.Timeline)
	})
}
