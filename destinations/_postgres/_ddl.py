"""Making a schema and tables that are missing, by one process at a time; or only saying what that would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    ExecutableDDLElement,
    MetaData,
    Table,
    create_mock_engine,
    inspect,
    text,
)
from sqlalchemy.schema import CreateColumn, CreateSchema

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations._postgres._database import Database

__all__ = [
    "add_column",
    "check_encoding",
    "create_missing",
    "lacking_columns",
    "lock_ddl",
    "looking",
    "statements_to_create",
]


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


# Looking at a database without changing it: what making tables would take, in a transaction that cannot write.


_READ_ONLY: Final = text("SET TRANSACTION READ ONLY")


@contextmanager
def looking(database: Database) -> Iterator[Connection]:
    """A transaction in which Postgres refuses every write."""
    with database.plain_transaction() as connection:
        connection.execute(_READ_ONLY)
        yield connection


def statements_to_create(connection: Connection | None, schema: str, *tables: MetaData) -> list[str]:
    """What `create_missing` would execute, in its order. Without a connection nothing is there yet."""
    found: list[str] = []

    def write_down(element: ExecutableDDLElement, *_: Any, **__: Any) -> None:
        found.append(str(element.compile(dialect=dialect)).strip())

    recorder = create_mock_engine("postgresql+psycopg://", write_down)
    dialect = recorder.dialect if connection is None else connection.dialect
    if connection is None or not inspect(connection).has_schema(schema):
        write_down(CreateSchema(schema))
    for metadata in tables:
        missing = [table for table in metadata.tables.values() if not _exists(connection, table)]
        metadata.create_all(recorder, tables=missing, checkfirst=False)
    return found


def _exists(connection: Connection | None, table: Table) -> bool:
    return connection is not None and inspect(connection).has_table(table.name, schema=table.schema)
