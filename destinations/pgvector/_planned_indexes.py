"""Vector indexes that the end of a sync would build, over what is stored now."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from vectorferry.connector import PlannedIndex

from ._catalogue import VectorEntry
from ._indexes import build_kilobytes, count_vectors, graph_kilobytes, is_built
from ._tables import SyncSchema

__all__ = ["is_index_due", "planned_index"]


def is_index_due(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether it is wanted, and missing, broken off or of another layout. One over no rows is never built."""
    wanted = schema.wanted_layout(entry)
    if (
        entry.state == "retired"
        or wanted.index == "none"
        or (wanted == entry.layout and is_built(connection, schema.name, entry))
    ):
        return False
    return count_vectors(connection, schema, entry) > 0


def planned_index(connection: Connection, schema: SyncSchema, entry: VectorEntry, memory_limit_mb: int) -> PlannedIndex:
    """The index, and the memory that building it would take."""
    wanted = replace(entry, layout=schema.wanted_layout(entry))
    rows = count_vectors(connection, schema, entry)
    return PlannedIndex(
        table=entry.table,
        index=entry.index,
        method=wanted.layout.index,
        rows=rows,
        graph_bytes=1024 * graph_kilobytes(wanted, rows),
        memory_bytes=1024 * build_kilobytes(connection, wanted, rows, memory_limit_mb),
    )
