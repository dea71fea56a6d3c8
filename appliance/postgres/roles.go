package postgres

import (
	"context"
	"fmt"
	"strings"

	"pgapp/appliance"
)

// The table of verify's marker row, in database postgres, never in the user's.
const (
	markerSchema = "pgapp"
	markerTable  = "pgapp.marker"
)

// rolesSQL creates the roles, or resets them to the required attributes. The SET
// keeps the verifiers out of the server's log if a statement fails.
const rolesSQL = `SET log_min_error_statement = panic;
SET synchronous_commit = local;
BEGIN;
DO $do$
DECLARE r text;
BEGIN
	FOREACH r IN ARRAY ARRAY['replicator', 'rewind', 'pgapp', 'app'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I', r);
		END IF;
	END LOOP;
END $do$;
ALTER ROLE replicator NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS REPLICATION LOGIN PASSWORD {replicator};
ALTER ROLE rewind NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION LOGIN PASSWORD {rewind};
-- Verify counts all rows, whatever policies hide of them.
ALTER ROLE pgapp NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS REPLICATION LOGIN PASSWORD {control};
ALTER ROLE app NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION LOGIN PASSWORD {app};

GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean), pg_catalog.pg_stat_file(text, boolean),
	pg_catalog.pg_read_binary_file(text), pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO rewind;

GRANT pg_monitor, pg_checkpoint, pg_read_all_data TO pgapp;
-- To end the replicator's sessions, and no others.
GRANT replicator TO pgapp WITH INHERIT TRUE, SET FALSE;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer), pg_catalog.pg_reload_conf(),
	pg_catalog.pg_wal_replay_pause(), pg_catalog.pg_wal_replay_resume(), pg_catalog.pg_switch_wal() TO pgapp;
GRANT SET, ALTER SYSTEM ON PARAMETER synchronous_standby_names, primary_conninfo, primary_slot_name TO pgapp;

CREATE SCHEMA IF NOT EXISTS pgapp AUTHORIZATION pgapp;
CREATE TABLE IF NOT EXISTS pgapp.marker (
	id integer PRIMARY KEY,
	seq bigint NOT NULL,
	at timestamptz NOT NULL
);
ALTER TABLE pgapp.marker OWNER TO pgapp;
` + promotionSQL + `;
ALTER TABLE ` + promotionTable + ` OWNER TO pgapp;
COMMIT;
`

// EnsureRoles creates the cluster's roles on the primary with their passwords,
// and verify's marker table in database postgres. If database exists, the
// application's role becomes its owner. Only SCRAM verifiers are sent. A repeat
// sets everything again.
func EnsureRoles(ctx context.Context, sh Shell, port int, sec appliance.Secrets, database string) error {
	sql := rolesSQL
	for _, key := range []string{appliance.SecretReplicator, appliance.SecretRewind, appliance.SecretControl, appliance.SecretApp} {
		password := sec.Get(key)
		if password.Empty() {
			return appliance.NewProblem(appliance.ErrInternal, "the cluster has no password for role %q", key)
		}
		sql = strings.Replace(sql, "{"+key+"}", literal(ScramVerifier(password, newSalt())), 1)
	}
	if database != "" {
		sql += ownDatabaseSQL(database)
	}
	sql += accessSQL(database)
	if _, err := SuperuserSQL(ctx, sh, port, "postgres", sql); err != nil {
		return fmt.Errorf("creating the roles: %w", err)
	}
	return nil
}

// ownDatabaseSQL makes the application's role the database's owner.
func ownDatabaseSQL(database string) string {
	return fmt.Sprintf(`SELECT pg_catalog.format('ALTER DATABASE %%I OWNER TO app', datname)
FROM pg_catalog.pg_database WHERE datname = %s AND datdba <> 'app'::regrole
\gexec
`, literal(database))
}
