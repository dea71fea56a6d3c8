package postgres

import (
	"context"
	"fmt"
	"strings"
)

// loadTable, in database postgres, records for each database of pgapp whether it
// is loaded. Its arrays hold the cluster's objects before the load, so that a
// failed or killed load can be undone.
const loadTable = "pgapp.load"

// LoadState is the state of a database's load.
type LoadState string

// The states. A database without a mark is absent, was not created by pgapp, or
// was loaded by a release without marks.
const (
	LoadAbsent     LoadState = "absent"
	LoadForeign    LoadState = "foreign"
	LoadUnfinished LoadState = "unfinished"
	LoadFinished   LoadState = "finished"
)

// loadState derives the state from the database's existence and the mark, which
// is none, begun or done. A loaded database that was dropped is loaded again.
func loadState(exists bool, mark string) LoadState {
	switch {
	case mark == "begun":
		return LoadUnfinished
	case !exists:
		return LoadAbsent
	case mark == "done":
		return LoadFinished
	}
	return LoadForeign
}

const loadExistsSQL = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {db}), pg_catalog.to_regclass('" + loadTable + "') IS NOT NULL"

const loadMarkSQL = "SELECT coalesce((SELECT CASE WHEN finished IS NULL THEN 'begun' ELSE 'done' END FROM " + loadTable + " WHERE database = {db}), 'none')"

// LoadState observes the state of the database's load, in a session to the
// primary's maintenance database.
func (c *Control) LoadState(ctx context.Context, database string) (LoadState, error) {
	var exists, marks bool
	mark := "none"
	err := c.row(ctx, forDatabase(loadExistsSQL, database), nil, &exists, &marks)
	if err == nil && marks {
		err = c.row(ctx, forDatabase(loadMarkSQL, database), nil, &mark)
	}
	if err != nil {
		return "", fmt.Errorf("asking whether database %q is loaded: %w", database, err)
	}
	return loadState(exists, mark), nil
}

// forDatabase inserts the database's name as a literal and as an identifier.
func forDatabase(sql, database string) string {
	return strings.NewReplacer("{db}", literal(database), "{ident}", identifier(database)).Replace(sql)
}

func (l *loader) sql(ctx context.Context, sql string) (string, error) {
	return SuperuserSQL(ctx, l.sh, l.port, MaintenanceDatabase, forDatabase(sql, l.o.Database))
}

// state is LoadState over the unix socket.
func (l *loader) state(ctx context.Context) (LoadState, error) {
	out, err := l.sql(ctx, loadLockSQL+loadExistsSQL+";\n")
	if err != nil {
		return "", fmt.Errorf("looking for database %q: %w", l.o.Database, err)
	}
	mark := "none"
	exists, marks, _ := strings.Cut(out, "|")
	if marks == "t" {
		if mark, err = l.sql(ctx, loadMarkSQL+";\n"); err != nil {
			return "", fmt.Errorf("reading the load mark of database %q: %w", l.o.Database, err)
		}
	}
	return loadState(exists == "t", mark), nil
}

// besideSQL lists the objects in database postgres that are neither
// PostgreSQL's nor pgapp's.
const besideSQL = `SELECT pg_catalog.pg_describe_object(o.class, o.oid, 0) FROM (
	SELECT 'pg_catalog.pg_class'::regclass, oid, relnamespace FROM pg_catalog.pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
	UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, oid FROM pg_catalog.pg_namespace
	UNION ALL SELECT 'pg_catalog.pg_extension'::regclass, oid, 0 FROM pg_catalog.pg_extension) o (class, oid, schema)
WHERE o.oid >= 16384 AND coalesce((SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = o.schema), '') !~ '^(pg_.*|information_schema|pgapp)$'
ORDER BY 1;
`

// loadLockSQL waits until no other session begins a load. A session whose psql was killed
// goes on with its statement: a CREATE DATABASE in the middle is invisible to the others, so
// that they would remove the mark of a database which is there a moment later.
const loadLockSQL = `SET lock_timeout = 0;
SET statement_timeout = 0;
DO $do$ BEGIN PERFORM pg_catalog.pg_advisory_lock(pg_catalog.hashtext('pgapp_load')); END $do$;
RESET lock_timeout;
RESET statement_timeout;
`

// beginSQL marks the load as begun, with the cluster's present objects, and then
// creates the database, to which only superusers can connect.
const beginSQL = loadLockSQL + `DROP DATABASE IF EXISTS {scratch} WITH (FORCE);
CREATE TABLE IF NOT EXISTS pgapp.load (
	database name PRIMARY KEY,
	began timestamptz NOT NULL,
	finished timestamptz,
	roles oid[] NOT NULL DEFAULT '{}',
	databases oid[] NOT NULL DEFAULT '{}',
	tablespaces oid[] NOT NULL DEFAULT '{}'
);
ALTER TABLE pgapp.load OWNER TO pgapp;
DELETE FROM pgapp.load WHERE database = {db};
INSERT INTO pgapp.load VALUES ({db}, pg_catalog.now(), NULL,
	ARRAY(SELECT oid FROM pg_catalog.pg_authid), ARRAY(SELECT oid FROM pg_catalog.pg_database), ARRAY(SELECT oid FROM pg_catalog.pg_tablespace));
CREATE DATABASE {ident} OWNER app TEMPLATE template0 ENCODING 'UTF8'{locale} CONNECTION LIMIT 0;
SELECT system_identifier FROM pg_catalog.pg_control_system();
` + besideSQL

func (l *loader) begin(ctx context.Context) error {
	sql := strings.NewReplacer("{scratch}", identifier(scratchName(l.o.Database)), "{locale}", localeClause(l.o.Locale)).Replace(beginSQL)
	out, err := l.sql(ctx, sql)
	if err != nil {
		return fmt.Errorf("creating database %q: %w", l.o.Database, err)
	}
	lines := strings.Split(out, "\n")
	l.identifier, l.beside = lines[0], lines[1:]
	return nil
}

// finishSQL opens the database and marks it as loaded, in one transaction. A
// connection limit set by a file stays.
const finishSQL = `BEGIN;
DO $do$ BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {db} AND datconnlimit = 0) THEN
		ALTER DATABASE {ident} CONNECTION LIMIT -1;
	END IF;
END $do$;
ALTER DATABASE {ident} OWNER TO app;
GRANT CONNECT, TEMPORARY ON DATABASE {ident} TO app;
GRANT CONNECT ON DATABASE {ident} TO pgapp;
UPDATE pgapp.load SET finished = pg_catalog.now(), roles = '{}', databases = '{}', tablespaces = '{}' WHERE database = {db};
COMMIT;
`

func (l *loader) finish(ctx context.Context) error {
	if _, err := l.sql(ctx, finishSQL); err != nil {
		return fmt.Errorf("opening the loaded database %q: %w", l.o.Database, err)
	}
	return nil
}
