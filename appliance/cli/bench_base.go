package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// benchBase is the bench's database.
type benchBase struct {
	drillCommands
	api *api.Client
}

// benchMark marks a database that a bench has made.
const benchMark = "made by pgapp bench, which removes it"

// foreignBaseSQL fails where the database is not one that a bench has made. A killed bench
// may have left it before it was marked: then it is empty.
const foreignBaseSQL = `DO $do$ BEGIN
IF coalesce(pg_catalog.shobj_description((SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()), 'pg_database'), '') <> '` + benchMark + `'
	AND EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
		WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')) THEN
	RAISE 'it has tables that no bench has made';
END IF;
END $do$`

// busyBaseSQL fails where somebody works in the database.
const busyBaseSQL = `DO $do$ BEGIN
IF EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()
	AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()) THEN
	RAISE 'another bench works in it';
END IF;
END $do$`

// create makes the database, with a copy of the cluster's. One that a killed bench has
// left is removed before.
func (b benchBase) create(ctx context.Context, database string) error {
	if b.sql(ctx, appliance.BenchDatabase, "SELECT 1") == nil {
		if err := b.free(ctx); err != nil {
			return appliance.NewProblem(appliance.ErrConflict, "no bench: there is a database %s: %w", appliance.BenchDatabase, err).
				WithHint("the bench needs that name: wait for the other bench, or rename the database")
		}
		b.note("removing the database that an earlier bench has left")
		if err := b.drop(ctx); err != nil {
			return err
		}
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	return b.fill(ctx, database)
}

// begin makes the empty database with its mark, also after ctx has ended: the server might
// finish a creation that was interrupted after the database was removed.
func (b benchBase) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchLeave)
	defer cancel()
	for _, statement := range []string{
		"CREATE DATABASE " + appliance.BenchDatabase + " OWNER app TEMPLATE template0",
		"COMMENT ON DATABASE " + appliance.BenchDatabase + " IS '" + benchMark + "'",
	} {
		if err := b.sql(ctx, "postgres", statement); err != nil {
			return err
		}
	}
	return nil
}

// busyLimit bounds the wait for the end of a killed bench's sessions.
const busyLimit = 5 * time.Second

// free tells whether the database may be removed.
func (b benchBase) free(ctx context.Context) error {
	if err := b.sql(ctx, appliance.BenchDatabase, foreignBaseSQL); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, busyLimit)
	defer cancel()
	var last error
	err := wait.Until(limited, pollEvery, func(context.Context) (bool, error) {
		last = b.sql(ctx, appliance.BenchDatabase, busyBaseSQL)
		return last == nil, nil
	})
	if err != nil {
		return last
	}
	return nil
}

func (b benchBase) drop(ctx context.Context) error {
	return b.sql(ctx, "postgres", "DROP DATABASE IF EXISTS "+appliance.BenchDatabase+" WITH (FORCE)")
}

// fillSQL is what psql runs where the primary is: it copies the tables in one transaction.
// A copy that breaks off ends in an error, since the shell knows only how psql ended.
const fillSQL = `\! { PGDATABASE=%[1]s %[2]s --no-owner --no-privileges --exclude-schema pgapp_rental || echo 'DO $do$ BEGIN RAISE $m$pg_dump failed$m$; END $do$;'; } | PGDATABASE=%[3]s %[4]s -XAtq -1 -v ON_ERROR_STOP=1 -c 'SET ROLE app' -f - > /dev/null`

// filledSQL fails where the copy is not there.
const filledSQL = `DO $do$ BEGIN IF pg_catalog.to_regclass('public.rental') IS NULL THEN RAISE 'the tables are not there'; END IF; END $do$`

// fill copies the tables of the cluster's database by pg_dump of the primary's machine.
func (b benchBase) fill(ctx context.Context, database string) error {
	conn, err := b.api.Connection(ctx, b.cluster, roleAdmin, false)
	if err != nil {
		return err
	}
	at := conn.Hosts[0].Local
	if at == nil {
		return appliance.NewProblem(appliance.ErrInternal, "the daemon does not say where %s runs", conn.Hosts[0].Member)
	}
	dump := filepath.Join(filepath.Dir(at.Psql), "pg_dump")
	pipe := fmt.Sprintf(fillSQL, shellQuote(database), shellQuote(dump), appliance.BenchDatabase, shellQuote(at.Psql))
	err = b.self(ctx, "psql", "--role", roleAdmin, "--", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", appliance.BenchDatabase,
		"-c", pipe, "-c", filledSQL, "-c", "ANALYZE")
	if err != nil {
		return fmt.Errorf("copying the tables of database %q: %w", database, err)
	}
	return nil
}
