package rental

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// Token is the position of a client's last write: the timeline of the primary and the
// end of the commit in its write-ahead log. The zero token asks for nothing.
type Token struct {
	Timeline uint32
	LSN      uint64
}

// String writes the token as a cookie holds it: TIMELINE-LSN, in hexadecimal digits.
func (t Token) String() string { return fmt.Sprintf("%x-%x", t.Timeline, t.LSN) }

// ParseToken reads what [Token.String] writes. Any other text is the zero token.
func ParseToken(text string) Token {
	timeline, lsn, _ := strings.Cut(text, "-")
	a, err := strconv.ParseUint(timeline, 16, 32)
	if err != nil {
		return Token{}
	}
	b, err := strconv.ParseUint(lsn, 16, 64)
	if err != nil {
		return Token{}
	}
	return Token{Timeline: uint32(a), LSN: b}
}

// Answer says who answered a request.
type Answer struct {
	// Member is the member's name, or its address if it has none.
	Member string
	// Standby is false where the primary answered.
	Standby bool
	// Wrote is true for a write.
	Wrote bool
	// Behind is how many bytes of the log the member had not replayed yet, as far as the
	// site knows the primary's position.
	Behind uint64
	// Redirected is true where a standby lacked the client's own writes, so that the
	// primary answered.
	Redirected bool
	// Position is the member's position: after a write, the client's token.
	Position Token
	// Attempts is how many attempts it took.
	Attempts int
}

// fresh tells whether a member at this position has what the token names. A primary of a
// newer timeline has all that was kept.
func (a Answer) fresh(t Token) bool {
	if a.Position.Timeline < t.Timeline {
		return false
	}
	return !a.Standby && a.Position.Timeline > t.Timeline || a.Position.LSN >= t.LSN
}

// Counts is how many requests went which way.
type Counts struct {
	Writes, Reads, StandbyReads, Redirected, Retries, Replayed int64
}

type counters struct {
	writes, reads, standbyReads, redirected, retries, replayed atomic.Int64
}

// Counts returns the site's counts since it was opened.
func (s *Site) Counts() Counts {
	c := &s.counts
	return Counts{
		Writes: c.writes.Load(), Reads: c.reads.Load(), StandbyReads: c.standbyReads.Load(),
		Redirected: c.redirected.Load(), Retries: c.retries.Load(), Replayed: c.replayed.Load(),
	}
}

// positionSQL asks a member who and where it is. A standby's timeline is that of its
// stream, or without a stream the one in its control file, which may be older. A
// primary's position is what is flushed: a crash doesn't take it back.
const positionSQL = `SELECT current_setting('cluster_name'), coalesce(host(inet_server_addr()) || ':' || inet_server_port(), ''), pg_is_in_recovery(),
CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
	(SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r))
ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint`

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// position asks the session's member who and where it is.
func (s *Site) position(ctx context.Context, q querier) (Answer, error) {
	var a Answer
	var cluster, address string
	var timeline, lsn int64
	if err := q.QueryRow(ctx, positionSQL).Scan(&cluster, &address, &a.Standby, &timeline, &lsn); err != nil {
		return a, fmt.Errorf("asking for the member's position: %w", err)
	}
	a.Position = Token{Timeline: uint32(timeline), LSN: uint64(lsn)} // #nosec G115 -- neither is negative
	_, a.Member, _ = strings.Cut(cluster, "/")
	if a.Member == "" {
		a.Member = address
	}
	if !a.Standby {
		s.saw(a.Position.LSN)
	} else if newest := s.newest.Load(); newest > a.Position.LSN {
		a.Behind = newest - a.Position.LSN
	}
	return a, nil
}

// saw notes a primary's position.
func (s *Site) saw(lsn uint64) {
	for old := s.newest.Load(); old < lsn && !s.newest.CompareAndSwap(old, lsn); old = s.newest.Load() {
	}
}
