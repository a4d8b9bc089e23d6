"""The vector indexes as they are, what is being done to them, and building them anew beside whoever searches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from psycopg import sql
from sqlalchemy import Connection, RowMapping, text

from vectorferry.connector.plugin import ConfigurationError, IndexBuild, IndexProgress, LockedError, VectorIndex
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._indexes import (
    build_index,
    built_indexes,
    count_vectors,
    is_leftover,
    only_builder,
)
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._storage import index_bytes, usual_lists

_STORED: Final = text("""
SELECT c.relname AS table, i.indisvalid AS valid, x.relname AS index, pg_relation_size(x.oid) AS bytes,
    obj_description(x.oid, 'pg_class') AS comment, s.n_dead_tup AS dead, s.n_live_tup AS live,
    (SELECT CAST(o.option_value AS integer) FROM pg_options_to_table(x.reloptions) o
     WHERE o.option_name = 'lists') AS lists
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
LEFT JOIN (pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    AND m.amname IN ('hnsw', 'ivfflat')) ON i.indrelid = c.oid
WHERE n.nspname = :schema AND c.relname = ANY(:tables) ORDER BY c.relname, x.relname
""")
_PROGRESS: Final = text("""
SELECT c.relname AS table, p.phase, CASE
    WHEN p.tuples_total > 0 THEN CAST(p.tuples_done AS float8) / p.tuples_total
    WHEN p.blocks_total > 0 THEN CAST(p.blocks_done AS float8) / p.blocks_total END AS share,
    CAST(extract(epoch FROM now() - a.query_start) AS float8) AS seconds
FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = p.pid WHERE n.nspname = :schema AND c.relname = ANY(:tables)
""")

_MANY_DEAD: Final = 0.2
_DEAD_WORTH_IT: Final = 1_000
_BLOATED: Final = 2.0
_GROWN: Final = 4


def list_indexes(connection: Connection, schema: SyncSchema) -> list[VectorIndex]:
    """Of each generation that is not retired: the index that it is to have, and leftovers of rebuilds."""
    entries = [entry for entry in schema.catalogue.values() if entry.state != "retired"]
    names = {"schema": schema.name, "tables": [entry.table for entry in entries]}
    stored: dict[str, list[RowMapping]] = {}
    for row in connection.execute(_STORED, names).mappings():
        stored.setdefault(row["table"], []).append(row)
    building, whole = index_progress(connection, schema), built_indexes(connection, schema.name, entries)
    return [
        index
        for entry in sorted(entries, key=lambda entry: entry.table)
        for index in _indexes_of(
            connection,
            schema,
            entry,
            stored.get(entry.table, ()),
            building.get(entry.table),
            is_whole=entry.index in whole,
        )
    ]


def index_progress(connection: Connection, schema: SyncSchema) -> dict[str, IndexProgress]:
    """By table: how far the index has come that is being built on it."""
    names = {"schema": schema.name, "tables": [entry.table for entry in schema.catalogue.values()]}
    rows = connection.execute(_PROGRESS, names).mappings()
    return {row["table"]: IndexProgress(row["phase"], row["share"], row["seconds"] or 0.0) for row in rows}


def _indexes_of(
    connection: Connection,
    schema: SyncSchema,
    entry: VectorEntry,
    stored: Sequence[RowMapping],
    progress: IndexProgress | None,
    *,
    is_whole: bool,
) -> Iterator[VectorIndex]:
    rows = count_vectors(connection, schema, entry)
    own = next((row for row in stored if row["index"] == entry.index), None)
    others = [row for row in stored if row["index"] and not row["valid"] and is_leftover(entry, row["index"])]
    if entry.storage.index != "none" or own:
        built, built_rows = _built(own["comment"] if own else None)
        dead, live = (int(stored[0][name] or 0) if stored else 0 for name in ("dead", "live"))
        size = int(own["bytes"]) if own else 0
        yield VectorIndex(
            name=entry.index,
            table=entry.table,
            vector_name=entry.vector_name,
            kind=entry.storage.index_words,
            state="building" if progress and not (own and own["valid"]) else _state(own, is_whole=is_whole),
            rows=rows,
            bytes=size,
            built=built,
            built_rows=built_rows,
            progress=progress,
            dead_rows=dead,
            dead_share=dead / (dead + live) if dead else 0.0,
            advice=[
                *_advice(schema, entry, own if is_whole else None, rows, dead, live, is_built=progress is not None)
            ],
        )
    for row in others:
        yield VectorIndex(
            name=row["index"],
            table=entry.table,
            vector_name=entry.vector_name,
            kind=entry.storage.index_words,
            state="building" if progress else "leftover",
            rows=rows,
            bytes=int(row["bytes"]),
            advice=[]
            if progress
            else [f"left by a build that ended: vectorferry indexes rebuild {entry.index} drops it"],
        )


def _state(own: RowMapping | None, *, is_whole: bool) -> Literal["valid", "replaced", "invalid", "missing"]:
    """Of an index that is not being built: one that is there and valid, and not as we make it, was replaced."""
    if own is None:
        return "missing"
    return "valid" if is_whole else "replaced" if own["valid"] else "invalid"


def _advice(
    schema: SyncSchema,
    entry: VectorEntry,
    own: RowMapping | None,
    rows: int,
    dead: int,
    live: int,
    *,
    is_built: bool,
) -> Iterator[str]:
    rebuild = f"vectorferry indexes rebuild {entry.index}"
    if is_built:
        return
    if own is None:
        if rows:
            yield f"searches compare all {rows:,} vectors until it is there: {rebuild}"
        return
    if dead >= _DEAD_WORTH_IT and dead >= _MANY_DEAD * (dead + live):
        table = sql.Identifier(schema.name, entry.table).as_string()
        yield (
            f"{dead / (dead + live):.0%} of the rows ({dead:,}) are dead, and searches go past them: "
            f"{rebuild}, which is quicker than cleaning it, and then VACUUM (ANALYZE) {table};"
        )
    elif rows >= _DEAD_WORTH_IT and own["bytes"] > _BLOATED * index_bytes(entry.storage, rows):
        yield f"{own['bytes'] / index_bytes(entry.storage, rows):.1f} times as large as it has to be: {rebuild}"
    if own["lists"] and not entry.storage.lists and usual_lists(rows) >= _GROWN * own["lists"]:
        yield f"made for about {own['lists'] * 1000:,} rows, and there are {rows:,}: {rebuild}"


# When an index was built, which Postgres does not keep, stands in its comment.


_COMMENT: Final = re.compile(r"built (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC over (\d+) rows")


def _built(comment: str | None) -> tuple[datetime | None, int | None]:
    match = _COMMENT.search(comment or "")
    return (datetime.fromisoformat(match[1]).replace(tzinfo=UTC), int(match[2])) if match else (None, None)


# Building anew.


def rebuild_indexes(schema: SyncSchema, names: Sequence[str], memory_limit_mb: int) -> Iterator[IndexBuild]:
    """Build these anew, or all of them, one after the other; searches use the old one meanwhile. What is missing or
    invalid is built, and what earlier attempts have left is dropped.

    Raises `ConfigurationError` for a name that is none, and `HeldUpError`.
    """
    for entry in _entries_called(schema, names):
        with only_builder(schema.database, schema.name, entry.index) as alone:
            if not alone:
                raise LockedError(f"{schema.name}.{entry.index} is being built by another process; wait for that.")
            yield from build_index(schema, entry, memory_limit_mb, anew=True)


def _entries_called(schema: SyncSchema, names: Sequence[str]) -> list[VectorEntry]:
    indexed = [e for e in schema.catalogue.values() if e.storage.index != "none" and e.state != "retired"]
    known = {name for entry in indexed for name in _names(entry)}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(sorted(entry.index for entry in indexed)) or "none"
        raise ConfigurationError(f"schema {schema.name} has no vector index {unknown[0]}; it has: {listed}")
    return [entry for entry in sorted(indexed, key=lambda e: e.index) if not names or _names(entry) & {*names}]


def _names(entry: VectorEntry) -> set[str]:
    """What somebody may call it by."""
    return {entry.index, entry.table, entry.vector_name, entry.layer.view}
