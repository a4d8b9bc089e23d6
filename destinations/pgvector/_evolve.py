"""Bringing the columns of the feature tables to a changed mapping, with the views that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Table, func, inspect, literal_column, select, text, update

from vectorferry.connector import MODALITIES, ColumnMapping, ConfigurationError, Modality, SchemaMapping

from .._postgres import driver_of
from ._castable import check_castable
from ._catalogue import Catalogue, Layer
from ._columns import ColumnChanges, column_changes, statements_to_change
from ._dependants import dependants_of_column
from ._grants import keeping_grants
from ._schema import SyncTables
from ._sql_view import check_alone, columns_of, rename_columns

__all__ = ["Evolution"]

_Driver = psycopg.Connection[tuple[object, ...]]


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
