//go:build integration

package pagila_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgapp/embed/pagila"
)

const checksumsFile = "testdata/checksums.txt"

// TestPagila runs everything against one server: a cluster takes longer than the load.
func TestPagila(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ours := s.loadOurs(t, "ours")
	t.Run("catalog", func(t *testing.T) { testCatalog(t, s, ours) })
	t.Run("rows", func(t *testing.T) { testRows(t, s, ours) })
	t.Run("deterministic", func(t *testing.T) { testDeterministic(t, s, ours) })
	t.Run("sanity", func(t *testing.T) { testSanity(t, s, ours) })
	t.Run("behaviour", func(t *testing.T) { testBehaviour(t, s, ours) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, s, ours) })
	t.Run("genuine", func(t *testing.T) { testGenuine(t, s, ours) })
}

// update says that testdata is to be written instead of compared: checksums.txt from our
// data, fingerprint.txt from the genuine Pagila, where it is.
func update() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write testdata instead of comparing with it")
	flag.Parse()
	os.Exit(m.Run())
}

// allowance is a line of the genuine fingerprint that ours replaces on purpose.
type allowance struct{ genuine, ours, reason string }

func allowances() []allowance {
	return []allowance{
		{
			genuine: "grant|schema public|to everybody: CREATE, USAGE",
			ours:    "grant|schema public|to everybody: USAGE",
			reason:  "the dump is from PostgreSQL 12; since 15 nobody but the owner may create objects in public (CVE-2018-1058)",
		},
		{
			genuine: "matview|rental_by_category|plain|persistence p|replica identity d|populated false",
			ours:    "matview|rental_by_category|plain|persistence p|replica identity d|populated true",
			reason:  "the genuine scripts leave it to the user to refresh it; until then every query on it fails",
		},
		{
			genuine: "function|rewards_report(min_monthly_purchases integer, min_dollar_amount_purchased numeric)|returns SETOF public.customer|language plpgsql|volatility v|parallel u|security definer",
			ours:    `function|rewards_report(min_monthly_purchases integer, min_dollar_amount_purchased numeric)|returns SETOF public.customer|language plpgsql|volatility v|parallel u|security definer|settings {"search_path=pg_catalog, pg_temp"}`,
			reason:  "a function with its owner's rights must not look names up along the caller's search_path",
		},
	}
}

// testCatalog compares our catalog with the genuine one's fingerprint, object by object.
func testCatalog(t *testing.T, s *server, database string) {
	want := readLines(t, fingerprintFile)
	for _, a := range allowances() {
		at := slices.Index(want, a.genuine)
		if at < 0 {
			t.Errorf("this difference is allowed, but the genuine catalog doesn't have it: %s", a.genuine)
			continue
		}
		want[at] = a.ours
		t.Logf("allowed difference: %s\n- %s\n+ %s", a.reason, a.genuine, a.ours)
	}
	if diff := difference(want, fingerprint(t, s, "app", database)); len(diff) != 0 {
		t.Errorf("our catalog differs (+) from the genuine one (-):\n%s", strings.Join(diff, "\n"))
	}
	if got := s.query(t, database, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_get_userbyid(relowner) <> 'app'`); got != "0" {
		t.Errorf("%s objects don't belong to the role that loaded them", got)
	}
}

// fingerprint returns the lines that describe the database's catalog.
func fingerprint(t *testing.T, s *server, role, database string) []string {
	t.Helper()
	return nonEmptyLines(s.psql(t, role, database, "-f", s.readable(t, "testdata/fingerprint.sql")))
}

// testRows counts what Tables promises.
func testRows(t *testing.T, s *server, database string) {
	var count, want []string
	for _, table := range pagila.Tables() {
		count = append(count, fmt.Sprintf("SELECT '%[1]s', count(*) FROM %[1]s", table.Name))
		want = append(want, fmt.Sprintf("%s|%d", table.Name, table.Rows))
	}
	got := strings.Split(s.query(t, database, strings.Join(count, " UNION ALL ")+" ORDER BY 1"), "\n")
	if diff := difference(want, got); len(diff) != 0 {
		t.Errorf("rows:\n%s", strings.Join(diff, "\n"))
	}
}

// testDeterministic loads the files in other ways: statement by statement, and in one
// message under settings that change how values are read, written, sorted and joined. It expects the same dump to the byte, and the
// same digests as when they were committed, whatever machine that was.
func testDeterministic(t *testing.T, s *server, database string) {
	got := s.psql(t, "app", database, "-f", s.readable(t, "testdata/checksums.sql"))
	if update() {
		if err := os.WriteFile(checksumsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := difference(readLines(t, checksumsFile), nonEmptyLines(got)); len(diff) != 0 {
		t.Errorf("the data is not the committed one; where that is meant, run with -update:\n%s", strings.Join(diff, "\n"))
	}

	want := dump(t, s, database)
	for name, load := range map[string]func(*testing.T, string){
		"autocommit": func(t *testing.T, db string) {
			for _, file := range pagila.Files() {
				s.psql(t, "app", db, "-f", s.readable(t, file))
			}
		},
		"hostile": func(t *testing.T, db string) {
			settings := []string{
				"PGTZ=Asia/Kathmandu", "PGDATESTYLE=German",
				"PGOPTIONS=-c search_path=pg_catalog -c work_mem=64kB -c enable_hashjoin=off -c enable_hashagg=off" +
					" -c intervalstyle=iso_8601 -c extra_float_digits=-10 -c bytea_output=escape -c standard_conforming_strings=off" +
					" -c geqo=off -c from_collapse_limit=1 -c join_collapse_limit=1 -c lc_numeric=C -c default_text_search_config=pg_catalog.simple",
			}
			s.run(t, settings, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", s.socketDir, "-U", "app", "-d", db, "-c", allFiles(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := s.createDatabase(t, name, "LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LOCALE 'C.UTF-8'")
			load(t, db)
			if !bytes.Equal(dump(t, s, db), want) {
				t.Errorf("another load gives another dump:\n%s", firstDifference(want, dump(t, s, db)))
			}
		})
	}
}

// allFiles returns the files as one text, as a driver would send it in one message.
func allFiles(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, name := range pagila.Files() {
		b, err := pagila.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	return text.String()
}

// dump returns pg_dump's text without the key that it makes up for each run.
func dump(t *testing.T, s *server, database string) []byte {
	t.Helper()
	text := s.run(t, nil, "pg_dump", "-h", s.socketDir, "-U", "app", "-d", database)
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAll(text, nil)
}

func firstDifference(want, got []byte) string {
	w, g := bytes.Split(want, []byte("\n")), bytes.Split(got, []byte("\n"))
	for i := range min(len(w), len(g)) {
		if !bytes.Equal(w[i], g[i]) {
			return fmt.Sprintf("line %d:\n- %s\n+ %s", i+1, w[i], g[i])
		}
	}
	return "one is the beginning of the other"
}

// repositoryRoot returns the directory with go.mod.
func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = parent
	}
}
