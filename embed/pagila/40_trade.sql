-- Half a year of trade, as the books stand on the evening of 27 July 2022: 16044 rentals,
-- 183 of them open, and 16049 payments.
--
-- Payments come first, since their number in each month's partition is given. A payment
-- is made when the item comes back: the rate, plus a dollar for each full day too late.
-- For what is still out the rate was paid in advance. One late customer in sixty did not
-- pay the fee, which get_customer_balance finds; five paid it later, by a second payment.
--
-- That no item is out twice at a time follows from how items are picked: in rounds of
-- 1003, from the even and from the odd numbers in turn. So between two rentals of an item
-- lies a whole round, more than 11 days, and nobody keeps an item for 10.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET jit = off;
SET TimeZone = 'UTC';
SET search_path = public;

-- A number below n from the bytes of h at the given place.
CREATE FUNCTION pg_temp.draw(h bytea, place integer, n integer) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((get_byte(h, place) << 16) + (get_byte(h, place + 1) << 8) + get_byte(h, place + 2)) % n $$;

-- The items of each round, popular films preferred, in the order of their return. Each
-- item has one hash: three bytes for each of its eight rounds, and some for the order.
CREATE TEMPORARY TABLE pick AS
SELECT round, inventory_id, row_number() OVER (PARTITION BY round ORDER BY position * (2 * round + 1) % 65521, inventory_id) - 1 AS slot
  FROM (SELECT round, inventory_id, position,
               row_number() OVER (PARTITION BY round ORDER BY pg_temp.draw(h, round / 2 * 3, 16777216) / popularity, inventory_id) AS place
          FROM (SELECT inventory_id, 1 + film_id * 389 % 11 AS popularity, pg_temp.draw(h, 24, 65521) AS position, h
                  FROM (SELECT inventory_id, film_id, sha256(int4send(inventory_id)) AS h FROM inventory OFFSET 0) AS hashed
                OFFSET 0) AS item
          JOIN generate_series(0, 15) AS round ON item.inventory_id % 2 = round % 2) AS ranked
 WHERE place <= 1003;

-- The moments of payment, numbered through: evenly over each month, within opening hours
-- (46800 seconds a day from 9 o'clock on). Five of them are the second payments.
CREATE TEMPORARY TABLE moment AS
SELECT e, e - width_bucket(e, ARRAY[2711, 5527, 8349, 11171, 13993]) - 1 AS m,
       e IN (2711, 5527, 8349, 11171, 13993) AS again,
       ((day + open_second / 46800) * 86400 + 32400 + open_second % 46800)::integer AS paid_at, h
  FROM (SELECT before + i::integer AS e, day, h,
               ((i - 1) * 1000 + pg_temp.draw(h, 0, 1000)) * days * 46800 / (quota * 1000) AS open_second
          FROM (SELECT before, day, days, quota, i, sha256(int4send(1000000 + before + i::integer)) AS h
                  FROM (VALUES (0, 22, 9, 723), (723, 31, 28, 2401), (3124, 59, 31, 2713), (5837, 90, 30, 2547),
                               (8384, 120, 31, 2677), (11061, 151, 30, 2654), (13715, 181, 27, 2334)) AS month(before, day, days, quota),
                       generate_series(1, quota::bigint) AS i
                OFFSET 0) AS seed
        OFFSET 0) AS paced;

-- Moments are seconds since the new year until here.
CREATE TEMPORARY TABLE trade AS
SELECT n + width_bucket(n, ARRAY[2711, 5526, 8347, 11168, 13989]) AS rental_id,
       e, inventory_id, store_id, customer_id, rental_rate, late, unpaid AND late > 0 AS unpaid,
       timestamptz '2022-01-01 00:00:00+00' + make_interval(secs => rented_at) AS rental_date,
       CASE WHEN late IS NOT NULL THEN timestamptz '2022-01-01 00:00:00+00' + make_interval(secs => paid_at) END AS return_date,
       timestamptz '2022-01-01 00:00:00+00' + make_interval(secs => paid_at) AS paid_date
  FROM (SELECT e, inventory_id, store_id, customer_id, rental_rate, unpaid, paid_at, rented_at,
               row_number() OVER (ORDER BY rented_at, inventory_id)::integer AS n,
               CASE WHEN rented_at < paid_at THEN greatest(0, (paid_at - rented_at) / 86400 - rental_duration) END AS late
          FROM (SELECT mo.e, i.inventory_id, i.store_id, f.rental_rate, f.rental_duration, mo.paid_at,
                       pg_temp.draw(mo.h, 12, 60) = 0 AS unpaid,
                       -- customers no longer active have no rentals in the second half
                       who + (who % 40 = 17 AND m > 8000)::integer AS customer_id,
                       CASE WHEN p.round = 15 AND p.slot >= 549 AND p.slot % 3 = 0 OR p.round = 14 AND p.slot % 30 = 15
                            THEN paid_at
                            ELSE (paid_at / 86400 - 1 - pg_temp.draw(mo.h, 3, 9)) * 86400 + 32400 + pg_temp.draw(mo.h, 6, 46800) END AS rented_at
                  FROM (SELECT *, 1 + pg_temp.draw(h, 9, 599) AS who FROM moment WHERE NOT again OFFSET 0) AS mo
                  JOIN pick AS p ON p.round = m / 1003 AND p.slot = m % 1003
                  JOIN inventory AS i ON i.inventory_id = p.inventory_id
                  JOIN film AS f ON f.film_id = i.film_id
                OFFSET 0) AS t
        OFFSET 0) AS numbered;

INSERT INTO rental (rental_id, rental_date, inventory_id, customer_id, return_date, staff_id, last_update)
SELECT rental_id, rental_date, inventory_id, customer_id, return_date, store_id, coalesce(return_date, rental_date)
  FROM trade
 ORDER BY rental_id;

-- For a second payment: the last rental before it that came back late.
CREATE TEMPORARY TABLE second_payment AS
SELECT mo.e, t.e AS first, timestamptz '2022-01-01 00:00:00+00' + make_interval(secs => mo.paid_at) AS paid_date
  FROM moment AS mo, LATERAL (SELECT max(e) AS e FROM trade WHERE late > 0 AND NOT unpaid AND e < mo.e) AS t
 WHERE mo.again;

INSERT INTO payment (payment_id, customer_id, staff_id, rental_id, amount, payment_date)
SELECT 16049 + e, customer_id, store_id, rental_id, amount, paid_date
  FROM (SELECT e, customer_id, store_id, rental_id, paid_date,
               CASE WHEN unpaid OR late IS NULL OR e IN (SELECT first FROM second_payment)
                    THEN rental_rate ELSE rental_rate + late END AS amount
          FROM trade
        UNION ALL
        SELECT s.e, t.customer_id, t.store_id, t.rental_id, s.paid_date, t.late
          FROM second_payment AS s JOIN trade AS t ON t.e = s.first) AS booked
 ORDER BY e;

DROP TABLE pick, moment, trade, second_payment;
DROP FUNCTION pg_temp.draw(bytea, integer, integer);

RESET search_path;
RESET TimeZone;
RESET jit;
RESET client_min_messages;
RESET client_encoding;
