"""Looking at a database without changing it: what making tables would take, in a transaction that cannot write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, ExecutableDDLElement, MetaData, Table, create_mock_engine, inspect, text
from sqlalchemy.schema import CreateSchema

from ._database import Database

__all__ = ["looking", "statements_to_create"]

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
