package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pgapp/appliance"
)

// LoadOptions describe the load of a database.
type LoadOptions struct {
	Database string
	// Files are loaded in this order; without files the database stays empty.
	Files []LoadFile
	// Locale is the database's; "" means the cluster's.
	Locale string
	// Owner loads every file as the application's role.
	Owner bool
	// Alone means that the cluster has no other users yet, so that a failed
	// load's roles, databases and tablespaces are dropped. Otherwise the error
	// only lists them, since they may belong to others.
	Alone bool
	// Check may refuse the loaded database before it is marked as loaded.
	Check func(ctx context.Context) error
}

// LoadFile is one SQL script, as psql reads it, a compressed one, or an archive
// of pg_dump.
type LoadFile struct {
	// Name is the file's name in errors.
	Name string
	Open func() (io.ReadCloser, error)
	// Size in bytes, for the progress; 0 if unknown.
	Size int64
	// AsOwner loads the file as the application's role instead of superuser.
	AsOwner bool
}

// scratchName is the database into which earlier releases loaded; the remains of
// a killed load are dropped.
func scratchName(database string) string {
	const limit = 63
	name := "pgapp_load_" + database
	return name[:min(limit, len(name))]
}

// LoadDatabase creates the database, loads it, and marks it as loaded. Before
// the mark only superusers can connect to the database. A failure drops the
// database, and with Alone everything else that the files created in the
// cluster; after a kill the next load does so. A marked database stays as it is.
// A database that pgapp did not create is a [appliance.Problem] with id
// conflict. An error in a file is one with id sql-failed, with the file, the
// line and PostgreSQL's message.
func LoadDatabase(ctx context.Context, sh Shell, port int, o LoadOptions, report appliance.Report) error {
	l := loader{sh: sh, port: port, o: o, progress: &loadProgress{report: report}}
	state, err := l.state(ctx)
	switch {
	case err != nil:
		return err
	case state == LoadFinished:
		return nil
	case state == LoadForeign:
		return appliance.NewProblem(appliance.ErrConflict, "database %q exists, but pgapp did not load it", o.Database).
			WithHint("drop or rename the database, then run 'pgapp up' again; 'pgapp down --volumes' removes the whole cluster")
	case state == LoadUnfinished:
		if _, err := l.undo(ctx); err != nil {
			return err
		}
	}
	if err := l.load(ctx); err != nil {
		return l.failed(ctx, err)
	}
	return nil
}

// loader is one load of a database.
type loader struct {
	sh       Shell
	port     int
	o        LoadOptions
	progress *loadProgress
	// identifier is the cluster's system identifier.
	identifier string
	// beside lists the user's objects in database postgres before the load.
	beside []string
}

func (l *loader) load(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	for _, f := range l.o.Files {
		l.progress.total += f.Size
	}
	for _, f := range l.o.Files {
		if err := l.file(ctx, f); err != nil {
			return err
		}
	}
	if l.o.Check != nil {
		if err := l.o.Check(ctx); err != nil {
			return err
		}
	}
	if _, err := SuperuserSQL(ctx, l.sh, l.port, l.o.Database, grantSQL); err != nil {
		return fmt.Errorf("granting role app access to the loaded database: %w", err)
	}
	return l.finish(ctx)
}

func localeClause(locale string) string {
	switch {
	case locale == "":
		return ""
	case builtinLocale(locale):
		return " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8'"
	}
	return " LOCALE_PROVIDER libc LOCALE " + literal(locale)
}

// undoTimeout limits the removal of a failed load.
const undoTimeout = 30 * time.Second

// failed undoes the load, even after ctx has ended, and adds the remains to the
// error's hint.
func (l *loader) failed(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	left, undoErr := l.undo(ctx)
	var p *appliance.Problem
	if errors.As(err, &p) && p.ID == appliance.ErrSQL && undoErr == nil {
		hint := p.Hint
		if hint == "" {
			hint = "correct the file, then run 'pgapp up' again"
		}
		what := "nothing of the load was kept"
		if len(left) > 0 {
			what = "the load left: " + strings.Join(left, ", ")
		}
		err = appliance.AsProblem(err).WithHint("%s; %s", hint, what)
	}
	return errors.Join(err, undoErr)
}

// grantSQL grants role app everything in the database that a superuser loaded,
// and analyses the tables as far as possible: a foreign table's server may be
// unreachable. The database's own settings and event triggers are disabled.
const grantSQL = `SET statement_timeout = 0;
SET default_transaction_read_only = off;
SET search_path = pg_catalog;
SET event_triggers = off;
DO $do$
DECLARE s name;
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()) THEN
		RAISE EXCEPTION 'a transaction was prepared and not committed';
	END IF;
	FOR s IN SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE pg_catalog.format('GRANT USAGE, CREATE ON SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL ROUTINES IN SCHEMA %I TO app', s);
	END LOOP;
END $do$;
SELECT pg_catalog.format('GRANT ALL ON LARGE OBJECT %s TO app', oid) FROM pg_catalog.pg_largeobject_metadata
\gexec
\set ON_ERROR_STOP off
ANALYZE;
\if :ERROR
	SELECT pg_catalog.format('ANALYZE %s', oid::regclass) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'm', 'p') AND oid >= 16384
	\gexec
\endif
`

// loadProgress counts the bytes of all files.
type loadProgress struct {
	report      appliance.Report
	done, total int64
}

func (p *loadProgress) add(name string, n int) {
	p.done += int64(n)
	if p.report != nil && n > 0 {
		p.report(appliance.Progress{Detail: strings.ToValidUTF8(name, "?"), BytesDone: p.done, BytesTotal: max(p.total, p.done)})
	}
}
