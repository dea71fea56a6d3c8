//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func databases(t *testing.T, c *cluster) string {
	t.Helper()
	return c.sql(t, 0, "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname !~ '^template'")
}

func TestFailedLoadNamesErrorAndDropsDatabase(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	broken := errors.New("disk on fire")
	for _, k := range []struct {
		name  string
		files []postgres.LoadFile
		want  string
	}{
		{"in its middle", []postgres.LoadFile{
			textFile("one.sql", "CREATE TABLE a (x int);\n"),
			textFile("two.sql", "INSERT INTO a VALUES (1);\n\nINSERT INTO nowhere VALUES ('canary');\nSELECT 1;\n"),
		}, `SQL file "two.sql" failed in line 3: relation "nowhere" does not exist`},
		{
			"a bad row",
			[]postgres.LoadFile{textFile("copy.sql", "CREATE TABLE a (x int);\nCOPY a FROM stdin;\n1\nx\n\\.\n")},
			`invalid input syntax for type integer: "x"`,
		},
		{"cut off", []postgres.LoadFile{{Name: "cut.sql", Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("CREATE TABLE a (x int);\n"), failingReader{broken})), nil
		}}}, "disk on fire"},
		{"absent", []postgres.LoadFile{{Name: "no.sql", Open: func() (io.ReadCloser, error) { return nil, broken }}}, "disk on fire"},
		{
			"led away",
			[]postgres.LoadFile{textFile("all.sql", "SELECT 1;\n\\connect postgres\nCREATE TABLE public.escaped (x int);\n")},
			`SQL file "all.sql" ends in database "postgres": a \connect leaves the database`,
		},
		{"a superuser's doing as app", []postgres.LoadFile{{
			Name: "app.sql", AsOwner: true, Open: textFile("", "COPY (SELECT 1) TO PROGRAM 'cat';\n").Open,
		}}, "permission denied to COPY to or from an external program"},
	} {
		err := postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{Database: "films", Files: k.files}, nil)
		if p := appliance.AsProblem(err); p == nil || !strings.Contains(p.Error(), k.want) {
			t.Errorf("%s: got %v, want %q", k.name, err, k.want)
		} else if p.ID != appliance.ErrSQL {
			t.Errorf("%s: id %s (%v)", k.name, p.ID, err)
		}
		if got := databases(t, c); got != "postgres" {
			t.Errorf("%s: databases %s are left", k.name, got)
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestLoadAcceptsDumpOfSuperuser(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	const dump = `\restrict abcdef
SET client_min_messages = warning;
CREATE SCHEMA shop;
ALTER SCHEMA shop OWNER TO postgres;
CREATE TABLE shop.item (id serial PRIMARY KEY, name text);
ALTER TABLE shop.item OWNER TO postgres;
CREATE MATERIALIZED VIEW shop.names AS SELECT name FROM shop.item;
CREATE FUNCTION shop.double(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
REVOKE ALL ON FUNCTION shop.double(int) FROM PUBLIC;
SELECT lo_from_bytea(4711, 'x');
COPY shop.item (id, name) FROM stdin;
41	a
\.
\unrestrict abcdef
`
	var seen []appliance.Progress
	must(t, postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{
		Database: "films", Locale: appliance.DefaultLocale, Files: []postgres.LoadFile{textFile("dump.sql", dump)},
	}, func(p appliance.Progress) { seen = append(seen, p) }))
	if last := seen[len(seen)-1]; last.BytesDone != int64(len(dump)) || last.BytesTotal != last.BytesDone {
		t.Errorf("progress ended with %+v", last)
	}
	app, err := postgres.ConnectAs(t.Context(), postgres.RoleApp, m.host, m.port, "films", c.secrets.Get(appliance.SecretApp))
	must(t, err)
	defer app.Close(t.Context())
	for _, sql := range []string{
		"INSERT INTO shop.item (name) VALUES ('b')", "REFRESH MATERIALIZED VIEW shop.names", "SELECT shop.double(2)", "SELECT lo_get(4711)",
		"CREATE TABLE shop.mine (x int)", "CREATE TABLE public.mine (x int)",
	} {
		must(t, app.Exec(t.Context(), sql))
	}
	// What is there is left as it is.
	must(t, postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{Database: "films", Files: []postgres.LoadFile{textFile("x.sql", "broken")}}, nil))
	must(t, postgres.EnsureRoles(t.Context(), m, m.port, c.secrets, "films"))
	if got := c.sql(t, 0, "films", "SELECT count(*) FROM shop.item"); got != "2" {
		t.Errorf("%s rows", got)
	}
	// The roles can do what they need, and no more.
	if _, err := postgres.ConnectAs(t.Context(), postgres.RoleApp, m.host, m.port, "postgres", c.secrets.Get(appliance.SecretApp)); err == nil {
		t.Error("role app reached database postgres")
	}
	if _, err := postgres.ConnectAs(t.Context(), postgres.RoleSuperuser, m.host, m.port, "postgres", c.secrets.Get(appliance.SecretApp)); err == nil {
		t.Error("the superuser can log in by TCP")
	}
	ctl := c.control(t, 0, "postgres")
	must(t, ctl.Checkpoint(t.Context()))
	must(t, ctl.Reload(t.Context()))
	for _, sql := range []string{"SELECT pg_read_file('PG_VERSION')", "COPY (SELECT 1) TO PROGRAM 'cat'", "ALTER SYSTEM SET shared_preload_libraries = 'x'", "ALTER ROLE pgapp SUPERUSER"} {
		if err := ctl.Exec(t.Context(), sql); err == nil {
			t.Errorf("role pgapp can %s", sql)
		}
	}
}

func TestLoadRepeatsAfterKill(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	const half = "CREATE TABLE half (x int);\nCREATE ROLE clerk;\nGRANT ALL ON half TO clerk;\nCREATE DATABASE beside OWNER clerk;\n"
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{
			Database: "films", Files: []postgres.LoadFile{textFile("half.sql", half)},
			Check: func(context.Context) error {
				runtime.Goexit() // as a kill: nothing is tidied up
				return nil
			},
		}, nil)
	}()
	<-done
	state, err := c.control(t, 0, "postgres").LoadState(t.Context(), "films")
	must(t, err)
	if state != postgres.LoadUnfinished || databases(t, c) != "beside films postgres" {
		t.Errorf("the load is %s, databases %s", state, databases(t, c))
	}
	if _, err := postgres.ConnectAs(t.Context(), postgres.RoleApp, m.host, m.port, "films", c.secrets.Get(appliance.SecretApp)); err == nil {
		t.Error("role app reached the half-loaded database")
	}
	// What an earlier release's killed load has left goes too.
	c.sql(t, 0, "postgres", "CREATE DATABASE pgapp_load_films")
	must(t, postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{
		Database: "films", Alone: true, Files: []postgres.LoadFile{textFile("films.sql", filmsSQL)},
	}, nil))
	if got := databases(t, c); got != "films postgres" {
		t.Errorf("databases %s", got)
	}
	if got := c.sql(t, 0, "films", "SELECT to_regclass('half') IS NULL AND to_regrole('clerk') IS NULL"); got != "t" {
		t.Error("what the killed load left is there")
	}
	state, err = c.control(t, 0, "postgres").LoadState(t.Context(), "films")
	must(t, err)
	if state != postgres.LoadFinished {
		t.Errorf("the load is %s", state)
	}
}

func TestCancelledLoadDropsEmptyDatabase(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- postgres.LoadDatabase(ctx, m, m.port, postgres.LoadOptions{Database: "films", Files: []postgres.LoadFile{textFile("slow.sql", "SELECT pg_sleep(60);\n")}}, nil)
	}()
	// Not before: a database whose making is cancelled may still come to be, and
	// goes with the next load.
	waitFor(t, func() bool {
		return c.sql(t, 0, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'films' AND wait_event = 'PgSleep'") == "1"
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := databases(t, c); got != "postgres" {
		t.Errorf("databases %s", got)
	}
	must(t, postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{Database: "films"}, nil))
	if got := databases(t, c); got != "films postgres" {
		t.Errorf("databases %s", got)
	}
}
