package postgres

import (
	"context"
	"fmt"
	"strings"
)

// loadTable, in database postgres, says of each database that pgapp makes
// whether it is loaded. The arrays are what the cluster held before the load,
// so that a load that failed or was killed can be undone.
const loadTable = "pgapp.load"

// LoadState is how far a database is.
type LoadState string

// The states. A database without a mark is absent, or is not of pgapp's making,
// or was loaded by a release that gave no marks.
const (
	LoadAbsent     LoadState = "absent"
	LoadForeign    LoadState = "foreign"
	LoadUnfinished LoadState = "unfinished"
	LoadFinished   LoadState = "finished"
)

// loadState judges what is there and what the mark says: none, begun or done.
// A finished load whose database was dropped has to be done again.
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

// LoadState observes how far the database is, in a session to the primary's
// maintenance database.
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

// forDatabase puts the name, as a literal, in its places.
func forDatabase(sql, database string) string {
	return strings.NewReplacer("{db}", literal(database), "{ident}", identifier(database)).Replace(sql)
}

func (l *loader) sql(ctx context.Context, sql string) (string, error) {
	return SuperuserSQL(ctx, l.sh, l.port, MaintenanceDatabase, forDatabase(sql, l.o.Database))
}

// state is LoadState over the unix socket.
func (l *loader) state(ctx context.Context) (LoadState, error) {
	out, err := l.sql(ctx, loadExistsSQL+";\n")
	if err != nil {
		return "", fmt.Errorf("looking for database %q: %w", l.o.Database, err)
	}
	mark := "none"
	exists, marks, _ := strings.Cut(out, "|")
	if marks == "t" {
		if mark, err = l.sql(ctx, loadMarkSQL+";\n"); err != nil {
			return "", fmt.Errorf("looking for the mark of database %q: %w", l.o.Database, err)
		}
	}
	return loadState(exists == "t", mark), nil
}

// besideSQL describes what database postgres holds that is neither
// PostgreSQL's nor pgapp's.
const besideSQL = `SELECT pg_catalog.pg_describe_object(o.class, o.oid, 0) FROM (
	SELECT 'pg_catalog.pg_class'::regclass, oid, relnamespace FROM pg_catalog.pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_catalog.pg_proc
	UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, oid FROM pg_catalog.pg_namespace
	UNION ALL SELECT 'pg_catalog.pg_extension'::regclass, oid, 0 FROM pg_catalog.pg_extension) o (class, oid, schema)
WHERE o.oid >= 16384 AND coalesce((SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = o.schema), '') !~ '^(pg_.*|information_schema|pgapp)$'
ORDER BY 1;
`

// beginSQL marks the load as begun, with what is in the cluster, and then makes
// the database, into which only superusers get.
const beginSQL = `DROP DATABASE IF EXISTS {scratch} WITH (FORCE);
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
		return fmt.Errorf("making database %q: %w", l.o.Database, err)
	}
	lines := strings.Split(out, "\n")
	l.identifier, l.beside = lines[0], lines[1:]
	return nil
}

// finishSQL opens the database and marks it as loaded, at once. A connection
// limit that a file has set stays.
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
