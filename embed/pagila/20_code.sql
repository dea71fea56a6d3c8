-- Functions, the aggregate, views and the materialized view.
--
-- Bodies name every table with its schema: they must find their tables whatever the
-- caller's search_path is.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET search_path = public;

-- Functions --------------------------------------------------------------------------

-- State transition of group_concat: a NULL on either side adds nothing.
CREATE FUNCTION _group_concat(text, text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT coalesce($1 || ', ' || $2, $1, $2) $$;

CREATE AGGREGATE group_concat(text) (SFUNC = _group_concat, STYPE = text);

-- Last day of the month of the given moment, in the session's time zone.
CREATE FUNCTION last_day(timestamptz) RETURNS date
    LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT (date_trunc('month', $1::timestamp) + interval '1 month - 1 day')::date $$;

CREATE FUNCTION last_updated() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.last_update := transaction_timestamp();
    RETURN NEW;
END
$$;

-- The customer who has the item now; NULL when it is on the shelf.
CREATE FUNCTION inventory_held_by_customer(p_inventory_id integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    holder integer;
BEGIN
    SELECT r.customer_id INTO holder
      FROM public.rental AS r
     WHERE r.inventory_id = p_inventory_id AND r.return_date IS NULL
     ORDER BY r.rental_date DESC
     LIMIT 1;
    RETURN holder;
END
$$;

-- True unless an open rental has the item; so also for one that was never rented.
CREATE FUNCTION inventory_in_stock(p_inventory_id integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM 1 FROM public.rental AS r
      WHERE r.inventory_id = p_inventory_id AND r.return_date IS NULL;
    RETURN NOT FOUND;
END
$$;

-- Despite the parameter's name these two return the items themselves, one a row.
CREATE FUNCTION film_in_stock(p_film_id integer, p_store_id integer, OUT p_film_count integer) RETURNS SETOF integer
    LANGUAGE sql
    AS $$
SELECT i.inventory_id
  FROM public.inventory AS i
 WHERE (i.film_id, i.store_id) = ($1, $2) AND public.inventory_in_stock(i.inventory_id)
$$;

CREATE FUNCTION film_not_in_stock(p_film_id integer, p_store_id integer, OUT p_film_count integer) RETURNS SETOF integer
    LANGUAGE sql
    AS $$
SELECT i.inventory_id
  FROM public.inventory AS i
 WHERE (i.film_id, i.store_id) = ($1, $2) AND NOT public.inventory_in_stock(i.inventory_id)
$$;

-- What the customer owes for rentals begun up to the given moment: the rates, plus one
-- dollar for each full day kept beyond the film's duration, minus the payments until then.
-- (The original means the same, but calls IF(), which PostgreSQL lacks, and always fails.)
CREATE FUNCTION get_customer_balance(p_customer_id integer, p_effective_date timestamptz) RETURNS numeric
    LANGUAGE plpgsql
    AS $$
DECLARE
    charged numeric;
    paid    numeric;
BEGIN
    SELECT coalesce(sum(f.rental_rate + greatest(0,
               floor(extract(epoch FROM r.return_date - r.rental_date) / 86400) - f.rental_duration)), 0)
      INTO charged
      FROM public.rental AS r
      JOIN public.inventory AS i USING (inventory_id)
      JOIN public.film AS f USING (film_id)
     WHERE r.customer_id = p_customer_id AND r.rental_date <= p_effective_date;

    SELECT coalesce(sum(p.amount), 0) INTO paid
      FROM public.payment AS p
     WHERE p.customer_id = p_customer_id AND p.payment_date <= p_effective_date;

    RETURN round(charged - paid, 2);
END
$$;

-- Customers who, in the calendar month three months ago, bought more than the given
-- number of times and for more than the given sum. It runs with its owner's rights, so
-- it must not look names up along the caller's search_path.
CREATE FUNCTION rewards_report(min_monthly_purchases integer, min_dollar_amount_purchased numeric) RETURNS SETOF customer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    first_day date := date_trunc('month', current_date - interval '3 months');
BEGIN
    IF min_monthly_purchases <= 0 THEN
        RAISE EXCEPTION 'the number of monthly purchases must be positive, not %', min_monthly_purchases
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF min_dollar_amount_purchased <= 0 THEN
        RAISE EXCEPTION 'the amount of monthly purchases must be positive, not %', min_dollar_amount_purchased
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    RETURN QUERY
        SELECT c.*
          FROM public.customer AS c
         WHERE c.customer_id IN (
                   SELECT p.customer_id
                     FROM public.payment AS p
                    WHERE p.payment_date >= first_day
                      AND p.payment_date < public.last_day(first_day) + 1
                    GROUP BY p.customer_id
                   HAVING sum(p.amount) > min_dollar_amount_purchased
                      AND count(*) > min_monthly_purchases);
END
$$;

-- Views ------------------------------------------------------------------------------

CREATE VIEW actor_info AS
WITH by_category AS (
    SELECT fa.actor_id,
           c.name || ': ' || group_concat(f.title ORDER BY f.title) AS titles
      FROM film_actor AS fa
      JOIN film AS f USING (film_id)
      JOIN film_category AS fc USING (film_id)
      JOIN category AS c USING (category_id)
     GROUP BY fa.actor_id, c.category_id, c.name
)
SELECT a.actor_id, a.first_name, a.last_name,
       group_concat(b.titles ORDER BY b.titles) AS film_info
  FROM actor AS a
  LEFT JOIN by_category AS b USING (actor_id)
 GROUP BY a.actor_id, a.first_name, a.last_name;

CREATE VIEW customer_list AS
SELECT cu.customer_id AS id,
       cu.first_name || ' ' || cu.last_name AS name,
       a.address,
       a.postal_code AS "zip code",
       a.phone,
       ci.city,
       co.country,
       CASE WHEN cu.activebool THEN 'active' ELSE '' END AS notes,
       cu.store_id AS sid
  FROM customer AS cu
  JOIN address AS a USING (address_id)
  JOIN city AS ci USING (city_id)
  JOIN country AS co USING (country_id);

CREATE VIEW staff_list AS
SELECT s.staff_id AS id,
       s.first_name || ' ' || s.last_name AS name,
       a.address,
       a.postal_code AS "zip code",
       a.phone,
       ci.city,
       co.country,
       s.store_id AS sid
  FROM staff AS s
  JOIN address AS a USING (address_id)
  JOIN city AS ci USING (city_id)
  JOIN country AS co USING (country_id);

CREATE VIEW film_list AS
SELECT f.film_id AS fid, f.title, f.description, c.name AS category, f.rental_rate AS price,
       f.length, f.rating,
       group_concat(a.first_name || ' ' || a.last_name ORDER BY a.actor_id) AS actors
  FROM film AS f
  JOIN film_category AS fc USING (film_id)
  JOIN category AS c USING (category_id)
  JOIN film_actor AS fa USING (film_id)
  JOIN actor AS a USING (actor_id)
 GROUP BY f.film_id, f.title, f.description, c.name, f.rental_rate, f.length, f.rating;

-- In mixed case, and without a blank between the names, as the original gives them.
CREATE VIEW nicer_but_slower_film_list AS
SELECT f.film_id AS fid, f.title, f.description, c.name AS category, f.rental_rate AS price,
       f.length, f.rating,
       group_concat(upper(left(a.first_name, 1)) || lower(substr(a.first_name, 2))
                 || upper(left(a.last_name, 1)) || lower(substr(a.last_name, 2)) ORDER BY a.actor_id) AS actors
  FROM film AS f
  JOIN film_category AS fc USING (film_id)
  JOIN category AS c USING (category_id)
  JOIN film_actor AS fa USING (film_id)
  JOIN actor AS a USING (actor_id)
 GROUP BY f.film_id, f.title, f.description, c.name, f.rental_rate, f.length, f.rating;

CREATE VIEW sales_by_film_category AS
SELECT c.name AS category, sum(p.amount) AS total_sales
  FROM payment AS p
  JOIN rental AS r USING (rental_id)
  JOIN inventory AS i USING (inventory_id)
  JOIN film_category AS fc USING (film_id)
  JOIN category AS c USING (category_id)
 GROUP BY c.name
 ORDER BY total_sales DESC;

CREATE VIEW sales_by_store AS
SELECT ci.city || ',' || co.country AS store,
       m.first_name || ' ' || m.last_name AS manager,
       sum(p.amount) AS total_sales
  FROM payment AS p
  JOIN rental AS r USING (rental_id)
  JOIN inventory AS i USING (inventory_id)
  JOIN store AS s USING (store_id)
  JOIN staff AS m ON m.staff_id = s.manager_staff_id
  JOIN address AS a ON a.address_id = s.address_id
  JOIN city AS ci USING (city_id)
  JOIN country AS co USING (country_id)
 GROUP BY s.store_id, ci.city, co.country, m.first_name, m.last_name
 ORDER BY co.country, ci.city;

-- Filled when the data is in (50_finish.sql).
CREATE MATERIALIZED VIEW rental_by_category AS
SELECT c.name AS category, sum(p.amount) AS total_sales
  FROM payment AS p
  JOIN rental AS r USING (rental_id)
  JOIN inventory AS i USING (inventory_id)
  JOIN film_category AS fc USING (film_id)
  JOIN category AS c USING (category_id)
 GROUP BY c.name
 ORDER BY total_sales DESC
  WITH NO DATA;

RESET search_path;
RESET client_min_messages;
RESET client_encoding;
