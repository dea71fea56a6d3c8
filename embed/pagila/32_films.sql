-- Films, their casts and categories, and the stores' copies.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET jit = off;
SET TimeZone = 'UTC';
SET search_path = public;

-- A number below n from the bytes of h at the given place.
CREATE FUNCTION pg_temp.draw(h bytea, place integer, n integer) RETURNS integer
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((get_byte(h, place) << 16) + (get_byte(h, place + 1) << 8) + get_byte(h, place + 2)) % n $$;

-- Titles are two words of 80 and 80; each round of 80 shifts the second, so none repeats.
-- They are numbered in their alphabetical order.
INSERT INTO film (film_id, title, description, release_year, language_id, original_language_id, rental_duration,
                  rental_rate, length, replacement_cost, rating, last_update, special_features)
SELECT film_id, title,
       heroes[1 + pg_temp.draw(h, 0, cardinality(heroes))] || ' ' || deeds[1 + pg_temp.draw(h, 3, cardinality(deeds))] || ' '
           || things[1 + pg_temp.draw(h, 6, cardinality(things))] || ' ' || places[1 + pg_temp.draw(h, 9, cardinality(places))]
           || twists[1 + pg_temp.draw(h, 12, cardinality(twists))] || '.',
       -- the square of a fraction: more recent films than old ones
       2021 - (pg_temp.draw(h, 15, 1000) * pg_temp.draw(h, 15, 1000) * 60 / 1000000),
       CASE WHEN pg_temp.draw(h, 17, 100) < 88 THEN 1 ELSE 2 + pg_temp.draw(h, 18, 5) END,
       CASE WHEN pg_temp.draw(h, 17, 100) < 6 THEN 2 + pg_temp.draw(h, 18, 5) END,
       3 + pg_temp.draw(h, 20, 5),
       (ARRAY[0.99, 2.99, 4.99])[1 + pg_temp.draw(h, 21, 3)],
       46 + (pg_temp.draw(h, 22, 70) + pg_temp.draw(h, 23, 71)),
       9.99 + pg_temp.draw(h, 24, 21),
       (enum_range(NULL::mpaa_rating))[1 + pg_temp.draw(h, 26, 5)],
       timestamptz '2022-01-05 07:00:00+00',
       -- one of the 15 sets that are not empty
       array_remove(ARRAY[CASE WHEN features & 1 > 0 THEN 'Trailers' END, CASE WHEN features & 2 > 0 THEN 'Commentaries' END,
                          CASE WHEN features & 4 > 0 THEN 'Deleted Scenes' END, CASE WHEN features & 8 > 0 THEN 'Behind the Scenes' END], NULL)
  FROM (SELECT row_number() OVER (ORDER BY title COLLATE "C")::integer AS film_id, title, h, 1 + pg_temp.draw(h, 28, 15) AS features
          FROM (SELECT firsts[1 + n % 80] || ' ' || seconds[1 + (n * 7 + n / 80 * 13) % 80] AS title,
                       sha256(convert_to('film ' || n, 'UTF8')) AS h
                  FROM generate_series(0, 999) AS n,
                       string_to_array('AMBER AUTUMN BAREFOOT BITTER BLUE BORROWED BRASS BROKEN BURNING CANDLELIT CARDINAL CERTAIN CLOCKWORK '
                           'COBALT COPPER CRIMSON CROOKED CURIOUS DANCING DISTANT DRIFTING DUSTY ECHOING EIGHTH ELECTRIC ELEVENTH EMERALD '
                           'ENDLESS FADING FALLING FARAWAY FEARLESS FLOATING FORGOTTEN FRAGILE FROZEN GENTLE GILDED GOLDEN HALF HIDDEN '
                           'HOLLOW HONEST HUMBLE IRON IVORY JADE LAST LONELY LUCKY MARBLE MIDNIGHT MIRRORED NAMELESS NORTHERN OBSIDIAN '
                           'PAPER PATIENT QUIET RECKLESS RESTLESS RUSTED SALTED SCARLET SECOND SILENT SILVER SLEEPING SOUTHERN STUBBORN '
                           'SUNLIT TANGLED TENDER THIRTEENTH UNSENT VELVET WANDERING WHISPERED WINTER YELLOW', ' ') AS firsts,
                       string_to_array('ACCORDION ALIBI ALMANAC ANCHOR APPLAUSE ARCHIPELAGO AUCTION BALLOON BARGAIN BEEKEEPER BICYCLE BLIZZARD '
                           'BOULEVARD CARAVAN CARTOGRAPHER CATHEDRAL CHANDELIER CIRCUIT COMET COMPASS CONFESSION CROSSROADS DETOUR '
                           'DOMINO ECLIPSE EMBASSY ENVELOPE EQUATION ESTUARY FAREWELL FERRYMAN FIREFLY FOOTNOTE GARDENER GLACIER '
                           'GRAMOPHONE HARBOR HARVEST HEIRLOOM HORIZON ICEBREAKER INKWELL ISLANDER JUBILEE KALEIDOSCOPE KITE LABYRINTH '
                           'LANTERN LEDGER LIGHTHOUSE LULLABY MASQUERADE MERIDIAN METRONOME MONSOON MOSAIC NEIGHBOR NOCTURNE OASIS ORCHARD '
                           'OVERTURE PASSENGER PENDULUM PILGRIM POSTCARD PROMISE QUARRY RANSOM REGATTA RENDEZVOUS SATELLITE SEXTANT '
                           'SPARROW TELEGRAM THRESHOLD TIDE UMBRELLA VERDICT WATCHMAKER ZEPPELIN', ' ') AS seconds
                OFFSET 0) AS titled) AS numbered,
       (SELECT ARRAY['A retired harbour pilot', 'An apprentice clockmaker', 'A night-shift baker', 'A disgraced violinist', 'A village schoolteacher',
                     'A stubborn lighthouse keeper', 'A young cartographer', 'An absent-minded botanist', 'A travelling dentist', 'A former chess champion',
                     'A customs inspector', 'A radio astronomer', 'A lovesick postman', 'A circus accountant', 'A tram conductor',
                     'A cautious smuggler', 'A sleepless translator', 'An ambitious beekeeper', 'A piano tuner', 'A widowed tailor',
                     'A deep-sea welder', 'A court stenographer', 'A museum guard', 'A champion pastry cook', 'A shy volcanologist',
                     'A runaway heiress', 'A glacier guide', 'An amateur detective', 'A one-armed juggler', 'A student of forgotten languages'] AS heroes,
               ARRAY['sets out to recover', 'bets everything on', 'inherits', 'must return', 'races to find', 'agrees to guard', 'refuses to sell',
                     'accidentally swaps', 'learns the secret of', 'smuggles', 'is accused of stealing', 'restores', 'falls in love over',
                     'stakes a reputation on', 'hides', 'goes into business with', 'quarrels over', 'is haunted by', 'falsifies', 'wins'] AS deeds,
               ARRAY['a stolen astrolabe', 'an unfinished opera', 'a crate of forged stamps', 'the last steam ferry', 'a suitcase of letters',
                     'a talking parrot', 'the blueprint of a bridge', 'a dormant racehorse', 'an heirloom recipe', 'a cursed barometer',
                     'a borrowed cello', 'the map of a drowned village', 'a counterfeit comet', 'a box of unexposed film', 'a mechanical swan',
                     'a disputed vineyard', 'the town''s only telephone', 'a ship in a bottle', 'an enormous cheese', 'a hot-air balloon',
                     'a prototype submarine', 'a lost wager', 'the mayor''s diary', 'a grandfather clock', 'a satellite that fell to earth'] AS things,
               ARRAY['in a fishing port near Bergen', 'on the night train to Samarkand', 'in the back streets of Lisbon', 'on a frozen lake in Lapland',
                     'at a hotel above Lake Como', 'in a mining town in the Andes', 'on the rooftops of Marrakesh', 'at a weather station in Patagonia',
                     'in an empty opera house', 'on a river barge through Laos', 'behind the scenes of a carnival', 'in a snowed-in monastery',
                     'at the edge of the Namib', 'in a lighthouse off Brittany', 'in the archives of Vienna', 'on an island without a name',
                     'at a border post nobody crosses', 'in the suburbs of Osaka', 'aboard a leaking trawler', 'in a village that votes on everything'] AS places,
               ARRAY[', before the last tram of the season leaves', ' while the river keeps rising', ', and nobody believes a word of it',
                     ' with the help of a reluctant sister', ', one day before the election', ' as an old rival comes to town', ', for the price of a single song',
                     ' during the longest night of the year', ', and has to tell the truth at last', ' with three days to spare', ' and a brass band in pursuit',
                     ', only to meet the rightful owner', ' although the whole town objects', ', and finds a family instead', ' under a false name',
                     ' and almost gets away with it'] AS twists
        OFFSET 0) AS words
 ORDER BY film_id;

INSERT INTO film_category (film_id, category_id, last_update)
SELECT n, 1 + pg_temp.draw(sha256(convert_to('category ' || n, 'UTF8')), 0, 16), timestamptz '2022-01-05 08:00:00+00'
  FROM generate_series(1, 1000) AS n
 ORDER BY n;

-- Casts of 1 to 10. Three films have none. An actor's place is start + k * stride modulo
-- 200 with an odd stride that 5 does not divide, so nobody appears twice in a film.
INSERT INTO film_actor (actor_id, film_id, last_update)
SELECT actor_id, film_id, timestamptz '2022-01-05 09:00:00+00'
  FROM (SELECT f.n AS film_id, 1 + (pg_temp.draw(f.h, 0, 200) + k * strides[1 + pg_temp.draw(f.h, 3, 8)]) % 200 AS actor_id
          FROM (SELECT n, sha256(convert_to('cast ' || n, 'UTF8')) AS h,
                       (ARRAY[1, 3, 4, 5, 5, 6, 6, 7, 8, 10])[1 + n * 7 % 10] AS size,
                       ARRAY[3, 7, 11, 17, 23, 29, 61, 83] AS strides
                  FROM generate_series(1, 1000) AS n
                 WHERE n NOT IN (257, 323, 803) OFFSET 0) AS f,
               generate_series(1, f.size) AS k
         ORDER BY k, pg_temp.draw(f.h, 6, 16777216), f.n
         LIMIT 5462) AS parts
 ORDER BY actor_id, film_id;

-- Copies: 42 films are in no store, 395 in one of the two, 563 in both; of each 2 to 4.
INSERT INTO inventory (inventory_id, film_id, store_id, last_update)
SELECT row_number() OVER (ORDER BY film_id, store_id, copy), film_id, store_id, timestamptz '2022-01-06 07:00:00+00'
  FROM (SELECT film_id, store_id, row_number() OVER (ORDER BY film_id * 397 % 1000, store_id) AS shelf
          FROM (SELECT n AS film_id, row_number() OVER (ORDER BY sha256(convert_to('stock ' || n, 'UTF8'))) AS place
                  FROM generate_series(1, 1000) AS n) AS films,
               generate_series(1, 2) AS store_id
         WHERE place > 437 OR place > 42 AND store_id = 1 + place % 2) AS shelves,
       generate_series(1, 2 + (shelf % 3 + (shelf % 3 = 0 AND shelf <= 54)::integer)::integer) AS copy
 ORDER BY 1;

DROP FUNCTION pg_temp.draw(bytea, integer, integer);

RESET search_path;
RESET TimeZone;
RESET jit;
RESET client_min_messages;
RESET client_encoding;
