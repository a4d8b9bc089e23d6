"""Columns that a table lacks: the statements that add them, and what keeps a table from being extended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection, Dialect, Table, inspect
from sqlalchemy.schema import CreateColumn

from connector import ColumnMapping, ConfigurationError

from ._schema import DELETED_AT, FIXED_FEATURE_COLUMNS

__all__ = ["add_column", "missing_columns"]

_TIME: Final = ColumnMapping(path=DELETED_AT, type="timestamptz")


def add_column(dialect: Dialect, table: Table, name: str) -> str:
    """The statement that adds this column of the table."""
    definition = CreateColumn(table.c[name]).compile(dialect=dialect)
    return f"ALTER TABLE {dialect.identifier_preparer.format_table(table)} ADD COLUMN {definition}"


def missing_columns(connection: Connection, table: Table, columns: Mapping[str, ColumnMapping]) -> Iterator[str]:
    """The mapped columns that a table of features lacks, after the one that the tables of the first versions lack.

    Raises `ConfigurationError` for a table that is not ours, and for a column of another type than the mapping's.
    """
    held = {
        column["name"]: column["type"] for column in inspect(connection).get_columns(table.name, schema=table.schema)
    }
    _check_fixed_columns(table, held)
    for name, mapping in {DELETED_AT: _TIME, **columns}.items():
        if name not in held:
            yield name
        elif (kind := held[name].compile(connection.dialect).lower()) != _normal(mapping.type):
            raise ConfigurationError(
                f"the column {table.schema}.{table.name}.{name} is {kind}, the mapping says {mapping.type}. "
                "Map the field to a column of another name, or change the mapping back."
            )


def _check_fixed_columns(table: Table, held: Mapping[str, object]) -> None:
    missing = [name for name in FIXED_FEATURE_COLUMNS if name not in held]
    if missing:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} exists and was not made by Vectorferry (no column {missing[0]}). "
            "Rename it, give the modality another `table`, or sync into another `schema`."
        )


def _normal(kind: str) -> str:
    return "timestamp with time zone" if kind == "timestamptz" else kind
