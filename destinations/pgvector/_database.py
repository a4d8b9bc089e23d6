"""The connection: transactions that find pgvector wherever it is installed, and the driver beneath SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL

from connector import DestinationError

from ._url import shown

__all__ = ["Database", "driver_of"]

_MINIMUM_EXTENSION = (0, 8)
"""Iterative scans, which right answers under filters need, came with pgvector 0.8."""

_EXTENSION = text(
    "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'vector'"
)


class Database:
    """One server, with pgvector made sure of. Used from one thread."""

    def __init__(self, url: URL, location: str | None = None) -> None:
        self.location = location or shown(url)
        self._engine: Engine = create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                "application_name": "vectorferry",
                # No server-side prepared statements: they break behind a transaction pooler, and ours run once.
                "prepare_threshold": None,
            },
        )
        self._extension_schema: str | None = None

    @property
    def extension_schema(self) -> str:
        """The schema that holds pgvector's types and operators."""
        if self._extension_schema is None:
            with self._engine.begin() as connection:
                self._extension_schema = _ensure_extension(connection, self.location)
        return self._extension_schema

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction in which pgvector's names resolve without a prefix. Commits at the end, or rolls back."""
        path = self.extension_schema
        with self._engine.begin() as connection:
            _set_search_path(connection, path)
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """For what cannot run inside a transaction: building an index concurrently."""
        path = self.extension_schema
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                connection.execute(text("SELECT set_config('search_path', :path, false)"), {"path": _quoted(path)})
                yield connection
            finally:
                connection.invalidate()  # its settings must not reach the next user of the pool

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def driver_of(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The psycopg connection under a SQLAlchemy one, inside the same transaction."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw


def _set_search_path(connection: Connection, extension_schema: str) -> None:
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": _quoted(extension_schema)})


def _quoted(extension_schema: str) -> str:
    return 'pg_catalog, "' + extension_schema.replace('"', '""') + '"'


def _ensure_extension(connection: Connection, location: str) -> str:
    found = connection.execute(_EXTENSION).one_or_none()
    if found is None:
        _create_extension(connection, location)
        found = connection.execute(_EXTENSION).one()
    schema, version = str(found[0]), str(found[1])
    if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM_EXTENSION:
        raise DestinationError(
            f"Postgres at {location} has pgvector {version}; Vectorferry needs 0.8 or newer. "
            "Install it and run: ALTER EXTENSION vector UPDATE;"
        )
    return schema


def _create_extension(connection: Connection, location: str) -> None:
    available = connection.execute(text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")).scalar()
    if available is None:
        raise DestinationError(
            f"Postgres at {location} has no pgvector. Install the server's pgvector package "
            "(github.com/pgvector/pgvector), or leave `url` out to use the embedded Postgres."
        )
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except Exception as error:
        raise DestinationError(
            f"Postgres at {location} has pgvector, but this user may not enable it. "
            "As an owner of the database run: CREATE EXTENSION vector;"
        ) from error
