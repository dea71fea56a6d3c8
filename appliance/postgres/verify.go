package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
)

// The names of verify's checks.
const (
	CheckReachable    = "reachable"
	CheckWritable     = "primary-writable"
	CheckInRecovery   = "in-recovery"
	CheckStreaming    = "streaming"
	CheckSlotActive   = "slot-active"
	CheckIdentifier   = "system-identifier"
	CheckTimeline     = "timeline"
	CheckNotAhead     = "not-ahead"
	CheckReplay       = "replay-running"
	CheckMarker       = "marker-replicated"
	CheckWriteRefused = "write-refused"
	CheckRowCounts    = "row-counts"
	CheckApplication  = "application-login"
	CheckChecksums    = "checksums"
	CheckCollation    = "collation-version"
	CheckParameters   = "parameters"
	CheckSettings     = "settings-owned"
)

// replayWait is how long a standby may take to show what the primary wrote.
const replayWait = 5 * time.Second

// Target is a member to verify.
type Target struct {
	Member string
	Host   string
	Port   int
	// Primary is set for the member that has to be the primary.
	Primary bool
	// Slot is the standby's on the primary; empty: named after the member.
	Slot string
}

// VerifyInput is what [Verify] has to know of a cluster.
type VerifyInput struct {
	// SystemIdentifier is the one on record; empty: the primary's.
	SystemIdentifier string
	Targets          []Target
	// Database is the application's, whose rows are counted.
	Database string
	// SharedMachine is set where all members use one file system.
	SharedMachine bool
	// Look opens a session of verify's own to the member's maintenance database,
	// and asks the server what it is.
	Look func(ctx context.Context, member string) (*Control, Observation, error)
	// Password is role pgapp's.
	Password appliance.Secret
	// AppPassword is role app's, who has to be let into Database on each member.
	AppPassword appliance.Secret
	// ApplyDelay is recovery_min_apply_delay of the cluster's spec, empty where
	// there is none: what a standby's refusal may come from.
	ApplyDelay string
	// Leave gets the sessions that Look opened, when verification is done with them.
	Leave func(ctx context.Context, member string, c *Control)
}

// Verify proves that the members are one cluster: each standby streams from
// the primary, shows a row written just now, refuses writes, and has the same
// rows, settings and origin. It asks all members at once, writes nothing but
// its marker row in database postgres, and always returns a report: what can't
// be asked is a failed check, or one skipped with its reason. A report with a
// skipped check is not ok, unless the user's configuration is the reason. It is
// safe to repeat and to run side by side.
func Verify(ctx context.Context, in VerifyInput) appliance.VerifyReport {
	v := newVerification(in)
	defer v.close(ctx)
	v.each(v.members, func(m *subject) { m.gather(ctx, in) })
	v.askPrimary(ctx)
	v.askTablespaces(ctx)
	v.each(v.standbys(), func(m *subject) { m.prove(ctx, v.marker) })
	v.countRows(ctx)
	return v.report()
}

type verification struct {
	in      VerifyInput
	members []*subject
	primary *subject // nil where no target is
	// What the primary says of its standbys.
	replication []appliance.ReplicationRow
	slots       []Slot
	askErr      error
	// marker is the sequence number written just now, 0 where it couldn't be.
	marker    int64
	markerErr error
	// flushed is the primary's position after all standbys were looked at.
	flushed string
	// tables are those that were counted first, nil before; tooLarge is how many
	// were left out.
	tables   map[string]int64
	tooLarge int
	// tablespaces is the verdict where members share a machine.
	tablespaces verdict
}

// subject is a member under verification.
type subject struct {
	Target
	// admin and data are sessions to the maintenance and the user's database.
	admin, data *Control
	// err is why the member can't be asked, dataErr why its database can't.
	err, dataErr error
	seen         Observation
	facts        memberFacts
	// app is the verdict of the application's login.
	app verdict
	// Verdicts of what was tried on a standby.
	marker, refused, rows verdict
	// count is the last count of rows, proven those of tables that were equal.
	count  standbyCount
	proven map[string]int64
}

// verdict is how a check ended.
type verdict struct {
	// skipped is set where the check wasn't made, so that ok says nothing.
	ok, skipped bool
	// excused is set where the user's own configuration is why it was skipped.
	excused bool
	detail  string
}

func pass(format string, args ...any) verdict {
	return verdict{ok: true, detail: fmt.Sprintf(format, args...)}
}
func fail(format string, args ...any) verdict { return verdict{detail: fmt.Sprintf(format, args...)} }

// skip is a check that can't be made. It is not a failure, and no pass: the
// report is not ok.
func skip(format string, args ...any) verdict {
	return verdict{ok: true, skipped: true, detail: fmt.Sprintf(format, args...)}
}

// notProven is a check that was tried, and came to no end in time.
func notProven(format string, args ...any) verdict { return skip("not proven: "+format, args...) }

// excuse is a check that the user's configuration rules out. It leaves the
// report ok.
func excuse(format string, args ...any) verdict {
	return verdict{ok: true, skipped: true, excused: true, detail: fmt.Sprintf(format, args...)}
}

func newVerification(in VerifyInput) *verification {
	v := &verification{in: in}
	for _, t := range in.Targets {
		if t.Slot == "" {
			t.Slot = appliance.SlotName(t.Member)
		}
		m := &subject{Target: t}
		v.members = append(v.members, m)
		if t.Primary {
			v.primary = m
		}
	}
	return v
}

func (v *verification) standbys() []*subject {
	var out []*subject
	for _, m := range v.members {
		if m != v.primary {
			out = append(out, m)
		}
	}
	return out
}

// each runs f for all members at once. f touches nothing but its own member.
func (v *verification) each(members []*subject, f func(*subject)) {
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() { f(m) })
	}
	wg.Wait()
}

func (v *verification) close(ctx context.Context) {
	v.each(v.members, func(m *subject) {
		if m.data != nil {
			m.data.closeQuietly(ctx)
		}
		if m.admin != nil {
			v.in.Leave(ctx, m.Member, m.admin)
		}
	})
}

// askPrimary reads who streams, and writes the marker.
func (v *verification) askPrimary(ctx context.Context) {
	if v.primary == nil || v.primary.err != nil {
		return
	}
	c := v.primary.admin
	if v.replication, v.askErr = c.Replication(ctx); v.askErr == nil {
		v.slots, v.askErr = c.Slots(ctx)
	}
	if !v.primary.seen.InRecovery && v.askErr == nil {
		v.askErr = c.row(ctx, "SELECT pg_current_wal_flush_lsn()::text", nil, &v.flushed)
	}
	v.marker, v.markerErr = c.writeMarker(ctx)
}

// report judges everything that was gathered.
func (v *verification) report() appliance.VerifyReport {
	r := appliance.VerifyReport{OK: len(v.members) > 0, Replication: v.replication, Checks: []appliance.Check{}}
	if r.Replication == nil {
		r.Replication = []appliance.ReplicationRow{}
	}
	for _, m := range v.members {
		checks, proven := v.judge(m)
		r.OK = r.OK && proven
		for _, c := range append(checks, v.tablespaceChecks(m)...) {
			r.OK = r.OK && c.OK
			r.Checks = append(r.Checks, c)
		}
	}
	return r
}

// sentence joins what was found into one short text.
func sentence(parts []string) string {
	const most = 5
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}
