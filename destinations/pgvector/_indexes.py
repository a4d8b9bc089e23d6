"""Vector indexes: built after the load, once, and rebuilt when a build was broken off.

An HNSW index that is there during a first load makes it 3.6 times slower (1,000 against 3,575 rows/s, 1024-d).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg.errors
from psycopg import sql
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import OperationalError

from connector import IndexBuild

from ._catalogue import VectorEntry
from ._database import VectorDatabase
from ._tables import SyncSchema

__all__ = ["build_due_indexes", "build_kilobytes", "count_vectors", "graph_kilobytes", "is_built"]

_STATE: Final = text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :index"
)
_TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended('vectorferry index ' || :index, 0))")
_KEEP_NO_SNAPSHOT: Final = "SET LOCAL idle_in_transaction_session_timeout = 0"
_MEMORY: Final = text("SELECT CAST(setting AS bigint) FROM pg_settings WHERE name = 'maintenance_work_mem'")


def build_due_indexes(schema: SyncSchema, memory_limit_mb: int) -> Iterator[IndexBuild]:
    """Build every index of the catalogue that is missing or invalid, one after the other.

    One that another process is building is left to it. Retired generations need none.
    """
    database = schema.database
    for entry in schema.catalogue.values():
        if entry.layout.index == "hnsw" and entry.state != "retired":
            with _only_builder(database, schema.name, entry) as alone:
                if alone and _is_due(schema, entry):
                    yield from _build(database, schema, entry, memory_limit_mb)


@contextmanager
def _only_builder(database: VectorDatabase, schema: str, entry: VectorEntry) -> Iterator[bool]:
    """Whether nobody else builds this index, and will not while this lasts.

    The lock belongs to a transaction that does nothing else, which works behind a transaction pooler too.
    """
    with database.plain_transaction() as connection:
        alone = bool(connection.execute(_TRY_LOCK, {"index": f"{schema}.{entry.index}"}).scalar_one())
        # Last, because a setting leaves no snapshot behind, as the query does: the build would wait for that.
        connection.exec_driver_sql(_KEEP_NO_SNAPSHOT)
        yield alone


def is_built(connection: Connection, schema: str, entry: VectorEntry) -> bool:
    """Whether the index is there and whole."""
    return bool(connection.execute(_STATE, {"schema": schema, "index": entry.index}).scalar())


def _is_due(schema: SyncSchema, entry: VectorEntry) -> bool:
    with schema.database.plain_transaction() as connection:
        return not is_built(connection, schema.name, entry)


def _build(
    database: VectorDatabase, schema: SyncSchema, entry: VectorEntry, memory_limit_mb: int
) -> Iterator[IndexBuild]:
    started = time.monotonic()
    with database.plain_transaction() as connection:
        rows = count_vectors(connection, schema, entry)
        memory = build_kilobytes(connection, entry, rows, memory_limit_mb)
    if rows == 0:
        return
    settings = {"maintenance_work_mem": f"{memory}kB", "statement_timeout": "0"}
    try:
        _create(database, schema.name, entry, settings)
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.DiskFull):
            raise
        # Containers often have 64 MB of /dev/shm, too little for parallel workers to share the graph in.
        _create(database, schema.name, entry, {**settings, "max_parallel_maintenance_workers": "0"})
    yield IndexBuild(entry.table, entry.index, "hnsw", rows, time.monotonic() - started)


def count_vectors(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> int:
    """How many rows its index would be built over."""
    return int(connection.execute(select(func.count()).select_from(schema.vector_table(entry))).scalar_one())


def _create(database: VectorDatabase, schema: str, entry: VectorEntry, settings: Mapping[str, str]) -> None:
    """Concurrently, so that nobody who writes or searches meanwhile waits; leftovers of a broken build go first."""
    name, extension = sql.Identifier(schema, entry.index), database.extension_schema
    build = sql.SQL(
        "CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw (embedding {operators}) "
        "WITH (m = {m}, ef_construction = {ef_construction})"
    ).format(
        index=sql.Identifier(entry.index),
        table=sql.Identifier(schema, entry.table),
        operators=sql.Identifier(extension, entry.layout.operator_class),
        m=sql.Literal(entry.layout.m),
        ef_construction=sql.Literal(entry.layout.ef_construction),
    )
    with database.autocommit(settings) as connection:
        connection.exec_driver_sql(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name).as_string())
        connection.exec_driver_sql(build.as_string())


def build_kilobytes(connection: Connection, entry: VectorEntry, rows: int, limit_mb: int) -> int:
    """Kilobytes of maintenance_work_mem: a graph that fits in is built much faster, up to the limit."""
    current = int(connection.execute(_MEMORY).scalar_one())
    return max(current, min(graph_kilobytes(entry, rows), limit_mb * 1024))


def graph_kilobytes(entry: VectorEntry, rows: int) -> int:
    """About how much memory the graph of so many rows takes."""
    bytes_per_value = {"vector": 4, "halfvec": 2, "sparsevec": 8}[entry.layout.storage]
    values = 1_000 if entry.layout.storage == "sparsevec" else entry.layout.dimension
    per_row = values * bytes_per_value + entry.layout.m * 2 * 16 + 200
    return int(rows * per_row * 1.2 / 1024) + 1024
