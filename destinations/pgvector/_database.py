"""Transactions that find pgvector wherever it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from .._postgres import Database
from ._extension import enable_extension, find_extension

__all__ = ["VectorDatabase"]

_SEARCH_PATH = text("SELECT set_config('search_path', :path, true)")


class VectorDatabase(Database):
    """A server with pgvector. Used from one thread."""

    def __init__(self, url: URL, location: str | None = None) -> None:
        super().__init__(url, location)
        self._extension_schema: str | None = None

    @property
    def extension_schema(self) -> str:
        """The schema that holds pgvector's types and operators. Raises `DestinationError` when there is none."""
        if self._extension_schema is None:
            with self.plain_transaction() as connection:
                self._extension_schema = find_extension(connection, self.location)
        return self._extension_schema

    def ensure_extension(self) -> None:
        """Enable pgvector if it is not."""
        with self.plain_transaction() as connection:
            enable_extension(connection, self.location)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction in which pgvector's names resolve without a prefix."""
        path = self.extension_schema
        with self.plain_transaction() as connection:
            connection.execute(_SEARCH_PATH, {"path": 'pg_catalog, "' + path.replace('"', '""') + '"'})
            yield connection
