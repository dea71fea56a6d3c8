package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// madeSQL lists the objects created since the load began: those that are not in
// the mark's arrays.
const madeSQL = `CREATE TEMPORARY VIEW made AS
	SELECT 'database' AS kind, d.datname AS name FROM pg_catalog.pg_database d, pgapp.load l
		WHERE l.database = {db} AND (d.datname = {db} OR NOT d.oid = ANY (l.databases))
	UNION ALL SELECT 'tablespace', t.spcname FROM pg_catalog.pg_tablespace t, pgapp.load l
		WHERE l.database = {db} AND NOT t.oid = ANY (l.tablespaces)
	UNION ALL SELECT 'role', a.rolname FROM pg_catalog.pg_authid a, pgapp.load l
		WHERE l.database = {db} AND NOT a.oid = ANY (l.roles) AND a.rolname NOT IN ('replicator', 'rewind', 'pgapp', 'app');
`

// undoSQL drops these objects as far as possible, and lists the rest. {others}
// tells whether it drops more than the database itself.
const undoSQL = `SET client_min_messages = error;
SET statement_timeout = 0;
\set ON_ERROR_STOP off
` + madeSQL + `SELECT pg_catalog.format('DROP DATABASE IF EXISTS %I WITH (FORCE)', name) FROM made WHERE kind = 'database' AND (name = {db} OR {others})
\gexec
SELECT pg_catalog.format('DROP TABLESPACE %I', name) FROM made WHERE kind = 'tablespace' AND {others}
\gexec
SELECT pg_catalog.format('DROP OWNED BY %I CASCADE', name) FROM made WHERE kind = 'role' AND {others}
\gexec
SELECT pg_catalog.format('DROP ROLE %I', name) FROM made WHERE kind = 'role' AND {others}
\gexec
\set ON_ERROR_STOP on
SELECT kind || ' "' || name || '"' FROM made ORDER BY 1;
DELETE FROM pgapp.load WHERE database = {db} AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {db});
`

// preparedSQL rolls back prepared transactions, which would prevent a DROP
// DATABASE.
const preparedSQL = `SELECT pg_catalog.format('ROLLBACK PREPARED %L', gid) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()
\gexec
`

// undo drops the objects of an unfinished load and returns the names of those
// that remain. A repeat is safe.
func (l *loader) undo(ctx context.Context) (left []string, err error) {
	out, err := l.sql(ctx, loadLockSQL+"SELECT pg_catalog.to_regclass('"+loadTable+"') IS NOT NULL;\n"+
		"SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = {db};\n")
	if err != nil {
		return nil, fmt.Errorf("inspecting the unfinished load: %w", err)
	}
	marks, prepared, _ := strings.Cut(out, "\n")
	if marks != "t" {
		return nil, nil
	}
	if prepared != "0" {
		if _, err := SuperuserSQL(ctx, l.sh, l.port, l.o.Database, preparedSQL); err != nil {
			return nil, fmt.Errorf("ending the prepared transactions of the unfinished load: %w", err)
		}
	}
	sql := strings.ReplaceAll(undoSQL, "{others}", fmt.Sprint(l.o.Alone))
	out, err = l.sql(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("dropping the unfinished database: %w", err)
	}
	if out != "" {
		left = strings.Split(out, "\n")
	}
	if l.identifier == "" {
		return left, nil // the load failed before its first file
	}
	if out, err = l.sql(ctx, besideSQL); err != nil {
		return left, fmt.Errorf("listing the objects in database %q: %w", MaintenanceDatabase, err)
	}
	for _, o := range strings.Split(out, "\n") {
		if o != "" && !slices.Contains(l.beside, o) {
			left = append(left, o+" in database "+MaintenanceDatabase)
		}
	}
	return left, nil
}
