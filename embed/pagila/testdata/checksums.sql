-- One line a table: its name, the number of its rows, a digest of all of them. Rows are
-- ordered by their text, so the digest says nothing about their place on disk.

SET search_path = pg_catalog;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET bytea_output = 'hex';
SET client_encoding = 'UTF8';

WITH content AS (
    SELECT relname, query_to_xml(format($$
               SELECT count(*) AS n, encode(sha256(convert_to(string_agg(t::text, E'\n' ORDER BY t::text COLLATE "C"), 'UTF8')), 'hex') AS digest
                 FROM public.%I AS t $$, relname), false, true, '') AS x
      FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm')
)
SELECT concat_ws(' ', relname, (xpath('/row/n/text()', x))[1], (xpath('/row/digest/text()', x))[1])
  FROM content
 ORDER BY relname;
