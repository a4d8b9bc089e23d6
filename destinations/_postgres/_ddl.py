"""Making a schema and tables that are missing, by one process at a time."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.schema import CreateSchema

from connector import DestinationError

__all__ = ["check_encoding", "create_missing", "lock_ddl"]

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


def check_encoding(connection: Connection, location: str) -> None:
    """Raise `DestinationError` when the database cannot hold every text."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DestinationError(
            f"the database of Postgres at {location} has the encoding {encoding}, which cannot hold every text. "
            "Create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;"
        )
