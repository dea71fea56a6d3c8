package postgres

import (
	"fmt"
	"sort"

	"pgapp/appliance"
)

// judge lists the checks of one member, always the same in the same order.
// proven tells whether all were made, except those that the user's configuration
// prevents.
func (v *verification) judge(m *subject) (out []appliance.Check, proven bool) {
	proven = true
	add := func(name string, r verdict) {
		proven = proven && (!r.skipped || r.excused)
		out = append(out, appliance.Check{Name: name, Member: m.Member, OK: r.ok, Skipped: r.skipped, Detail: r.detail})
	}
	// own is for checks that need this member, with for those that need the primary.
	own := func(judge func() verdict) verdict {
		if m.err != nil {
			return skip("the member can't be queried")
		}
		return judge()
	}
	with := func(judge func() verdict) verdict {
		switch {
		case v.primary == nil || v.primary.err != nil:
			return skip("the primary can't be queried")
		case v.askErr != nil:
			return skip("the primary can't be queried: %s", why(v.askErr))
		}
		return judge()
	}
	both := func(judge func() verdict) verdict {
		return own(func() verdict { return with(judge) })
	}
	add(CheckReachable, m.reachable(v.in.ApplyDelay))
	if m == v.primary {
		add(CheckWritable, own(v.writable))
		add(CheckIdentifier, own(func() verdict { return v.sameIdentifier(m) }))
		if v.in.Quorum || !v.in.Promise.None() {
			add(CheckDurability, both(v.durability))
		}
	} else {
		add(CheckInRecovery, own(m.inRecovery))
		add(CheckStreaming, with(func() verdict { return m.orDelayed(streamingVerdict(v.replication, m.Member)) }))
		add(CheckSlotActive, with(func() verdict { return m.orDelayed(slotVerdict(v.slots, m.Slot)) }))
		add(CheckIdentifier, own(func() verdict { return v.sameIdentifier(m) }))
		add(CheckTimeline, both(func() verdict { return sameTimeline(v.primary.seen, m.seen) }))
		add(CheckNotAhead, both(func() verdict { return notAhead(v.flushed, m.seen) }))
		add(CheckReplay, own(m.replaying))
		add(CheckMarker, both(func() verdict { return v.markerVerdict(m) }))
		add(CheckWriteRefused, own(func() verdict { return m.refused }))
		add(CheckRowCounts, both(func() verdict { return m.rows }))
		add(CheckParameters, both(func() verdict { return notLower(v.primary.facts.parameters, m.facts.parameters) }))
	}
	add(CheckApplication, own(func() verdict { return m.app }))
	add(CheckChecksums, own(func() verdict { return checksumVerdict(m.facts.checksums) }))
	add(CheckCollation, own(m.collations))
	add(CheckSettings, own(func() verdict { return settingsVerdict(m.facts.overrides) }))
	return out, proven
}

func (m *subject) reachable(delay string) verdict {
	switch {
	case m.err != nil && !m.Primary && delay != "" && Refused(m.err):
		return fail("%s; replay is delayed by %s (%s), so the standby may not have the password yet", why(m.err), delay, delayParameter)
	case m.err != nil:
		return fail("%s", why(m.err))
	}
	return pass("PostgreSQL answers at %s:%d", m.Host, m.Port)
}

func (v *verification) writable() verdict {
	switch {
	case v.primary.seen.InRecovery:
		return fail("the server is in recovery, so it is not a primary")
	case v.markerErr != nil:
		return fail("the marker row can't be written: %s", why(v.markerErr))
	}
	return pass("marker row %d was written", v.marker)
}

func (m *subject) inRecovery() verdict {
	if !m.seen.InRecovery {
		return fail("the server is not in recovery, so it is not a standby")
	}
	return pass("it is in recovery")
}

func streamingVerdict(rows []appliance.ReplicationRow, member string) verdict {
	state := ""
	for _, r := range rows {
		if r.ApplicationName != member {
			continue
		}
		if r.State == "streaming" {
			return pass("streaming, %s, %d bytes behind", r.SyncState, r.ReplayLagBytes)
		}
		state = r.State
	}
	if state != "" {
		return fail("the state in pg_stat_replication is %s, not streaming", state)
	}
	return fail("the primary's pg_stat_replication has no row for this member")
}

func slotVerdict(slots []Slot, name string) verdict {
	for _, s := range slots {
		switch {
		case s.Name != name:
		case s.WALStatus == "lost":
			return fail("slot %s has lost WAL that the standby needs", name)
		case !s.Active:
			return fail("no standby streams from slot %s", name)
		default:
			return pass("slot %s is active, its WAL is %s", name, s.WALStatus)
		}
	}
	return fail("the primary has no slot %s", name)
}

func (v *verification) sameIdentifier(m *subject) verdict {
	want := v.in.SystemIdentifier
	if want == "" && v.primary != nil {
		want = v.primary.seen.SystemIdentifier
	}
	switch {
	case want == "":
		return skip("the cluster's system identifier isn't known")
	case m.seen.SystemIdentifier != want:
		return fail("the member's system identifier is %s, but the cluster's is %s", m.seen.SystemIdentifier, want)
	}
	return pass("system identifier %s", want)
}

func sameTimeline(primary, standby Observation) verdict {
	if primary.Timeline != standby.Timeline {
		return fail("the member is on timeline %d, but the primary is on timeline %d", standby.Timeline, primary.Timeline)
	}
	return pass("timeline %d", standby.Timeline)
}

// notAhead compares a standby's positions with the primary's later flushed
// position. A standby beyond it has WAL that the primary has lost.
func notAhead(flushed string, standby Observation) verdict {
	if !standby.InRecovery {
		return skip("the member is not a standby")
	}
	for _, p := range []struct{ what, lsn string }{{"has received", standby.ReceiveLSN}, {"has replayed", standby.LSN}} {
		if LSNAfter(p.lsn, flushed) {
			return fail("the member %s %s, but the primary is only at %s: the primary has lost WAL that this member has", p.what, p.lsn, flushed)
		}
	}
	return pass("at %s, and the primary at %s", standby.LSN, flushed)
}

func (m *subject) replaying() verdict {
	switch {
	case !m.seen.InRecovery:
		return fail("the server is not in recovery, so it replays nothing")
	case m.paused():
		return fail("replay is %s at %s", m.seen.PauseState, m.seen.LSN)
	}
	return pass("replayed up to %s", m.seen.LSN)
}

func (v *verification) markerVerdict(m *subject) verdict {
	if v.markerErr != nil {
		return skip("the marker row couldn't be written on the primary")
	}
	return m.marker
}

// notLower compares the parameters that a standby may not have lower than its
// primary; otherwise the standby pauses and can't be promoted.
func notLower(primary, standby map[string]int) verdict {
	var low []string
	for name, want := range primary {
		if got := standby[name]; got < want {
			low = append(low, fmt.Sprintf("%s is %d, but %d on the primary", name, got, want))
		}
	}
	if len(low) > 0 {
		sort.Strings(low)
		return fail("%s", sentence(low))
	}
	return pass("%d parameters are not lower than the primary's", len(primary))
}

func checksumVerdict(setting string) verdict {
	if setting != "on" {
		return fail("data checksums are %s", setting)
	}
	return pass("data checksums are on")
}

func (m *subject) collations() verdict {
	switch {
	case len(m.facts.collations) > 0:
		return fail("%s", sentence(m.facts.collations))
	case m.dataErr != nil && m.delayed() && Refused(m.dataErr):
		return excuse("the standby doesn't have the database yet: %s", m.delayText())
	case m.dataErr != nil:
		return fail("the database's columns can't be read: %s", why(m.dataErr))
	}
	return pass("collation versions are the system's")
}

func settingsVerdict(overrides []string) verdict {
	if len(overrides) > 0 {
		return fail("%s, against %s", sentence(overrides), ConfFile)
	}
	return pass("no file overrides what %s sets", ConfFile)
}
