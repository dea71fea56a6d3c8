//go:build integration

package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgapp/appliance"
)

// sqlFile writes an SQL file that the daemon can read.
func sqlFile(t *testing.T, b *box, name, text string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(b.home), name)
	b.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestUpWithoutTheTemplate makes the cluster step by step, with PostgreSQL's programs named,
// and wants the same as from the template.
func TestUpWithoutTheTemplate(t *testing.T) {
	t.Parallel()
	short, long := newBox(t).shareTree(), newBox(t)
	short.up("--standbys", "1")
	s := long.up("--standbys", "1", "--postgres-bin", pgbin(t))
	if s.Spec == nil || s.Spec.PostgresBin != pgbin(t) {
		t.Errorf("spec %+v", s.Spec)
	}
	if _, err := os.Stat(filepath.Join(long.home, "postgres")); err == nil {
		t.Error("a tree was unpacked though PostgreSQL was named")
	}
	checks := func(v appliance.VerifyReport) map[string]bool {
		out := map[string]bool{}
		for _, c := range v.Checks {
			out[c.Name+" on "+c.Member] = c.Skipped
		}
		return out
	}
	a, z := checks(short.verified()), checks(long.verified())
	for name := range a {
		if _, ok := z[name]; !ok {
			t.Errorf("the long way leaves out %s", name)
		}
	}
	if len(a) != len(z) {
		t.Errorf("%d checks of the template's cluster, %d of the other", len(a), len(z))
	}
	if x, y := schema(t, short), schema(t, long); x != y {
		t.Errorf("the schemas differ: %s", firstDifference(x, y))
	}
	const settings = `SELECT name, setting FROM pg_settings WHERE name IN ('wal_level','data_checksums','max_wal_senders','server_encoding',
		'lc_messages','lc_collate','wal_keep_size','max_slot_wal_keep_size','wal_segment_size','password_encryption') ORDER BY 1`
	if x, y := short.rows(settings), long.rows(settings); x != y {
		t.Errorf("settings:\n%s\nand\n%s", x, y)
	}
	const databases = `SELECT datname, datlocprovider, datlocale, datcollate, datctype, pg_get_userbyid(datdba) FROM pg_database ORDER BY 1`
	if x, y := short.rows(databases), long.rows(databases); x != y {
		t.Errorf("databases:\n%s\nand\n%s", x, y)
	}
}

// schema is the database's, as pg_dump writes it.
func schema(t *testing.T, b *box) string {
	t.Helper()
	url := strings.TrimSpace(b.ok("url").out)
	out, err := b.tool(filepath.Join(pgbin(t), "pg_dump"), "--schema-only", "-d", url).Output()
	b.must(err)
	// Newer minor releases put a random key around the dump.
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(string(out), "")
}

func firstDifference(x, y string) string {
	a, b := strings.Split(x, "\n"), strings.Split(y, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] + " / " + b[i]
		}
	}
	return "one is longer"
}

// TestUpLoadsOwnSQL loads a user's files instead of a data set.
func TestUpLoadsOwnSQL(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	one := sqlFile(t, b, "a.sql", `
		CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL);
		ALTER TABLE goods OWNER TO postgres;
		COPY goods (id, name) FROM stdin;
1	tea
2	"quoted" \\ and 'more'
\.
`)
	two := sqlFile(t, b, "b.sql", "INSERT INTO goods VALUES (3, 'coffee'); CREATE SEQUENCE numbers; CREATE SCHEMA extra CREATE TABLE t (n int);\n")
	s := b.up("--standbys", "1", "--dataset", "none", "--database", "shop", "--sql", one, "--sql", two)
	if s.Database != "shop" {
		t.Errorf("database %s", s.Database)
	}
	b.verified()
	if n := b.rows("SELECT count(*), max(name) FROM goods"); n != "3|tea" {
		t.Errorf("goods: %s", n)
	}
	// The owner can do with it as with their own.
	b.rows("INSERT INTO goods VALUES (4, 'salt'); SELECT nextval('numbers'); INSERT INTO extra.t VALUES (1); CREATE TABLE mine (n int); DROP TABLE mine")
	if n := b.rows("SELECT count(*) FROM goods", "--role", "ro"); n != "4" {
		t.Errorf("goods on the standby: %s", n)
	}
	if names := b.rows("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE NOT datistemplate"); names != "postgres,shop" {
		t.Errorf("databases %s", names)
	}
}

// TestUpResumesAfterBrokenSQL has a file that fails in its middle: no half database is left,
// and once it is mended the same command goes on.
func TestUpResumesAfterBrokenSQL(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	good := sqlFile(t, b, "good.sql", "CREATE TABLE a (n int);\n")
	bad := sqlFile(t, b, "bad.sql", "CREATE TABLE b (n int);\nINSERT INTO b VALUES (1);\nINSERT INTO nowhere VALUES (1);\nCREATE TABLE c (n int);\n")
	args := []string{"up", "--provider", "local", "--standbys", "1", "--dataset", "none", "--database", "shop", "--sql", good, "--sql", bad}
	leave := b.gate()
	r := b.want(1, args...)
	leave()
	for _, part := range []string{"error[sql-failed]", `bad.sql" failed in line 3`, `relation "nowhere" does not exist`} {
		if !strings.Contains(r.err, part) {
			t.Errorf("the error leaves out %q:\n%s", part, r.err)
		}
	}
	if r := b.run("psql", "--", "-c", "SELECT 1"); r.code == 0 || !strings.Contains(r.err, `database "shop" does not exist`) {
		t.Errorf("half a database can be used: %+v", r)
	}
	if p := b.ps(); p.Phase != appliance.PhaseFailed {
		t.Errorf("phase %s", p.Phase)
	}
	b.must(os.WriteFile(bad, []byte("CREATE TABLE b (n int);\nINSERT INTO b VALUES (1);\n"), 0o600))
	b.ok(args...)
	b.verified()
	if n := b.rows("SELECT count(*) FROM a, b"); n != "0" {
		t.Errorf("after mending: %s", n)
	}
	if names := b.rows("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE NOT datistemplate"); names != "postgres,shop" {
		t.Errorf("databases %s", names)
	}
}

// TestGenuinePagila loads the genuine data set, where it is at hand.
func TestGenuinePagila(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "pagila"))
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "pagila-schema.sql"))
	}
	if err != nil {
		t.Skipf("SKIPPED: the genuine Pagila is not at hand: %v", err)
	}
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--dataset", "none", "--sql", filepath.Join(dir, "pagila-schema.sql"), "--sql", filepath.Join(dir, "pagila-data.sql"))
	b.verified()
	const counts = "SELECT (SELECT count(*) FROM film), (SELECT count(*) FROM rental), (SELECT count(*) FROM payment), (SELECT count(*) FROM customer)"
	if n := b.rows(counts, "--role", "ro"); n != "1000|16044|16049|599" {
		t.Errorf("rows: %s", n)
	}
	b.rows("UPDATE film SET length = length; REFRESH MATERIALIZED VIEW rental_by_category")
}
