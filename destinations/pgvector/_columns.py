"""Bringing the columns of the feature tables to a changed mapping, with the views that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Dialect, Table, func, inspect, literal_column, select, text, update

from vectorferry.connector.plugin import MODALITIES, ColumnMapping, ConfigurationError, Modality, SchemaMapping
from vectorferry.destinations._postgres import add_column, driver_of
from vectorferry.destinations.pgvector._catalogue import Catalogue, Layer
from vectorferry.destinations.pgvector._grants import dependants_of_column, keeping_grants
from vectorferry.destinations.pgvector._schema import (
    DELETED_AT,
    FEATURE_KEY,
    FIXED_FEATURE_COLUMNS,
    SyncTables,
    column_name,
)
from vectorferry.destinations.pgvector._views import check_alone, columns_of, rename_columns, sql_type

__all__ = ["Evolution"]


_TIME: Final = ColumnMapping(path=DELETED_AT, type="timestamptz")


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """Old names and the new ones in their place; columns that go; new types by name, after renaming; columns that
    come."""

    renamed: Mapping[str, str]
    dropped: Sequence[str]
    retyped: Mapping[str, str]
    added: Sequence[str]

    def retyped_from(self) -> dict[str, str]:
        """New types by the names before renaming."""
        before = {name: old for old, name in self.renamed.items()}
        return {before.get(name, name): kind for name, kind in self.retyped.items()}

    @property
    def touches_views(self) -> bool:
        """Whether Postgres refuses it while views show the columns."""
        return bool(self.dropped or self.retyped)


def column_changes(
    table: Table,
    held: Mapping[str, str],
    recorded: Mapping[str, ColumnMapping] | None,
    columns: Mapping[str, ColumnMapping],
) -> ColumnChanges:
    """From the columns that a table has, by type, to those that are mapped now. What was `recorded` as mapped before is
    renamed (where the path is mapped to another name now) or dropped; other columns are somebody else's. Where nothing
    was recorded (None), what is mapped now is taken for ours.

    Raises `ConfigurationError` for a table that is not ours, and for somebody else's column of another type.
    """
    _check_fixed_columns(table, held)
    ours = columns if recorded is None else recorded
    gone = [name for name in ours if name in held and name not in columns]
    new = [name for name in {DELETED_AT: _TIME, **columns} if name not in held]
    renamed: dict[str, str] = {}
    for name in new:
        same_path = [old for old in gone if name in columns and ours[old].path == columns[name].path]
        if len(same_path) == 1 and same_path[0] not in renamed:
            renamed[same_path[0]] = name
    then = {renamed.get(name, name): kind for name, kind in held.items()}
    retyped = {name: c.type for name, c in columns.items() if name in then and then[name] != sql_type(c.type)}
    _check_ours(table, then, retyped, {*ours, *renamed.values()})
    return ColumnChanges(
        renamed=renamed,
        dropped=[name for name in gone if name not in renamed],
        retyped=retyped,
        added=[name for name in new if name not in renamed.values()],
    )


def statements_to_change(
    dialect: Dialect, table: Table, held: Mapping[str, str], changes: ColumnChanges
) -> Iterator[str]:
    """The statements that make these changes, in their order."""
    preparer = dialect.identifier_preparer
    name_of = preparer.format_table(table)

    def quote(name: str) -> str:
        return preparer.quote(column_name(name))

    for old, name in changes.renamed.items():
        yield f"ALTER TABLE {name_of} RENAME COLUMN {quote(old)} TO {quote(name)}"
    for name in changes.dropped:
        yield f"ALTER TABLE {name_of} DROP COLUMN {quote(name)}"
    then = {changes.renamed.get(name, name): kind for name, kind in held.items()}
    for name, kind in changes.retyped.items():
        using = cast_of(quote(name), then[name], kind)
        yield f"ALTER TABLE {name_of} ALTER COLUMN {quote(name)} TYPE {kind} USING {using}"
    for name in changes.added:
        yield add_column(dialect, table, name)


def cast_of(column: str, held: str, wanted: str) -> str:
    """An expression that turns a quoted column into another type. It goes through text, so that what would lose
    something (1.5 as an integer) is refused and not rounded."""
    if wanted == "jsonb":
        return f"to_jsonb({column})"
    text = as_text(column, held)
    return text if wanted == "text" else f"CAST({text} AS {wanted})"


def as_text(column: str, held: str) -> str:
    """An expression for the text of a quoted column; of a text in JSON, without quotes."""
    return f"({column} #>> '{{}}')" if held == "jsonb" else f"CAST({column} AS text)"


def _check_ours(table: Table, held: Mapping[str, str], retyped: Mapping[str, str], ours: Set[str]) -> None:
    for name, kind in retyped.items():
        if name not in ours:
            raise ConfigurationError(
                f"the column {table.schema}.{table.name}.{name} was not made by Vectorferry and is {held[name]}, the "
                f"mapping says {kind}. Map the field to a column of another name, or to this type."
            )


def _check_fixed_columns(table: Table, held: Mapping[str, object]) -> None:
    missing = [name for name in FIXED_FEATURE_COLUMNS if name not in held]
    if missing == [FEATURE_KEY]:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} was made by an early version of Vectorferry, whose tables are not "
            f"brought up to date (no column {FEATURE_KEY}). Sync into another `schema`, or drop it and sync anew: "
            f"DROP SCHEMA {table.schema} CASCADE;"
        )
    if missing:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} exists and was not made by Vectorferry (no column {missing[0]}). "
            "Rename it, give the modality another `table`, or sync into another `schema`."
        )


# Whether the values of a column can become another type, found out before it is changed.


_CAN_BE_ASKED: Final = 160_000
"""The version of Postgres that brought pg_input_is_valid."""


_Driver = psycopg.Connection[tuple[object, ...]]


def check_castable(driver: _Driver, table: Table, column: str, held: str, wanted: str) -> None:
    """Raise `ConfigurationError`, with an example, when the type that is wanted cannot hold a value that is there.

    Servers before Postgres 16 tell the value, but not the feature that has it.
    """
    if wanted in ("text", "jsonb"):
        return
    quoted, there = f'"{column}"', sql.Identifier(str(table.schema), table.name)
    if driver.info.server_version < _CAN_BE_ASKED:
        _try(
            driver,
            table,
            column,
            sql.SQL("SELECT count({}) FROM {}").format(_cast(quoted, held, wanted), there),
            wanted,
        )
        return
    found = driver.execute(
        sql.SQL(
            "SELECT asset_id, feature_id, left({text}, 60) FROM {table} "
            "WHERE {column} IS NOT NULL AND NOT pg_input_is_valid({text}, {type}) LIMIT 1"
        ).format(
            text=_fixed(as_text(quoted, held)), table=there, column=sql.Identifier(column), type=sql.Literal(wanted)
        )
    ).fetchone()
    if found is not None:
        raise _refusal(table, column, wanted, f"feature {found[1]} of asset {found[0]} has {found[2]!r}")


def _try(driver: _Driver, table: Table, column: str, statement: sql.Composed, wanted: str) -> None:
    try:
        with driver.transaction():
            driver.execute(statement)
    except psycopg.DataError as error:
        raise _refusal(table, column, wanted, error.diag.message_primary or str(error)) from error


def _refusal(table: Table, column: str, wanted: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the column {table.schema}.{table.name}.{column} cannot become {wanted}: {why}. Nothing was changed. "
        "Map the field to a column of another name, or change the mapping back."
    )


def _cast(quoted: str, held: str, wanted: str) -> sql.SQL:
    return _fixed(cast_of(quoted, held, wanted))


def _fixed(text: Any) -> sql.SQL:
    """An expression of ours. psycopg wants SQL to be literal, which a name in it is not."""
    return sql.SQL(text)


# Bringing the columns of the feature tables to a changed mapping, with the views that show them.


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be done in the table of a modality, whose columns are `held` now, by type."""

    modality: Modality
    table: Table
    held: Mapping[str, str]
    columns: ColumnChanges

    def statements(self, connection: Connection) -> list[str]:
        return [*statements_to_change(connection.dialect, self.table, self.held, self.columns)]


@dataclass(frozen=True, slots=True)
class Evolution:
    """A schema as it is, and the mapping that it is to be brought to."""

    schema: str
    tables: SyncTables
    features: Mapping[Modality, Table]
    mapping: SchemaMapping
    catalogue: Catalogue

    @contextmanager
    def carried_out(self, connection: Connection) -> Iterator[None]:
        """Change the columns; make the views that had to go for it anew in here. They get their grants back afterwards.

        Everything is checked before anything is touched: raises what `planned` raises.
        """
        changes = [self._checked(connection, modality) for modality in sorted(MODALITIES)]
        with ExitStack() as kept:
            for change in changes:  # in the order in which writers visit the tables
                self._clear_views(connection, change, kept)
                for statement in change.statements(connection):
                    connection.execute(text(statement))
                self._record(connection, change.modality)
            yield

    def reshapes(self, connection: Connection, modality: Modality) -> bool:
        """Whether columns that a modality's table has would be renamed, cast or dropped. Raises what `planned` does."""
        columns = self._checked(connection, modality).columns
        return bool(columns.renamed or columns.dropped or columns.retyped)

    def planned(self, connection: Connection, modality: Modality) -> list[str]:
        """The statements that carrying it out would execute for a modality, whose table is there.

        Raises `ConfigurationError` for a table that is not ours, for a value that the new type cannot hold, and for
        what somebody has built upon a column or a view that has to go.
        """
        return self._checked(connection, modality).statements(connection)

    def _checked(self, connection: Connection, modality: Modality) -> _Change:
        table = self.features[modality]
        held = columns_of(driver_of(connection), self.schema, table.name)
        recorded = self._recorded(connection, modality)
        columns = column_changes(table, held, recorded, self.mapping.columns(modality))
        change = _Change(modality, table, held, columns)
        if columns.touches_views:
            self._check(connection, change)
        return change

    def _check(self, connection: Connection, change: _Change) -> None:
        driver = driver_of(connection)
        for old, wanted in change.columns.retyped_from().items():
            check_castable(driver, change.table, old, change.held[old], wanted)
        layers = self._layers(change.modality)
        for layer in layers:
            check_alone(driver, self.schema, layer)
        ours = [sql.Identifier(self.schema, layer.view).as_string(driver) for layer in layers]
        relations = [change.table.name, *(layer.match_type for layer in layers)]
        for column in (*change.columns.dropped, *change.columns.retyped_from()):
            for relation in relations:
                self._check_column(driver, relation, column, ours, goes=column in change.columns.dropped)

    def _check_column(self, driver: _Driver, relation: str, column: str, ours: list[str], *, goes: bool) -> None:
        there = sql.Identifier(self.schema, relation).as_string(driver)
        if others := dependants_of_column(driver, there, column, ours, goes=goes):
            what = "is not mapped any more and would be dropped" if goes else "gets another type"
            raise ConfigurationError(
                f"the column {self.schema}.{relation}.{column} {what}, and depends on it: "
                f"{', '.join(others)}. Drop that first and run again, or change the mapping back."
            )

    def _clear_views(self, connection: Connection, change: _Change, kept: ExitStack) -> None:
        """Rename the columns of the views, and take away those that are in the way."""
        driver = driver_of(connection)
        for layer in self._layers(change.modality):
            rename_columns(driver, self.schema, layer, change.columns.renamed)
            if change.columns.touches_views and columns_of(driver, self.schema, layer.view):
                kept.enter_context(keeping_grants(driver, self.schema, "TABLE", layer.view))
                driver.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(self.schema, layer.view)))

    def _layers(self, modality: Modality) -> list[Layer]:
        entries = self.catalogue.of(modality)
        plain = [entry.plain_layer for entry in entries if entry.state == "current"]
        return [*plain, *(entry.own_layer for entry in entries if entry.own_layer)]

    def _recorded(self, connection: Connection, modality: Modality) -> dict[str, ColumnMapping] | None:
        """The columns that were mapped when the schema was prepared last; None where no version recorded it."""
        modalities = self.tables.modalities
        if not inspect(connection).has_table(modalities.name, schema=self.schema):
            return None
        # As JSON, since nobody has added the column yet that a schema of an earlier version lacks.
        rows = select(func.to_jsonb(literal_column("m"))).select_from(modalities.alias("m"))
        found = {row["modality"]: row.get("columns") for row in connection.execute(rows).scalars()}
        if (recorded := found.get(modality.value)) is None:
            return None
        return {name: ColumnMapping.model_validate(column) for name, column in recorded.items()}

    def _record(self, connection: Connection, modality: Modality) -> None:
        columns, modalities = self.mapping.columns(modality), self.tables.modalities
        if self._recorded(connection, modality) != columns:
            written = {name: column.model_dump() for name, column in columns.items()}
            of_this = modalities.c.modality == modality.value
            connection.execute(update(modalities).where(of_this).values(columns=written))
