package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"pgapp/appliance"
)

// Stranded tells whether the standby waits for WAL that the primary, whose timeline begins
// at the position, has not written, and where that WAL begins.
//
// The standby has then received the beginning of a record up to the end of a segment, and
// the old primary died before the rest. The new timeline begins where the record did. But
// PostgreSQL's startup process asks for what follows the part that it has: for a segment of
// the new timeline that doesn't exist yet. It replays whole records only, so a standby that
// has replayed up to the beginning of the timeline has gone no way of its own.
func (s Standing) Stranded(primary Standing, begin appliance.LSN) (asks appliance.LSN, is bool) {
	asks = s.Received - s.Received%walSegment
	return asks, s.InRecovery && s.Waits && !primary.InRecovery && s.Replayed == begin && asks > begin && asks > primary.Received
}

// A Follower is a stranded standby, and where the WAL for which it asks begins.
type Follower struct {
	Shell
	Asks appliance.LSN
}

// LeadOn has all stranded standbys go on: the primary writes WAL until it has the segments
// that they ask for, and each standby gets copies of the timeline's segments before its own.
// PostgreSQL finds there that the record has no rest, returns to the record's beginning, and
// reads the new timeline from there. It takes for granted that the timeline's segments from
// there on are on the standby's disk, and ends (PANIC) where they are not; so each copy has
// to be there before the primary goes on to the next segment. A repeat is safe.
func LeadOn(ctx context.Context, primary *Control, from Shell, to []Follower, timeline uint32, begin appliance.LSN) error {
	for at := begin - begin%walSegment; ; at += walSegment {
		// A standby may stream its segment already, and has it open.
		to = slices.DeleteFunc(slices.Clone(to), func(f Follower) bool { return f.Asks <= at })
		if len(to) == 0 {
			return nil
		}
		if err := copySegment(ctx, primary, from, to, timeline, at); err != nil {
			return err
		}
		if err := passSegment(ctx, primary, at); err != nil {
			return err
		}
		// The first copy lacked what came after it.
		if err := copySegment(ctx, primary, from, to, timeline, at); err != nil {
			return err
		}
	}
}

// lacksScript tells whether the data directory $1 has a segment $3 of another timeline, and
// lacks the one of timeline $2.
const lacksScript = `set -eu
cd -- "$1/pg_wal"
[ ! -e "$2$3" ] || exit 0
for f in *"$3"; do [ ! -e "$f" ] || echo lacks; done`

// HandOver gives a stopped standby, whose WAL is the beginning of the primary's, the history
// of the primary's timeline and the segment in which that begins, unless the standby has it
// or ends before. The standby then reads the new timeline from its beginning, and not half a
// record of the old one, by which it would be stranded (see [Standing.Stranded]), or end
// where the primary has gone on. It tells whether the standby got something.
func HandOver(ctx context.Context, primary *Control, from, to Shell, timeline uint32, begin appliance.LSN) (bool, error) {
	segment := begin - begin%walSegment
	name := segmentName(timeline, segment)
	out, err := script(ctx, to, lacksScript, to.Layout().DataDir, name[:8], name[8:])
	if err != nil || out == "" {
		return false, err
	}
	if err := copySegment(ctx, primary, from, []Follower{{Shell: to}}, timeline, segment); err != nil {
		return false, err
	}
	history := path.Join("pg_wal", fmt.Sprintf("%08X.history", timeline))
	text, err := from.ReadFile(ctx, path.Join(from.Layout().DataDir, history))
	if err == nil {
		err = to.WriteFile(ctx, path.Join(to.Layout().DataDir, history), text, 0o600)
	}
	if err != nil {
		return false, fmt.Errorf("copying the history of timeline %d: %w", timeline, err)
	}
	return true, nil
}

func flushed(ctx context.Context, c *Control) (appliance.LSN, error) {
	var text string
	if err := c.row(ctx, "SELECT pg_current_wal_flush_lsn()::text", nil, &text); err != nil {
		return 0, err
	}
	return appliance.ParseLSN(text)
}

// passSegment has the primary write WAL until the segment is full. pg_switch_wal does
// nothing in a segment that has no record yet.
func passSegment(ctx context.Context, c *Control, segment appliance.LSN) error {
	for {
		at, err := flushed(ctx, c)
		if err != nil || at > segment+walSegment {
			return err
		}
		if err := Write(ctx, c); err != nil {
			return err
		}
		if at < segment+walSegment {
			if err := c.exec(ctx, "SELECT pg_switch_wal()"); err != nil {
				return fmt.Errorf("moving the primary on to another WAL segment: %w", err)
			}
		}
	}
}

// copySegment copies a segment of the primary's WAL to the standbys, as far as the primary
// has flushed it: a standby must not replay what the primary may lose.
func copySegment(ctx context.Context, primary *Control, from Shell, to []Follower, timeline uint32, segment appliance.LSN) error {
	end, err := flushed(ctx, primary)
	if err != nil || end <= segment {
		return err
	}
	name := segmentName(timeline, segment)
	data, err := from.ReadFile(ctx, path.Join(from.Layout().DataDir, "pg_wal", name))
	if err != nil {
		return fmt.Errorf("reading WAL segment %s of the primary: %w", name, err)
	}
	if len(data) != walSegment {
		return appliance.NewProblem(appliance.ErrReplication, "WAL segment %s of the primary has %d bytes, want %d", name, len(data), walSegment)
	}
	if n := end - segment; n < walSegment {
		clear(data[n:])
	}
	var errs []error
	for _, f := range to {
		if err := f.WriteFile(ctx, path.Join(f.Layout().DataDir, "pg_wal", name), data, 0o600); err != nil {
			errs = append(errs, fmt.Errorf("copying WAL segment %s to a standby: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// segmentName is the name of the segment's file.
func segmentName(timeline uint32, segment appliance.LSN) string {
	return fmt.Sprintf("%08X%08X%08X", timeline, uint64(segment)>>32, uint64(segment)%(1<<32)/walSegment)
}
