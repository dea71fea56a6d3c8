-- People: the two stores with their staff, actors, customers, and everyone's address.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET jit = off;
SET TimeZone = 'UTC';
SET search_path = public;

-- A number below n from the bytes of h at the given place.
CREATE FUNCTION pg_temp.draw(h bytea, place integer, n integer) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((get_byte(h, place) << 16) + (get_byte(h, place + 1) << 8) + get_byte(h, place + 2)) % n $$;

-- Addresses 1 and 2 are the stores', 3 and 4 the managers', the others the customers'.
-- The numbers 257 and 518 are unused, as in the original.
INSERT INTO address (address_id, address, address2, district, city_id, postal_code, phone, last_update)
SELECT n + (n >= 257)::integer + (n >= 517)::integer,
       1 + pg_temp.draw(h, 0, 899) || ' ' || streets[1 + pg_temp.draw(h, 3, cardinality(streets))]
           || ' ' || kinds[1 + pg_temp.draw(h, 6, cardinality(kinds))],
       CASE WHEN n > 4 AND pg_temp.draw(h, 9, 6) = 0 THEN 'Flat ' || 1 + pg_temp.draw(h, 9, 40) ELSE '' END,
       districts[1 + pg_temp.draw(h, 12, cardinality(districts))],
       -- a permutation of the 600 cities; the managers live in their stores' cities
       1 + (CASE WHEN n IN (3, 4) THEN n - 2 ELSE n END * 227) % 600,
       lpad((1000 + pg_temp.draw(h, 15, 98999))::text, 5, '0'),
       (10000000000 + pg_temp.draw(h, 18, 9999)::bigint * 1000000 + pg_temp.draw(h, 21, 1000000))::text,
       timestamptz '2022-01-04 09:00:00+00'
  FROM (SELECT n, sha256(convert_to('address ' || n, 'UTF8')) AS h,
               string_to_array('Alder Almond Anchor Bakery Barley Beacon Bellfounder Birch Boatyard Brewery Bridge Canal '
                   'Carpenter Cedar Chandler Chapel Clover Cooper Copper Coral Dairy Dyer Fern Ferry Fountain Foundry Garden '
                   'Glassworks Granary Hazel Heron Hillside Jasmine Juniper Kiln Lantern Larch Lighthouse Linden Lower Mill '
                   'Maple Market Meadow Mint Mulberry Nightingale Observatory Olive Orchard Paper Plum Potter Quarry Quince '
                   'Railway Ropewalk Rosemary Saddler Sawmill Shepherd Spring Station Sycamore Tannery Thistle Tollgate Vine '
                   'Walnut Weaver Willow Windmill', ' ') AS streets,
               ARRAY['Street', 'Street', 'Street', 'Road', 'Road', 'Lane', 'Row', 'Square', 'Terrace', 'Close', 'Walk', 'Quay'] AS kinds,
               ARRAY['Old Town', 'New Town', 'North Quarter', 'South Quarter', 'East Side', 'West Side', 'Harbour District',
                     'Station Quarter', 'University District', 'Riverside', 'Hill District', 'Garden Suburb', 'Market Quarter',
                     'Cathedral Quarter', 'Upper Town', 'Lower Town', 'Lakeside', 'Parkside', 'Mill Quarter', 'Outer Ring'] AS districts
          FROM generate_series(1, 603) AS n OFFSET 0) AS seed
 ORDER BY n;

INSERT INTO store (store_id, manager_staff_id, address_id, last_update)
SELECT n, n, n, timestamptz '2022-01-04 09:30:00+00' FROM generate_series(1, 2) AS n ORDER BY n;

-- The passwords are digests of nothing secret; the picture is a PNG of one grey pixel.
INSERT INTO staff (staff_id, first_name, last_name, address_id, email, store_id, active, username, password, last_update, picture) VALUES
    (1, 'Ingrid', 'Vasquez', 3, 'ingrid.vasquez@staff.example', 1, true, 'Ingrid',
     encode(sha256('store one'), 'hex'), '2022-01-04 09:40:00+00', decode('89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082', 'hex')),
    (2, 'Tomas', 'Achebe', 4, 'tomas.achebe@staff.example', 2, true, 'Tomas',
     encode(sha256('store two'), 'hex'), '2022-01-04 09:40:00+00', NULL);

-- Actors: of 3600 possible names each appears at most once, because the last name moves
-- on by one whenever the first names are exhausted.
INSERT INTO actor (actor_id, first_name, last_name, last_update)
SELECT n, firsts[1 + k % 60], lasts[1 + (k * 7 + k / 60) % 60], timestamptz '2022-01-04 10:00:00+00'
  FROM (SELECT n, (n * 47) % 200 AS k,
               string_to_array('ADAEZE AGNES AMIR ANNIKA ANSEL AURELIA BASTIEN BEATRIZ BJORN BRAM CALLIOPE CASPIAN CELESTE CORMAC '
                   'DALIA DESMOND DMITRI EFFIE ELIO ESMERALDA FARID FREYA GIDEON GRETA HAMZA HELGA IDRIS ILSE IMANI ISIDRO JORAH '
                   'JUNIPER KAVYA KENJI LEONIE LUCIAN MAGNUS MARISOL MATTEO MIRIAM NAVEEN NIAMH ODETTE OSKAR PERPETUA PRIYA QUENTIN '
                   'RAFAEL ROWAN SABINE SOREN TAMSIN THADDEUS ULLA VALENTIN WILHELMINA XIMENA YUSUF ZADIE ZORAN', ' ') AS firsts,
               string_to_array('ABERNATHY ALMEIDA ARKWRIGHT BANERJEE BELLWETHER BERGSTROM CALLOWAY CASTELLAN CHIKWE CORDERO DELACROIX '
                   'DRUMMOND EKSTROM FAIRCHILD FERREIRA FITZROY GALLARDO GRIMALDI HALVORSEN HARGREAVE HOLLOWAY IBARRA IWASAKI JANSSEN '
                   'KALLAS KOWALCZYK LARKSPUR LINDQVIST LOVELACE MACALLAN MAKINEN MARCHETTI MBEKI MERRIWEATHER NAKAGAWA NORDSTROM OBERLIN '
                   'OKONKWO PEMBERTON PETROVA QUILL RAMASWAMY REDFERN ROSENTHAL SANDOVAL SEVERIN SINCLAIR STAVROS TADESSE THORNBURY '
                   'ULLMANN VALDERRAMA VANCE VILLENEUVE WESTERGAARD WINTERBOURNE XENAKIS YAMAMOTO ZABALA ZIMMERLI', ' ') AS lasts
          FROM generate_series(1, 200) AS n OFFSET 0) AS seed
 ORDER BY n;

-- Customers, made like the actors out of 90 and 70 names.
INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, activebool, create_date, last_update, active)
SELECT n, 1 + (pg_temp.draw(h, 0, 100) >= 54)::integer, first, last,
       lower((first || '.' || last || '@customers.example') COLLATE "C"),
       n + 4 + (n >= 253)::integer + (n >= 513)::integer,
       n % 40 <> 17, date '2021-01-04' + pg_temp.draw(h, 3, 370), timestamptz '2022-01-12 08:00:00+00', (n % 40 <> 17)::integer
  FROM (SELECT n, sha256(convert_to('customer ' || n, 'UTF8')) AS h,
               firsts[1 + k % 90] AS first, lasts[1 + (k * 11 + k / 90) % 70] AS last
          FROM (SELECT n, (n * 229) % 599 AS k,
                       string_to_array('ABIGAIL ADRIAN AISHA ALBERT ALEJANDRA ALINA ANDRE ANJALI ANTON ARTHUR ASTRID BENEDICT BIANCA '
                           'BORIS BRIDGET CAMILLE CARLOS CHIARA CHIDI CLARA CONRAD DAMIAN DANIELA DARIUS DELIA DIEGO EBONY EDITH '
                           'EDWIN ELENA EMEKA EMIL ESTHER EVELYN FATIMA FELIX FIONA FLORIAN GABRIELA GEORGE GIULIA GUSTAV HANNAH '
                           'HASSAN HELEN HUGO INES IVAN JASPER JOHANNA JONAS JULIA KARIM KATYA KOFI LAILA LARS LEILA LORENZO LUCIA '
                           'MARCEL MARIAM MARTIN MEI MIGUEL MONIKA NADIA NIKOLAI NOOR OLIVIA OMAR PABLO PAULA PETRA PHILIP RANIA '
                           'REMY ROSA SAMIR SARA SIMON SOFIA STEFAN TARIQ TESSA VERA VIKTOR WANDA YARA ZOE', ' ') AS firsts,
                       string_to_array('ABBOTT ADEYEMI AGARWAL ALBRECHT AMADI ANDERSSON ARSLAN BACHMANN BARBIERI BAUER BLANCO BOATENG '
                           'BORGES BRANDT CARVALHO CHAUDHRY CHEVALIER CORREIA DUBOIS DUARTE EBERHARD ESPINOZA FALK FISCHER FONTAINE '
                           'GARNIER GRECO GUPTA HADDAD HASHIMOTO HENDRIKS HERZOG IYER JANKOWSKI JOHANSEN KAPOOR KELLER KHALIL KOVACS '
                           'LAMBERT LAURENT LEHTINEN LOMBARDI MARCHAND MENDOZA MOREAU MWANGI NAKAMURA NIELSEN NOVAK OKAFOR OLSEN '
                           'ORTEGA PAPPAS PEREIRA QURESHI RICHTER ROMANO SANTORO SCHREIBER SILVESTRE TANAKA TEMBO URBAN VARGA '
                           'VENTURA WAGNER WOJCIK YILMAZ ZHANG', ' ') AS lasts
                  FROM generate_series(1, 599) AS n OFFSET 0) AS names
        OFFSET 0) AS seed
 ORDER BY n;

DROP FUNCTION pg_temp.draw(bytea, integer, integer);

RESET search_path;
RESET TimeZone;
RESET jit;
RESET client_min_messages;
RESET client_encoding;
