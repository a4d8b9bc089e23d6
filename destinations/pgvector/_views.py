"""What people query: a view and a search function per named vector, made without ever taking a right away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from psycopg import sql
from sqlalchemy import Connection, literal_column, select

from vectorferry.connector.plugin import ColumnMapping, ConfigurationError, Storage
from vectorferry.destinations._postgres import Driver, Step, columns_of, driver_of, fixed, joined, statement
from vectorferry.destinations.pgvector._catalogue import Layer, VectorEntry
from vectorferry.destinations.pgvector._grants import (
    dependants_of_function,
    dependants_of_relation,
    function_grants,
    grants_on_new,
    relation_grants,
    search_functions,
    view_options,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A layer, and the generation that it shows with these columns. `routes` names, by dimension, the views that its
    function asks instead of its own, each with the type of its vectors."""

    layer: Layer
    entry: VectorEntry
    columns: Mapping[str, ColumnMapping]
    routes: Mapping[int, tuple[str, Storage]]


def sql_type(kind: str) -> str:
    """A type of the mapping, as Postgres calls it."""
    return "timestamp with time zone" if kind == "timestamptz" else kind


def layer_exists(connection: Connection, schema: str, layer: Layer) -> bool:
    """Whether nobody has dropped the view, the match type or the function since."""
    relations = columns_of(connection, schema, (layer.view, layer.match_type))
    return len(relations) == 2 and bool(search_functions(driver_of(connection), schema, layer.function))


def check_alone(driver: Driver, schema: str, layer: Layer) -> None:
    """Raise `ConfigurationError` when somebody has built upon the view of a layer."""
    if others := dependants_of_relation(driver, sql.Identifier(schema, layer.view).as_string()):
        raise ConfigurationError(
            f"the view {schema}.{layer.view} has to be made anew, and depends on it: {', '.join(others)}. "
            "Drop that, run again, and make it again afterwards."
        )


def layer_steps(
    connection: Connection,
    schema: str,
    extension: str,
    shown: Shown,
    *,
    renamed: Mapping[str, str],
    is_cleared: bool,
    model: Layer | None,
) -> Iterator[Step]:
    """What makes the view, the match type and the function of a layer, or brings them to its generation and columns:
    in place, or anew with their grants.

    By then its columns are `renamed`, and its view is dropped where it `is_cleared`. A layer that is not there yet gets
    the grants of its `model`. Raises `ConfigurationError` where that would take away what somebody has built upon it.
    """
    driver, layer = driver_of(connection), shown.layer
    relations = columns_of(connection, schema, (layer.view, layer.match_type))
    view, match = (
        {renamed.get(name, name): kind for name, kind in relations.get(relation, {}).items()}
        for relation in (layer.view, layer.match_type)
    )
    yield from _view_steps(driver, schema, extension, shown, view, renamed, is_cleared=is_cleared, model=model)
    yield from _match_type_steps(schema, shown, match)
    # Only where pgvector's library is loaded may an ordinary user make a function that sets its parameters.
    yield select(literal_column(statement("CAST('[1]' AS {})", sql.Identifier(extension, "vector"))))
    yield from _function_steps(driver, schema, extension, shown, _match_names(shown, match), model)


def function_steps(connection: Connection, schema: str, extension: str, shown: Shown) -> Iterator[Step]:
    """What brings the search function of a layer alone to its routes; its columns are those that the row type has."""
    match = columns_of(connection, schema, (shown.layer.match_type,))[shown.layer.match_type]
    yield from _function_steps(driver_of(connection), schema, extension, shown, [*match], None)


def where_function(schema: str) -> str:
    """The statement that makes what every search function turns its filter into a condition with."""
    return statement(_WHERE, where=sql.Identifier(schema, _WHERE_FUNCTION))


def rename_statements(connection: Connection, schema: str, layer: Layer, names: Mapping[str, str]) -> Iterator[str]:
    """Give columns of the view and of the row type new names, where they are."""
    relations = columns_of(connection, schema, (layer.view, layer.match_type))
    for old, new in names.items():
        if old in relations.get(layer.view, ()):
            view = sql.Identifier(schema, layer.view)
            yield statement("ALTER VIEW {} RENAME COLUMN {} TO {}", view, old, new)
    for old, new in names.items():
        if old in relations.get(layer.match_type, ()):
            match = sql.Identifier(schema, layer.match_type)
            yield statement("ALTER TYPE {} RENAME ATTRIBUTE {} TO {}", match, old, new)


def _view_steps(
    driver: Driver,
    schema: str,
    extension: str,
    shown: Shown,
    stored: Mapping[str, str],
    renamed: Mapping[str, str],
    *,
    is_cleared: bool,
    model: Layer | None,
) -> Iterator[str]:
    columns, view = _view_columns(shown), sql.Identifier(schema, shown.layer.view)
    is_extended = bool(stored) and not is_cleared and all(columns.get(name) == kind for name, kind in stored.items())
    if is_extended:
        # Postgres can only append columns to a view.
        columns = {name: columns[name] for name in (*stored, *columns)}
    elif stored and not is_cleared:
        check_alone(driver, schema, shown.layer)
        yield statement("DROP VIEW {}", view)
    likeness = shown.layer if stored else model
    yield _create_view(schema, extension, shown, columns, view_options(driver, schema, (likeness or shown.layer).view))
    if likeness is not None and not is_extended:
        grants = [
            replace(grant, column=grant.column and renamed.get(grant.column, grant.column))
            for grant in relation_grants(driver, schema, likeness.view)
        ]
        grants = [grant for grant in grants if grant.column is None or grant.column in columns]
        yield from grants_on_new(driver, schema, "TABLE", view, grants)


def _match_type_steps(schema: str, shown: Shown, stored: Mapping[str, str]) -> Iterator[str]:
    columns, match = _match_columns(shown.columns), sql.Identifier(schema, shown.layer.match_type)
    if not stored:
        yield statement("CREATE TYPE {} AS ({})", match, joined(_attribute(*column) for column in columns.items()))
        return
    changes = [
        *(sql.SQL("DROP ATTRIBUTE {}").format(sql.Identifier(name)) for name in stored if name not in columns),
        *(
            sql.SQL("ALTER ATTRIBUTE {} SET DATA TYPE {}").format(sql.Identifier(name), fixed(kind))
            for name, kind in columns.items()
            if name in stored and stored[name] != kind
        ),
        *(
            sql.SQL("ADD ATTRIBUTE {}").format(_attribute(name, kind))
            for name, kind in columns.items()
            if name not in stored
        ),
    ]
    if changes:
        yield statement("ALTER TYPE {} {}", match, joined(changes))


def _match_names(shown: Shown, stored: Mapping[str, str]) -> list[str]:
    """The columns of the row type, in the order that it has or will have."""
    columns = _match_columns(shown.columns)
    return [*(name for name in stored if name in columns), *(name for name in columns if name not in stored)]


def _function_steps(
    driver: Driver, schema: str, extension: str, shown: Shown, match: Sequence[str], model: Layer | None
) -> Iterator[str]:
    name, storage = shown.layer.function, shown.entry.storage.column_type
    stored = search_functions(driver, schema, name)
    is_replaced = bool(stored) and all(kind == storage for kind in stored.values())
    if stored and not is_replaced:
        if others := dependants_of_function(driver, schema, name):
            raise ConfigurationError(
                f"the function {schema}.{name} has to be made anew, and depends on it: {', '.join(others)}. "
                "Drop that, run again, and make it again afterwards."
            )
        yield from (statement("DROP FUNCTION {}", fixed(signature)) for signature in stored)
    yield _create_function(schema, extension, shown, match)
    likeness = shown.layer if stored else model
    if likeness is not None and not is_replaced:
        grants = function_grants(driver, schema, likeness.function)
        signature = sql.SQL("{}({}, integer, jsonb)").format(
            sql.Identifier(schema, name), sql.Identifier(extension, storage)
        )
        yield from grants_on_new(driver, schema, "FUNCTION", signature, grants)


# The join is by one column, of which the planner expects as many rows as there are; that the keys are the same as well
# stands in a CASE, since it would multiply the chances of each equation that it sees.
# The second half of the union has no row, and no plan knows of it: it takes the dimension from the column's type, and
# from nothing else. So CREATE OR REPLACE can switch the view to vectors of another dimension, and whatever index there
# is on the vectors, a user's own on an expression too, is used through the view, as through no cast.
_VIEW: Final = """
CREATE OR REPLACE VIEW {view}{options} AS SELECT {columns} FROM (
    SELECT collection, asset_id, feature_id, feature_key, embedding FROM {vectors}
    UNION ALL SELECT NULL, NULL, NULL, NULL, CAST(NULL AS {storage}) FROM {vectors} WHERE false
) v JOIN {features} f ON f.feature_key = v.feature_key AND CASE WHEN
    f.feature_id = v.feature_id AND f.asset_id = v.asset_id AND f.collection = v.collection THEN true ELSE false END
WHERE f.deleted_at IS NULL
"""

# Collection and asset are looked for in the vectors, where a search can leave the others out while it goes along the
# index; a feature's id in the features, which have an index on it.
_OF_VECTORS: Final = frozenset({"collection", "asset_id", "embedding"})


def _create_view(schema: str, extension: str, shown: Shown, columns: Iterable[str], options: sql.Composable) -> str:
    return statement(
        _VIEW,
        view=sql.Identifier(schema, shown.layer.view),
        options=options,
        columns=joined(sql.Identifier("v" if name in _OF_VECTORS else "f", name) for name in columns),
        vectors=sql.Identifier(schema, shown.entry.table),
        features=sql.Identifier(schema, shown.entry.base),
        storage=sql.Identifier(extension, shown.entry.storage.column_type),
    )


def _view_columns(shown: Shown) -> dict[str, str]:
    keys = dict.fromkeys(("collection", "asset_id", "feature_id"), "text")
    mapped = {name: sql_type(column.type) for name, column in shown.columns.items()}
    return {**keys, **mapped, "metadata": "jsonb", "extra": "jsonb", "embedding": shown.entry.storage.column_type}


def _match_columns(columns: Mapping[str, ColumnMapping]) -> dict[str, str]:
    return {
        "distance": "double precision",
        "collection": "text",
        "asset_id": "text",
        "feature_id": "text",
        **{name: sql_type(column.type) for name, column in columns.items()},
        "metadata": "jsonb",
        "extra": "jsonb",
    }


def _attribute(name: str, kind: str) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(name), fixed(kind))


_VERSION: Final = 6
"""Raise it when the SQL below changes, so that existing schemas get the new text."""

_WHERE_FUNCTION: Final = "_sync_where"

# The vectors are what is searched, not filtered by: pgvector's comparisons are in no path of ours, and nobody orders
# by them.
_WHERE: Final = """
CREATE OR REPLACE FUNCTION {where}(relation regclass, filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    symbols constant jsonb := '{{"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "ne": "<>"}}';
    clauses text[] := ARRAY['true'];
    key text; wanted jsonb; kind text; comparison text; bound jsonb;
BEGIN
    IF filter IS NULL THEN RETURN 'true'; END IF;
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'the filter must be a JSON object, such as {{"collection": "ads"}}';
    END IF;
    FOR key, wanted IN SELECT * FROM jsonb_each(filter) LOOP
        SELECT format_type(a.atttypid, a.atttypmod) INTO kind FROM pg_attribute a
        WHERE a.attrelid = relation AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped AND key <> 'embedding';
        IF kind IS NULL THEN
            RAISE EXCEPTION 'there is no column "%" to filter by', key USING ERRCODE = 'undefined_column',
                HINT = 'Columns: ' || (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                                       WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
                                           AND attname <> 'embedding');
        ELSIF jsonb_typeof(wanted) = 'null' THEN
            clauses := clauses || format('%I IS NULL', key);
        ELSIF kind = 'jsonb' THEN
            clauses := clauses || format('%I @> %L::jsonb', key, wanted);
        ELSIF jsonb_typeof(wanted) = 'array' THEN
            clauses := clauses || format('(%I = ANY (%L::%s[])%s)', key,
                ARRAY(SELECT jsonb_array_elements_text(wanted))::text, kind,
                CASE WHEN wanted @> 'null' THEN format(' OR %I IS NULL', key) END);
        ELSIF jsonb_typeof(wanted) = 'object' THEN
            IF wanted = '{{}}' OR jsonb_path_exists(wanted, '$.keyvalue() ? (@.key != "ne" && @.value == null)') THEN
                RAISE EXCEPTION 'nothing to compare "%" with', key USING HINT = 'Such as {{"gte": 10, "lt": 20}}.';
            END IF;
            FOR comparison, bound IN SELECT * FROM jsonb_each(wanted) LOOP
                IF NOT symbols ? comparison THEN
                    RAISE EXCEPTION 'unknown comparison "%"', comparison USING HINT = 'Use gt, gte, lt, lte or ne.';
                END IF;
                clauses := clauses || CASE WHEN bound = 'null' THEN format('%I IS NOT NULL', key) ELSE
                    format('%I %s %L::%s', key, symbols ->> comparison, bound #>> '{{}}', kind) END;
            END LOOP;
        ELSE
            clauses := clauses || format('%I = %L::%s', key, wanted #>> '{{}}', kind);
        END IF;
    END LOOP;
    RETURN array_to_string(clauses, ' AND ');
END $body$
"""

# The index answers first, with the candidates of one pass, of which it has hnsw.ef_search, 40 by default. Where a
# filter takes some of them away, or more are asked for, it goes on (which takes a sixth longer from the start) until it
# has looked at hnsw.max_scan_tuples; where there are still too few, the same question is answered exactly: an addition
# keeps the index out. The first candidates are the same in both ways of going along the index.
# pgvector is often in `public`, where others may make objects too: a better match of a stranger's would run with the
# caller's rights. So its schema is not in the path, and what is pgvector's has its full name.
_SEARCH: Final = """
CREATE OR REPLACE FUNCTION {function}(query {storage}, k integer DEFAULT 10, filter jsonb DEFAULT '{{}}')
RETURNS SETOF {match} LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET hnsw.iterative_scan = 'off' AS $body$
DECLARE
    shown constant text := {shown};
    asked constant text := {asked};
    predicate constant text := {where}(shown::pg_catalog.regclass, filter);
    distance text := {distance} || asked;
    hits {match}[];
BEGIN
    IF query IS NULL THEN RETURN; END IF;
    FOR attempt IN 1..3 LOOP
        CONTINUE WHEN attempt = 1 AND (predicate <> 'true' OR coalesce(k, 10) > 40);
        IF attempt = 2 THEN
            PERFORM pg_catalog.set_config('hnsw.iterative_scan', 'strict_order', true);
        ELSIF attempt = 3 THEN
            distance := '(' || distance || ') + 0::float8';
        END IF;
        EXECUTE 'SELECT pg_catalog.array_agg(ROW(nearest.*)::' || {match_name} || ') FROM (SELECT ' || distance
            || ' AS distance, ' || {columns} || ' FROM ' || shown || ' WHERE ' || predicate
            || ' ORDER BY ' || distance || ' LIMIT $2) nearest'
        INTO hits USING query, coalesce(k, 10);
        EXIT WHEN pg_catalog.cardinality(hits) >= coalesce(k, 10);
    END LOOP;
    RETURN QUERY SELECT * FROM pg_catalog.unnest(hits);
END $body$
"""

# Whoever asks with a vector of an earlier or a later dimension is answered from where such vectors are. The views of
# the generations never show another one, so that a switch between two statements of this function changes nothing.
_ROUTED: Final = """coalesce((
        SELECT route.own FROM (VALUES {routes}) route (dimension, own)
        WHERE route.dimension = {extension}.vector_dims(query) AND pg_catalog.has_table_privilege(route.own, 'SELECT')
    ), {view_name})"""


def layer_digest(shown: Shown, extension: str) -> str:
    """Changes when the view or the function would be made differently."""
    storage = shown.entry.storage
    shape = [_VERSION, extension, sorted(shown.layer.names), shown.entry.table, shown.entry.base]
    types = [[name, column.type] for name, column in shown.columns.items()]
    routes = sorted(shown.routes.items())
    ingredients = [*shape, storage.column_type, storage.dimension, storage.metric, types, routes]
    return hashlib.blake2b(json.dumps(ingredients).encode(), digest_size=8).hexdigest()


def _create_function(schema: str, extension: str, shown: Shown, match_names: Sequence[str]) -> str:
    layer, storage = shown.layer, shown.entry.storage
    match = sql.Identifier(schema, layer.match_type)
    # The first one is the distance, which is asked for in the words of the ordering, so that it is not taken twice.
    columns = joined(name for name in match_names if name != "distance")
    operator = sql.SQL("OPERATOR({}.{})").format(sql.Identifier(extension), fixed(storage.operator))
    distance = sql.SQL("embedding {} ").format(operator)
    return statement(
        _SEARCH,
        function=sql.Identifier(schema, layer.function),
        storage=sql.Identifier(extension, storage.column_type),
        match=match,
        where=sql.Identifier(schema, _WHERE_FUNCTION),
        distance=sql.Literal(distance.as_string()),
        columns=sql.Literal(columns.as_string()),
        shown=_shown_view(schema, extension, shown),
        asked=_asked(schema, extension, shown),
        match_name=sql.Literal(match.as_string()),
    )


def _shown_view(schema: str, extension: str, shown: Shown) -> sql.Composable:
    """An expression that names the view to ask."""
    plain = _name(schema, shown.layer.view)
    if not shown.routes:
        return plain
    routes = [
        sql.SQL("({}, {})").format(sql.Literal(dimension), _name(schema, view))
        for dimension, (view, _) in sorted(shown.routes.items())
    ]
    return sql.SQL(_ROUTED).format(routes=joined(routes), extension=sql.Identifier(extension), view_name=plain)


def _asked(schema: str, extension: str, shown: Shown) -> sql.Composable:
    """An expression for the vector that is asked for, as the view that is asked stores its own."""
    others = [
        sql.SQL("WHEN {} THEN {}").format(
            _name(schema, view),
            sql.Literal(sql.SQL("CAST($1 AS {})").format(sql.Identifier(extension, storage)).as_string()),
        )
        for view, storage in shown.routes.values()
        if storage != shown.entry.storage.column_type
    ]
    if not others:
        return sql.Literal("$1")
    return sql.SQL("CASE shown {} ELSE '$1' END").format(sql.SQL(" ").join(others))


def _name(schema: str, view: str) -> sql.Literal:
    return sql.Literal(sql.Identifier(schema, view).as_string())
