"""Vector indexes: built after the load, once, and rebuilt when a build was broken off.

An HNSW index that is there during a first load makes it 3.6 times slower (1,000 against 3,575 rows/s, 1024-d).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import psycopg.errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from connector import IndexBuild

from ._catalogue import VectorEntry
from ._database import Database
from ._tables import SyncSchema

__all__ = ["build_due_indexes"]

_STATE: Final = text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :index"
)
_MEMORY: Final = text("SELECT set_config('maintenance_work_mem', CAST(:kilobytes AS text) || 'kB', false)")
_CURRENT_MEMORY: Final = text("SELECT CAST(setting AS bigint) FROM pg_settings WHERE name = 'maintenance_work_mem'")


def build_due_indexes(database: Database, schema: SyncSchema, memory_limit_mb: int) -> Iterator[IndexBuild]:
    """Build every index of the catalogue that is missing or invalid, one after the other."""
    for entry in schema.catalogue.values():
        if entry.layout.index == "hnsw" and not _is_built(database, schema.name, entry):
            build = _build(database, schema, entry, memory_limit_mb)
            if build is not None:
                yield build


def _is_built(database: Database, schema: str, entry: VectorEntry) -> bool:
    with database.transaction() as connection:
        return bool(connection.execute(_STATE, {"schema": schema, "index": entry.index}).scalar())


def _build(database: Database, schema: SyncSchema, entry: VectorEntry, memory_limit_mb: int) -> IndexBuild | None:
    started = time.monotonic()
    with database.autocommit() as connection:
        rows = _rows(connection, schema, entry)
        if rows == 0:
            return None
        _allow_memory(connection, entry, rows, memory_limit_mb)
        try:
            _create(connection, schema.name, entry)
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.DiskFull):
                raise
            # Containers often have 64 MB of /dev/shm, too little for parallel workers to share the graph in.
            connection.execute(text("SET max_parallel_maintenance_workers = 0"))
            _create(connection, schema.name, entry)
    return IndexBuild(entry.table, entry.index, "hnsw", rows, time.monotonic() - started)


def _rows(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> int:
    name = connection.dialect.identifier_preparer.format_table(schema.vector_table(entry))
    return int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())  # noqa: S608 (quoted)


def _create(connection: Connection, schema: str, entry: VectorEntry) -> None:
    """Concurrently, so that nobody who writes or searches meanwhile waits; leftovers of a broken build go first."""
    quote = connection.dialect.identifier_preparer.quote
    index, table = quote(entry.index), f"{quote(schema)}.{quote(entry.table)}"
    connection.execute(text(f"DROP INDEX IF EXISTS {quote(schema)}.{index}"))
    connection.execute(
        text(
            f"CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw (embedding {entry.layout.operator_class}) "
            f"WITH (m = {entry.layout.m:d}, ef_construction = {entry.layout.ef_construction:d})"
        )
    )


def _allow_memory(connection: Connection, entry: VectorEntry, rows: int, limit_mb: int) -> None:
    """A graph that fits into maintenance_work_mem is built much faster; ask for no more than that, or the limit."""
    wanted = min(_graph_kilobytes(entry, rows), limit_mb * 1024)
    if wanted > int(connection.execute(_CURRENT_MEMORY).scalar_one()):
        connection.execute(_MEMORY, {"kilobytes": wanted})


def _graph_kilobytes(entry: VectorEntry, rows: int) -> int:
    bytes_per_value = {"vector": 4, "halfvec": 2, "sparsevec": 8}[entry.layout.storage]
    values = 1_000 if entry.layout.storage == "sparsevec" else entry.layout.dimension
    per_row = values * bytes_per_value + entry.layout.m * 2 * 16 + 200
    return int(rows * per_row * 1.2 / 1024) + 1024
