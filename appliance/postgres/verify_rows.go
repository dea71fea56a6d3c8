package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgapp/appliance/wait"
)

const (
	// countTries is the least number of counts before rows are called different: a
	// first count may write hint bits, which moves the primary's LSN.
	countTries = 3
	// countPause is the pause between counts of a primary under writes.
	countPause = 50 * time.Millisecond
	// longHeader is the size of a page header, by which the insert position may be
	// ahead of the flushed position with all WAL flushed.
	longHeader = 40
	// countTime bounds the tries.
	countTime = 5 * time.Second
)

// countRows compares the rows of all tables of the user's database. Every other
// try is for a primary at rest, where a difference is a failure. The other tries
// are for a primary under writes, and compare the rows of the transactions that
// one snapshot shows. A table that was equal once is proven. The tries end when
// all tables are proven or the time is over.
func (v *verification) countRows(ctx context.Context) {
	standbys := v.countable()
	for start, try := time.Now(), 0; len(standbys) > 0; try++ {
		v.countOnce(ctx, standbys, try%2 == 1)
		standbys = slices.DeleteFunc(standbys, func(m *subject) bool { return m.rows.ok && !m.rows.skipped })
		undecided := slices.ContainsFunc(standbys, func(m *subject) bool { return m.rows.skipped })
		switch {
		case try+1 < countTries:
		case !undecided && try%2 == 0, time.Since(start) >= countTime:
			return
		default:
			pause(ctx, countPause)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// countable lists the standbys whose rows can be counted, and sets the verdicts
// of the others.
func (v *verification) countable() []*subject {
	if v.primary == nil || v.primary.err != nil {
		return nil
	}
	var out []*subject
	for _, m := range v.standbys() {
		switch {
		case m.err != nil:
		case m.delayed():
			m.rows = excuse("replay is delayed: %s", m.delayText())
		case v.primary.dataErr != nil:
			m.rows = fail("the primary's database can't be queried: %s", why(v.primary.dataErr))
		case m.dataErr != nil:
			m.rows = fail("the database can't be queried: %s", why(m.dataErr))
		case v.markerErr != nil:
			m.rows = skip("the primary can't be written")
		default:
			m.proven = map[string]int64{}
			out = append(out, m)
		}
	}
	return out
}

// countOnce counts on the primary and on every standby at once, in one snapshot
// each.
func (v *verification) countOnce(ctx context.Context, standbys []*subject, written bool) {
	fill := func(err error) {
		for _, m := range standbys {
			m.rows = countError(err, "on the primary")
		}
	}
	p, k, err := v.beginCount(ctx, standbys, written)
	if err != nil {
		fill(err)
		return
	}
	defer k.end(ctx)
	v.each(append(standbys[:len(standbys):len(standbys)], v.primary), func(m *subject) {
		if m == v.primary {
			p.tableCount, err = k.count(ctx, p.known)
			return
		}
		m.takeCount(ctx, p.at.flushed, k.names, p.known)
	})
	if err == nil && !written {
		var after walPosition
		after, err = v.primary.admin.position(ctx)
		p.moved = p.at.unflushed || after.insert != p.at.insert
	}
	if err != nil {
		fill(err)
		return
	}
	if v.tables == nil {
		v.tables, v.tooLarge = p.rows, len(p.sizes)-len(p.rows)
	}
	for _, m := range standbys {
		if m.rows = m.compareRows(ctx, p); m.rows.ok && !m.rows.skipped {
			m.rows = v.allEqual(m)
		}
	}
}

// primaryCount is the primary's count, with which the standbys' are compared.
type primaryCount struct {
	tableCount
	at walPosition
	// known is the snapshot whose transactions' rows are counted separately; ""
	// means none.
	known string
	// moved is set if the primary may have been written meanwhile.
	moved bool
}

// beginCount begins a count of the unproven tables. For a primary at rest, the
// position is read before the snapshot. For a primary under writes it is read
// after: a standby at this position shows everything that the snapshot shows, and
// rows committed in between are counted separately.
func (v *verification) beginCount(ctx context.Context, standbys []*subject, written bool) (p primaryCount, k *counting, err error) {
	p.moved = written
	if !written {
		if p.at, err = v.settledPosition(ctx); err != nil {
			return p, nil, err
		}
	}
	if k, err = v.primary.data.beginCount(ctx, v.unproven(standbys)); err != nil {
		return p, nil, err
	}
	if written {
		p.known = k.found.snapshot
		if p.at, err = v.settledPosition(ctx); err != nil {
			k.end(ctx)
		}
	}
	return p, k, err
}

// settledPosition returns the primary's position. After the first count it writes
// the marker before, which flushes asynchronous commits.
func (v *verification) settledPosition(ctx context.Context) (walPosition, error) {
	if v.tables != nil {
		if _, err := v.primary.admin.writeMarker(ctx); err != nil {
			return walPosition{}, err
		}
	}
	return v.primary.admin.position(ctx)
}

// unproven lists the tables that are not proven yet; nil means all.
func (v *verification) unproven(standbys []*subject) map[string]int64 {
	if v.tables == nil {
		return nil
	}
	out := map[string]int64{}
	for name := range v.tables {
		for _, m := range standbys {
			if _, done := m.proven[name]; !done {
				out[name] = 0
			}
		}
	}
	return out
}

func (v *verification) allEqual(m *subject) verdict {
	var total int64
	for _, n := range m.proven {
		total += n
	}
	detail := fmt.Sprintf("%d rows in %d tables, as on the primary", total, len(m.proven))
	if v.tooLarge > 0 {
		detail += fmt.Sprintf("; %d more are too large to count", v.tooLarge)
	}
	return pass("%s", detail)
}

// walPosition is the primary's position in the WAL.
type walPosition struct {
	insert, flushed string
	// unflushed is set if there is WAL that standbys can't have yet.
	unflushed bool
}

func (c *Control) position(ctx context.Context) (walPosition, error) {
	var p walPosition
	err := c.row(ctx, `SELECT i::text, f::text, pg_wal_lsn_diff(i, f) > $1
FROM pg_current_wal_flush_lsn() f, pg_current_wal_insert_lsn() i`, []any{longHeader}, &p.insert, &p.flushed, &p.unflushed)
	return p, err
}

// standbyCount is a count on a standby.
type standbyCount struct {
	tableCount
	// caughtUp is set if the standby had reached the primary's position before.
	caughtUp bool
	err      error
}

// takeCount counts on the standby once it shows all that the primary's snapshot
// shows.
func (m *subject) takeCount(ctx context.Context, lsn string, names []string, known string) {
	m.count = standbyCount{}
	if m.count.caughtUp, m.count.err = m.awaitReplay(ctx, lsn); m.count.err != nil {
		return
	}
	only := map[string]int64{}
	for _, n := range names {
		only[n] = 0
	}
	k, err := m.data.beginCount(ctx, only)
	if err != nil {
		m.count.err = err
		return
	}
	defer k.end(ctx)
	m.count.tableCount, m.count.err = k.count(ctx, known)
}

func (m *subject) compareRows(ctx context.Context, p primaryCount) verdict {
	got := m.count
	if got.err != nil {
		return countError(got.err, "here")
	}
	for name, n := range p.rows {
		if got.caughtUp && p.equal(got.tableCount, name) {
			m.proven[name] = n
		}
	}
	different := p.differences(got.tableCount, m.proven)
	switch {
	case len(different) == 0 && !got.caughtUp:
		return notProven("the standby has not replayed %s", p.at.flushed)
	case len(different) == 0:
		return pass("")
	case p.moved:
		return notProven("the primary is under writes: %s", sentence(different))
	}
	ahead, err := m.data.committedSince(ctx, p.snapshot)
	switch {
	case err != nil:
		return countError(err, "here")
	case ahead:
		return notProven("a transaction is being committed on the primary: %s", sentence(different))
	case !got.caughtUp:
		return fail("the standby has not replayed %s: %s", p.at.flushed, sentence(different))
	}
	return fail("%s", sentence(different))
}

// committedSince tells whether the standby shows transactions that the primary's
// snapshot doesn't. A standby may show a transaction earlier than the primary,
// which flushes the commit record, waits for synchronous standbys, and only then
// makes the transaction visible (RecordTransactionCommit and CommitTransaction in
// xact.c). A snapshot's xmax follows the last ended transaction, so a running
// transaction is either listed or not below xmax. verify's marker has been
// committed on the primary before.
func (c *Control) committedSince(ctx context.Context, snapshot string) (bool, error) {
	var ahead bool
	err := c.row(ctx, `WITH s(here, primary_) AS (SELECT pg_snapshot_xmax(pg_current_snapshot()), $1::text::pg_snapshot)
SELECT here > pg_snapshot_xmax(primary_) OR EXISTS (
	SELECT FROM pg_snapshot_xip(primary_) x WHERE CASE WHEN x < here THEN pg_xact_status(x) = 'committed' END)
FROM s`, []any{snapshot}, &ahead)
	return ahead, err
}

// awaitReplay waits until the standby has replayed the position, within verify's
// limit. If the standby lacks the marker, verify has waited already.
func (m *subject) awaitReplay(ctx context.Context, lsn string) (bool, error) {
	limit := m.replayLimit()
	if !m.marker.ok {
		limit = 0
	}
	start, there := time.Now(), false
	err := wait.Until(ctx, markerPoll, func(ctx context.Context) (bool, error) {
		err := m.data.row(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", []any{lsn}, &there)
		return there || time.Since(start) >= limit, err
	})
	return there, err
}

func countError(err error, where string) verdict {
	for _, passing := range []string{stateLockTimeout, stateCanceled, stateConflict, stateNoTable} {
		if hasState(err, passing) {
			return notProven("the rows can't be counted %s for now: %s", where, why(err))
		}
	}
	return fail("the rows can't be counted %s: %s", where, why(err))
}
