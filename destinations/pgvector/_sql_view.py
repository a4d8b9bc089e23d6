"""The view of a layer and the row type that its function returns: extended in place where Postgres allows it, else made
anew with the grants that they had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from vectorferry.connector import ColumnMapping, ConfigurationError, Storage

from ._catalogue import Layer, VectorEntry
from ._dependants import dependants_of_relation
from ._grants import keeping_grants

__all__ = [
    "Shown",
    "check_alone",
    "columns_of",
    "refresh_match_type",
    "refresh_view",
    "rename_columns",
    "sql_type",
]

_COLUMNS_OF: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_Driver = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A layer, and the generation that it shows with these columns. `routes` names, by dimension, the views that its
    function asks instead of its own, each with the type of its vectors."""

    layer: Layer
    entry: VectorEntry
    columns: Mapping[str, ColumnMapping]
    routes: Mapping[int, tuple[str, Storage]]


def columns_of(driver: _Driver, schema: str, relation: str) -> dict[str, str]:
    """The columns of a relation in their order, each with its type; none where there is no such relation."""
    return {str(name): str(kind) for name, kind in driver.execute(_COLUMNS_OF, (schema, relation))}


def sql_type(kind: str) -> str:
    """A type of the mapping, as Postgres calls it."""
    return "timestamp with time zone" if kind == "timestamptz" else kind


def refresh_view(driver: _Driver, schema: str, extension: str, shown: Shown) -> None:
    """Make the view, or bring it to its generation and columns. Raises `ConfigurationError` where that would take away
    what somebody has built upon it."""
    held, wanted = columns_of(driver, schema, shown.layer.view), _view_columns(shown)
    if not held:
        driver.execute(_view(schema, extension, shown, wanted))
        return
    with keeping_grants(driver, schema, "TABLE", shown.layer.view):
        if all(wanted.get(name) == kind for name, kind in held.items()):
            # Postgres can only append columns to a view.
            wanted = {name: wanted[name] for name in (*held, *wanted)}
        else:
            check_alone(driver, schema, shown.layer)
            driver.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(schema, shown.layer.view)))
        driver.execute(_view(schema, extension, shown, wanted))


def refresh_match_type(driver: _Driver, schema: str, shown: Shown) -> None:
    """Make the row type, or bring it to the columns."""
    wanted = _match_columns(shown.columns)
    match, held = sql.Identifier(schema, shown.layer.match_type), columns_of(driver, schema, shown.layer.match_type)
    if not held:
        attributes = sql.SQL(", ").join(_attribute(name, kind) for name, kind in wanted.items())
        driver.execute(sql.SQL("CREATE TYPE {} AS ({})").format(match, attributes))
        return
    changes = [
        *(sql.SQL("DROP ATTRIBUTE {}").format(sql.Identifier(name)) for name in held if name not in wanted),
        *(_retyped(name, kind) for name, kind in wanted.items() if name in held and held[name] != kind),
        *(
            sql.SQL("ADD ATTRIBUTE {}").format(_attribute(name, kind))
            for name, kind in wanted.items()
            if name not in held
        ),
    ]
    if changes:
        driver.execute(sql.SQL("ALTER TYPE {} {}").format(match, sql.SQL(", ").join(changes)))


def rename_columns(driver: _Driver, schema: str, layer: Layer, names: Mapping[str, str]) -> None:
    """Give columns of the view and of the row type new names, where they are."""
    view, match = sql.Identifier(schema, layer.view), sql.Identifier(schema, layer.match_type)
    for statement, there, held in (
        ("ALTER VIEW {} RENAME COLUMN {} TO {}", view, columns_of(driver, schema, layer.view)),
        ("ALTER TYPE {} RENAME ATTRIBUTE {} TO {}", match, columns_of(driver, schema, layer.match_type)),
    ):
        for old, new in names.items():
            if old in held:
                driver.execute(_fixed(statement).format(there, sql.Identifier(old), sql.Identifier(new)))


def check_alone(driver: _Driver, schema: str, layer: Layer) -> None:
    """Raise `ConfigurationError` when somebody has built upon the view of a layer."""
    view = sql.Identifier(schema, layer.view).as_string(driver)
    if others := dependants_of_relation(driver, view):
        raise ConfigurationError(
            f"the view {schema}.{layer.view} has to be made anew, and depends on it: {', '.join(others)}. "
            "Drop that, run again, and make it again afterwards."
        )


# The join is by one column, of which the planner expects as many rows as there are; that the keys are the same as well
# stands in a CASE, since it would multiply the chances of each equation that it sees.
# The second half of the union has no row, and no plan knows of it: it takes the dimension from the column's type, and
# from nothing else. So CREATE OR REPLACE can switch the view to vectors of another dimension, and whatever index there
# is on the vectors, a user's own on an expression too, is used through the view, as through no cast.
_VIEW: Final = """
CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM (
    SELECT collection, asset_id, feature_id, feature_key, embedding FROM {vectors}
    UNION ALL SELECT NULL, NULL, NULL, NULL, CAST(NULL AS {storage}) FROM {vectors} WHERE false
) v JOIN {features} f ON f.feature_key = v.feature_key AND CASE WHEN
    f.feature_id = v.feature_id AND f.asset_id = v.asset_id AND f.collection = v.collection THEN true ELSE false END
WHERE f.deleted_at IS NULL
"""
# Collection and asset are looked for in the vectors, where a search can leave the others out while it goes along the
# index; a feature's id in the features, which have an index on it.
_OF_VECTORS: Final = frozenset({"collection", "asset_id", "embedding"})


def _view(schema: str, extension: str, shown: Shown, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(_VIEW).format(
        view=sql.Identifier(schema, shown.layer.view),
        columns=sql.SQL(", ").join(sql.Identifier("v" if name in _OF_VECTORS else "f", name) for name in columns),
        vectors=sql.Identifier(schema, shown.entry.table),
        features=sql.Identifier(schema, shown.entry.base),
        storage=sql.Identifier(extension, shown.entry.layout.storage),
    )


def _view_columns(shown: Shown) -> dict[str, str]:
    keys = dict.fromkeys(("collection", "asset_id", "feature_id"), "text")
    mapped = {name: sql_type(column.type) for name, column in shown.columns.items()}
    return {**keys, **mapped, "metadata": "jsonb", "extra": "jsonb", "embedding": shown.entry.layout.storage}


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
    return sql.SQL("{} {}").format(sql.Identifier(name), _fixed(kind))


def _retyped(name: str, kind: str) -> sql.Composable:
    return sql.SQL("ALTER ATTRIBUTE {} SET DATA TYPE {}").format(sql.Identifier(name), _fixed(kind))


def _fixed(text: Any) -> sql.SQL:
    """A type or a statement from our own short lists. psycopg wants SQL to be literal, which a lookup is not."""
    return sql.SQL(text)
