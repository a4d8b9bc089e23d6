-- What people ask with. Each part is one statement, and the lines above it are what COMMENT ON FUNCTION says of it;
-- _functions.py fills in the names between @.
--
-- Every function runs with its caller's rights. pgvector is often in `public`, where others may make objects too: a
-- better match of a stranger's would run with the caller's rights. So its schema is in no path, and what is pgvector's
-- has its full name. Names and values of the caller's become SQL by format alone, as %I and %L.


-- part: compare
-- One comparison of a filter as a condition. `value` is an expression: a column, of this type, or with the type `path`
-- what a jsonb column has somewhere inside. `label` is what the caller calls it.
CREATE OR REPLACE FUNCTION @schema@._sync_compare(label text, value text, kind text, operator text, operand jsonb)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    symbols constant jsonb := '{"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}';
    -- A day that exists, and a time; what is stored there and is none is passed over, and ends no search.
    day constant text := '((?!0000)[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])'
        '|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))'
        '|([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)';
    moment constant text := '^' || day || '([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?'
        '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?)?$';
    form text := jsonb_typeof(operand);
    words text := operand #>> '{}';
    inner_type text;
BEGIN
    IF operator = 'is_null' AND form <> 'boolean' THEN
        RAISE EXCEPTION 'is_null of "%" needs true or false', label USING ERRCODE = 'invalid_parameter_value';
    ELSIF operator = 'is_null' OR form = 'null' AND operator IN ('eq', 'ne') THEN
        RETURN CASE kind WHEN 'path' THEN format('nullif(%s, ''null'')', value) ELSE value END
            || CASE WHEN operand = 'true' OR operator = 'eq' THEN ' IS NULL' ELSE ' IS NOT NULL' END;
    ELSIF operator IN ('in', 'nin') THEN
        IF form <> 'array'
            OR jsonb_path_exists(operand, 'strict $[*] ? (@.type() == "object" || @.type() == "array")')
        THEN
            RAISE EXCEPTION '% of "%" needs a list of texts, numbers or truth values', operator, label
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Such as {"in": ["ads", "films"]}.';
        END IF;
        IF kind IN ('path', 'jsonb') THEN
            value := format('nullif(%s, ''null'')', value); kind := 'jsonb';
        END IF;
        RETURN format(
            CASE operator WHEN 'in' THEN '(%1$s = ANY (%2$L::%3$s[])%4$s)' ELSE '%1$s <> ALL (%2$L::%3$s[])' END,
            value,
            ARRAY(SELECT CASE kind WHEN 'jsonb' THEN e::text ELSE e #>> '{}' END
                  FROM jsonb_array_elements(operand) e WHERE e <> 'null')::text,
            kind,
            CASE WHEN operand @> 'null' THEN format(' OR %s IS NULL', value) END);
    ELSIF operator = 'contains' THEN
        IF kind IN ('path', 'jsonb') THEN
            RETURN format('%s @> %L::jsonb', value, operand);
        ELSIF kind = 'text' AND form = 'string' THEN
            RETURN format('strpos(%s, %L) > 0', value, words);
        END IF;
        RAISE EXCEPTION '"%" is %, and contains needs a text in a text, or something in jsonb', label, kind
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF form NOT IN ('string', 'number', 'boolean') AND NOT (kind = 'jsonb' AND operator IN ('eq', 'ne')) THEN
        RAISE EXCEPTION 'nothing to compare "%" with: % needs a text, a number or a truth value', label, operator
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Such as {"gte": 10, "lt": 20}.';
    ELSIF operator IN ('like', 'ilike') THEN
        IF form <> 'string' OR kind NOT IN ('path', 'text') THEN
            RAISE EXCEPTION '"%" is not compared with a pattern: % is for texts', label, operator
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RETURN format(CASE kind WHEN 'path'
                THEN 'CASE WHEN jsonb_typeof(%1$s) = ''string'' THEN %1$s #>> ''{}'' %2$s %3$L END'
                ELSE '%1$s %2$s %3$L' END, value, upper(operator), words);
    ELSIF kind = 'jsonb' AND operator NOT IN ('eq', 'ne') THEN
        RAISE EXCEPTION '"%" is jsonb, and as a whole neither more nor less than anything', label
            USING ERRCODE = 'invalid_parameter_value', HINT = format('Name what in it, such as "%s.year".', label);
    ELSIF kind = 'jsonb' OR kind = 'path' AND operator IN ('eq', 'ne') THEN
        RETURN format('nullif(%s, ''null'') %s %L::jsonb', value, symbols ->> operator, operand);
    ELSIF kind <> 'path' THEN
        RETURN format('%s %s %L::%s', value, symbols ->> operator, words, kind);
    ELSIF form = 'boolean' THEN
        RAISE EXCEPTION '"%" is neither more nor less than true or false', label
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use eq or ne.';
    END IF;
    inner_type := CASE WHEN form = 'number' THEN 'numeric' WHEN words ~ moment THEN 'timestamptz' ELSE 'text' END;
    RETURN format('CASE WHEN jsonb_typeof(%1$s) = %2$L%3$s THEN (%1$s #>> ''{}'')::%4$s %5$s %6$L::%4$s END',
        value, form,
        CASE inner_type WHEN 'timestamptz' THEN format(' AND %s #>> ''{}'' ~ %L', value, moment) END,
        inner_type, symbols ->> operator, words);
END $body$;


-- part: condition
-- What a filter says of one column, or of what is at a path in one of jsonb, as a condition.
CREATE OR REPLACE FUNCTION @schema@._sync_condition(label text, field text, kind text, path text[], said jsonb)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    comparisons constant text[] := '{eq,ne,gt,gte,lt,lte,in,nin,like,ilike,is_null,contains}';
    value constant text := CASE path WHEN '{}' THEN format('%I', field)
        ELSE format('(%I #> %L::text[])', field, path) END;
    type constant text := CASE WHEN path = '{}' THEN kind ELSE 'path' END;
    names constant text[] := ARRAY(SELECT jsonb_object_keys(said) WHERE jsonb_typeof(said) = 'object');
    nested jsonb := said;
BEGIN
    IF jsonb_typeof(said) = 'object' THEN
        IF names = '{}' THEN
            RAISE EXCEPTION 'nothing to compare "%" with', label
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Such as {"gte": 10, "lt": 20}.';
        ELSIF names <@ comparisons THEN
            RETURN (SELECT string_agg(@schema@._sync_compare(label, value, type, key, operand), ' AND ')
                    FROM jsonb_each(said) AS each (key, operand));
        ELSIF kind = 'jsonb' AND NOT names && comparisons THEN
            RETURN (SELECT string_agg(
                        @schema@._sync_condition(label || '.' || key, field, kind, path || key, inner_part), ' AND ')
                    FROM jsonb_each(said) AS each (key, inner_part));
        END IF;
        RAISE EXCEPTION 'unknown comparison "%" of "%"',
            (SELECT min(name) FROM unnest(names) name WHERE name <> ALL (comparisons)), label
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use ' || array_to_string(comparisons, ', ')
            || CASE kind WHEN 'jsonb' THEN '; or {"contains": {…}} for data that has such names.' ELSE '.' END;
    ELSIF jsonb_typeof(said) = 'null' THEN
        RETURN @schema@._sync_compare(label, value, type, 'eq', said);
    ELSIF kind = 'jsonb' THEN
        -- As containment, for which there may be an index.
        FOR place IN REVERSE cardinality(path)..1 LOOP
            nested := jsonb_build_object(path[place], nested);
        END LOOP;
        RETURN format('%I @> %L::jsonb', field, nested);
    END IF;
    RETURN @schema@._sync_compare(
        label, value, type, CASE jsonb_typeof(said) WHEN 'array' THEN 'in' ELSE 'eq' END, said);
END $body$;


-- part: where
-- A filter over the columns of a relation as a condition. The vectors are what is searched, not filtered by.
CREATE OR REPLACE FUNCTION @schema@._sync_where(relation regclass, filter jsonb)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off AS $body$ -- names of types are compared
DECLARE
    columns jsonb;
    clauses text[] := ARRAY['true'];
    field text; said jsonb; word text; path text[];
BEGIN
    IF filter IS NULL OR filter = '{}' THEN RETURN 'true'; END IF;
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'the filter must be a JSON object, such as {"collection": "ads"}'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT jsonb_object_agg(attname, format_type(atttypid, atttypmod)) INTO columns FROM pg_attribute
    WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attname <> 'embedding';
    FOR field, said IN SELECT * FROM jsonb_each(filter) LOOP
        word := CASE WHEN NOT columns ? field AND ltrim(field, '$') IN ('and', 'or', 'not') THEN ltrim(field, '$') END;
        path := string_to_array(field, '.');
        IF columns ? field THEN
            clauses := clauses || @schema@._sync_condition(field, field, columns ->> field, '{}', said);
        ELSIF word IS NOT NULL THEN
            IF word = 'not' THEN said := jsonb_build_array(said); END IF;
            IF jsonb_typeof(said) <> 'array' OR said = '[]'
                OR jsonb_path_exists(said, 'strict $[*] ? (@.type() != "object")')
            THEN
                RAISE EXCEPTION '% needs %', word,
                    CASE word WHEN 'not' THEN 'a filter, such as {"collection": "ads"}'
                    ELSE 'a list of filters, such as [{"collection": "ads"}, {"start_time": {"lt": 60}}]' END
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
            clauses := clauses || (
                SELECT CASE word WHEN 'not' THEN '(' || min(part) || ') IS NOT TRUE'
                    ELSE '(' || string_agg(part, CASE word WHEN 'or' THEN ' OR ' ELSE ' AND ' END) || ')' END
                FROM (SELECT '(' || @schema@._sync_where(relation, inner_filter) || ')'
                      FROM jsonb_array_elements(said) inner_filter) parts (part));
        ELSIF columns ->> path[1] = 'jsonb' AND array_position(path, '') IS NULL THEN
            -- Like a column of its own: a list means one of these.
            clauses := clauses || CASE WHEN jsonb_typeof(said) = 'array'
                THEN @schema@._sync_condition(field, path[1], 'jsonb', path[2:], jsonb_build_object('in', said))
                ELSE @schema@._sync_condition(field, path[1], 'jsonb', path[2:], said) END;
        ELSIF columns ? path[1] THEN
            RAISE EXCEPTION '"%" is %, and has nothing called "%" inside', path[1], columns ->> path[1], field
                USING ERRCODE = 'undefined_column';
        ELSE
            RAISE EXCEPTION 'there is no column "%" to filter by', field USING ERRCODE = 'undefined_column',
                HINT = 'Columns: ' || (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attname <> 'embedding');
        END IF;
    END LOOP;
    RETURN array_to_string(clauses, ' AND ');
END $body$;


-- part: check_search
-- Refuses arguments that no search could be made of.
CREATE OR REPLACE FUNCTION @schema@._sync_check_search(
    k bigint, mode text, effort integer, per_asset integer, diversity double precision, "offset" bigint
) RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    why constant text[] := CASE
        WHEN k < 1 THEN ARRAY[format('k is %s', k), 'Ask for at least 1 row.']
        WHEN mode NOT IN ('auto', 'index', 'exact')
            THEN ARRAY[format('mode is "%s"', mode), 'Use auto, index or exact.']
        WHEN effort NOT BETWEEN 1 AND 1000
            THEN ARRAY[format('effort is %s', effort), 'It is hnsw.ef_search: 1 to 1000; null leaves it to the search.']
        WHEN per_asset < 1 THEN ARRAY[format('per_asset is %s', per_asset), 'Ask for at least 1 feature of each asset.']
        WHEN diversity NOT BETWEEN 0 AND 1
            THEN ARRAY[format('diversity is %s', diversity), '0 asks for the nearest, 1 for those that differ most.']
        WHEN diversity > 0 AND per_asset IS NOT NULL
            THEN ARRAY['both per_asset and diversity are given', 'Leave one of them out.']
        WHEN "offset" < 0 THEN ARRAY[format('offset is %s', "offset"), 'Give 0 or more.'] END;
BEGIN
    IF why IS NOT NULL THEN
        RAISE EXCEPTION '%', why[1] USING ERRCODE = 'invalid_parameter_value', HINT = why[2];
    END IF;
END $body$;


-- part: feature
-- The one feature that is meant by its id, or by a filter that fits no other: in which view it is, with which type of
-- vectors, the condition that it fulfils, and the one that all others do.
CREATE OR REPLACE FUNCTION @schema@._sync_feature(
    own jsonb, like_feature text, OUT relation text, OUT type text, OUT is_it text, OUT other_than text
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    wish jsonb := CASE WHEN like_feature LIKE '{%' THEN like_feature::jsonb
        ELSE jsonb_build_object('feature_id', jsonb_build_object('eq', like_feature)) END;
    same bigint;
BEGIN
    FOR relation, type IN
        SELECT own ->> 'view', own ->> 'type' UNION ALL
        SELECT route ->> 'view', route ->> 'type' FROM jsonb_each(own -> 'routes') each (dimension, route)
        WHERE route ->> 'view' <> own ->> 'view' AND has_table_privilege(route ->> 'view', 'SELECT')
    LOOP
        EXECUTE format('SELECT count(*), min(format(''(collection, asset_id, feature_id) = (%%L, %%L, %%L)'', '
            'collection, asset_id, feature_id)) FROM (SELECT * FROM %s WHERE %s LIMIT 2) few', relation,
            @schema@._sync_where(relation::regclass, wish)) INTO same, is_it;
        IF same > 1 THEN
            RAISE EXCEPTION 'several features are meant by like_feature %', like_feature
                USING ERRCODE = 'cardinality_violation',
                HINT = 'Say which, such as {"asset_id": "…", "feature_id": "…"}.';
        ELSIF same = 1 THEN
            other_than := 'NOT (' || is_it || ')';
            RETURN;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'no feature with a vector in % is meant by like_feature %', own ->> 'view', like_feature
        USING ERRCODE = 'no_data_found', HINT = 'Give the id of a feature, or a filter that fits one.';
END $body$;


-- part: question
-- The statement that answers a search: the matches in an array, how many candidates were seen, how many of the nearest
-- `sure` ones, or of the chosen assets, came after the first pass, how far the farthest candidate is, and how many rows
-- or assets there were to choose from.
CREATE OR REPLACE FUNCTION @schema@._sync_question(
    own jsonb, relation text, way text, distance text, conditions text, width bigint, first_pass bigint, sure bigint,
    k bigint, "offset" bigint, max_distance double precision, per_asset integer
) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- The order of several passes is none, whatever the planner believes: an addition makes it sort.
    of_features constant text := $statement$
WITH nearest AS MATERIALIZED (
    SELECT *, row_number() OVER () AS " place" FROM (
        SELECT %3$s AS distance, %2$s FROM %1$s WHERE %5$s ORDER BY %13$s LIMIT %6$s) candidates
), chosen AS MATERIALIZED (
    SELECT * FROM nearest WHERE %9$s ORDER BY distance + 0::float8, collection, asset_id, feature_id
    LIMIT %7$s OFFSET %8$s
)
SELECT (SELECT array_agg(ROW(distance, %2$s)::%10$s) FROM chosen), count(*),
    (SELECT count(*) FROM (SELECT * FROM nearest WHERE %9$s ORDER BY distance + 0::float8 LIMIT %14$s) best
        WHERE " place" > %12$s), max(distance), count(*) FILTER (WHERE %9$s)
FROM nearest$statement$;
    -- What only the chosen ones are asked for is not carried along by all.
    of_every_feature constant text := $statement$
WITH nearest AS MATERIALIZED (
    SELECT %3$s AS distance, collection, asset_id, feature_id FROM %1$s WHERE %5$s ORDER BY %3$s LIMIT %6$s
), chosen AS MATERIALIZED (
    SELECT * FROM nearest WHERE %9$s ORDER BY distance, collection, asset_id, feature_id LIMIT %7$s OFFSET %8$s
)
SELECT (SELECT array_agg(ROW(distance, %2$s)::%10$s) FROM (
        SELECT chosen.distance, one.* FROM chosen CROSS JOIN LATERAL (
            SELECT %2$s FROM %1$s one WHERE one.collection = chosen.collection AND one.asset_id = chosen.asset_id
            AND one.feature_id = chosen.feature_id) one
        ORDER BY distance, collection, asset_id, feature_id) matches),
    count(*), 0, max(distance), count(*) FILTER (WHERE %9$s)
FROM nearest$statement$;
    -- Which assets are nearest is told by the candidates; which of an asset's features are, by the asset.
    of_assets constant text := $statement$
WITH nearest AS MATERIALIZED (
    SELECT *, row_number() OVER () AS " place" FROM (
        SELECT %3$s AS distance, collection, asset_id FROM %1$s WHERE %5$s ORDER BY %13$s LIMIT %6$s) candidates
), assets AS MATERIALIZED (
    SELECT collection, asset_id, min(distance) AS " best", min(" place") AS " place" FROM nearest WHERE %9$s
    GROUP BY 1, 2
), chosen AS MATERIALIZED (
    SELECT * FROM assets ORDER BY " best", collection, asset_id LIMIT %7$s OFFSET %8$s
)
SELECT (SELECT array_agg(ROW(distance, %2$s)::%10$s) FROM (
        SELECT best.* FROM chosen CROSS JOIN LATERAL (
            SELECT * FROM (SELECT %4$s AS distance, %2$s FROM %1$s one
                WHERE one.collection = chosen.collection AND one.asset_id = chosen.asset_id AND %5$s) own
            WHERE %9$s ORDER BY distance + 0::float8, feature_id LIMIT %11$s) best
        ORDER BY chosen." best", chosen.collection, chosen.asset_id, best.distance, best.feature_id) matches),
    count(*), (SELECT count(*) FROM chosen WHERE " place" > %12$s), max(distance), (SELECT count(*) FROM assets)
FROM nearest$statement$;
BEGIN
    RETURN format(
        CASE WHEN per_asset IS NOT NULL THEN of_assets WHEN way = 'exact' THEN of_every_feature ELSE of_features END,
        relation, own ->> 'columns',
        distance || CASE way WHEN 'exact' THEN ' + 0::float8' ELSE '' END, -- an addition keeps the index out
        distance, conditions, coalesce(width::text, 'ALL'), k, "offset",
        CASE WHEN max_distance IS NULL THEN 'true' ELSE format('distance <= %L::float8', max_distance) END,
        own ->> 'match', per_asset, first_pass,
        -- Where the index keeps a smaller form of the vectors, it finds the candidates, and the vectors sort them.
        CASE way WHEN 'exact' THEN distance || ' + 0::float8'
            ELSE coalesce(own #>> ARRAY['nearness', relation], distance) END, sure);
END $body$;


-- part: diverse
-- Maximal marginal relevance: one after the other the match that is nearest to the query and farthest from those that
-- were taken before, as `diversity` weighs the two. `apart` are the distances of all pairs, row by row.
CREATE OR REPLACE FUNCTION @schema@._sync_diverse(
    matches anyarray, distances double precision[], apart double precision[], most bigint, diversity double precision
) RETURNS anyarray LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    total constant integer := cardinality(matches);
    chosen matches%TYPE := '{}';
    nearest double precision[] := array_fill(NULL::double precision, ARRAY[total]);
    is_taken boolean[] := array_fill(false, ARRAY[total]);
    best integer; best_score double precision; score double precision;
BEGIN
    FOR turn IN 1..least(most, total) LOOP
        best := NULL;
        FOR n IN 1..total LOOP
            CONTINUE WHEN is_taken[n];
            score := (1 - diversity) * distances[n] - diversity * coalesce(nearest[n], 0);
            IF best IS NULL OR score < best_score THEN
                best := n; best_score := score;
            END IF;
        END LOOP;
        is_taken[best] := true;
        chosen := chosen || matches[best];
        FOR n IN 1..total LOOP
            nearest[n] := least(nearest[n], apart[(best - 1) * total + n]);
        END LOOP;
    END LOOP;
    RETURN chosen;
END $body$;


-- part: scans
-- How often this transaction has gone along the vector indexes of what a view shows; null where there is none, or
-- nothing is counted.
CREATE OR REPLACE FUNCTION @schema@._sync_scans(relation text)
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN CASE WHEN current_setting('track_counts')::boolean THEN (
        SELECT sum(pg_stat_get_xact_numscans(i.indexrelid))
        FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
        JOIN pg_index i ON i.indrelid = d.refobjid JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am m ON m.oid = c.relam
        WHERE w.ev_class = relation::regclass AND m.amname IN ('hnsw', 'ivfflat')) END;
END $body$;


-- part: probes
-- How many lists of an IVFFlat index a search with this effort looks at: the root of their number with that of 40,
-- which is pgvector's advice.
CREATE OR REPLACE FUNCTION @schema@._sync_probes(relation text, effort integer)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN (
        SELECT least(32768, ceil(sqrt(coalesce(max(o.option_value::integer), 100)) * greatest(effort, 40) / 40.0))
        FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
        JOIN pg_index i ON i.indrelid = d.refobjid JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am m ON m.oid = c.relam
        LEFT JOIN LATERAL pg_options_to_table(c.reloptions) o ON o.option_name = 'lists'
        WHERE w.ev_class = relation::regclass AND m.amname = 'ivfflat');
END $body$;


-- part: effort
-- The caller's own hnsw.ef_search; null where it is pgvector's 40, which nobody has chosen.
CREATE OR REPLACE FUNCTION @schema@._sync_effort()
RETURNS integer LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN nullif(nullif(current_setting('hnsw.ef_search', true), ''), '40');
END $body$;


-- part: plan
-- Postgres' plan of a statement with one parameter, under the settings that it was run with, which are the object's;
-- vectors in it are left out.
CREATE OR REPLACE FUNCTION @schema@._sync_plan(statement text, asked text, settings jsonb)
RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET hnsw.ef_search = 40
SET hnsw.iterative_scan = 'off' SET ivfflat.probes = 1 SET ivfflat.iterative_scan = 'off' SET enable_sort = on AS $body$
DECLARE
    line text; plan text := '';
BEGIN
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings);
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement USING asked LOOP
        plan := plan || regexp_replace(line, '''[^'']{60,}''', '''…''', 'g') || chr(10);
    END LOOP;
    RETURN plan;
END $body$;


-- part: search
-- Every search of a named vector. `own` says what is asked, as _views.py writes it; `shape` only which rows come back;
-- the functions that call it see to it that what it sets ends with them.
--
-- In mode `auto` the index is asked first, for more candidates than could be enough, which takes it several passes:
-- without a filter some small ones, as the function of a named vector has done by itself where nothing else is asked
-- for; else, or in doubt, two to four larger ones. Where those after the first bring nothing that belongs among the
-- nearest, another would not either. Else these vectors are hard to tell apart: then the index is asked with ten times
-- the effort; or what the filter leaves is compared with the query one by one, where that is not much more than such a
-- search would look at.
CREATE OR REPLACE FUNCTION @schema@._sync_search(
    shape anyarray, query anycompatible, own jsonb, k bigint, filter jsonb,
    max_distance double precision, mode text, effort integer, per_asset integer, diversity double precision,
    "offset" bigint, like_feature text
) RETURNS SETOF anyelement LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    matches shape%TYPE;
    asked query%TYPE := query;
    relation text := own ->> 'view';
    type text := own ->> 'type';
    dimension bigint; feature record;
    distance text; conditions text; statement text;
    wanted bigint; pool bigint; skip bigint;
    steps text[]; step text; way text; looked integer; tried integer; width bigint; scans bigint;
    seen bigint; late bigint; farthest double precision; eligible bigint;
    is_few boolean; is_sorted boolean; is_plain boolean;
    -- As text, which is looked at anew: of a plan that a session keeps Postgres does not see that the row type of the
    -- matches has got or lost a column since.
    distances constant text := 'SELECT ARRAY(SELECT match.distance FROM unnest($1) match)';
    earlier double precision[]; given double precision[]; -- of an IVFFlat index
    apart double precision[]; attempts jsonb := '[]';
    is_explained constant boolean := coalesce(current_setting('vectorferry.explain', true) = 'on', false);
BEGIN
    k := coalesce(k, 10); mode := coalesce(mode, 'auto'); "offset" := coalesce("offset", 0);
    -- Most searches have none of these, and a call costs something.
    IF k < 1 OR mode <> 'auto' OR "offset" <> 0 OR coalesce(effort, per_asset, diversity) IS NOT NULL THEN
        PERFORM @schema@._sync_check_search(k, mode, effort, per_asset, diversity, "offset");
    END IF;

    IF like_feature IS NOT NULL THEN
        IF query IS NOT NULL THEN
            RAISE EXCEPTION 'both a query and like_feature are given' USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Leave one of them out.';
        END IF;
        feature := @schema@._sync_feature(own, like_feature);
        relation := feature.relation; type := feature.type;
        EXECUTE format('SELECT embedding FROM %s WHERE %s', relation, feature.is_it) INTO asked;
    ELSIF query IS NULL THEN
        RAISE EXCEPTION 'there is nothing to search for: the query is null' USING ERRCODE = 'null_value_not_allowed',
            HINT = 'Give a vector, or like_feature => the id of a feature. A sub-select that finds nothing is null.';
    ELSE
        IF own ->> 'dimension' = '@sparse@' THEN
            dimension := split_part(asked::text, '/', 2)::bigint;
        ELSE
            dimension := @pgvector@.vector_dims(asked);
        END IF;
        IF has_table_privilege(own #>> ARRAY['routes', dimension::text, 'view'], 'SELECT') THEN
            relation := own #>> ARRAY['routes', dimension::text, 'view'];
            type := own #>> ARRAY['routes', dimension::text, 'type'];
        ELSIF dimension <> (own ->> 'dimension')::bigint THEN
            RAISE EXCEPTION 'the query has % dimensions, and the vectors of % have %', dimension, relation,
                own ->> 'dimension' USING ERRCODE = 'data_exception',
                HINT = 'Vectors of another length are another model''s: embed the query with the one that made these.';
        END IF;
    END IF;

    distance := format('(embedding %s CAST($1 AS %s))', own ->> 'operator', type);
    conditions := CASE
        -- What most searches are narrowed to, without the calls that any other filter takes.
        WHEN filter = jsonb_build_object('collection', filter ->> 'collection')
            THEN format('collection = %L', filter ->> 'collection')
        WHEN filter <> '{}' THEN @schema@._sync_where(relation::regclass, filter) ELSE 'true' END;
    IF like_feature IS NOT NULL THEN
        conditions := conditions || ' AND ' || feature.other_than;
    END IF;
    pool := k; skip := "offset";
    IF diversity > 0 THEN
        pool := greatest(50, 3 * (k + skip)); skip := 0;
    END IF;
    wanted := pool + skip;
    steps := CASE WHEN mode = 'exact' OR mode = 'auto' AND wanted > 10000 THEN '{exact}'::text[]
        WHEN mode = 'index' THEN '{index}'
        WHEN effort IS NOT NULL THEN '{index,exact}'
        WHEN own -> 'ivfflat' ? relation THEN '{index,wider,harder,hardest,exact}'
        WHEN filter = '{}' AND per_asset IS NULL AND wanted <= 100 AND own #> ARRAY['nearness', relation] IS NULL
            AND (is_explained OR like_feature IS NOT NULL
                OR coalesce(max_distance, diversity, nullif("offset", 0)) IS NOT NULL)
            THEN '{quick,index,harder,hardest,exact}'
        ELSE '{index,harder,hardest,exact}' END;

    FOREACH step IN ARRAY steps LOOP
        way := CASE step WHEN 'exact' THEN 'exact' ELSE 'index' END;
        IF step IN ('harder', 'hardest') THEN
            EXECUTE format('SELECT count(*) < %s FROM (SELECT FROM %s WHERE %s LIMIT %1$s) few',
                CASE step WHEN 'harder' THEN 25000 ELSE 100000 END, relation, conditions) INTO is_few;
            IF is_few THEN way := 'exact'; END IF;
        END IF;
        width := CASE WHEN per_asset IS NULL THEN wanted END;
        IF way = 'index' THEN
            looked := coalesce(effort, greatest(least(wanted, 1000),
                CASE step WHEN 'index' THEN 40 WHEN 'wider' THEN 40 WHEN 'harder' THEN 400 ELSE 1000 END));
            IF looked = tried THEN -- as with any page far behind: pgvector takes no more effort, and would give the same
                EXIT WHEN step = 'hardest' AND (eligible >= wanted OR farthest > max_distance);
                CONTINUE;
            END IF;
            IF step = 'quick' THEN
                width := greatest(@quick_candidates@, wanted + @quick_spare@);
                looked := greatest(@quick_effort@, wanted / @quick_share@);
            ELSIF effort IS NULL OR per_asset IS NOT NULL OR own #> ARRAY['nearness', relation] IS NOT NULL THEN
                width := greatest(160, 2 * looked, CASE WHEN per_asset IS NULL THEN 2 * wanted ELSE 8 * wanted END);
            END IF;
            IF own -> 'ivfflat' ? relation THEN
                PERFORM set_config('ivfflat.probes', @schema@._sync_probes(
                        relation, CASE step WHEN 'wider' THEN 2 * looked ELSE looked END), true),
                    set_config('ivfflat.iterative_scan', 'relaxed_order', true);
            END IF;
            is_plain := width = wanted AND max_distance IS NULL AND NOT is_explained
                AND coalesce(diversity, 0) = 0 AND own #> ARRAY['nearness', relation] IS NULL;
            IF NOT is_plain OR conditions = 'true' THEN
                scans := @schema@._sync_scans(relation);
            END IF;
            -- To be able to go on, where a filter takes candidates away, costs a sixth more from the start.
            PERFORM set_config('hnsw.ef_search', looked::text, true), set_config('hnsw.iterative_scan',
                CASE WHEN width <= looked AND conditions = 'true' THEN 'off' ELSE 'relaxed_order' END, true);
        END IF;
        -- Without a filter nothing is as good as the index. But of long vectors, which are stored apart, the planner
        -- does not know what it costs to read and sort them all.
        is_sorted := way = 'exact' OR conditions <> 'true' OR scans IS NULL;
        PERFORM set_config('enable_sort', CASE WHEN is_sorted THEN 'on' ELSE 'off' END, true);
        IF way = 'index' AND is_plain THEN
            -- The plain query that anyone would write; it gives nothing where it would give too few.
            RETURN QUERY EXECUTE format('SELECT distance, %2$s FROM (
                SELECT *, count(*) OVER () AS " count" FROM (
                    SELECT %3$s AS distance, %2$s FROM %1$s WHERE %4$s ORDER BY %3$s LIMIT %5$s) candidates) counted
                WHERE " count" >= %6$s ORDER BY distance + 0::float8, collection, asset_id, feature_id OFFSET %7$s',
                relation, own ->> 'columns', distance, conditions, width, CASE mode WHEN 'index' THEN 0 ELSE wanted END,
                skip) USING asked;
            IF FOUND OR mode = 'index' THEN RETURN; END IF;
            CONTINUE;
        END IF;
        statement := @schema@._sync_question(own, relation, way, distance, conditions, width,
            greatest(wanted, CASE step WHEN 'quick' THEN @sure@ ELSE width / 4 END),
            greatest(wanted, CASE WHEN conditions = 'true' THEN @sure@ END), pool, skip, max_distance, per_asset);
        EXECUTE statement INTO matches, seen, late, farthest, eligible USING asked;
        -- Where little is left by the filter, the planner chooses to compare all of it.
        IF way = 'index' AND scans = @schema@._sync_scans(relation) THEN
            way := CASE WHEN own #> ARRAY['nearness', relation] IS NULL THEN 'exact' ELSE 'quantized' END;
        END IF;
        IF is_explained THEN
            attempts := attempts || jsonb_build_object('way', way, 'effort', CASE way WHEN 'index' THEN looked END,
                'candidates', seen, 'asked', asked::text, 'statement', statement, 'settings', (
                    SELECT jsonb_object_agg(name, current_setting(name)) FROM unnest('{hnsw.ef_search,
                        hnsw.iterative_scan, ivfflat.probes, ivfflat.iterative_scan, enable_sort}'::text[]) name));
            PERFORM set_config('vectorferry.attempts', attempts::text, true);
        END IF;
        EXIT WHEN way = 'exact' OR mode = 'index';
        CONTINUE WHEN way = 'quantized';
        tried := CASE WHEN own -> 'ivfflat' ? relation THEN NULL ELSE looked END;
        -- Where the index has given up before there was enough, and nothing was too far, the answer would be short.
        CONTINUE WHEN eligible < wanted AND (max_distance IS NULL OR coalesce(farthest <= max_distance, true));
        IF own -> 'ivfflat' ? relation THEN
            -- Its lists are read in one go. What tells is whether twice as many have brought anything else.
            EXECUTE distances INTO given USING matches;
            late := CASE WHEN earlier IS NULL THEN wanted
                ELSE (SELECT count(*) FROM unnest(given) distance_now WHERE distance_now <> ALL (earlier)) END;
            earlier := given;
        END IF;
        EXIT WHEN effort IS NOT NULL OR step = 'hardest'
            OR late <= CASE step WHEN 'quick' THEN wanted / 100 ELSE 0.02 * wanted END;
    END LOOP;

    IF diversity > 0 THEN
        EXECUTE format('WITH pool AS MATERIALIZED (
                SELECT place, embedding FROM unnest($1) WITH ORDINALITY match (%s, place)
                CROSS JOIN LATERAL (SELECT one.embedding FROM %s one WHERE one.collection = match.collection
                    AND one.asset_id = match.asset_id AND one.feature_id = match.feature_id LIMIT 1) own
            )
            SELECT array_agg(one.embedding %s other.embedding ORDER BY one.place, other.place)
            FROM pool one CROSS JOIN pool other',
            'distance, ' || (own ->> 'columns'), relation, own ->> 'operator') INTO apart USING matches;
        EXECUTE distances INTO given USING matches;
        matches := @schema@._sync_diverse(matches, given, apart, k + "offset", diversity);
        matches := matches["offset" + 1:];
    END IF;
    RETURN QUERY EXECUTE 'SELECT * FROM unnest($1)' USING matches;
END $body$;


-- part: named
-- The search function and the view of a named vector, whose name is what stands behind `search_`.
CREATE OR REPLACE FUNCTION @schema@._sync_named(named_vector text, OUT function text, OUT relation text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    names text[];
BEGIN
    SELECT format('%I.%I', n.nspname, p.proname), format('%I.%I', n.nspname, left(t.typname, -6))
    INTO function, relation
    FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid JOIN pg_type t ON t.oid = p.prorettype
    WHERE n.nspname = @schema_name@ AND p.proname = 'search_' || named_vector
    AND p.proargtypes[0] = 'anycompatible'::regtype AND right(t.typname, 6) = '_match';
    IF function IS NULL THEN
        names := ARRAY(SELECT substr(p.proname, 8) FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid
            JOIN pg_type t ON t.oid = p.prorettype WHERE n.nspname = @schema_name@ AND starts_with(p.proname, 'search_')
            AND p.proargtypes[0] = 'anycompatible'::regtype AND right(t.typname, 6) = '_match' ORDER BY 1);
        RAISE EXCEPTION 'there is no named vector "%"', named_vector USING ERRCODE = 'undefined_object',
            HINT = 'There are: ' || array_to_string(names, ', ');
    END IF;
END $body$;


-- part: hybrid
-- Reciprocal rank fusion: each feature's score is the sum of weight / (rrf_k + rank) over the searches that found it.
-- Words are ranked in at most 500 features that have them, of those that have a vector too.
CREATE OR REPLACE FUNCTION @schema@._sync_hybrid(
    modality text, document text, words text, query_text text, queries jsonb, k bigint, filter jsonb, weights jsonb,
    rrf_k integer
) RETURNS TABLE (score double precision, ranks jsonb, collection text, asset_id text, feature_id text, feature jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    depth bigint;
    legs text[] := '{}'; shown text[] := '{}';
    name text; vector jsonb; place record; relation text;
    why text[];
BEGIN
    k := coalesce(k, 10); queries := coalesce(queries, '{}'); weights := coalesce(weights, '{}');
    filter := coalesce(filter, '{}'); rrf_k := coalesce(rrf_k, 60);
    query_text := nullif(btrim(query_text), '');
    why := CASE
        WHEN k < 1 THEN ARRAY[format('k is %s', k), 'Ask for at least 1 row.']
        WHEN rrf_k < 0 THEN ARRAY[format('rrf_k is %s', rrf_k), '60 is usual; the less, the more do first ranks count.']
        WHEN jsonb_typeof(queries) <> 'object' OR jsonb_typeof(weights) <> 'object'
            THEN ARRAY['queries and weights are JSON objects',
                'Such as {"multimodal_v1": [0.1, …]} and {"query_text": 2}.']
        WHEN query_text IS NULL AND queries = '{}'
            THEN ARRAY['there is nothing to search for',
                'Give a query_text, or queries such as {"multimodal_v1": [0.1, …]}.']
        WHEN query_text IS NOT NULL AND document IS NULL
            THEN ARRAY[format('no words of %s can be searched', modality), format(
                'Configure it: modalities.%s.columns.text: {path: text, full_text: english}, and sync.', modality)] END;
    IF why IS NOT NULL THEN
        RAISE EXCEPTION '%', why[1] USING ERRCODE = 'invalid_parameter_value', HINT = why[2];
    END IF;
    FOR name, vector IN SELECT * FROM jsonb_each(weights) LOOP
        IF NOT queries ? name AND name <> 'query_text' OR jsonb_typeof(vector) <> 'number' OR vector < '0' THEN
            RAISE EXCEPTION 'weights has "%", which is %', name, vector USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A number of 0 or more for query_text, or for a name in queries.';
        END IF;
    END LOOP;
    depth := least(greatest(50, 5 * k), 10000);

    FOR name, vector IN SELECT * FROM jsonb_each(queries) LOOP
        place := @schema@._sync_named(modality || '_' || name);
        shown := shown || place.relation;
        legs := legs || format('SELECT %L AS leg, %L::float8 AS weight, hit.ordinality AS rank,
            hit.collection, hit.asset_id, hit.feature_id FROM %s(%L::text, %s, $2) WITH ORDINALITY hit',
            name, coalesce(weights ->> name, '1'), place.function, vector #>> '{}', depth);
    END LOOP;
    IF shown = '{}' THEN
        shown := ARRAY(
            SELECT format('%I.%I', n.nspname, left(t.typname, -6)) FROM pg_namespace n
            JOIN pg_proc p ON p.pronamespace = n.oid JOIN pg_type t ON t.oid = p.prorettype
            WHERE n.nspname = @schema_name@ AND starts_with(p.proname, 'search_' || modality || '_')
            AND p.proargtypes[0] = 'anycompatible'::regtype AND right(t.typname, 6) = '_match'
            AND has_table_privilege(format('%I.%I', n.nspname, left(t.typname, -6)), 'SELECT') ORDER BY 1 LIMIT 1);
    END IF;
    IF query_text IS NOT NULL AND shown <> '{}' THEN
        legs := legs || format('SELECT ''query_text'' AS leg, %L::float8 AS weight,
            row_number() OVER (ORDER BY ts_rank_cd(words, %s) DESC, collection, asset_id, feature_id) AS rank,
            collection, asset_id, feature_id FROM (
                SELECT collection, asset_id, feature_id, %s AS words FROM %s WHERE (%3$s) @@ (%2$s) AND %5$s LIMIT 500
            ) having_words ORDER BY 3 LIMIT %6$s',
            coalesce(weights ->> 'query_text', '1'), words, document, shown[1],
            @schema@._sync_where(shown[1]::regclass, filter), depth);
    END IF;
    IF legs = '{}' THEN RETURN; END IF;

    RETURN QUERY EXECUTE format('WITH fused AS MATERIALIZED (
            SELECT collection, asset_id, feature_id, sum(weight / ($3 + rank)) AS score,
                jsonb_object_agg(leg, rank) AS ranks
            FROM (%s) legs GROUP BY 1, 2, 3 ORDER BY score DESC, 1, 2, 3 LIMIT %s
        ) SELECT score, ranks, collection, asset_id, feature_id, coalesce(%s) FROM fused
        ORDER BY score DESC, collection, asset_id, feature_id',
        (SELECT string_agg('(' || leg || ')', ' UNION ALL ') FROM unnest(legs) leg), k,
        (SELECT string_agg(format('(SELECT to_jsonb(one) FROM (SELECT %s FROM %s view
            WHERE (view.collection, view.asset_id, view.feature_id)
                = (fused.collection, fused.asset_id, fused.feature_id)) one)',
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = own::regclass AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attname <> ALL ('{collection,asset_id,feature_id,embedding}')), own), ', ')
         FROM unnest(shown) own))
    USING query_text, filter, rrf_k;
END $body$;


-- part: hybrid_search
-- The features that are found by words, by vectors, or best by both: reciprocal rank fusion of a full-text search and
-- of one search per named vector, with the rank in each. query_text: words, as people type them into a search box.
-- queries: a JSON object of named vectors and vectors, such as {"multimodal_v1": [0.1, …]}. k: how many. filter: as
-- in the search functions. weights: what each search counts, such as {"query_text": 2}, 1 where nothing is said.
-- rrf_k: 60 is usual.
CREATE OR REPLACE FUNCTION @function@(
    query_text text, queries jsonb DEFAULT '{}', k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    weights jsonb DEFAULT '{}', rrf_k integer DEFAULT 60
) RETURNS TABLE (score double precision, ranks jsonb, collection text, asset_id text, feature_id text, feature jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN QUERY SELECT * FROM @schema@._sync_hybrid(
        @modality@, @document@, @words@, query_text, queries, k, filter, weights, rrf_k);
END $body$;


-- part: search_many
-- The nearest features of each query of an array, such as ARRAY(SELECT embedding FROM …): the number of the query in
-- the array, from 1, and the rank of the feature, from 1. named_vector is what stands behind search_ in the name of a
-- search function; the other arguments are those of such a function.
CREATE OR REPLACE FUNCTION @schema@.search_many(
    named_vector text, queries anyarray, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    max_distance double precision DEFAULT NULL, mode text DEFAULT 'auto',
    effort integer DEFAULT @schema@._sync_effort(),
    per_asset integer DEFAULT NULL, diversity double precision DEFAULT NULL, "offset" integer DEFAULT 0
) RETURNS TABLE (query integer, rank integer, distance double precision,
    collection text, asset_id text, feature_id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT one.number::integer, hit.ordinality::integer, hit.distance, hit.collection, hit.asset_id, hit.feature_id
        FROM unnest($1) WITH ORDINALITY one (query, number)
        CROSS JOIN LATERAL %s(one.query, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY hit ORDER BY 1, 2',
        (@schema@._sync_named(named_vector)).function)
    USING queries, k, filter, max_distance, mode, effort, per_asset, diversity, "offset";
END $body$;


-- part: near_duplicates
-- Pairs of features no farther from each other than max_distance, the nearest first, each pair once: of every feature
-- that the filter fits, its k nearest that it fits too. within_assets => false leaves out pairs of one asset. It
-- searches once for each of these features.
CREATE OR REPLACE FUNCTION @schema@.near_duplicates(
    named_vector text, max_distance double precision DEFAULT 0.05, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    mode text DEFAULT 'auto', effort integer DEFAULT @schema@._sync_effort(), within_assets boolean DEFAULT true
) RETURNS TABLE (distance double precision, collection text, asset_id text, feature_id text,
    other_collection text, other_asset_id text, other_feature_id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    place constant record := @schema@._sync_named(named_vector);
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH pairs AS (
            SELECT hit.distance, ARRAY[one.collection, one.asset_id, one.feature_id] AS a,
                ARRAY[hit.collection, hit.asset_id, hit.feature_id] AS b
            FROM (SELECT * FROM %s WHERE %s) one
            CROSS JOIN LATERAL %s(one.embedding, $1 + 1, $2, $3, $4, $5) hit
        )
        SELECT distance, a[1], a[2], a[3], b[1], b[2], b[3] FROM (
            SELECT min(distance), least(a, b), greatest(a, b) FROM pairs WHERE a <> b AND ($6 OR a[1:2] <> b[1:2])
            GROUP BY 2, 3) pair (distance, a, b) ORDER BY pair.distance, pair.a, pair.b',
        place.relation, @schema@._sync_where(place.relation::regclass, filter), place.function)
    USING k, filter, max_distance, mode, effort, within_assets;
END $body$;


-- part: search_assets
-- The k nearest assets, one row each, with the ids of their per_asset nearest features, and these features' times from
-- start_time to end_time in seconds, merged where they touch.
CREATE OR REPLACE FUNCTION @schema@.search_assets(
    named_vector text, query anycompatible DEFAULT NULL, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    max_distance double precision DEFAULT NULL, mode text DEFAULT 'auto',
    effort integer DEFAULT @schema@._sync_effort(),
    per_asset integer DEFAULT 5, "offset" integer DEFAULT 0, like_feature text DEFAULT NULL
) RETURNS TABLE (distance double precision, collection text, asset_id text, asset_url text, feature_ids text[],
    spans nummultirange)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    place constant record := @schema@._sync_named(named_vector);
    times constant bigint := (SELECT count(*) FROM pg_attribute WHERE attrelid = place.relation::regclass
        AND attname IN ('start_time', 'end_time') AND atttypid = ANY ('{float8,int4,int8}'::regtype[]));
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT min(hit.distance), hit.collection, hit.asset_id, min(hit.asset_url::text),
            array_agg(hit.feature_id ORDER BY hit.ordinality), %s
        FROM %s($1, $2, $3, $4, $5, $6, $7, NULL, $8, $9) WITH ORDINALITY hit
        GROUP BY hit.collection, hit.asset_id ORDER BY min(hit.ordinality)',
        CASE times WHEN 2 THEN 'range_agg(numrange(hit.start_time::numeric, hit.end_time::numeric, ''[]'')) '
            'FILTER (WHERE hit.start_time <= hit.end_time)' ELSE 'NULL::nummultirange' END, place.function)
    USING query, k, filter, max_distance, mode, effort, coalesce(per_asset, 5), "offset", like_feature;
END $body$;


-- part: explain_search
-- How a search with these arguments is answered: a row for each attempt, in which way it was made, along the index or
-- exactly (quantized: by what the index keeps, but without it), with which hnsw.ef_search, how many candidates it
-- looked at, and Postgres' plan of it.
CREATE OR REPLACE FUNCTION @schema@.explain_search(
    named_vector text, query anycompatible DEFAULT NULL, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    max_distance double precision DEFAULT NULL, mode text DEFAULT 'auto',
    effort integer DEFAULT @schema@._sync_effort(),
    per_asset integer DEFAULT NULL, diversity double precision DEFAULT NULL, "offset" integer DEFAULT 0,
    like_feature text DEFAULT NULL
) RETURNS TABLE (attempt integer, way text, search_effort integer, candidates bigint, "rows" bigint, fell_back boolean,
    milliseconds double precision, plan text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    place constant record := @schema@._sync_named(named_vector);
    started constant timestamptz := clock_timestamp();
    given bigint; one jsonb;
BEGIN
    PERFORM set_config('vectorferry.explain', 'on', true), set_config('vectorferry.attempts', '[]', true);
    EXECUTE format('SELECT count(*) FROM %s($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)', place.function) INTO given
    USING query, k, filter, max_distance, mode, effort, per_asset, diversity, "offset", like_feature;
    PERFORM set_config('vectorferry.explain', 'off', true);
    milliseconds := 1000 * extract(epoch FROM clock_timestamp() - started);
    FOR one, attempt IN
        SELECT * FROM jsonb_array_elements(current_setting('vectorferry.attempts')::jsonb) WITH ORDINALITY
    LOOP
        way := one ->> 'way'; search_effort := one ->> 'effort'; candidates := one ->> 'candidates';
        "rows" := given; fell_back := attempt > 1;
        plan := @schema@._sync_plan(one ->> 'statement', one ->> 'asked', one -> 'settings');
        RETURN NEXT;
    END LOOP;
END $body$;


-- part: evaluate_recall
-- How much of the truth a search with these arguments finds: the share of an exact search's answer, on average and in
-- the worst case, rows missing altogether, and what one search takes in milliseconds, so and exactly. Asked with a
-- random sample of the stored vectors, or with your own queries.
CREATE OR REPLACE FUNCTION @schema@.evaluate_recall(
    named_vector text, sample integer DEFAULT 20, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    mode text DEFAULT 'auto', effort integer DEFAULT @schema@._sync_effort(), queries text[] DEFAULT NULL
) RETURNS TABLE (recall double precision, worst double precision, asked integer, missing bigint,
    milliseconds double precision, milliseconds_exact double precision)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    place constant record := @schema@._sync_named(named_vector);
    question constant text := format('SELECT ARRAY(SELECT format(''%%L %%L %%L'', collection, asset_id, feature_id) '
        'FROM %s($1, $2, $3, NULL, $4, $5))', place.function);
    found text[]; truth text[]; vector text; begun timestamptz; turned timestamptz; own double precision;
BEGIN
    asked := 0; missing := 0; milliseconds := 0; milliseconds_exact := 0; recall := 0;
    IF sample < 1 THEN
        RAISE EXCEPTION 'sample is %', sample USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask at least 1 query.';
    END IF;
    IF queries IS NULL THEN
        EXECUTE format('SELECT ARRAY(SELECT embedding::text FROM %s ORDER BY random() LIMIT $1)', place.relation)
        INTO queries USING sample;
    END IF;
    FOREACH vector IN ARRAY queries LOOP
        begun := clock_timestamp();
        EXECUTE question INTO found USING vector, k, filter, mode, effort;
        turned := clock_timestamp();
        EXECUTE question INTO truth USING vector, k, filter, 'exact', NULL::integer;
        milliseconds := milliseconds + 1000 * extract(epoch FROM turned - begun);
        milliseconds_exact := milliseconds_exact + 1000 * extract(epoch FROM clock_timestamp() - turned);
        own := CASE truth WHEN '{}' THEN 1 ELSE
            (SELECT count(*) FROM unnest(truth) t WHERE t = ANY (found))::float8 / cardinality(truth) END;
        asked := asked + 1; recall := recall + own; worst := least(worst, own);
        missing := missing + cardinality(truth) - cardinality(found);
    END LOOP;
    recall := recall / nullif(asked, 0); milliseconds := milliseconds / nullif(asked, 0);
    milliseconds_exact := milliseconds_exact / nullif(asked, 0);
    RETURN NEXT;
END $body$;


-- part: named_search
-- The features whose vectors are nearest to the query, nearest first, each with its distance, its columns and the
-- address of its asset. query: a vector, a halfvec, an array, or '[…]'; in its place, like_feature: a feature's id,
-- or a filter that fits one, which is left out itself. k: how many. filter: a JSON object over the columns of the view.
-- max_distance: none that is farther. mode: auto is nearly always as good as exact and never gives too few; index asks
-- the index alone; exact compares all. effort: how many candidates the index looks at (hnsw.ef_search). per_asset: k
-- assets with so many features each. diversity: from 0, the nearest, to 1, those that differ most. offset: leave out so
-- many first.
CREATE OR REPLACE FUNCTION @function@(
    query anycompatible DEFAULT NULL, k integer DEFAULT 10, filter jsonb DEFAULT '{}',
    max_distance double precision DEFAULT NULL, mode text DEFAULT 'auto',
    effort integer DEFAULT @schema@._sync_effort(),
    per_asset integer DEFAULT NULL, diversity double precision DEFAULT NULL, "offset" integer DEFAULT 0,
    like_feature text DEFAULT NULL
) RETURNS SETOF @match@ LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp SET hnsw.ef_search = 40 SET hnsw.iterative_scan = 'off'@ivfflat@
SET enable_sort = on SET jit = off AS $body$
DECLARE
    -- No column has a name with a space in it.
    " asked" constant @type@ := query;
    " k" constant integer := coalesce(k, 10);
    " effort" integer := effort;
    " candidates" integer := " k";
    " sure" integer := " k";
BEGIN
    -- The plain query that anyone would write, whose plan is kept: the limit is a number, so that the plan can be made
    -- without knowing how many are asked for. Where no effort is asked for, the index looks in passes, the smaller the
    -- cheaper, and what the later ones bring tells whether it has found its way: of the nearest, of thirty at least,
    -- one in a hundred may be theirs. It gives nothing where it would give too few, or is in doubt. What is found so:
    -- tests/benchmarks/test_recall.py.
    IF @fits@ AND mode = 'auto' AND " k" BETWEEN 1 AND least(effort, 100) AND coalesce(effort, 1) <= 1000
        AND filter = '{}' AND coalesce(max_distance, per_asset, diversity, nullif("offset", 0)) IS NULL
        AND like_feature IS NULL AND coalesce(current_setting('vectorferry.explain', true), '') <> 'on'
    THEN
        IF effort IS NULL THEN
            " candidates" := greatest(@quick_candidates@, " k" + @quick_spare@);
            " effort" := greatest(@quick_effort@, " k" / @quick_share@);
            " sure" := greatest(@sure@, " k");
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);
        END IF;
        PERFORM set_config('hnsw.ef_search', " effort"::text, true);
        RETURN QUERY
            SELECT one.distance, @columns@ FROM (
                SELECT best.*, count(*) OVER () AS " count",
                    count(*) FILTER (WHERE " place" > " sure" AND " rank" <= " sure") OVER () AS " late"
                FROM (
                    -- The order of several passes is none, whatever the planner believes: an addition makes it sort.
                    SELECT placed.*, row_number() OVER (
                        ORDER BY distance + 0::float8, collection, asset_id, feature_id) AS " rank"
                    FROM (
                        SELECT near.*, row_number() OVER () AS " place" FROM (
                            SELECT candidate.* FROM (
                                SELECT @distance@ AS distance, @columns@ FROM @view@ one ORDER BY @distance@ LIMIT 120
                            ) candidate LIMIT " candidates") near
                    ) placed
                ) best
            ) one WHERE one." rank" <= " k" AND one." count" >= " k" AND one." late" <= " k" / 100
            ORDER BY one.distance, one.collection, one.asset_id, one.feature_id;
        IF FOUND THEN RETURN; END IF;
    END IF;
    RETURN QUERY SELECT * FROM @schema@._sync_search(CAST(NULL AS @match@[]), " asked", @own@,
        k, filter, max_distance, mode, effort, per_asset, diversity, "offset", like_feature);
END $body$;
