"""Making a schema and tables that are missing, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Column, Connection, Dialect, MetaData, Table, inspect, text
from sqlalchemy.schema import CreateColumn, CreateSchema

from vectorferry.connector import DestinationError

__all__ = ["add_column", "check_encoding", "create_missing", "lacking_columns", "lock_ddl"]

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('vectorferry ddl ' || :schema, 0))")


def lock_ddl(connection: Connection, schema: str) -> None:
    """Let nobody else make tables in this schema until the transaction ends."""
    connection.execute(_LOCK, {"schema": schema})


def create_missing(connection: Connection, schema: str, *tables: MetaData) -> None:
    """Make the schema and those of its tables that are not there yet."""
    if not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema))
    for metadata in tables:
        metadata.create_all(connection)


def lacking_columns(connection: Connection, columns: Iterable[Column[Any]]) -> list[Column[Any]]:
    """Those of these columns that their tables lack, of tables that are there."""
    there = inspect(connection)

    def lacks(table: Table, name: str) -> bool:
        return there.has_table(table.name, schema=table.schema) and name not in {
            column["name"] for column in there.get_columns(table.name, schema=table.schema)
        }

    return [column for column in columns if lacks(column.table, column.name)]


def add_column(dialect: Dialect, table: Table, name: str) -> str:
    """The statement that adds this column of the table."""
    definition = CreateColumn(table.c[name]).compile(dialect=dialect)
    return f"ALTER TABLE {dialect.identifier_preparer.format_table(table)} ADD COLUMN {definition}"


def check_encoding(connection: Connection, location: str) -> None:
    """Raise `DestinationError` when the database cannot hold every text."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DestinationError(
            f"the database of Postgres at {location} has the encoding {encoding}, which cannot hold every text. "
            "Create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;"
        )
