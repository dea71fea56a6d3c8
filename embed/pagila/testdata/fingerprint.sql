-- The catalog of schema public as sorted lines "kind|object|facts": whatever a client of
-- the database can notice, nothing that is only text (bodies, queries) or storage (oids).
-- The search path is empty while this runs, so every name comes with its schema, and
-- zones are UTC, so bounds compare. "|" in a fact is no problem: lines are compared whole.

SET search_path = pg_catalog;
SET TimeZone = 'UTC';
SET client_encoding = 'UTF8';
SET client_min_messages = warning;

WITH
relation AS (
    SELECT c.*, c.relname AS name
      FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
),
line(kind, object, facts) AS (
    -- Tables, views, materialized views: what they are and how they are kept.
    SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' ELSE 'matview' END, name::text,
           concat_ws('|', CASE WHEN relkind = 'p' THEN 'partitioned' ELSE 'plain' END,
                     'persistence ' || relpersistence::text, 'replica identity ' || relreplident::text,
                     CASE WHEN relrowsecurity THEN 'row security' END, 'options ' || reloptions::text,
                     CASE WHEN relkind = 'm' THEN 'populated ' || relispopulated::text END)
      FROM relation WHERE relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT CASE WHEN r.relkind IN ('r', 'p') THEN 'column' ELSE 'view column' END, r.name || '.' || a.attname,
           concat_ws('|', lpad(row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum)::text, 2, '0'),
                     format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
                     'default ' || pg_get_expr(d.adbin, d.adrelid),
                     'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
                     'collation ' || (SELECT collname FROM pg_collation AS co, pg_type AS t
                                       WHERE co.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation))
      FROM relation AS r
      JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE r.relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT 'partition', r.name,
           'of ' || (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = r.oid) || '|' || pg_get_expr(relpartbound, r.oid)
      FROM relation AS r WHERE relispartition AND relkind IN ('r', 'p')
    UNION ALL
    SELECT 'partition key', name, pg_get_partkeydef(oid) FROM relation WHERE relkind = 'p'
    UNION ALL
    -- Primary keys, unique, foreign keys, checks (not-null is a column's fact).
    SELECT 'constraint', r.name || '.' || k.conname,
           pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE '|not validated' END
      FROM pg_constraint AS k JOIN relation AS r ON r.oid = k.conrelid WHERE k.contype <> 'n'
    UNION ALL
    SELECT 'index', r.name, pg_get_indexdef(r.oid) || CASE WHEN i.indisvalid THEN '' ELSE '|invalid' END
                            || coalesce('|part of ' || (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = r.oid), '')
      FROM relation AS r JOIN pg_index AS i ON i.indexrelid = r.oid
    UNION ALL
    SELECT 'trigger', r.name || '.' || t.tgname, pg_get_triggerdef(t.oid) || '|enabled ' || t.tgenabled::text
      FROM pg_trigger AS t JOIN relation AS r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'sequence', s.sequencename,
           concat_ws('|', s.data_type, 'start ' || start_value, 'from ' || min_value, 'to ' || max_value, 'by ' || increment_by,
                     'cache ' || cache_size, CASE WHEN cycle THEN 'cycle' END, 'last ' || last_value,
                     'owned by ' || (SELECT d.refobjid::regclass FROM pg_depend AS d
                                      WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
                                        AND d.objid = format('%I.%I', schemaname, sequencename)::regclass))
      FROM pg_sequences AS s WHERE schemaname = 'public'
    UNION ALL
    SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
           p.proname || '(' || pg_get_function_arguments(p.oid) || ')',
           concat_ws('|', 'returns ' || pg_get_function_result(p.oid), 'language ' || l.lanname, 'volatility ' || p.provolatile::text,
                     'parallel ' || p.proparallel::text, CASE WHEN p.proisstrict THEN 'strict' END,
                     CASE WHEN p.prosecdef THEN 'security definer' END, CASE WHEN p.proleakproof THEN 'leakproof' END,
                     'settings ' || p.proconfig::text,
                     (SELECT concat_ws('|', 'transition ' || aggtransfn::regprocedure, 'state ' || format_type(aggtranstype, NULL),
                                       'final ' || nullif(aggfinalfn::oid, 0)::regprocedure, 'initial ' || agginitval)
                        FROM pg_aggregate WHERE aggfnoid = p.oid))
      FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
     WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'enum', t.typname, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
      FROM pg_type AS t JOIN pg_enum AS e ON e.enumtypid = t.oid
     WHERE t.typnamespace = 'public'::regnamespace GROUP BY t.oid, t.typname
    UNION ALL
    SELECT 'domain', t.typname,
           concat_ws('|', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
                     (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '|' ORDER BY conname)
                        FROM pg_constraint WHERE contypid = t.oid AND contype <> 'n'))
      FROM pg_type AS t WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'd'
    UNION ALL
    -- What everybody may do in the schema; the owner's own rights don't matter here.
    SELECT 'grant', 'schema public', 'to everybody: ' || string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type)
      FROM pg_namespace AS n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS g
     WHERE n.nspname = 'public' AND g.grantee = 0
    UNION ALL
    SELECT 'rows', name,
           (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM public.%I', name), false, true, '')))[1]::text
      FROM relation WHERE relkind IN ('r', 'p')
)
SELECT concat_ws('|', kind, object, facts) FROM line ORDER BY concat_ws('|', kind, object, facts) COLLATE "C";
