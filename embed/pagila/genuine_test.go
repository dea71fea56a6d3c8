//go:build integration

package pagila_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testGenuine needs the genuine Pagila 3.1.0 beside the repository. With it, it proves
// the committed fingerprint, that its data fits our schema and is answered alike there,
// and that nothing of it is among our rows.
func testGenuine(t *testing.T, s *server, ours string) {
	dir := filepath.Join(repositoryRoot(t), "..", "shared", "pagila")
	schema, data := filepath.Join(dir, "pagila-schema.sql"), filepath.Join(dir, "pagila-data.sql")
	for _, path := range []string{schema, data} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("SKIPPED, LOUDLY: the genuine Pagila is not here (%v); the committed fingerprint is taken on trust", err)
		}
	}
	schema, data = s.readable(t, schema), s.readable(t, data)
	s.send(t, "postgres", "postgres", "CREATE DATABASE genuine TEMPLATE template0", nil)
	s.createDatabase(t, "mixed", "")
	s.psql(t, "postgres", "genuine", "-f", schema, "-f", data, "-c", "ANALYZE")

	t.Run("fingerprint", func(t *testing.T) { testFingerprint(t, s) })
	t.Run("nothing copied", func(t *testing.T) { testNothingCopied(t, s, ours) })
	s.psql(t, "app", "mixed", "-f", s.readable(t, "10_schema.sql"), "-f", s.readable(t, "20_code.sql"))
	s.psql(t, "postgres", "mixed", "-f", data)
	s.psql(t, "app", "mixed", "-f", s.readable(t, "50_finish.sql"))
	s.send(t, "postgres", "genuine", "REFRESH MATERIALIZED VIEW rental_by_category", nil)
	t.Run("same answers", func(t *testing.T) { testSameAnswers(t, s) })
}

func testFingerprint(t *testing.T, s *server) {
	got := fingerprint(t, s, "postgres", "genuine")
	if update() {
		if err := os.WriteFile(fingerprintFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := difference(readLines(t, fingerprintFile), got); len(diff) != 0 {
		t.Errorf("the committed fingerprint (-) is not the genuine catalog's (+):\n%s", strings.Join(diff, "\n"))
	}
}

// testNothingCopied looks for whatever could only have been taken from the original:
// titles, descriptions, people, addresses, and the functions' and views' text.
func testNothingCopied(t *testing.T, s *server, ours string) {
	for name, sql := range map[string]string{
		"titles":       `SELECT title FROM film`,
		"descriptions": `SELECT description FROM film`,
		"people":       `SELECT first_name || ' ' || last_name FROM actor UNION SELECT first_name || ' ' || last_name FROM customer UNION SELECT first_name || ' ' || last_name FROM staff`,
		"emails":       `SELECT lower(email) FROM customer UNION SELECT lower(email) FROM staff`,
		"addresses":    `SELECT address FROM address`,
		"phones":       `SELECT phone FROM address WHERE phone <> ''`,
		"rentals":      `SELECT rental_date, inventory_id FROM rental UNION SELECT return_date, inventory_id FROM rental WHERE return_date IS NOT NULL`,
		"payments":     `SELECT payment_date, customer_id FROM payment`,
		"functions":    `SELECT regexp_replace(lower(prosrc), '\s', '', 'g') FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'`,
	} {
		t.Run(name, func(t *testing.T) {
			genuine := make(map[string]bool)
			for line := range strings.Lines(s.send(t, "postgres", "genuine", sql, nil)) {
				genuine[strings.TrimSpace(line)] = true
			}
			for line := range strings.Lines(s.send(t, "postgres", ours, sql, nil)) {
				line = strings.TrimSpace(line)
				if genuine[line] {
					t.Errorf("the original has it too: %s", line)
				}
			}
		})
	}
}

// testSameAnswers compares our views and functions with the genuine ones over the
// genuine data. Where the original leaves the order of a list open, both are sorted.
// get_customer_balance is missing: the original's calls a function that PostgreSQL
// doesn't have, and fails.
func testSameAnswers(t *testing.T, s *server) {
	const sorted = `array(SELECT unnest(string_to_array(replace(%s, ': ', ', '), ', ')) ORDER BY 1)`
	actors, info := fmt.Sprintf(sorted, "actors"), fmt.Sprintf(sorted, "film_info")
	for name, sql := range map[string]string{
		"actor_info":                 `SELECT actor_id, first_name, last_name, ` + info + ` FROM actor_info ORDER BY 1`,
		"customer_list":              `SELECT * FROM customer_list ORDER BY 1`,
		"film_list":                  `SELECT fid, title, description, category, price, length, rating, ` + actors + ` FROM film_list ORDER BY 1`,
		"nicer_but_slower_film_list": `SELECT fid, title, description, category, price, length, rating, ` + actors + ` FROM nicer_but_slower_film_list ORDER BY 1`,
		"sales_by_film_category":     `SELECT * FROM sales_by_film_category`,
		"sales_by_store":             `SELECT * FROM sales_by_store`,
		"staff_list":                 `SELECT * FROM staff_list ORDER BY 1`,
		"rental_by_category":         `SELECT * FROM rental_by_category`,
		"film":                       `SELECT * FROM film ORDER BY 1`,
		"stock":                      `SELECT i, inventory_in_stock(i), inventory_held_by_customer(i) FROM generate_series(0, 4582) AS i ORDER BY 1`,
		"film_in_stock":              `SELECT f, s, array(SELECT p_film_count FROM film_in_stock(f, s) ORDER BY 1), array(SELECT p_film_count FROM film_not_in_stock(f, s) ORDER BY 1) FROM generate_series(0, 1001) AS f, generate_series(1, 2) AS s ORDER BY 1, 2`,
		"last_day":                   `SELECT d, last_day(d) FROM generate_series('2019-12-01'::timestamptz, '2024-03-02', '7 hours') AS d ORDER BY 1`,
		"last_day elsewhere":         `SET TimeZone = 'America/St_Johns'; SELECT d, last_day(d) FROM generate_series('2019-12-01'::timestamptz, '2024-03-02', '7 hours') AS d ORDER BY 1`,
		"_group_concat":              `SELECT a, b, _group_concat(a, b) FROM (VALUES ('x'), (''), (NULL)) AS v(a), (VALUES ('y'), (''), (NULL)) AS w(b) ORDER BY 1, 2`,
		"rewards_report":             recentPayments + `SELECT r.* FROM (VALUES (1, 1), (2, 5), (2, 6), (1, 17.99), (2, 11.99), (2, 12)) AS v(n, a), rewards_report(n, a) AS r ORDER BY n, a, customer_id; ROLLBACK`,
	} {
		t.Run(name, func(t *testing.T) {
			want := s.send(t, "postgres", "genuine", sql, nil)
			got := s.send(t, "postgres", "mixed", sql, nil)
			if want == "" {
				t.Error("the original gives no rows to compare")
			}
			if got != want {
				t.Errorf("ours (+) and the genuine (-) differ in %s", firstDifference(want, got))
			}
		})
	}
}
