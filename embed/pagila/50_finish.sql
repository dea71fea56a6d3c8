-- Keys, indexes, foreign keys, triggers, sequences, statistics: all that is cheaper, or
-- only possible, when the data is in.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET search_path = public;

-- Keys -------------------------------------------------------------------------------

ALTER TABLE actor         ADD CONSTRAINT actor_pkey PRIMARY KEY (actor_id);
ALTER TABLE address       ADD CONSTRAINT address_pkey PRIMARY KEY (address_id);
ALTER TABLE category      ADD CONSTRAINT category_pkey PRIMARY KEY (category_id);
ALTER TABLE city          ADD CONSTRAINT city_pkey PRIMARY KEY (city_id);
ALTER TABLE country       ADD CONSTRAINT country_pkey PRIMARY KEY (country_id);
ALTER TABLE customer      ADD CONSTRAINT customer_pkey PRIMARY KEY (customer_id);
ALTER TABLE film          ADD CONSTRAINT film_pkey PRIMARY KEY (film_id);
ALTER TABLE film_actor    ADD CONSTRAINT film_actor_pkey PRIMARY KEY (actor_id, film_id);
ALTER TABLE film_category ADD CONSTRAINT film_category_pkey PRIMARY KEY (film_id, category_id);
ALTER TABLE inventory     ADD CONSTRAINT inventory_pkey PRIMARY KEY (inventory_id);
ALTER TABLE language      ADD CONSTRAINT language_pkey PRIMARY KEY (language_id);
ALTER TABLE rental        ADD CONSTRAINT rental_pkey PRIMARY KEY (rental_id);
ALTER TABLE staff         ADD CONSTRAINT staff_pkey PRIMARY KEY (staff_id);
ALTER TABLE store         ADD CONSTRAINT store_pkey PRIMARY KEY (store_id);
ALTER TABLE payment       ADD CONSTRAINT payment_pkey PRIMARY KEY (payment_date, payment_id);

-- Indexes ----------------------------------------------------------------------------

CREATE INDEX film_fulltext_idx           ON film USING gist (fulltext);
CREATE INDEX idx_title                   ON film (title);
CREATE INDEX idx_fk_language_id          ON film (language_id);
CREATE INDEX idx_fk_original_language_id ON film (original_language_id);
CREATE INDEX idx_fk_film_id              ON film_actor (film_id);
CREATE INDEX idx_actor_last_name         ON actor (last_name);
CREATE INDEX idx_fk_country_id           ON city (country_id);
CREATE INDEX idx_fk_city_id              ON address (city_id);
CREATE INDEX idx_fk_address_id           ON customer (address_id);
CREATE INDEX idx_fk_store_id             ON customer (store_id);
CREATE INDEX idx_last_name               ON customer (last_name);
CREATE INDEX idx_store_id_film_id        ON inventory (store_id, film_id);
CREATE INDEX idx_fk_inventory_id         ON rental (inventory_id);
CREATE UNIQUE INDEX idx_unq_manager_staff_id ON store (manager_staff_id);
CREATE UNIQUE INDEX idx_unq_rental_rental_date_inventory_id_customer_id ON rental (rental_date, inventory_id, customer_id);
CREATE UNIQUE INDEX rental_category      ON rental_by_category (category);

-- Foreign keys -----------------------------------------------------------------------

ALTER TABLE city          ADD CONSTRAINT city_country_id_fkey FOREIGN KEY (country_id) REFERENCES country ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE address       ADD CONSTRAINT address_city_id_fkey FOREIGN KEY (city_id) REFERENCES city ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE store         ADD CONSTRAINT store_address_id_fkey FOREIGN KEY (address_id) REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE staff         ADD CONSTRAINT staff_address_id_fkey FOREIGN KEY (address_id) REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT staff_store_id_fkey FOREIGN KEY (store_id) REFERENCES store;
ALTER TABLE customer      ADD CONSTRAINT customer_address_id_fkey FOREIGN KEY (address_id) REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT customer_store_id_fkey FOREIGN KEY (store_id) REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE film          ADD CONSTRAINT film_language_id_fkey FOREIGN KEY (language_id) REFERENCES language ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT film_original_language_id_fkey FOREIGN KEY (original_language_id) REFERENCES language ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE film_actor    ADD CONSTRAINT film_actor_actor_id_fkey FOREIGN KEY (actor_id) REFERENCES actor ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT film_actor_film_id_fkey FOREIGN KEY (film_id) REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE film_category ADD CONSTRAINT film_category_film_id_fkey FOREIGN KEY (film_id) REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT film_category_category_id_fkey FOREIGN KEY (category_id) REFERENCES category ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE inventory     ADD CONSTRAINT inventory_film_id_fkey FOREIGN KEY (film_id) REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT inventory_store_id_fkey FOREIGN KEY (store_id) REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE rental        ADD CONSTRAINT rental_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customer ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT rental_inventory_id_fkey FOREIGN KEY (inventory_id) REFERENCES inventory ON UPDATE CASCADE ON DELETE RESTRICT,
                          ADD CONSTRAINT rental_staff_id_fkey FOREIGN KEY (staff_id) REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT;

-- The original gives these to the partitions from January to June one by one, the
-- customer's index even twice, and none to July's.
DO $$
DECLARE
    part text;
BEGIN
    FOR month IN 1..6 LOOP
        part := 'payment_p2022_0' || month;
        EXECUTE format('CREATE INDEX %I ON %I (customer_id)', 'idx_fk_' || part || '_customer_id', part);
        EXECUTE format('CREATE INDEX %I ON %I (staff_id)', 'idx_fk_' || part || '_staff_id', part);
        EXECUTE format('CREATE INDEX %I ON %I (customer_id)', part || '_customer_id_idx', part);
        EXECUTE format('ALTER TABLE %1$I ADD CONSTRAINT %1$s_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customer,
                                         ADD CONSTRAINT %1$s_rental_id_fkey FOREIGN KEY (rental_id) REFERENCES rental,
                                         ADD CONSTRAINT %1$s_staff_id_fkey FOREIGN KEY (staff_id) REFERENCES staff', part);
    END LOOP;
END
$$;

-- Triggers: every table with a last_update keeps it by itself --------------------------

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['actor', 'address', 'category', 'city', 'country', 'customer', 'film', 'film_actor',
                                'film_category', 'inventory', 'language', 'rental', 'staff', 'store'] LOOP
        EXECUTE format('CREATE TRIGGER last_updated BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION last_updated()', kept);
    END LOOP;
END
$$;

-- Sequences: the next number is above every one in use ---------------------------------

DO $$
BEGIN
    PERFORM setval('actor_actor_id_seq', 200), setval('address_address_id_seq', 605), setval('category_category_id_seq', 16),
            setval('city_city_id_seq', 600), setval('country_country_id_seq', 109), setval('customer_customer_id_seq', 599),
            setval('film_film_id_seq', 1000), setval('inventory_inventory_id_seq', 4581), setval('language_language_id_seq', 6),
            setval('payment_payment_id_seq', 32098), setval('rental_rental_id_seq', 16049), setval('staff_staff_id_seq', 2),
            setval('store_store_id_seq', 2);
END
$$;

-- Statistics first: without them the view's query gets a poor plan.
ANALYZE actor, address, category, city, country, customer, film, film_actor, film_category, inventory, language,
        payment, rental, staff, store;
REFRESH MATERIALIZED VIEW rental_by_category;
ANALYZE rental_by_category;

RESET search_path;
RESET TimeZone;
RESET client_min_messages;
RESET client_encoding;
