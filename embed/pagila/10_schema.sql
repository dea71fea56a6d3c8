-- A database compatible with Pagila 3.1, written anew: the same names, types, keys and
-- signatures, none of the text. Send the files in the order of their names, in one
-- session; a single transaction is fine. They need the rights of the database's owner,
-- no more, and contain no psql meta-commands.
--
-- Tables come bare: keys, indexes and foreign keys follow the data (50_finish.sql),
-- because one index build is cheaper than thousands of insertions.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET search_path = public;

-- Types ------------------------------------------------------------------------------

CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');

CREATE DOMAIN year AS integer CONSTRAINT year_check CHECK (VALUE BETWEEN 1901 AND 2155);

-- Two dotless i: the original has this domain, used by nothing, and so have we.
CREATE DOMAIN "bıgınt" AS bigint;

-- Sequences: owned by no column, as in the original -----------------------------------

CREATE SEQUENCE actor_actor_id_seq;
CREATE SEQUENCE address_address_id_seq;
CREATE SEQUENCE category_category_id_seq;
CREATE SEQUENCE city_city_id_seq;
CREATE SEQUENCE country_country_id_seq;
CREATE SEQUENCE customer_customer_id_seq;
CREATE SEQUENCE film_film_id_seq;
CREATE SEQUENCE inventory_inventory_id_seq;
CREATE SEQUENCE language_language_id_seq;
CREATE SEQUENCE payment_payment_id_seq;
CREATE SEQUENCE rental_rental_id_seq;
CREATE SEQUENCE staff_staff_id_seq;
CREATE SEQUENCE store_store_id_seq;

-- Tables -----------------------------------------------------------------------------

CREATE TABLE language (
    language_id integer DEFAULT nextval('language_language_id_seq'::regclass) NOT NULL,
    name        character(20) NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE category (
    category_id integer DEFAULT nextval('category_category_id_seq'::regclass) NOT NULL,
    name        text NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE country (
    country_id  integer DEFAULT nextval('country_country_id_seq'::regclass) NOT NULL,
    country     text NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE city (
    city_id     integer DEFAULT nextval('city_city_id_seq'::regclass) NOT NULL,
    city        text NOT NULL,
    country_id  integer NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE address (
    address_id  integer DEFAULT nextval('address_address_id_seq'::regclass) NOT NULL,
    address     text NOT NULL,
    address2    text,
    district    text NOT NULL,
    city_id     integer NOT NULL,
    postal_code text,
    phone       text NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE actor (
    actor_id    integer DEFAULT nextval('actor_actor_id_seq'::regclass) NOT NULL,
    first_name  text NOT NULL,
    last_name   text NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE film (
    film_id              integer DEFAULT nextval('film_film_id_seq'::regclass) NOT NULL,
    title                text NOT NULL,
    description          text,
    release_year         year,
    language_id          integer NOT NULL,
    original_language_id integer,
    rental_duration      smallint DEFAULT 3 NOT NULL,
    rental_rate          numeric(4,2) DEFAULT 4.99 NOT NULL,
    length               smallint,
    replacement_cost     numeric(5,2) DEFAULT 19.99 NOT NULL,
    rating               mpaa_rating DEFAULT 'G'::mpaa_rating,
    last_update          timestamptz DEFAULT now() NOT NULL,
    special_features     text[],
    fulltext             tsvector NOT NULL
);

CREATE TABLE film_actor (
    actor_id    integer NOT NULL,
    film_id     integer NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE film_category (
    film_id     integer NOT NULL,
    category_id integer NOT NULL,
    last_update timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE store (
    store_id         integer DEFAULT nextval('store_store_id_seq'::regclass) NOT NULL,
    manager_staff_id integer NOT NULL,
    address_id       integer NOT NULL,
    last_update      timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE staff (
    staff_id    integer DEFAULT nextval('staff_staff_id_seq'::regclass) NOT NULL,
    first_name  text NOT NULL,
    last_name   text NOT NULL,
    address_id  integer NOT NULL,
    email       text,
    store_id    integer NOT NULL,
    active      boolean DEFAULT true NOT NULL,
    username    text NOT NULL,
    password    text,
    last_update timestamptz DEFAULT now() NOT NULL,
    picture     bytea
);

CREATE TABLE customer (
    customer_id integer DEFAULT nextval('customer_customer_id_seq'::regclass) NOT NULL,
    store_id    integer NOT NULL,
    first_name  text NOT NULL,
    last_name   text NOT NULL,
    email       text,
    address_id  integer NOT NULL,
    activebool  boolean DEFAULT true NOT NULL,
    create_date date DEFAULT CURRENT_DATE NOT NULL,
    last_update timestamptz DEFAULT now(),
    active      integer
);

CREATE TABLE inventory (
    inventory_id integer DEFAULT nextval('inventory_inventory_id_seq'::regclass) NOT NULL,
    film_id      integer NOT NULL,
    store_id     integer NOT NULL,
    last_update  timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE rental (
    rental_id    integer DEFAULT nextval('rental_rental_id_seq'::regclass) NOT NULL,
    rental_date  timestamptz NOT NULL,
    inventory_id integer NOT NULL,
    customer_id  integer NOT NULL,
    return_date  timestamptz,
    staff_id     integer NOT NULL,
    last_update  timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE payment (
    payment_id   integer DEFAULT nextval('payment_payment_id_seq'::regclass) NOT NULL,
    customer_id  integer NOT NULL,
    staff_id     integer NOT NULL,
    rental_id    integer NOT NULL,
    amount       numeric(5,2) NOT NULL,
    payment_date timestamptz NOT NULL
) PARTITION BY RANGE (payment_date);

CREATE TABLE payment_p2022_01 PARTITION OF payment FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2022-02-01 00:00+00');
CREATE TABLE payment_p2022_02 PARTITION OF payment FOR VALUES FROM ('2022-02-01 00:00+00') TO ('2022-03-01 00:00+00');
CREATE TABLE payment_p2022_03 PARTITION OF payment FOR VALUES FROM ('2022-03-01 00:00+00') TO ('2022-04-01 00:00+00');
CREATE TABLE payment_p2022_04 PARTITION OF payment FOR VALUES FROM ('2022-04-01 00:00+00') TO ('2022-05-01 00:00+00');
CREATE TABLE payment_p2022_05 PARTITION OF payment FOR VALUES FROM ('2022-05-01 00:00+00') TO ('2022-06-01 00:00+00');
CREATE TABLE payment_p2022_06 PARTITION OF payment FOR VALUES FROM ('2022-06-01 00:00+00') TO ('2022-07-01 00:00+00');
CREATE TABLE payment_p2022_07 PARTITION OF payment FOR VALUES FROM ('2022-07-01 00:00+00') TO ('2022-08-01 00:00+00');

-- Full-text search: the vector is kept by a trigger, so it must exist before any film.

CREATE TRIGGER film_fulltext_trigger BEFORE INSERT OR UPDATE ON film
    FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger('fulltext', 'pg_catalog.english', 'title', 'description');

RESET search_path;
RESET TimeZone;
RESET client_min_messages;
RESET client_encoding;
