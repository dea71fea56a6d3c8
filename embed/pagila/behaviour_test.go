//go:build integration

package pagila_test

import (
	"strings"
	"testing"
)

// answer is a query and the rows that it must return.
type answer struct{ name, sql, want string }

func checkAnswers(t *testing.T, s *server, database string, answers []answer) {
	t.Helper()
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			if got := s.query(t, database, a.sql); got != a.want {
				t.Errorf("got %q, want %q", got, a.want)
			}
		})
	}
}

// testSanity asks the data questions whose answers a shop's books must give.
func testSanity(t *testing.T, s *server, database string) {
	checkAnswers(t, s, database, []answer{
		{"no item is out twice at a time", `
			SELECT count(*) FROM rental AS a JOIN rental AS b USING (inventory_id)
			 WHERE a.rental_id <> b.rental_id AND a.rental_date <= b.rental_date AND b.rental_date <= coalesce(a.return_date, 'infinity')`, "0"},
		{"nothing returns before it left", `SELECT count(*) FROM rental WHERE return_date <= rental_date`, "0"},
		{"nobody keeps an item for ten days", `SELECT count(*) FROM rental WHERE return_date - rental_date >= interval '10 days'`, "0"},
		{"open rentals", `SELECT count(*) FROM rental WHERE return_date IS NULL`, "183"},
		{"open rentals are recent", `SELECT min(rental_date) > '2022-07-01' FROM rental WHERE return_date IS NULL`, "t"},
		{"every rental is paid", `SELECT count(*) FROM rental WHERE NOT EXISTS (SELECT FROM payment WHERE payment.rental_id = rental.rental_id)`, "0"},
		{"second payments", `SELECT count(*) FROM (SELECT FROM payment GROUP BY rental_id HAVING count(*) = 2) AS p`, "5"},
		{"who rents pays", `SELECT count(*) FROM payment AS p JOIN rental AS r USING (rental_id) WHERE p.customer_id <> r.customer_id`, "0"},
		{"payments follow rentals", `SELECT count(*) FROM payment AS p JOIN rental AS r USING (rental_id) WHERE p.payment_date < r.rental_date`, "0"},
		{"amounts", `SELECT min(amount) >= 0.99 AND max(amount) < 12 FROM payment`, "t"},
		{"staff works in the item's store", `
			SELECT count(*) FROM rental AS r JOIN inventory AS i USING (inventory_id) JOIN staff AS s USING (staff_id)
			 WHERE s.store_id <> i.store_id`, "0"},
		{"customers join before they rent", `SELECT count(*) FROM rental JOIN customer USING (customer_id) WHERE create_date > rental_date`, "0"},
		{"inactive customers stopped", `SELECT count(*) FROM rental JOIN customer USING (customer_id) WHERE active = 0 AND rental_date >= '2022-05-01'`, "0"},
		{"both activity columns agree", `SELECT count(*) FILTER (WHERE activebool <> (active = 1)) || ' ' || count(*) FILTER (WHERE active = 0) FROM customer`, "0 15"},
		{"names and addresses are unique", `
			SELECT (SELECT count(DISTINCT (first_name, last_name)) FROM actor), (SELECT count(DISTINCT title) FROM film),
			       (SELECT count(DISTINCT (first_name, last_name)) FROM customer), (SELECT count(DISTINCT email) FROM customer),
			       (SELECT count(DISTINCT country) FROM country), (SELECT count(DISTINCT (city, country_id)) FROM city)`, "200|1000|599|599|109|600"},
		{"films are numbered by title", `SELECT count(*) FROM film AS a JOIN film AS b ON b.film_id = a.film_id + 1 WHERE a.title >= b.title COLLATE "C"`, "0"},
		{"films with a cast, films in stock", `SELECT (SELECT count(DISTINCT film_id) FROM film_actor), (SELECT count(DISTINCT film_id) FROM inventory)`, "997|958"},
		{"every feature set", `SELECT count(DISTINCT special_features), min(cardinality(special_features)) FROM film`, "15|1"},
		{"sequences are past the numbers in use", `
			SELECT nextval('rental_rental_id_seq') > max(rental_id) FROM rental`, "t"},
		{"films have a text vector", `SELECT count(*) FROM film WHERE fulltext <> to_tsvector('english', title || ' ' || description)`, "0"},
	})
}

// testViews reads the views.
func testViews(t *testing.T, s *server, database string) {
	checkAnswers(t, s, database, []answer{
		{
			"view rows", `
			SELECT (SELECT count(*) FROM actor_info), (SELECT count(*) FROM customer_list), (SELECT count(*) FROM film_list),
			       (SELECT count(*) FROM nicer_but_slower_film_list), (SELECT count(*) FROM sales_by_film_category),
			       (SELECT count(*) FROM sales_by_store), (SELECT count(*) FROM staff_list), (SELECT count(*) FROM rental_by_category)`,
			"200|599|997|997|16|2|2|16",
		},
		{"all sales views add up", `
			SELECT count(DISTINCT total) FROM (SELECT sum(total_sales) FROM sales_by_film_category UNION ALL SELECT sum(total_sales) FROM sales_by_store
			       UNION ALL SELECT sum(total_sales) FROM rental_by_category UNION ALL SELECT sum(amount) FROM payment) AS v(total)`, "1"},
		{"actor_info", `
			SELECT film_info FROM actor_info
			 WHERE actor_id = (SELECT actor_id FROM film_actor GROUP BY 1 ORDER BY count(*), actor_id LIMIT 1) AND film_info !~ '^[A-Z][A-Za-z-]+: [A-Z ]+(, |$)'`, ""},
		{"inactive customers in the list", `SELECT notes, count(*) FROM customer_list GROUP BY 1 ORDER BY 1`, "|15\nactive|584"},
	})
}

// testFunctions calls the functions.
func testFunctions(t *testing.T, s *server, database string) {
	checkAnswers(t, s, database, []answer{
		{"group_concat", `SELECT group_concat(x ORDER BY n), group_concat(x) FILTER (WHERE x IS NULL) IS NULL FROM (VALUES (1, 'a'), (2, NULL), (3, 'b')) AS v(n, x)`, "a, b|t"},
		{
			"last_day", `
			SELECT last_day('2022-02-03 10:00+00'), last_day('2024-02-29 23:59+00'), last_day('2022-12-31 23:59:59+00'), last_day(NULL) IS NULL`,
			"2022-02-28|2024-02-29|2022-12-31|t",
		},
		{"stock is in or out", `
			SELECT count(*) FILTER (WHERE NOT inventory_in_stock(inventory_id)), count(inventory_held_by_customer(inventory_id)),
			       count(*) FILTER (WHERE inventory_in_stock(inventory_id) = (inventory_held_by_customer(inventory_id) IS NOT NULL)) FROM inventory`, "183|183|0"},
		{"an unknown item is in stock", `SELECT inventory_in_stock(0), inventory_held_by_customer(0) IS NULL`, "t|t"},
		{"film_in_stock", `
			SELECT count(*) FROM (SELECT DISTINCT film_id, store_id FROM inventory) AS f, film_in_stock(film_id, store_id)`, "4398"},
		{"film_not_in_stock", `
			SELECT count(*) FROM (SELECT DISTINCT film_id, store_id FROM inventory) AS f, film_not_in_stock(film_id, store_id)`, "183"},
		{"balances", `
			SELECT min(balance) = 0, count(*) FILTER (WHERE balance > 0) BETWEEN 50 AND 200, max(balance) < 20
			  FROM (SELECT get_customer_balance(customer_id, '2022-08-01') FROM customer) AS c(balance)`, "t|t|t"},
		{"what is owed is the unpaid fees", `
			SELECT sum(get_customer_balance(customer_id, '2022-08-01')) = (
			       SELECT sum(rental_rate + greatest(0, extract(day FROM return_date - rental_date) - rental_duration))
			         FROM rental JOIN inventory USING (inventory_id) JOIN film USING (film_id) WHERE return_date IS NOT NULL)
			     + (SELECT sum(rental_rate) FROM rental JOIN inventory USING (inventory_id) JOIN film USING (film_id) WHERE return_date IS NULL)
			     - (SELECT sum(amount) FROM payment) FROM customer`, "t"},
		{"nobody owes anything before the first rental", `SELECT sum(get_customer_balance(customer_id, '2022-01-01')) FROM customer`, "0.00"},
		{"no reward long after the last payment", `SELECT count(*) FROM rewards_report(1, 1)`, "0"},
		{"rewards of three months ago", recentPayments + `
			SELECT customer_id FROM rewards_report(2, 5.00) ORDER BY 1; ROLLBACK`, "7\n9"},
	})
}

// testTriggers searches and writes; what it changes it rolls back.
func testTriggers(t *testing.T, s *server, database string) {
	checkAnswers(t, s, database, []answer{
		{"full-text search", `SELECT count(*) > 0, bool_and(title ~ 'LIGHTHOUSE' OR description ~ 'lighthouse') FROM film WHERE fulltext @@ to_tsquery('english', 'lighthouses')`, "t|t"},
		{"the text vector follows the title", `
			BEGIN; UPDATE film SET title = 'ZEBRA CROSSING' WHERE film_id = 1;
			SELECT fulltext @@ to_tsquery('english', 'zebra & crossing') FROM film WHERE film_id = 1; ROLLBACK`, "t"},
		{"last_update follows an update", `
			BEGIN; UPDATE city SET city = city WHERE city_id = 1; UPDATE rental SET staff_id = staff_id WHERE rental_id = 1;
			SELECT (SELECT last_update = now() FROM city WHERE city_id = 1), (SELECT last_update = now() FROM rental WHERE rental_id = 1),
			       (SELECT count(*) FROM city WHERE last_update = now()); ROLLBACK`, "t|t|1"},
		{"a new rental and its payment", `
			BEGIN; WITH r AS (INSERT INTO rental (rental_date, inventory_id, customer_id, staff_id) SELECT '2022-07-28', min(i), 5, 1
			       FROM generate_series(1, 50) AS i WHERE inventory_in_stock(i) RETURNING rental_id)
			INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date) SELECT 5, 1, 1, 2.99, '2022-07-28' FROM r;
			SELECT tableoid::regclass, payment_id > 32098 FROM payment WHERE payment_date = '2022-07-28'; ROLLBACK`, "payment_p2022_07|t"},
		{"defaults", `
			BEGIN; INSERT INTO film (title, language_id) VALUES ('A', 1);
			SELECT rental_duration, rental_rate, replacement_cost, rating, fulltext FROM film WHERE title = 'A'; ROLLBACK`, "3|4.99|19.99|G|"},
	})
}

// recentPayments opens a transaction and books, for the month three months ago, three
// payments of 2 each for customer 7, two of 9 for 8, three of 4 for 9 (the last in the
// month's last second), and for 10 three around that month.
const recentPayments = `
	BEGIN;
	DO $$
	DECLARE
	    start timestamptz := date_trunc('month', now()) - interval '3 months';
	BEGIN
	    EXECUTE format('CREATE TABLE payment_recent PARTITION OF payment FOR VALUES FROM (%L) TO (%L)', start - interval '1 month', start + interval '2 months');
	    INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)
	    SELECT who, 1, 1, amount, start + at
	      FROM (VALUES (7, 2, interval '0'), (7, 2, '5 days'), (7, 2, '6 days'),
	                   (8, 9, '1 day'), (8, 9, '2 days'),
	                   (9, 4, '3 days'), (9, 4, '4 days'), (9, 4, '1 month -1 second'),
	                   (10, 9, '-1 second'), (10, 9, '1 day'), (10, 9, '1 month')) AS v(who, amount, at);
	END $$;`

// testRefusals does what the schema must not allow; each fails with the given SQLSTATE.
func testRefusals(t *testing.T, s *server, database string) {
	for _, c := range []struct{ name, sql, state string }{
		{"a month without partition", `INSERT INTO payment VALUES (1, 1, 1, 1, 1, '2022-08-01')`, "23514"},
		{"a year out of range", `SELECT 1900::year`, "23514"},
		{"an unknown rating", `SELECT 'X'::mpaa_rating`, "22P02"},
		{"a rental of nothing", `UPDATE rental SET inventory_id = 0 WHERE rental_id = 1`, "23503"},
		{"a film that is in stock vanishes", `DELETE FROM film WHERE film_id = (SELECT min(film_id) FROM inventory)`, "23503"},
		{"a manager of two stores", `UPDATE store SET manager_staff_id = 1`, "23505"},
		{"no purchases", `SELECT * FROM rewards_report(0, 1)`, "22023"},
		{"no amount", `SELECT * FROM rewards_report(1, 0)`, "22023"},
		{"the same load again", `CREATE TYPE mpaa_rating AS ENUM ('G')`, "42710"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.query(t, database, `DO $test$ BEGIN EXECUTE $sql$`+c.sql+`$sql$; EXCEPTION WHEN OTHERS THEN
				PERFORM set_config('test.state', SQLSTATE, false); END $test$; SELECT current_setting('test.state', true)`)
			if strings.TrimSpace(got) != c.state {
				t.Errorf("SQLSTATE %q, want %q", got, c.state)
			}
		})
	}
}
