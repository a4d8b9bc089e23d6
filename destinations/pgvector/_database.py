"""Transactions that find pgvector wherever it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from .._postgres import Address, Database
from ._extension import enable_extension, find_extension

__all__ = ["VectorDatabase"]


class VectorDatabase(Database):
    """A server with pgvector. Used from one thread."""

    def __init__(self, address: Address, location: str | None = None) -> None:
        super().__init__(address, location)
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
        with self.plain_transaction(("pg_catalog", self.extension_schema, "pg_temp")) as connection:
            yield connection
