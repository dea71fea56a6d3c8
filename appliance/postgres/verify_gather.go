package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// memberFacts are one member's settings.
type memberFacts struct {
	checksums string
	// parameters are those that may not be lower on a standby than on the primary.
	parameters map[string]int
	// overrides are the owned parameters that another file sets.
	overrides []string
	// collations are the objects with another collation version than the system's.
	collations []string
	// delay is recovery_min_apply_delay.
	delay time.Duration
}

// gather opens the sessions and reads the facts that need no other member.
func (m *subject) gather(ctx context.Context, in VerifyInput) {
	var wg sync.WaitGroup
	var appErr error
	var readable int
	wg.Go(func() { readable, appErr = m.logInAsApplication(ctx, in) })
	wg.Go(func() { m.data, m.dataErr = Connect(ctx, m.Host, m.Port, in.Database, in.Password) })
	m.admin, m.seen, m.err = in.Look(ctx, m.Member)
	if m.err == nil {
		m.facts, m.err = m.admin.facts(ctx)
	}
	wg.Wait()
	m.app = m.applicationVerdict(readable, appErr)
	m.askCollations(ctx)
}

// askCollations asks for the collations that the database uses.
func (m *subject) askCollations(ctx context.Context) {
	if m.err != nil || m.dataErr != nil {
		return
	}
	var used []string
	if used, m.dataErr = m.data.strings(ctx, usedCollationsSQL); m.dataErr == nil {
		m.facts.collations = append(m.facts.collations, used...)
	}
}

// logInAgain repeats the logins that a standby refused before the marker was there: it
// may not have replayed yet what lets them in, as the end of a load does. Whatever the
// primary had before this verification a standby with the marker has too.
func (m *subject) logInAgain(ctx context.Context, in VerifyInput) {
	if !m.app.ok {
		m.app = m.applicationVerdict(m.logInAsApplication(ctx, in))
	}
	if m.dataErr != nil && m.data == nil {
		m.data, m.dataErr = Connect(ctx, m.Host, m.Port, in.Database, in.Password)
		m.askCollations(ctx)
	}
}

const settingsSQL = `SELECT name, setting, coalesce(sourcefile, '') FROM pg_settings
WHERE sourcefile IS NOT NULL OR name IN ('data_checksums', 'recovery_min_apply_delay',
	'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')`

// A database of the builtin provider has a version too, which never changes
// within a major version.
const databaseCollationsSQL = `SELECT format('database %s was made with %s and this system has %s', datname, datcollversion, pg_database_collation_actual_version(oid))
FROM pg_database WHERE datallowconn AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) ORDER BY datname`

// Initdb imports every collation of the system, but only used ones matter. They
// are selected first, since querying ICU for the versions of its hundreds of
// collations takes longer than the rest of verify.
const usedCollationsSQL = `WITH used AS MATERIALIZED (
	SELECT c.oid, c.collname, c.collversion FROM pg_collation c
	WHERE c.oid IN (SELECT a.attcollation FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
		WHERE r.relkind IN ('r', 'i', 'm', 'p', 'I') AND r.oid >= 16384))
SELECT format('collation %s was made with %s and this system has %s', collname, collversion, pg_collation_actual_version(oid))
FROM used WHERE collversion <> pg_collation_actual_version(oid) ORDER BY collname`

func (c *Control) facts(ctx context.Context) (memberFacts, error) {
	f := memberFacts{parameters: map[string]int{}}
	rows, err := c.conn.Query(ctx, settingsSQL)
	if err != nil {
		return f, c.wrap(ctx, err)
	}
	var name, value, sourceFile string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value, &sourceFile}, func() error {
		return f.add(name, value, sourceFile)
	}); err != nil {
		return f, c.wrap(ctx, err)
	}
	f.collations, err = c.strings(ctx, databaseCollationsSQL)
	return f, err
}

// add takes one row of pg_settings.
func (f *memberFacts) add(name, value, sourceFile string) error {
	if base := path.Base(sourceFile); sourceFile != "" && base != ConfFile && appliance.OwnedParameter(name) {
		f.overrides = append(f.overrides, name+" is set in "+base)
	}
	switch name {
	case "data_checksums":
		f.checksums = value
	case delayParameter:
		ms, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("reading parameter %s: %w", name, err)
		}
		f.delay = time.Duration(ms) * time.Millisecond
	case "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("reading parameter %s: %w", name, err)
		}
		f.parameters[name] = n
	}
	return nil
}

// strings reads a query's single text column.
func (c *Control) strings(ctx context.Context, sql string) ([]string, error) {
	rows, err := c.conn.Query(ctx, sql)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, c.wrap(ctx, err)
}

// writeMarker writes verify's row and returns its sequence number once the row
// is on the primary's disk. The number consists of time and random bits, so that
// it doesn't repeat after a restore of the primary's disk. It only grows, so that
// several verifications may run at once.
func (c *Control) writeMarker(ctx context.Context) (int64, error) {
	var seq int64
	err := c.row(ctx, `INSERT INTO `+markerTable+` AS m (id, seq, at) VALUES (1, `+uniqueSeq+`, now())
ON CONFLICT (id) DO UPDATE SET seq = greatest(m.seq + 1, excluded.seq), at = now() RETURNING seq`, nil, &seq)
	return seq, err
}

// uniqueSeq is microseconds since 1970 and twelve random bits.
const uniqueSeq = "floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 4096 + floor(random() * 4096)::bigint"

const markerPoll = 2 * time.Millisecond

// prove tests on a standby that the marker arrives and that a write is refused.
func (m *subject) prove(ctx context.Context, in VerifyInput, marker int64) {
	if m.err != nil {
		return
	}
	if marker > 0 {
		m.marker = m.awaitMarker(ctx, marker)
		if !m.marker.ok {
			m.marker.detail += m.heldUp(ctx)
		}
	}
	if m.marker.ok {
		m.logInAgain(ctx, in)
	}
	m.refused = m.tryWrite(ctx)
}

func (m *subject) awaitMarker(ctx context.Context, marker int64) verdict {
	limit := m.replayLimit()
	ctx, cancel := context.WithTimeout(ctx, limit+connectTimeout)
	defer cancel()
	start, got := time.Now(), int64(0)
	err := wait.Until(ctx, markerPoll, func(ctx context.Context) (bool, error) {
		err := m.admin.row(ctx, "SELECT coalesce(max(seq), 0) FROM "+markerTable, nil, &got)
		if hasState(err, stateNoTable) {
			err = nil
		}
		return got >= marker || time.Since(start) >= limit, err
	})
	switch {
	case err != nil:
		return fail("the marker row can't be read: %v", err)
	case got < marker && m.delayed():
		return excuse("verify did not wait for marker row %d of the primary: %s; the newest row here is %d", marker, m.delayText(), got)
	case got < marker:
		return fail("marker row %d of the primary is missing after %s; the newest row here is %d", marker, limit, got)
	}
	return pass("marker row %d of the primary was here within %d ms", marker, time.Since(start).Milliseconds()+1)
}

// paused tells whether replay is paused.
func (m *subject) paused() bool { return m.seen.PauseState != "" && m.seen.PauseState != "not paused" }

// tryWrite tries a write, in a transaction that is rolled back if the write
// succeeds.
func (m *subject) tryWrite(ctx context.Context) verdict {
	tx, err := m.admin.conn.Begin(ctx)
	if err != nil {
		return fail("a test write can't begin: %v", m.admin.wrap(ctx, err))
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+markerTable+" (id, seq, at) VALUES (0, 0, now()) ON CONFLICT (id) DO NOTHING")
	if rollback := tx.Rollback(ctx); rollback != nil && err == nil {
		err = rollback
	}
	switch {
	case err == nil:
		return fail("a write succeeded, so the server is not a standby")
	case hasState(err, stateReadOnly):
		return pass("a write was refused with SQLSTATE %s", stateReadOnly)
	}
	return fail("a write was refused for another reason: %v", m.admin.wrap(ctx, err))
}

// why is an error as a check's detail: of a server's error, only its message.
func why(err error) string {
	var s *ServerError
	if errors.As(err, &s) {
		return s.Error()
	}
	return fmt.Sprint(err)
}
