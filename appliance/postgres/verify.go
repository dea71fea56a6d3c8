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
	CheckDurability   = "durability"
)

const (
	// replayWait is the time for a standby to replay the primary's writes. A busy machine
	// takes seconds for a record that works on many files, as the drop of a database.
	replayWait = 15 * time.Second
	// longestDelay is the least recovery_min_apply_delay that verify doesn't wait for.
	longestDelay = 5 * time.Second
)

// Target is a member to verify.
type Target struct {
	Member string
	Host   string
	Port   int
	// Primary is set for the member that must be the primary.
	Primary bool
	// Slot is the standby's slot on the primary; "" means the member's default.
	Slot string
}

// VerifyInput is [Verify]'s knowledge of a cluster.
type VerifyInput struct {
	// SystemIdentifier is the recorded one; "" means the primary's.
	SystemIdentifier string
	Targets          []Target
	// Database is the application's, whose rows are counted.
	Database string
	// SharedMachine is set if all members use one file system.
	SharedMachine bool
	// Look opens a new session to the member's maintenance database, and observes
	// the server.
	Look func(ctx context.Context, member string) (*Control, Observation, error)
	// Password is role pgapp's.
	Password appliance.Secret
	// AppPassword is role app's, which must be able to log in to Database on each
	// member.
	AppPassword appliance.Secret
	// ApplyDelay is recovery_min_apply_delay of the cluster's spec, or "". It may
	// be the reason of a standby's refusal.
	ApplyDelay string
	// Quorum is set if durability quorum is wanted. Promise and Sync are the record's.
	Quorum        bool
	Promise, Sync appliance.Promise
	// Leave takes back the sessions of Look at the end.
	Leave func(ctx context.Context, member string, c *Control)
}

// Verify proves that the members are one cluster: each standby streams from
// the primary, shows a newly written row, refuses writes, and has the same rows,
// settings and origin. Verify queries all members at once, writes only its marker
// row in database postgres, and always returns a report: a check that can't be
// made fails, or is skipped with its reason. A report with a skipped check is not
// ok, unless the user's configuration is the reason. A repeat is safe, and so are
// concurrent calls.
func Verify(ctx context.Context, in VerifyInput) appliance.VerifyReport {
	v := newVerification(in)
	defer v.close(ctx)
	v.each(v.members, func(m *subject) { m.gather(ctx, in) })
	v.askPrimary(ctx)
	v.askTablespaces(ctx)
	v.each(v.standbys(), func(m *subject) { m.prove(ctx, in, v.marker) })
	v.countRows(ctx)
	return v.report()
}

type verification struct {
	in      VerifyInput
	members []*subject
	primary *subject // nil if no target is
	// The primary's view of its standbys.
	replication []appliance.ReplicationRow
	slots       []Slot
	askErr      error
	// marker is the newly written sequence number; 0 if the write failed.
	marker    int64
	markerErr error
	// inForce is what the primary's setting promises.
	inForce appliance.Promise
	// flushed is the primary's position after all standbys were observed.
	flushed string
	// tables are the tables of the first count, nil before; tooLarge is the number
	// of omitted tables.
	tables   map[string]int64
	tooLarge int
	// tablespaces is the verdict for members on a shared machine.
	tablespaces verdict
}

// subject is a member under verification.
type subject struct {
	Target
	// admin and data are sessions to the maintenance and the user's database.
	admin, data *Control
	// err is the failure of queries to the member, dataErr to its database.
	err, dataErr error
	seen         Observation
	facts        memberFacts
	// app is the verdict of the application's login.
	app verdict
	// The verdicts of the trials on a standby.
	marker, refused, rows verdict
	// count is the last count of rows, proven the rows of equal tables.
	count  standbyCount
	proven map[string]int64
}

// verdict is the result of a check.
type verdict struct {
	// skipped is set if the check was not made; then ok has no meaning.
	ok, skipped bool
	// excused is set if the user's configuration is the reason of a skip.
	excused bool
	detail  string
}

func pass(format string, args ...any) verdict {
	return verdict{ok: true, detail: fmt.Sprintf(format, args...)}
}
func fail(format string, args ...any) verdict { return verdict{detail: fmt.Sprintf(format, args...)} }

// skip is a check that can't be made. The check doesn't fail, but the report is
// not ok.
func skip(format string, args ...any) verdict {
	return verdict{ok: true, skipped: true, detail: fmt.Sprintf(format, args...)}
}

// notProven is a check without a result in time.
func notProven(format string, args ...any) verdict { return skip("not proven: "+format, args...) }

// excuse is a check that the user's configuration prevents. The report stays ok.
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

// each runs f for all members at once. f changes only its own member.
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

// askPrimary reads the replication status and writes the marker.
func (v *verification) askPrimary(ctx context.Context) {
	if v.primary == nil || v.primary.err != nil {
		return
	}
	c := v.primary.admin
	if v.replication, v.askErr = c.Replication(ctx); v.askErr == nil {
		v.slots, v.askErr = c.Slots(ctx)
	}
	if v.askErr == nil {
		v.inForce, v.askErr = c.PromiseInForce(ctx)
	}
	if !v.primary.seen.InRecovery && v.askErr == nil {
		v.askErr = c.row(ctx, "SELECT pg_current_wal_flush_lsn()::text", nil, &v.flushed)
	}
	v.marker, v.markerErr = c.writeMarker(ctx)
}

// report makes the report from the gathered facts.
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

// sentence joins findings into one short text.
func sentence(parts []string) string {
	const most = 5
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}
