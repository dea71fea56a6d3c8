package plan

import (
	"context"
	"fmt"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// choose stops the member, records its way back, and reports what it will lose. A
// repeat looks again, since somebody may have started the server meanwhile.
func (j rejoin) choose(ctx context.Context, report appliance.Report) error {
	return j.work.on(ctx, j.member, func(f facts, m appliance.Member, mc appliance.Machine) error {
		if err := j.work.provider.StartMachine(ctx, f.cluster, m, report); err != nil {
			return err
		}
		if err := j.work.stopMember(ctx, f.cluster, m, mc, report); err != nil {
			return err
		}
		if err := j.work.keepWAL(ctx, m); err != nil {
			return err
		}
		way, lost, err := j.wayOf(ctx, f, m, mc)
		if err != nil {
			return err
		}
		switch {
		case lost != nil:
			report(appliance.Progress{Detail: describe(*lost), Discarded: lost})
		case way != appliance.WayClone && !prepared(f.cluster, m): // its WAL was compared
			report(appliance.Progress{Detail: "drops nothing"})
		}
		return j.set(ctx, func(_ *appliance.Cluster, m *appliance.Member) { m.Return = way })
	})
}

// describe tells what a member will lose.
func describe(d appliance.Discarded) string {
	if d.Unknown != "" {
		return "drops an unknown number of commits: " + d.Unknown
	}
	return fmt.Sprintf("drops %d commits in %d bytes of WAL", d.Commits, d.Bytes)
}

// wayOf tells how the stopped member comes back, and what it will lose; nil is nothing.
func (j rejoin) wayOf(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine) (appliance.WayBack, *appliance.Discarded, error) {
	began, err := postgres.RewindBegan(ctx, mc)
	if err != nil {
		return "", nil, err
	}
	switch {
	case prepared(f.cluster, m):
		return appliance.WayFollow, nil, nil
	case began:
		return appliance.WayClone, nil, nil
	}
	d, err := postgres.InspectDataDir(ctx, mc)
	if err != nil {
		return "", nil, err
	}
	aside, err := postgres.OldAside(ctx, mc)
	if err != nil {
		return "", nil, err
	}
	if aside && m.Return == appliance.WayClone {
		return appliance.WayClone, nil, nil // the clone was interrupted
	}
	if aside {
		if d, err = j.settleAside(ctx, mc, d); err != nil {
			return "", nil, err
		}
	}
	own, err := ownDataDir(f.cluster, m.Name, mc, d)
	if err != nil {
		return "", nil, err
	}
	if !own {
		return appliance.WayClone, nil, nil
	}
	if err := postgres.Uncover(ctx, mc); err != nil {
		return "", nil, err
	}
	way, lost, err := look(ctx, f.cluster, m, mc, d)
	if err != nil {
		return "", nil, err
	}
	missing, err := postgres.Missing(ctx, mc)
	if m.Return == appliance.WayClone || missing != "" { // nothing else brings files back
		way = appliance.WayClone
	}
	return way, lost, err
}

// settleAside leaves one of the two data directories of a clone for an earlier primary:
// the clone if it is complete, else the old one.
func (j rejoin) settleAside(ctx context.Context, mc appliance.Machine, d postgres.DataDir) (postgres.DataDir, error) {
	if d.Exists {
		return d, postgres.DropAside(ctx, mc)
	}
	if err := postgres.PutBack(ctx, mc); err != nil {
		return d, err
	}
	return postgres.InspectDataDir(ctx, mc)
}

// look compares the member's WAL with the recorded line.
func look(ctx context.Context, c appliance.Cluster, m appliance.Member, mc appliance.Machine, d postgres.DataDir) (appliance.WayBack, *appliance.Discarded, error) {
	end, err := postgres.EndOfWAL(ctx, mc)
	if err != nil {
		if p := appliance.AsProblem(err); ctx.Err() != nil || p.ID != appliance.ErrRewind {
			return "", nil, err
		}
		return appliance.WayClone, &appliance.Discarded{Member: m.Name, Unknown: appliance.AsProblem(err).Message}, nil
	}
	if d.Wrote() && ha.Alien(c.Timeline, c.Promotions, m.Name, end.Line.Timeline) {
		return appliance.WayClone, &appliance.Discarded{Member: m.Name, Unknown: fmt.Sprintf("it took writes on timeline %d of another primary, and nobody can tell where it left that one's WAL", end.Line.Timeline)}, nil
	}
	foreign := ha.Foreign(c.Promotions, m.Epoch, end.Line)
	way := appliance.WayClone
	// With the history of a promotion that is not on record, it would leave the primary's line.
	strayed := end.Told.Timeline != 0 && !c.Line().DescendsFrom(end.Told)
	if foreign == 0 && !strayed {
		known := ha.Known{Identifier: c.SystemIdentifier, Line: c.Line()}
		way = ha.WayOf(known, ha.Standing{Identifier: d.SystemIdentifier, Line: end.Line, Received: end.At})
	}
	if why := gap(c.Line(), d, end, way); why != "" {
		return appliance.WayClone, &appliance.Discarded{Member: m.Name, Unknown: why}, nil
	}
	if way == appliance.WayFollow {
		return way, nil, nil
	}
	lost, err := postgres.CountDiscarded(ctx, mc, m.Name, end, ha.Forked(c.Line(), end.Line, foreign))
	if err != nil || lost.Bytes == 0 && lost.Unknown == "" {
		return way, nil, err
	}
	if lost.Unknown != "" {
		// pg_rewind learns from that WAL which blocks differ. Its own recovery of the
		// directory may end before the gap, and hide it.
		way = appliance.WayClone
	}
	return way, &lost, nil
}

// gap says why a directory may hold changes whose WAL is missing, so that its blocks
// can't be trusted, or nothing. All WAL that a standby took was in its primary's
// directory first, so a killed primary's WAL reaches to the switch at least.
func gap(known appliance.Line, d postgres.DataDir, end postgres.WALEnd, way appliance.WayBack) string {
	n := len(end.Line.Ancestors)
	switch {
	case way == appliance.WayRewind && end.Cut:
		return "its WAL beyond " + end.At.String() + " may be missing"
	case way == appliance.WayFollow && d.Written() && n < len(known.Ancestors) && end.At < known.Ancestors[n].At:
		return "its WAL ends at " + end.At.String() + ", and the primary's reached to " + known.Ancestors[n].At.String()
	default:
		return ""
	}
}
