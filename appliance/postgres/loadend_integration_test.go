//go:build integration

package postgres_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

// loadOnly loads one file into a new database films.
func (c *cluster) loadOnly(t *testing.T, o postgres.LoadOptions, text string) error {
	t.Helper()
	o.Database, o.Files = "films", []postgres.LoadFile{textFile("x.sql", text)}
	return postgres.LoadDatabase(t.Context(), c.members[0], c.members[0].port, o, nil)
}

// TestLoadRefusesUnfinishedScripts has scripts that psql alone takes for well-ended.
func TestLoadRefusesUnfinishedScripts(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	const table = "CREATE TABLE a (x int, y text);\nCREATE TABLE b (x text);\n"
	for _, k := range []struct{ name, text, want string }{
		{"within COPY", table + "COPY a FROM stdin;\n1\tone\n2\ttwo", "is not complete: it ends within COPY data"},
		{"within COPY of one text column", table + "COPY b FROM stdin;\none\ntwo\n", "is not complete: it ends within COPY data, a quoted string"},
		{"within COPY, errors ignored", "\\set ON_ERROR_STOP off\n" + table + "COPY a FROM stdin;\n1\tone\n", "is not complete"},
		{"within a string", table + "INSERT INTO b VALUES ('one", "is not complete: unterminated quoted string"},
		{"within a body", table + "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1", "is not complete: unterminated dollar-quoted string"},
		{"within a comment", table + "/* one", "is not complete: unterminated /* comment"},
		{"within parentheses", "CREATE TABLE a (x int,\n", "is not complete: syntax error"},
		{"a taken \\if", table + "\\if true\nINSERT INTO b VALUES ('one');\n", "is not complete: reached EOF without finding closing \\endif"},
		{"an untaken \\if", table + "\\if false\nINSERT INTO b VALUES ('one');\n", "is not complete: reached EOF without finding closing \\endif"},
		{"within \\restrict", "\\restrict abc\n" + table, "is not complete: it ends before its \\unrestrict"},
		{"\\q in the middle", table + "\\q\nINSERT INTO b VALUES ('one');\n", "or it quits by \\q before its end"},
		{"an open transaction", "BEGIN;\n" + table, "ends within a transaction: its COMMIT is missing"},
		{"an open transaction and no semicolon", table + "BEGIN", "ends within a transaction: its COMMIT is missing"},
		{"autocommit off", "\\set AUTOCOMMIT off\n" + table, "ends within a transaction: its COMMIT is missing"},
		{"a failed transaction", "\\set ON_ERROR_STOP off\nBEGIN;\nSELECT no_such;\n", "is not complete"},
		{"connect after a byte order mark", "\xef\xbb\xbf\\connect postgres\nCREATE TABLE one (x int);\n", `ends in database "postgres"`},
		{"connect after blanks", "  \t\\c postgres\nCREATE TABLE two (x int);\n", `ends in database "postgres"`},
		{"connect after a statement", "SELECT 1; \\c postgres\nCREATE TABLE three (x int);\n", `ends in database "postgres"`},
		{"connect as a variable", "\\set db postgres\n\\c :db\n", `ends in database "postgres"`},
		{"no semicolon and an error", table + "SELECT no_such_column FROM a", `failed in its last statement: column "no_such_column" does not exist`},
		{"a missing part", "\\ir part.sql\n", "part.sql: No such file or directory"},
		{"its own database", "CREATE DATABASE films;\n" + table, `database "films" already exists`},
	} {
		err := c.loadOnly(t, postgres.LoadOptions{Alone: true}, k.text)
		p := appliance.AsProblem(err)
		if p == nil || p.ID != appliance.ErrSQL || !strings.Contains(p.Error(), k.want) {
			t.Errorf("%s: got %v, want %q", k.name, err, k.want)
		} else if leaves := strings.Contains(k.text, "CREATE TABLE") && strings.Contains(k.want, `"postgres"`); strings.Contains(p.Hint, "nothing of the load was kept") == leaves {
			t.Errorf("%s: the hint is %q", k.name, p.Hint)
		}
		if got := databases(t, c); got != "postgres" {
			t.Fatalf("%s: databases %s are left", k.name, got)
		}
	}
}

// TestLoadAcceptsCompleteScripts has scripts that a scan of bytes would refuse,
// or that leave the session in a strange state.
func TestLoadAcceptsCompleteScripts(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	for name, text := range map[string]string{
		"no semicolon":            "CREATE TABLE done (x int)",
		"no last line end":        "CREATE TABLE done (x int); -- done",
		"quit":                    "CREATE TABLE done (x int);\n\\q\n",
		"windows lines":           "CREATE TABLE done (x int);\r\nCOPY done FROM stdin;\r\n1\r\n\\.\r\n",
		"connect in a comment":    "/*\n\\c postgres\n*/\nCREATE TABLE done (x int);\n",
		"connect in a string":     "CREATE TABLE done (x text);\nINSERT INTO done VALUES ('\n\\connect postgres\n');\n",
		"connect to itself":       "\\connect postgres\n\\connect films\nCREATE TABLE done (x int);\n",
		"a transaction":           "BEGIN;\nCREATE TABLE done (x int);\nCOMMIT;\n",
		"autocommit off":          "\\set AUTOCOMMIT off\nCREATE TABLE done (x int);\nCOMMIT;\n",
		"output elsewhere":        "\\o /dev/null\n\\pset format html\n\\timing on\n\\set ECHO all\n\\set FETCH_COUNT 1\nSELECT 1;\nCREATE TABLE done (x int);\n",
		"single line":             "\\set SINGLELINE on\nCREATE TABLE done (x int)\n",
		"settings":                "CREATE TABLE done (x int);\nSET client_encoding = 'LATIN1';\nSET search_path = '';\nSET ROLE app;\nSET default_transaction_read_only = on;\n",
		"session authorization":   "CREATE TABLE done (x int);\nSET SESSION AUTHORIZATION app;\n",
		"its name":                "CREATE TABLE done (x int);\nALTER DATABASE films SET search_path TO public;\nALTER DATABASE films SET default_transaction_read_only = on;\nCOMMENT ON DATABASE films IS 'mine';\nGRANT CONNECT ON DATABASE films TO pg_monitor;\n",
		"a trap for others' DDL":  "CREATE TABLE done (x int);\nCREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';\nCREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no();\n",
		"a foreign partition":     "CREATE EXTENSION postgres_fdw;\nCREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');\nCREATE USER MAPPING FOR PUBLIC SERVER away;\nCREATE TABLE done (x int) PARTITION BY LIST (x);\nCREATE FOREIGN TABLE far PARTITION OF done FOR VALUES IN (1) SERVER away;\nCREATE TABLE near PARTITION OF done FOR VALUES IN (2);\nINSERT INTO done VALUES (2);\n",
		"errors that are ignored": "\\set ON_ERROR_STOP off\nDROP TABLE no_such;\nCREATE TABLE done (x int);\n",
	} {
		if err := c.loadOnly(t, postgres.LoadOptions{Alone: true}, text); err != nil {
			t.Errorf("%s: %v (%s)", name, err, appliance.AsProblem(err).Detail)
			continue
		}
		app, err := postgres.ConnectAs(t.Context(), postgres.RoleApp, c.members[0].host, c.members[0].port, "films", c.secrets.Get(appliance.SecretApp))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			_ = app.Close(t.Context())
		}
		if got := c.sql(t, 0, "films", "SELECT to_regclass('public.done') IS NOT NULL"); got != "t" {
			t.Errorf("%s: the table is missing", name)
		}
		if name == "a foreign partition" {
			if got := c.sql(t, 0, "films", "SELECT count(*) FROM pg_stats WHERE tablename = 'near'"); got != "1" {
				t.Error("the local partition has no statistics")
			}
		}
		c.sql(t, 0, "postgres", "DROP DATABASE films")
	}
}

func TestFailedLoadDropsRoles(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	const text = `CREATE ROLE reporting LOGIN;
CREATE ROLE deputy ROLE reporting;
CREATE TABLE t (x int);
GRANT SELECT ON t TO reporting;
GRANT CONNECT ON DATABASE postgres TO reporting;
CREATE DATABASE beside OWNER deputy;
SELECT no_such;
`
	roles := func() string {
		return c.sql(t, 0, "postgres", "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_'")
	}
	before := roles()
	p := appliance.AsProblem(c.loadOnly(t, postgres.LoadOptions{Alone: true}, text))
	if p == nil || !strings.Contains(p.Hint, "nothing of the load was kept") || roles() != before || databases(t, c) != "postgres" {
		t.Errorf("%v (%s): roles %s, databases %s", p, p.Hint, roles(), databases(t, c))
	}
	// In a cluster that others use, they may be others': they stay, and are named.
	p = appliance.AsProblem(c.loadOnly(t, postgres.LoadOptions{}, text))
	if p == nil || !strings.Contains(p.Hint, `the load left: database "beside", role "deputy", role "reporting"`) || databases(t, c) != "beside postgres" {
		t.Errorf("%v (%s): databases %s", p, p.Hint, databases(t, c))
	}
}

func TestLoadRefusesForeignDatabase(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.sql(t, 0, "postgres", "CREATE DATABASE films")
	err := c.loadOnly(t, postgres.LoadOptions{Alone: true}, "CREATE TABLE a (x int);\n")
	if !appliance.IsProblem(err, appliance.ErrConflict) || databases(t, c) != "films postgres" {
		t.Errorf("got %v, databases %s", err, databases(t, c))
	}
}

func TestLoadRestoresArchives(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	c.load(t)
	dump := func(args ...string) []byte {
		t.Helper()
		l := m.Layout()
		res, err := m.Run(t.Context(), appliance.Command{Argv: append([]string{l.BinDir + "/pg_dump", "-h", l.SocketDir, "-p", strings.Trim(c.sql(t, 0, "postgres", "SHOW port"), " "), "-U", "postgres", "-d", "films"}, args...)})
		must(t, err)
		return res.Stdout
	}
	packed := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		must(t, w.Close())
		return out.Bytes()
	}
	plain, custom, tar := dump(), dump("-Fc"), dump("-Ft")
	inputs := map[string][]byte{"plain": plain, "plain, gzip": packed(plain), "custom": custom, "custom, gzip": packed(custom), "tar": tar}
	if zst, err := exec.LookPath("zstd"); err == nil {
		cmd := exec.CommandContext(t.Context(), zst, "-q", "-c")
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		must(t, err)
		inputs["plain, zstd"] = out
	}
	for name, b := range inputs {
		for _, half := range []bool{true, false} {
			c.sql(t, 0, "postgres", "DROP DATABASE IF EXISTS films")
			in := b
			if half {
				in = b[:len(b)/2]
			}
			err := postgres.LoadDatabase(t.Context(), m, m.port, postgres.LoadOptions{Database: "films", Alone: true, Files: []postgres.LoadFile{{
				Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(in)), nil },
			}}}, nil)
			if half {
				if !appliance.IsProblem(err, appliance.ErrSQL) || databases(t, c) != "postgres" {
					t.Errorf("half of %s: %v, databases %s", name, err, databases(t, c))
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v (%s)", name, err, appliance.AsProblem(err).Detail)
			} else if got := c.sql(t, 0, "films", "SELECT count(*) FROM film"); got != "3" {
				t.Errorf("%s: %s films", name, got)
			}
		}
	}
}

// TestLoadThatEndsInItsBeginningLeavesNothing cancels a load while the server creates the
// database, which goes on without the client and is visible only when it is done.
func TestLoadThatEndsInItsBeginningLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m := c.members[0]
	await := func(what, query string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		err := wait.Until(ctx, 20*time.Millisecond, func(context.Context) (bool, error) { return c.sql(t, 0, "postgres", query) == "t", nil })
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	const creating = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock')"
	c.sql(t, 0, "postgres", "GRANT postgres TO pgapp")
	hold := c.control(t, 0, "postgres")
	must(t, hold.Exec(t.Context(), "BEGIN"))
	must(t, hold.Exec(t.Context(), "COMMENT ON DATABASE template0 IS 'nobody copies it now'"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	options := postgres.LoadOptions{Database: "films", Alone: true}
	go func() { ended <- postgres.LoadDatabase(ctx, m, m.port, options, nil) }()
	await("the server creates the database", creating)
	cancel()
	await("the load has ended, or waits for the server", "SELECT "+
		"EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) OR NOT EXISTS (SELECT FROM pgapp.load)")
	must(t, hold.Exec(t.Context(), "COMMIT"))
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the load that was canceled: %v", err)
	}
	await("the server has ended the statement", strings.Replace(creating, "EXISTS", "NOT EXISTS", 1))
	if got := databases(t, c); got != "postgres" {
		t.Errorf("databases %s are left", got)
	}
	must(t, postgres.LoadDatabase(t.Context(), m, m.port, options, nil))
}
