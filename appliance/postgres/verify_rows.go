package postgres

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// countTries is how often rows are counted until the primary was still
	// meanwhile: a first count may write hint bits, which moves its LSN.
	countTries = 3
	// countBytes is how much of a database is read to count it, the smallest
	// tables first.
	countBytes = 512 << 20
	countChunk = 200
	// longHeader is the most by which the insert position is ahead of the
	// flushed one while nothing is unflushed: a page header.
	longHeader = 40
)

// tableCount is what a member has of the user's tables.
type tableCount struct {
	// sizes has every table; rows those that were counted.
	sizes map[string]int64
	rows  map[string]int64
	// snapshot is the pg_snapshot that they were counted in.
	snapshot string
}

// countRows compares the rows of all tables of the user's database. Counts are
// compared only where the primary's LSN stood still; else the check is skipped.
func (v *verification) countRows(ctx context.Context) {
	standbys := v.countable()
	for try := 0; try < countTries && len(standbys) > 0; try++ {
		if try > 0 {
			// It flushes what was committed asynchronously meanwhile.
			if _, err := v.primary.admin.writeMarker(ctx); err != nil {
				return
			}
		}
		v.countOnce(ctx, standbys)
		var again []*subject
		for _, m := range standbys {
			if !m.rows.ok || m.rows.skipped {
				again = append(again, m)
			}
		}
		standbys = again
	}
}

// countable lists the standbys whose rows can be counted, and gives the others
// their verdicts.
func (v *verification) countable() []*subject {
	if v.primary == nil || v.primary.err != nil {
		return nil
	}
	var out []*subject
	for _, m := range v.standbys() {
		switch {
		case m.err != nil:
		case v.primary.dataErr != nil:
			m.rows = fail("the primary's database can't be asked: %s", why(v.primary.dataErr))
		case m.dataErr != nil:
			m.rows = fail("the database can't be asked: %s", why(m.dataErr))
		case v.markerErr != nil:
			m.rows = skip("nothing can be written on the primary")
		default:
			out = append(out, m)
		}
	}
	return out
}

// countOnce counts on the primary and on every standby, within one snapshot
// each.
func (v *verification) countOnce(ctx context.Context, standbys []*subject) {
	all := func(r verdict) {
		for _, m := range standbys {
			m.rows = r
		}
	}
	before, err := v.primary.data.position(ctx)
	if err != nil {
		all(countError(err, "on the primary"))
		return
	}
	want, err := v.primary.data.countTables(ctx, nil)
	if err != nil {
		all(countError(err, "on the primary"))
		return
	}
	v.each(standbys, func(m *subject) { m.rows = m.compareRows(ctx, before, want) })
	after, err := v.primary.data.position(ctx)
	if err != nil {
		all(countError(err, "on the primary"))
		return
	}
	if before.unflushed || after.insert != before.insert {
		all(skip("the primary was written to meanwhile"))
	}
}

// walPosition is where the primary's WAL stands.
type walPosition struct {
	insert, flushed string
	// unflushed is set where there is WAL that standbys can't have yet.
	unflushed bool
}

func (c *Control) position(ctx context.Context) (walPosition, error) {
	var p walPosition
	err := c.row(ctx, `SELECT i::text, f::text, pg_wal_lsn_diff(i, f) > $1
FROM pg_current_wal_flush_lsn() f, pg_current_wal_insert_lsn() i`, []any{longHeader}, &p.insert, &p.flushed, &p.unflushed)
	return p, err
}

func (m *subject) compareRows(ctx context.Context, at walPosition, want tableCount) verdict {
	caughtUp, err := m.awaitReplay(ctx, at.flushed)
	if err != nil {
		return countError(err, "here")
	}
	got, err := m.data.countTables(ctx, want.rows)
	if err != nil {
		return countError(err, "here")
	}
	different := want.differences(got)
	if len(different) > 0 {
		ahead, err := m.data.committedSince(ctx, want.snapshot)
		if err != nil {
			return countError(err, "here")
		}
		if ahead {
			return skip("a transaction is being committed on the primary")
		}
	}
	switch {
	case len(different) > 0 && !caughtUp:
		return fail("it has not replayed %s: %s", at.flushed, sentence(different))
	case len(different) > 0:
		return fail("%s", sentence(different))
	case !caughtUp:
		return skip("it has not replayed %s", at.flushed)
	}
	var total int64
	for _, n := range want.rows {
		total += n
	}
	detail := fmt.Sprintf("%d rows in %d tables, as on the primary", total, len(want.rows))
	if left := len(want.sizes) - len(want.rows); left > 0 {
		detail += fmt.Sprintf("; %d more are too large to count", left)
	}
	return pass("%s", detail)
}

// committedSince tells whether transactions have ended here that had not in the
// primary's snapshot: a standby may show one before the primary does, which
// flushes the commit's record first, waits for synchronous standbys, and then
// lets others see it (RecordTransactionCommit and CommitTransaction in xact.c).
// A snapshot's xmax follows the last that ended, so that one under way is either
// listed or not below xmax. verify's marker ended on the primary before.
func (c *Control) committedSince(ctx context.Context, snapshot string) (bool, error) {
	var ahead bool
	err := c.row(ctx, `WITH s(here, primary_) AS (SELECT pg_snapshot_xmax(pg_current_snapshot()), $1::text::pg_snapshot)
SELECT here > pg_snapshot_xmax(primary_) OR EXISTS (
	SELECT FROM pg_snapshot_xip(primary_) x WHERE CASE WHEN x < here THEN pg_xact_status(x) = 'committed' END)
FROM s`, []any{snapshot}, &ahead)
	return ahead, err
}

// awaitReplay waits until the standby has replayed the position, as long as
// verify waits for anything. A standby that doesn't show the marker was waited
// for already.
func (m *subject) awaitReplay(ctx context.Context, lsn string) (bool, error) {
	limit := replayWait
	if m.paused() || !m.marker.ok {
		limit = 0
	}
	start, there := time.Now(), false
	err := poll(ctx, markerPoll, func() (bool, error) {
		err := m.data.row(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", []any{lsn}, &there)
		return there || time.Since(start) >= limit, err
	})
	return there, err
}

func countError(err error, where string) verdict {
	for _, passing := range []string{stateLockTimeout, stateCanceled, stateConflict} {
		if hasState(err, passing) {
			return skip("the rows can't be counted %s for now: %s", where, why(err))
		}
	}
	return fail("the rows can't be counted %s: %s", where, why(err))
}

// Unlogged and temporary tables are not replicated.
const tablesSQL = `SELECT format('%I.%I', n.nspname, c.relname), pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated
	AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`

// countTables counts within one snapshot the rows of the tables in only, or,
// where it is nil, of the smallest that make up countBytes.
func (c *Control) countTables(ctx context.Context, only map[string]int64) (tableCount, error) {
	t := tableCount{sizes: map[string]int64{}, rows: map[string]int64{}}
	tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return t, c.wrap(ctx, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // it only read
	if err := tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&t.snapshot); err != nil {
		return t, c.wrap(ctx, err)
	}
	rows, err := tx.Query(ctx, tablesSQL)
	if err != nil {
		return t, c.wrap(ctx, err)
	}
	var name string
	var size int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &size}, func() error {
		t.sizes[name] = size
		return nil
	}); err != nil {
		return t, c.wrap(ctx, err)
	}
	names := t.toCount(only)
	for len(names) > 0 {
		n := min(len(names), countChunk)
		if err := countChunkOf(ctx, tx, names[:n], t.rows); err != nil {
			return t, c.wrap(ctx, err)
		}
		names = names[n:]
	}
	return t, nil
}

// toCount chooses the tables to count.
func (t tableCount) toCount(only map[string]int64) []string {
	names := make([]string, 0, len(t.sizes))
	for n := range t.sizes {
		if _, asked := only[n]; asked || only == nil {
			names = append(names, n)
		}
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := t.sizes[names[i]], t.sizes[names[j]]
		return a < b || a == b && names[i] < names[j]
	})
	if only != nil {
		return names
	}
	budget := int64(countBytes)
	for i, n := range names {
		if budget -= t.sizes[n]; budget < 0 {
			return names[:i]
		}
	}
	return names
}

// countChunkOf asks for many tables at once. The names come quoted from
// PostgreSQL's own format().
func countChunkOf(ctx context.Context, tx pgx.Tx, names []string, into map[string]int64) error {
	parts := make([]string, 0, len(names))
	for i, n := range names {
		parts = append(parts, fmt.Sprintf("SELECT %d, count(*) FROM ONLY %s", i, n))
	}
	rows, err := tx.Query(ctx, strings.Join(parts, " UNION ALL "))
	if err != nil {
		return err
	}
	var i int
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&i, &n}, func() error {
		if i < 0 || i >= len(names) {
			return errors.New("PostgreSQL counted a table that wasn't asked for")
		}
		into[names[i]] = n
		return nil
	})
	return err
}

// differences tells how a standby's tables differ from the primary's.
func (t tableCount) differences(standby tableCount) []string {
	var out []string
	for name := range t.sizes {
		if _, ok := standby.sizes[name]; !ok {
			out = append(out, name+" is missing")
		}
	}
	for name := range standby.sizes {
		if _, ok := t.sizes[name]; !ok {
			out = append(out, name+" is not on the primary")
		}
	}
	for name, want := range t.rows {
		if got, ok := standby.rows[name]; ok && got != want {
			out = append(out, fmt.Sprintf("%s has %d rows, and %d on the primary", name, got, want))
		}
	}
	sort.Strings(out)
	return out
}
