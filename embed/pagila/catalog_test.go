//go:build integration

package pagila_test

import (
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
	t.Run("views", func(t *testing.T) { testViews(t, s, ours) })
	t.Run("functions", func(t *testing.T) { testFunctions(t, s, ours) })
	t.Run("triggers", func(t *testing.T) { testTriggers(t, s, ours) })
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
			s.send(t, "app", db, allFiles(t), map[string]string{
				"TimeZone": "Asia/Kathmandu", "DateStyle": "German", "IntervalStyle": "iso_8601", "search_path": "pg_catalog",
				"extra_float_digits": "-10", "bytea_output": "escape", "standard_conforming_strings": "off",
				"default_text_search_config": "pg_catalog.simple", "work_mem": "64kB", "enable_hashjoin": "off",
				"enable_hashagg": "off", "geqo": "off", "from_collapse_limit": "1", "join_collapse_limit": "1",
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := s.createDatabase(t, name, "LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LOCALE 'C.UTF-8'")
			load(t, db)
			if got := dump(t, s, db); got != want {
				t.Errorf("another load gives another dump: %s", firstDifference(want, got))
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
func dump(t *testing.T, s *server, database string) string {
	t.Helper()
	text := s.run(t, "pg_dump", "-h", s.socketDir, "-U", "app", "-d", database)
	return string(regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAll(text, nil))
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d:\n- %s\n+ %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("length: %d lines, not %d", len(g), len(w))
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
