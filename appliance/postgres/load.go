package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
)

// LoadOptions say what a database is loaded from.
type LoadOptions struct {
	Database string
	// Files are loaded in this order. None: the database stays empty.
	Files []LoadFile
	// Locale is the database's where it isn't the cluster's own.
	Locale string
	// Owner has every file loaded as the application's role.
	Owner bool
}

// LoadFile is one SQL script, as psql reads it.
type LoadFile struct {
	// Name is how errors call it.
	Name string
	Open func() (io.ReadCloser, error)
	// Size in bytes, for the progress; 0 where unknown.
	Size int64
	// AsOwner has it loaded as the application's role, not as superuser.
	AsOwner bool
}

// scratchPrefix marks scratch databases as ours to drop.
const scratchPrefix = "pgapp_load_"

// scratchName is where the database grows: a name that no spec can ask for
// twice, and of a valid length.
func scratchName(database string) string {
	const limit = 63
	name := scratchPrefix + database
	if len(name) > limit {
		name = name[:limit]
	}
	return name
}

// DatabaseExists tells whether the server has a database of that name.
func DatabaseExists(ctx context.Context, sh Shell, port int, name string) (bool, error) {
	out, err := SuperuserSQL(ctx, sh, port, "postgres", "SELECT 1 FROM pg_catalog.pg_database WHERE datname = "+literal(name)+";\n")
	if err != nil {
		return false, fmt.Errorf("looking for database %q: %w", name, err)
	}
	return out == "1", nil
}

// LoadDatabase makes the database and loads it: into a scratch database, which
// is renamed when everything is in. A failure, or a kill, leaves no database
// of that name. What exists already is left as it is. The error is a
// [appliance.Problem] with id sql-failed that names the file, the line and
// PostgreSQL's message.
func LoadDatabase(ctx context.Context, sh Shell, port int, o LoadOptions, report appliance.Report) (err error) {
	exists, err := DatabaseExists(ctx, sh, port, o.Database)
	if err != nil || exists {
		return err
	}
	scratch := scratchName(o.Database)
	create := fmt.Sprintf("DROP DATABASE IF EXISTS %[1]s WITH (FORCE);\nCREATE DATABASE %[1]s OWNER app TEMPLATE template0 ENCODING 'UTF8'%[2]s;\n",
		identifier(scratch), localeClause(o.Locale))
	if _, err := SuperuserSQL(ctx, sh, port, "postgres", create); err != nil {
		return fmt.Errorf("making database %q: %w", o.Database, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dropScratch(ctx, sh, port, scratch))
		}
	}()
	p := &loadProgress{report: report}
	for _, f := range o.Files {
		p.total += f.Size
	}
	for _, f := range o.Files {
		if err := loadFile(ctx, sh, port, scratch, f, o.Owner || f.AsOwner, p); err != nil {
			return err
		}
	}
	if _, err := SuperuserSQL(ctx, sh, port, scratch, grantSQL); err != nil {
		return fmt.Errorf("granting role app what was loaded: %w", err)
	}
	rename := fmt.Sprintf("GRANT CONNECT, TEMPORARY ON DATABASE %[1]s TO app;\nGRANT CONNECT ON DATABASE %[1]s TO pgapp;\nALTER DATABASE %[1]s RENAME TO %[2]s;\n",
		identifier(scratch), identifier(o.Database))
	if _, err := SuperuserSQL(ctx, sh, port, "postgres", rename); err != nil {
		return fmt.Errorf("renaming the loaded database to %q: %w", o.Database, err)
	}
	return nil
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

// dropScratch removes half a database, also after ctx has ended.
func dropScratch(ctx context.Context, sh Shell, port int, scratch string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, err := SuperuserSQL(ctx, sh, port, "postgres", "DROP DATABASE IF EXISTS "+identifier(scratch)+" WITH (FORCE);\n")
	if err != nil {
		return fmt.Errorf("dropping the half-loaded database: %w", err)
	}
	return nil
}

// grantSQL gives role app the use of everything in the database that a
// superuser loaded, and gathers the planner's statistics.
const grantSQL = `SET statement_timeout = 0;
DO $do$
DECLARE s name;
BEGIN
	FOR s IN SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE pg_catalog.format('GRANT USAGE, CREATE ON SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO app', s);
		EXECUTE pg_catalog.format('GRANT ALL ON ALL ROUTINES IN SCHEMA %I TO app', s);
	END LOOP;
END $do$;
SELECT pg_catalog.format('GRANT ALL ON LARGE OBJECT %s TO app', oid) FROM pg_catalog.pg_largeobject_metadata
\gexec
ANALYZE;
`

// loadOptions are the loading session's: nothing of it needs to be durable
// before the rename.
const loadOptions = "-c synchronous_commit=off -c client_min_messages=warning -c statement_timeout=0"

func loadFile(ctx context.Context, sh Shell, port int, scratch string, f LoadFile, asOwner bool, p *loadProgress) error {
	in, err := f.Open()
	if err != nil {
		return sourceFailure(err, f.Name)
	}
	defer func() { _ = in.Close() }() // read only
	source := &scriptReader{in: in, progress: p, name: f.Name}
	var args []string
	if asOwner {
		args = []string{"-c", "SET SESSION AUTHORIZATION app"}
	}
	_, err = sh.Run(ctx, psqlCommand(sh.Layout(), port, scratch, loadOptions, source, args...))
	// psql takes a source that breaks off for the script's end.
	if readErr := source.failed(); readErr != nil && ctx.Err() == nil {
		return sourceFailure(readErr, f.Name)
	}
	if err != nil {
		return loadFailure(err, f.Name)
	}
	return nil
}

// sourceFailure is for a file that could not be passed on to its end.
func sourceFailure(err error, name string) error {
	if leads, ok := errors.AsType[*errConnect](err); ok {
		return appliance.NewProblem(appliance.ErrSQL, "SQL file %q, %w", name, leads).
			WithHint("dump one database without --create (pg_dump, not pg_dumpall), then run 'pgapp up' again; nothing of it was kept")
	}
	return appliance.NewProblem(appliance.ErrSQL, "reading SQL file %q: %w", name, err)
}

func loadFailure(err error, name string) error {
	err = sqlFailure(err, fmt.Sprintf("SQL file %q", name))
	var p *appliance.Problem
	if errors.As(err, &p) && p.ID == appliance.ErrSQL && refusedTablespace(p.Message) {
		_ = p.WithHint(tablespaceHint)
	}
	if errors.As(err, &p) && p.ID == appliance.ErrSQL && p.Hint == "" {
		_ = p.WithHint("correct the file, then run 'pgapp up' again; nothing of it was kept")
	}
	return err
}

// loadProgress counts the bytes of all files together.
type loadProgress struct {
	report      appliance.Report
	done, total int64
}

// scriptReader streams a file into psql and tells how far it is. It remembers
// an error of the source, since psql sees only an end.
type scriptReader struct {
	in       io.Reader
	name     string
	progress *loadProgress

	guard connectGuard

	mu  sync.Mutex
	err error
}

// Read passes the file's bytes on.
func (r *scriptReader) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	if guardErr := r.guard.see(b[:n]); guardErr != nil {
		n, err = 0, guardErr
	}
	r.progress.add(r.name, n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}
	return n, err
}

func (p *loadProgress) add(name string, n int) {
	p.done += int64(n)
	if p.report != nil && n > 0 {
		p.report(appliance.Progress{Detail: strings.ToValidUTF8(name, "?"), BytesDone: p.done, BytesTotal: max(p.total, p.done)})
	}
}

func (r *scriptReader) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
