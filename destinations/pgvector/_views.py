"""What people query: a view and a search function per named vector, made without ever taking a right away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from psycopg import sql
from sqlalchemy import ColumnElement, Connection, Text, TextClause, bindparam, column, func, select, text

from vectorferry.connector.plugin import ColumnMapping, ConfigurationError
from vectorferry.destinations._postgres import Driver, Step, answers, columns_of, driver_of, fixed, joined, statement
from vectorferry.destinations.pgvector._catalogue import Layer, VectorEntry
from vectorferry.destinations.pgvector._functions import arguments, described, filled, template
from vectorferry.destinations.pgvector._grants import (
    check_functions_alone,
    dependants_of_relation,
    function_grants,
    grants_on_new,
    reads_as_caller,
    relation_grants,
    signatures,
    view_options,
    view_options_clause,
)
from vectorferry.destinations.pgvector._storage import VectorStorage, nearness


@dataclass(frozen=True, slots=True)
class Shown:
    """A layer, and the generation that it shows with these columns. `routes` names, by dimension, the views that its
    function asks instead of its own, each with the storage of its vectors."""

    layer: Layer
    entry: VectorEntry
    columns: Mapping[str, ColumnMapping]
    routes: Mapping[int, tuple[str, VectorStorage]]


def sql_type(kind: str) -> str:
    """A type of the mapping, as Postgres calls it."""
    return "timestamp with time zone" if kind == "timestamptz" else kind


@dataclass(frozen=True, slots=True)
class StoredLayers:
    """What is there of layers: the columns of views and match types, by type, which functions there are, and by view
    what `stored_seals` asks for: its seal (None: not to be had now), and what keeps us from making it anew."""

    columns: Mapping[str, Mapping[str, str]]
    functions: Collection[str]
    seals: Mapping[str, tuple[str | None, str | None]]

    def has(self, driver: Driver, schema: str, shown: Shown, seal: str) -> bool:
        """Whether nobody has dropped its view, its match type or its function, nor replaced one by another that we can
        make anew."""
        layer = shown.layer
        is_there = {layer.view, layer.match_type} <= self.columns.keys() and layer.function in self.functions
        stored, _ = self.seals.get(layer.view, ("", None))
        return is_there and (stored in (seal, None) or self._obstacle(driver, schema, shown) is not None)

    def replacements(self, driver: Driver, schema: str, shown: Shown, seal: str) -> Iterator[str]:
        """A sentence where somebody has replaced the view or the function by another one of its name."""
        layer = shown.layer
        stored, _ = self.seals.get(layer.view, (seal, None))
        if seal and stored not in (seal, None):
            obstacle = self._obstacle(driver, schema, shown)
            what_follows = (
                f"Since {obstacle}, it stays as it is: have it dropped, and sync again"
                if obstacle is not None
                else "Both are made anew"
            )
            yield (
                f"{layer.view}: the view, or its function {layer.function}, is not as it was made; somebody has "
                f"replaced it, or another version of Postgres words it in another way. {what_follows}"
            )

    def _obstacle(self, driver: Driver, schema: str, shown: Shown) -> str | None:
        """Why what somebody has made of it cannot be replaced in turn. A column that was added to a view only goes with
        the view, and with it would go what others have built upon that."""
        view = shown.layer.view
        _, obstacle = self.seals.get(view, ("", None))
        if obstacle is not None or _is_extendable(self.columns.get(view, {}), _view_columns(shown)):
            return obstacle
        others = dependants_of_relation(driver, sql.Identifier(schema, view).as_string())
        return f"{', '.join(others)} {'depends' if len(others) == 1 else 'depend'} on it" if others else None


def _is_extendable(stored: Mapping[str, str], columns: Mapping[str, str]) -> bool:
    """Whether these columns can take the place of those that a view has: Postgres can only append some."""
    return all(columns.get(name) == kind for name, kind in stored.items())


# What Postgres says a view and a function consist of: as we leave them, that is kept in the catalogue of named vectors.
_SEAL: Final = "encode(substr(sha256(convert_to(concat(pg_get_viewdef(v.oid), p.prosrc), 'UTF8')), 1, 8), 'hex')"
_SEALS: Final = text(
    # Postgres locks the tables of a view that it words. Whoever has one for himself, as VACUUM FULL, is not waited for.
    f"""SELECT v.relname, CASE WHEN NOT EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid() AND s.nspname = :schema
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN {_SEAL} END AS seal,
"""  # noqa: S608 - our own words
    """'it belongs to ' || pg_get_userbyid(coalesce(
    CASE WHEN NOT pg_has_role(v.relowner, 'USAGE') THEN v.relowner END,
    CASE WHEN NOT pg_has_role(p.proowner, 'USAGE') THEN p.proowner END)) AS obstacle
FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace
JOIN unnest(CAST(:views AS text[]), CAST(:functions AS text[])) AS made (view, function) ON made.view = v.relname
JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = made.function AND oidvectortypes(p.proargtypes) = :arguments
WHERE n.nspname = :schema"""
)


def stored_seals(schema: str, layers: Sequence[Layer]) -> TextClause:
    """Asks by view for a digest of what Postgres says of the layer, and for what keeps us from making it anew."""
    given = {
        "schema": schema,
        "views": [layer.view for layer in layers],
        "functions": [layer.function for layer in layers],
        "arguments": arguments(_FUNCTION),
    }
    # Unique, since an entry of the catalogue may ask for two layers in one statement.
    return _SEALS.bindparams(*(bindparam(name, value, unique=True) for name, value in given.items()))


def seal_of(schema: str, layer: Layer) -> ColumnElement[str]:
    """The digest of this layer as it is when this is asked."""
    asked = stored_seals(schema, [layer]).columns(column("relname", Text), column("seal", Text)).subquery()
    return func.coalesce(select(asked.c.seal).scalar_subquery(), "")


def stored_signatures(schema: str, layers: Iterable[Layer]) -> TextClause:
    """Asks for the search functions of these layers, as `signatures` does."""
    return signatures(schema, [layer.function for layer in layers], arguments(_FUNCTION))


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
    yield from _function_steps(connection, schema, extension, shown, _match_names(shown, match), model)


def function_steps(connection: Connection, schema: str, extension: str, shown: Shown) -> Iterator[Step]:
    """What brings the search function of a layer alone to its routes; its columns are those that the row type has."""
    match = columns_of(connection, schema, (shown.layer.match_type,))[shown.layer.match_type]
    yield from _function_steps(connection, schema, extension, shown, [*match], None)


def rename_statements(connection: Connection, schema: str, layer: Layer, names: Mapping[str, str]) -> Iterator[str]:
    """Give columns of the view and of the row type new names, where they are."""
    relations = columns_of(connection, schema, (layer.view, layer.match_type)) if names else {}
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
    is_extended = bool(stored) and not is_cleared and _is_extendable(stored, columns)
    if is_extended:
        # Postgres can only append columns to a view.
        columns = {name: columns[name] for name in (*stored, *columns)}
    elif stored and not is_cleared:
        check_alone(driver, schema, shown.layer)
        yield statement("DROP VIEW {}", view)
    likeness = shown.layer if stored else model
    options = view_options(driver, schema, (likeness or shown.layer).view)
    yield _create_view(schema, extension, shown, columns, options)
    if likeness is not None and not is_extended:
        grants = [
            replace(grant, column=grant.column and renamed.get(grant.column, grant.column))
            for grant in relation_grants(driver, schema, likeness.view)
        ]
        grants = [grant for grant in grants if grant.column is None or grant.column in columns]
        yield from grants_on_new(driver, schema, "TABLE", view, grants)


def _match_type_steps(schema: str, shown: Shown, stored: Mapping[str, str]) -> Iterator[str]:
    columns, match = _match_columns(shown), sql.Identifier(schema, shown.layer.match_type)
    if not stored:
        yield statement("CREATE TYPE {} AS ({})", match, joined([_attribute(*column) for column in columns.items()]))
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
    columns = _match_columns(shown)
    return [*(name for name in stored if name in columns), *(name for name in columns if name not in stored)]


def _function_steps(
    connection: Connection, schema: str, extension: str, shown: Shown, match: Sequence[str], model: Layer | None
) -> Iterator[str]:
    driver, stored = driver_of(connection), search_functions(connection, schema, shown.layer)
    stale = [signature for signature, is_current in stored.items() if not is_current]
    check_functions_alone(driver, schema, stale)
    yield from (statement("DROP FUNCTION {}", fixed(signature)) for signature in stale)
    target = sql.SQL("{}({})").format(sql.Identifier(schema, shown.layer.function), fixed(arguments(_FUNCTION)))
    comment = statement("COMMENT ON FUNCTION {} IS {}", target, sql.Literal(described(_FUNCTION)))
    yield f"{_create_function(schema, extension, shown, match)};\n{comment}"
    likeness = stale if stored else [*search_functions(connection, schema, model)] if model else []
    if likeness:
        yield from grants_on_new(driver, schema, "FUNCTION", target, function_grants(driver, likeness))


def search_functions(connection: Connection, schema: str, layer: Layer) -> dict[str, bool]:
    """By signature, quoted for a statement, the search functions of a layer: whether it is one as this version makes
    them, and none that takes other arguments."""
    (rows,) = answers(connection, stored_signatures(schema, [layer]))
    return {str(signature): bool(is_current) for _, signature, is_current in rows}


# The join is by one column, of which the planner expects as many rows as there are; that the keys are the same as well
# stands in a CASE, since it would multiply the chances of each equation that it sees.
# The second half of the union has no row, and no plan knows of it: it takes the dimension from the column's type, and
# from nothing else. So CREATE OR REPLACE can switch the view to vectors of another dimension, and whatever index there
# is on the vectors, a user's own on an expression too, is used through the view, as through no cast. Its columns have
# names so that Postgres words a view from a backup as it words this one.
_VIEW: Final = """
CREATE OR REPLACE VIEW {view}{options} AS SELECT {columns} FROM (
    SELECT collection, asset_id, feature_id, feature_key, embedding FROM {vectors}
    UNION ALL SELECT NULL AS collection, NULL AS asset_id, NULL AS feature_id, NULL AS feature_key,
        CAST(NULL AS {storage}) AS embedding FROM {vectors} WHERE false
) v JOIN {features} f ON f.feature_key = v.feature_key AND CASE WHEN
    f.feature_id = v.feature_id AND f.asset_id = v.asset_id AND f.collection = v.collection THEN true ELSE false END
LEFT JOIN {assets} a ON a.collection = f.collection AND a.asset_id = f.asset_id
WHERE f.deleted_at IS NULL
"""

# A view that reads with its caller's rights goes on to need only those that it has needed.
_NO_ASSETS: Final = (
    "(SELECT NULL AS collection, NULL AS asset_id, CAST(NULL AS text) AS url, CAST(NULL AS jsonb) AS metadata)"
)

# Collection and asset are looked for in the vectors, where a search can leave the others out while it goes along the
# index; a feature's id in the features, which have an index on it.
_OF_VECTORS: Final = frozenset({"collection", "asset_id", "embedding"})

_OF_ASSETS: Final = {"asset_url": ("url", "text"), "asset_metadata": ("metadata", "jsonb")}
"""Shown with each feature, unless a column of the mapping has the name. Of a query that asks for neither, Postgres
leaves the join with the assets out."""


def _create_view(schema: str, extension: str, shown: Shown, columns: Iterable[str], options: Mapping[str, str]) -> str:
    return statement(
        _VIEW,
        view=sql.Identifier(schema, shown.layer.view),
        options=view_options_clause(options),
        columns=joined([_view_column(shown, name) for name in columns]),
        vectors=sql.Identifier(schema, shown.entry.table),
        features=sql.Identifier(schema, shown.entry.base),
        assets=fixed(_NO_ASSETS) if reads_as_caller(options) else sql.Identifier(schema, "assets"),
        storage=sql.Identifier(extension, shown.entry.storage.column_type),
    )


def _view_column(shown: Shown, name: str) -> sql.Composable:
    if name in _asset_columns(shown):
        return sql.SQL("{} AS {}").format(sql.Identifier("a", _OF_ASSETS[name][0]), sql.Identifier(name))
    return sql.Identifier("v" if name in _OF_VECTORS else "f", name)


def _asset_columns(shown: Shown) -> dict[str, str]:
    return {name: kind for name, (_, kind) in _OF_ASSETS.items() if name not in shown.columns}


def _view_columns(shown: Shown) -> dict[str, str]:
    keys = dict.fromkeys(("collection", "asset_id", "feature_id"), "text")
    mapped = {name: sql_type(column.type) for name, column in shown.columns.items()}
    embedding = {"metadata": "jsonb", "extra": "jsonb", "embedding": shown.entry.storage.column_type}
    return {**keys, **mapped, **embedding, **_asset_columns(shown)}


def _match_columns(shown: Shown) -> dict[str, str]:
    others = {name: kind for name, kind in _view_columns(shown).items() if name != "embedding"}
    return {"distance": "double precision", **others}


def _attribute(name: str, kind: str) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(name), fixed(kind))


_FUNCTION: Final = "named_search"
_VERSION: Final = 9
"""Raise it when the view above changes, so that existing schemas get it. They get a changed function anyway."""


def layer_digest(shown: Shown, schema: str, extension: str) -> str:
    """Changes when the view or the function would be made differently: in a schema that was renamed as well."""
    storage = shown.entry.storage
    shape = [
        _VERSION,
        template(_FUNCTION),
        schema,
        extension,
        sorted(shown.layer.names),
        shown.entry.table,
        shown.entry.base,
    ]
    types = [[name, column.type] for name, column in shown.columns.items()]
    routes = [[*key, view, *_ingredients(to)] for *key, (view, to) in sorted(shown.routes.items())]
    ingredients = [*shape, *_ingredients(storage), storage.metric, types, routes]
    return hashlib.blake2b(json.dumps(ingredients).encode(), digest_size=8).hexdigest()


def _ingredients(storage: VectorStorage) -> list[Any]:
    quantized = [storage.index_words] if storage.quantization or storage.index == "ivfflat" else []
    return [storage.column_type, storage.dimension, *quantized]


def _create_function(schema: str, extension: str, shown: Shown, match_names: Sequence[str]) -> str:
    storage, match = shown.entry.storage, sql.Identifier(schema, shown.layer.match_type)
    # The first one is the distance, which is asked for in the words of the ordering, so that it is not taken twice.
    columns = [name for name in match_names if name != "distance"]
    operator = sql.SQL("OPERATOR({}.{})").format(sql.Identifier(extension), fixed(storage.operator))
    own = {
        "view": _name(schema, shown.layer.view),
        "type": _name(extension, storage.column_type),
        "dimension": storage.dimension,
        "operator": operator.as_string(),
        "columns": joined(columns).as_string(),
        "match": match.as_string(),
        "routes": _routes(schema, extension, shown),
        **_of_indexes(schema, extension, shown),
    }
    # What Postgres keeps the plan of orders by the column itself.
    is_plain = storage.column_type != "sparsevec" and storage.quantization is None and storage.index != "ivfflat"
    is_ivfflat = "ivfflat" in own
    fits = sql.SQL('{}.vector_dims(" asked") = {}').format(sql.Identifier(extension), sql.Literal(storage.dimension))
    view = _name(schema, shown.layer.view)
    if storage.dimension in shown.routes:
        # The plain view may go over to another dimension between the question whether a vector fits and the answer.
        view = _name(schema, shown.routes[storage.dimension][0])
        fits += sql.SQL(" AND has_table_privilege({}, 'SELECT')").format(sql.Literal(view))
    places = {
        "function": sql.Identifier(schema, shown.layer.function),
        "view": fixed(view),
        "match": match,
        "type": sql.Identifier(extension, storage.column_type),
        "schema": sql.Identifier(schema),
        "columns": joined([sql.Identifier("one", name) for name in columns]),
        "distance": sql.SQL('one.embedding {} " asked"').format(operator),
        "fits": fits if is_plain else fixed("false"),
        "ivfflat": fixed(" SET ivfflat.probes = 1 SET ivfflat.iterative_scan = 'off'" if is_ivfflat else ""),
        "own": sql.Literal(json.dumps(own)),
    }
    return filled(_FUNCTION, places)


# Whoever asks with a vector of an earlier or a later dimension is answered from where such vectors are. The views of
# the generations never show another one, so that a switch between two statements of this function changes nothing.
def _routes(schema: str, extension: str, shown: Shown) -> dict[int, dict[str, Any]]:
    return {
        dimension: {"view": _name(schema, view), "type": _name(extension, storage.column_type)}
        for dimension, (view, storage) in sorted(shown.routes.items())
    }


def _of_indexes(schema: str, extension: str, shown: Shown) -> dict[str, Any]:
    """Of the views that can be asked: what those with a quantizing index are ordered by, and which have an IVFFlat."""
    storages = {shown.layer.view: shown.entry.storage, **dict(shown.routes.values())}
    by_view = {_name(schema, view): storage for view, storage in storages.items()}
    quantized = {v: nearness(s, extension).as_string() for v, s in by_view.items() if s.quantization}
    ivfflat = [view for view, storage in by_view.items() if storage.index == "ivfflat"]
    return {**({"nearness": quantized} if quantized else {}), **({"ivfflat": ivfflat} if ivfflat else {})}


def _name(schema: str, name: str) -> str:
    return sql.Identifier(schema, name).as_string()
