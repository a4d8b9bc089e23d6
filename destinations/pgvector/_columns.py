"""Bringing the columns of the feature tables to a changed mapping, with the views that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Table

from vectorferry.connector.plugin import ColumnMapping, ConfigurationError
from vectorferry.destinations._postgres import Driver, Step, columns_of, driver_of, fixed, place_of, statement
from vectorferry.destinations.pgvector._catalogue import Layer
from vectorferry.destinations.pgvector._grants import dependants_of_column
from vectorferry.destinations.pgvector._tables import FIXED_FEATURE_COLUMNS
from vectorferry.destinations.pgvector._views import check_alone, rename_statements, sql_type


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """Old names and the new ones in their place; columns that go; new types by name, after renaming; and those
    that come, by type."""

    renamed: Mapping[str, str]
    dropped: Sequence[str]
    retyped: Mapping[str, str]
    added: Mapping[str, str]

    def retyped_from(self) -> dict[str, str]:
        """New types by the names before renaming."""
        before = {name: old for old, name in self.renamed.items()}
        return {before.get(name, name): kind for name, kind in self.retyped.items()}

    @property
    def is_none(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.renamed or self.dropped or self.retyped or self.added)

    @property
    def touches_views(self) -> bool:
        """Whether Postgres refuses it while views show the columns."""
        return bool(self.dropped or self.retyped)


def column_changes(
    table: Table,
    stored: Mapping[str, str],
    recorded: Mapping[str, ColumnMapping],
    columns: Mapping[str, ColumnMapping],
) -> ColumnChanges:
    """From the columns that a table has, by type, to those that are mapped now. What was `recorded` as mapped before is
    renamed (where the path is mapped to another name now) or dropped; other columns are somebody else's.

    Raises `ConfigurationError` for a table that is not ours, and for somebody else's column of another type.
    """
    _check_fixed_columns(table, stored)
    unmapped = [name for name in recorded if name in stored and name not in columns]
    new = [name for name in columns if name not in stored]
    renamed: dict[str, str] = {}
    for name in new:
        same_path = [old for old in unmapped if recorded[old].path == columns[name].path]
        if len(same_path) == 1 and same_path[0] not in renamed:
            renamed[same_path[0]] = name
    after_renaming = {renamed.get(name, name): kind for name, kind in stored.items()}
    retyped = {
        name: c.type
        for name, c in columns.items()
        if name in after_renaming and after_renaming[name] != sql_type(c.type)
    }
    _check_own(table, after_renaming, retyped, {*recorded, *renamed.values()})
    return ColumnChanges(
        renamed=renamed,
        dropped=[name for name in unmapped if name not in renamed],
        retyped=retyped,
        added={name: columns[name].type for name in new if name not in renamed.values()},
    )


def statements_to_change(table: Table, stored: Mapping[str, str], changes: ColumnChanges) -> Iterator[str]:
    """The statements that make these changes, in their order."""
    target = place_of(table)
    for old, name in changes.renamed.items():
        yield statement("ALTER TABLE {} RENAME COLUMN {} TO {}", target, old, name)
    for name in changes.dropped:
        yield statement("ALTER TABLE {} DROP COLUMN {}", target, name)
    renamed = {changes.renamed.get(name, name): kind for name, kind in stored.items()}
    for name, kind in changes.retyped.items():
        using = cast_of(name, renamed[name], kind)
        yield statement("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}", target, name, fixed(kind), using)
    for name, kind in changes.added.items():
        yield statement("ALTER TABLE {} ADD COLUMN {} {}", target, name, fixed(kind))


def cast_of(column: str, stored: str, kind: str) -> sql.Composable:
    """An expression that turns a column into another type. It goes through text, so that what would lose something (1.5
    as an integer) is refused and not rounded."""
    if kind == "jsonb":
        return sql.SQL("to_jsonb({})").format(sql.Identifier(column))
    text = as_text(column, stored)
    return text if kind == "text" else sql.SQL("CAST({} AS {})").format(text, fixed(kind))


def as_text(column: str, stored: str) -> sql.Composable:
    """An expression for the text of a column; of a text in JSON, without quotes."""
    return sql.SQL("({} #>> '{{}}')" if stored == "jsonb" else "CAST({} AS text)").format(sql.Identifier(column))


def _check_own(table: Table, stored: Mapping[str, str], retyped: Mapping[str, str], own: Set[str]) -> None:
    for name, kind in retyped.items():
        if name not in own:
            raise ConfigurationError(
                f"the column {table.schema}.{table.name}.{name} was not made by Vectorferry and is {stored[name]}, the "
                f"mapping says {kind}. Map the field to a column of another name, or to this type."
            )


def _check_fixed_columns(table: Table, stored: Mapping[str, object]) -> None:
    missing = [name for name in FIXED_FEATURE_COLUMNS if name not in stored]
    if missing:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} exists and was not made by Vectorferry (no column {missing[0]}). "
            "Rename it, give the modality another `table`, or sync into another `schema`."
        )


# Whether the values of a column can become another type, found out before it is changed.


_CAN_BE_ASKED: Final = 160_000
"""The version of Postgres that brought pg_input_is_valid."""


def check_castable(driver: Driver, table: Table, column: str, stored: str, kind: str) -> None:
    """Raise `ConfigurationError`, with an example, when the type that is wanted cannot hold a value that is there.

    Servers before Postgres 16 tell the value, but not the feature that has it.
    """
    if kind in ("text", "jsonb"):
        return
    source = place_of(table)
    if driver.info.server_version < _CAN_BE_ASKED:
        query = sql.SQL("SELECT count({}) FROM {}").format(cast_of(column, stored, kind), source)
        _try(driver, table, column, query, kind)
        return
    row = driver.execute(
        sql.SQL(
            "SELECT asset_id, feature_id, left({text}, 60) FROM {table} "
            "WHERE {column} IS NOT NULL AND NOT pg_input_is_valid({text}, {type}) LIMIT 1"
        ).format(text=as_text(column, stored), table=source, column=sql.Identifier(column), type=sql.Literal(kind))
    ).fetchone()
    if row is not None:
        raise _refusal(table, column, kind, f"feature {row[1]} of asset {row[0]} has {row[2]!r}")


def _try(driver: Driver, table: Table, column: str, statement: sql.Composed, kind: str) -> None:
    try:
        with driver.transaction():
            driver.execute(statement)
    except psycopg.DataError as error:
        raise _refusal(table, column, kind, error.diag.message_primary or str(error)) from error


def _refusal(table: Table, column: str, kind: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the column {table.schema}.{table.name}.{column} cannot become {kind}: {why}. Nothing was changed. "
        "Map the field to a column of another name, or change the mapping back."
    )


# Bringing the columns of a feature table to a changed mapping, with the views that show them.


@dataclass(frozen=True, slots=True)
class TableChange:
    """What is to be done in the table of a modality, whose columns are `stored` now, by type; `layers` show them."""

    table: Table
    stored: Mapping[str, str]
    columns: ColumnChanges
    layers: Sequence[Layer]

    @property
    def reshapes(self) -> bool:
        """Whether columns that the table has are renamed, cast or dropped."""
        return bool(self.columns.renamed or self.columns.dropped or self.columns.retyped)

    def steps(self, connection: Connection) -> Iterator[Step]:
        """Rename the columns of the views, take away those that are in the way, and change the table."""
        schema = str(self.table.schema)
        for layer in self.layers:
            yield from rename_statements(connection, schema, layer, self.columns.renamed)
            if self.columns.touches_views and columns_of(connection, schema, (layer.view,)):
                yield statement("DROP VIEW {}", sql.Identifier(schema, layer.view))
        yield from statements_to_change(self.table, self.stored, self.columns)


def checked_change(
    connection: Connection,
    table: Table,
    stored: Mapping[str, str],
    layers: Sequence[Layer],
    recorded: Mapping[str, ColumnMapping],
    columns: Mapping[str, ColumnMapping],
) -> TableChange:
    """What brings a table from the columns that it has, by type, to those that are mapped now. Some were `recorded` as
    mapped before.

    Raises `ConfigurationError` for a table that is not ours, for a value that the new type cannot hold, and for what
    somebody has built upon a column or a view that has to go.
    """
    change = TableChange(table, stored, column_changes(table, stored, recorded, columns), layers)
    if change.columns.touches_views:
        _check(driver_of(connection), change)
    return change


def _check(driver: Driver, change: TableChange) -> None:
    schema, retyped = str(change.table.schema), change.columns.retyped_from()
    for old, kind in retyped.items():
        check_castable(driver, change.table, old, change.stored[old], kind)
    for layer in change.layers:
        check_alone(driver, schema, layer)
    views = [sql.Identifier(schema, layer.view).as_string() for layer in change.layers]
    for column in (*change.columns.dropped, *retyped):
        for relation in (change.table.name, *(layer.match_type for layer in change.layers)):
            _check_column(driver, schema, relation, column, views, goes=column in change.columns.dropped)


def _check_column(driver: Driver, schema: str, relation: str, column: str, views: Sequence[str], *, goes: bool) -> None:
    name = sql.Identifier(schema, relation).as_string()
    if others := dependants_of_column(driver, name, column, views, goes=goes):
        why = "is not mapped any more and would be dropped" if goes else "gets another type"
        raise ConfigurationError(
            f"the column {schema}.{relation}.{column} {why}, and depends on it: "
            f"{', '.join(others)}. Drop that first and run again, or change the mapping back."
        )
