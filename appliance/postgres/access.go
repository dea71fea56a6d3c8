package postgres

import (
	"context"
	"fmt"
	"strings"
)

// accessTemplate grants the cluster's roles the privileges that they use, so
// that none depends on PUBLIC. It skips databases that don't exist.
const accessTemplate = `SET synchronous_commit = local;
SELECT pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', d.datname, w.role)
FROM {wanted} JOIN pg_catalog.pg_database d ON d.datname = w.db
\gexec
GRANT USAGE ON SCHEMA pg_catalog, information_schema TO pgapp, rewind, app;
GRANT pg_read_all_stats TO app;
GRANT USAGE ON SCHEMA pgapp TO pgapp;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE pgapp.marker TO pgapp;
`

// wantedAccess lists which role connects to which database.
func wantedAccess(database string) string {
	return fmt.Sprintf("(VALUES ('pgapp', 'postgres'), ('rewind', 'postgres'), ('pgapp', %[1]s), ('app', %[1]s)) w(role, db)", literal(database))
}

func accessSQL(database string) string {
	return strings.Replace(accessTemplate, "{wanted}", wantedAccess(database), 1)
}

// EnsureAccess grants the cluster's roles on the primary the privileges that
// they use, CONNECT to the database included. A repeat does nothing.
func EnsureAccess(ctx context.Context, sh Shell, port int, database string) error {
	if _, err := SuperuserSQL(ctx, sh, port, MaintenanceDatabase, accessSQL(database)); err != nil {
		return fmt.Errorf("granting the roles their access: %w", err)
	}
	return nil
}

// HasAccess tells whether [EnsureAccess] has nothing left to grant.
func HasAccess(ctx context.Context, c *Control, database string) (bool, error) {
	var ok bool
	err := c.row(ctx, `SELECT pg_has_role('app', 'pg_read_all_stats', 'USAGE') AND NOT EXISTS (
	SELECT FROM `+wantedAccess(database)+` JOIN pg_database d ON d.datname = w.db
	WHERE NOT EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = w.role::regrole AND a.privilege_type = 'CONNECT'))
AND NOT EXISTS (SELECT FROM unnest(ARRAY['pgapp', 'rewind', 'app']) r, pg_namespace n WHERE n.nspname = 'pg_catalog'
	AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = r::regrole AND a.privilege_type = 'USAGE'))`, nil, &ok)
	return ok, err
}
