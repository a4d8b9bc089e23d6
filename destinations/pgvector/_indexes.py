"""Vector indexes, built after a first load, and what the planner knows of the tables after one that changed much."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import psycopg.errors
from psycopg import sql
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Row,
    Select,
    Table,
    Text,
    TextClause,
    case,
    column,
    false,
    func,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.exc import OperationalError

from vectorferry.connector.plugin import IndexBuild, PlannedIndex
from vectorferry.destinations._postgres import (
    answers,
    described_all,
    driver_of,
    is_lock_timeout,
    joined,
    run,
    run_each,
    statement,
    try_lock,
)
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._database import VectorDatabase
from vectorferry.destinations.pgvector._schema import Lookup, SyncSchema
from vectorferry.destinations.pgvector._storage import (
    VectorStorage,
    index_kilobytes,
    indexed_expression,
    lists_for,
    lists_kilobytes,
    usual_lists,
)

# Somebody may have made another index under the name of one of ours: no search would use it. What an index is tuned
# with is no matter, nor in which order its table's columns stand.
_VALID: Final = text("""
SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_am m ON m.oid = x.relam JOIN pg_opclass o ON o.oid = i.indclass[0]
LEFT JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
JOIN unnest(CAST(:indexes AS text[]), CAST(:shapes AS text[]), CAST(:operators AS text[]))
    AS made (name, shape, operators) ON made.name = x.relname
WHERE n.nspname = :schema AND i.indisvalid AND i.indpred IS NULL AND NOT i.indisunique AND i.indnkeyatts = 1
AND made.shape = concat_ws(' ', c.relname, m.amname, k.attname) AND made.operators IN ('', o.opcname)
""")

_PATIENCE = 60.0
"""Seconds that a build waits for one transaction of somebody else that is older than it: it may never end."""

_OLDER: Final = text("""
SELECT a.pid, pg_get_userbyid(a.usesysid) AS role, a.application_name AS name, a.xact_start AT TIME ZONE 'UTC' AS since
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (
    a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL
    OR EXISTS (
        SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE l.pid = a.pid AND n.nspname = :schema AND c.relname = :table
    )
    -- Of another user's, a server tells only that there is a transaction.
    OR (a.state IS NULL AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid'))
) ORDER BY a.xact_start NULLS FIRST LIMIT 3
""")
_MEMORY: Final = text("SELECT CAST(setting AS bigint) FROM pg_settings WHERE name = 'maintenance_work_mem'")


_LOOKUPS: Final = "lookups"
"""What all of them are called together, where only one process is to build them: no index is called so."""

_NO_SETTINGS: Final[Mapping[str, str]] = {}


class HeldUpError(Exception):
    """An index was not built in this run; the words say which, and whom it waited for."""


@dataclass(frozen=True, slots=True)
class Due:
    """What the end of a run has to do: indexes to build, and tables that have changed much since they were analyzed."""

    lookups: Sequence[Lookup]
    indexes: Sequence[VectorEntry]
    changed: Sequence[str]


def look_for_due(schema: SyncSchema) -> Due:
    """In one message, however many indexes there are: this is asked in every run, and mostly nothing is due."""
    lookups = {lookup.name: lookup for lookup in schema.lookups()}
    entries = [e for e in schema.catalogue.values() if e.storage.index != "none" and e.state != "retired"]
    tables = {name: lookup.table for name, lookup in lookups.items()}
    tables |= {entry.index: schema.vector_table(entry) for entry in entries}
    shapes = {name: _lookup_shape(lookup) for name, lookup in lookups.items()}
    shapes |= {entry.index: _vector_shape(entry) for entry in entries}
    analyzed = [schema.tables.assets, *schema.features.values(), *map(schema.vector_table, schema.catalogue.values())]
    with schema.database.plain_transaction(is_whole=True) as connection:
        unbuilt, broken, changed = answers(
            connection,
            _unbuilt(tables, _valid(schema.name, shapes)),
            _LEFTOVERS.bindparams(schema=schema.name, tables=[entry.table for entry in entries]),
            _DUE.bindparams(schema=schema.name, names=[table.name for table in analyzed]),
        )
    names = {str(name) for (name,) in unbuilt}
    leftovers = _drops(schema.name, entries, broken)
    return Due(
        [lookup for name, lookup in lookups.items() if name in names],
        [entry for entry in entries if entry.index in names or leftovers[entry.table]],
        [str(name) for (name,) in changed],
    )


def build_lookups(schema: SyncSchema) -> None:
    """Build every index by which views and searches find rows, of tables that have some. Where another process does
    so, they are left to it. Raises `HeldUpError`."""
    with only_builder(schema.database, schema.name, _LOOKUPS) as alone:
        for lookup in look_for_due(schema).lookups if alone else ():
            table = sql.Identifier(schema.name, lookup.table.name)
            drop = _drop(schema.name, lookup.name)
            create = statement("CREATE INDEX CONCURRENTLY {} ON {} {}", lookup.name, table, lookup.method)
            _run_patiently(schema, lookup.table.name, lookup.name, [drop, create], drop_after=drop)


def build_indexes(schema: SyncSchema, entries: Iterable[VectorEntry], memory_limit_mb: int) -> Iterator[IndexBuild]:
    """Build the indexes of these, which are missing or invalid, one after the other.

    One that another process is building is left to it. Raises `HeldUpError`.
    """
    for entry in entries:
        with only_builder(schema.database, schema.name, entry.index) as alone:
            if alone:
                yield from build_index(schema, entry, memory_limit_mb)


def _unbuilt(tables: Mapping[str, Table], valid_names: TextClause) -> CompoundSelect[Any]:
    """Asks for those of these indexes, each of its table, that are missing or invalid and would not be empty. Whether a
    table has rows is looked up where its index is missing only."""
    valid = valid_names.columns(column("relname", Text)).cte("valid")

    def due(name: str, table: Table) -> Select[Any]:
        is_valid = select(valid).where(valid.c.relname == name).exists()
        return select(literal(name, Text)).where(case((is_valid, false()), else_=select(table.c.asset_id).exists()))

    return union_all(*(due(name, table) for name, table in tables.items()))


@contextmanager
def only_builder(database: VectorDatabase, schema: str, index: str) -> Iterator[bool]:
    """Whether nobody else builds this index, and will not while this lasts.

    The lock belongs to a transaction that does nothing else, which works behind a transaction pooler too.
    """
    with database.plain_transaction() as connection:
        alone = try_lock(connection, "index", schema, index)
        yield alone


def is_built(connection: Connection, schema: str, entry: VectorEntry) -> bool:
    """Whether the vector index is there and whole."""
    return bool(built_indexes(connection, schema, [entry]))


def built_indexes(connection: Connection, schema: str, entries: Iterable[VectorEntry]) -> set[str]:
    """By name, those vector indexes of these that are there and whole, and none that somebody else has made of it."""
    shapes = {entry.index: _vector_shape(entry) for entry in entries}
    return set(connection.execute(_valid(schema, shapes)).scalars())


_Shape: TypeAlias = tuple[str, str]
"""Table, method and column (none: an expression) of an index in one line, and its operator class, empty for any."""


def _lookup_shape(lookup: Lookup) -> _Shape:
    return " ".join(filter(None, (lookup.table.name, lookup.access, lookup.key))), ""


def _vector_shape(entry: VectorEntry) -> _Shape:
    storage = entry.storage
    key = "embedding" if storage.quantization is None else None
    return " ".join(filter(None, (entry.table, storage.index, key))), storage.operator_class


def _valid(schema: str, shapes: Mapping[str, _Shape]) -> TextClause:
    """Asks which of these indexes are there, whole, and of these shapes."""
    lines, operators = [line for line, _ in shapes.values()], [operators for _, operators in shapes.values()]
    return _VALID.bindparams(schema=schema, indexes=[*shapes], shapes=lines, operators=operators)


def build_index(
    schema: SyncSchema, entry: VectorEntry, memory_limit_mb: int, *, anew: bool = False
) -> Iterator[IndexBuild]:
    """Build it where it is missing or invalid and there are rows; one that is whole only `anew`, beside the old one."""
    started = time.monotonic()
    with schema.database.plain_transaction(is_whole=True) as connection:
        broken, valid, ((rows,),), ((given,),) = answers(
            connection,
            _LEFTOVERS.bindparams(schema=schema.name, tables=[entry.table]),
            _valid(schema.name, {entry.index: _vector_shape(entry)}),
            select(func.count()).select_from(schema.vector_table(entry)),
            _MEMORY,
        )
    leftovers, is_there = _drops(schema.name, [entry], broken)[entry.table], bool(valid)
    memory = _kilobytes(entry.storage, rows, memory_limit_mb, given)
    if (is_there and not anew) or not rows:
        _run_patiently(schema, entry.table, entry.index, leftovers)
        return
    index, storage = sql.Identifier(schema.name, entry.index), entry.storage
    lists = lists_for(storage, rows, memory)
    drop = _drop(schema.name, entry.index)
    if is_there:
        _set_lists(schema, entry, lists)
        build = [statement("REINDEX INDEX CONCURRENTLY {}", index)]
    else:
        definition = _definition(schema.database.extension_schema, schema.name, entry, lists)
        build = [drop, statement("CREATE INDEX CONCURRENTLY {} ON {}", entry.index, definition)]
    statements = [*leftovers, *build, _comment(index, entry, rows)]
    settings = {"maintenance_work_mem": f"{memory}kB"}
    try:
        _run_patiently(schema, entry.table, entry.index, statements, settings, drop_after=None if is_there else drop)
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.DiskFull):
            raise
        # Containers often have 64 MB of /dev/shm, too little for parallel workers to share the graph in.
        settings = {**settings, "max_parallel_maintenance_workers": "0"}
        with schema.database.plain_transaction() as connection:
            statements = [*_leftovers(connection, schema.name, [entry])[entry.table], *statements[len(leftovers) :]]
        _run_patiently(schema, entry.table, entry.index, statements, settings, drop_after=None if is_there else drop)
    yield IndexBuild(entry.table, entry.index, storage.index, rows, time.monotonic() - started)


_LEFTOVERS: Final = text("""
SELECT c.relname, x.relname AS index FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_index i ON i.indrelid = c.oid AND NOT i.indisvalid JOIN pg_class x ON x.oid = i.indexrelid
WHERE n.nspname = :schema AND c.relname = ANY(CAST(:tables AS text[]))
AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = c.oid) ORDER BY 2
""")


def _leftovers(connection: Connection, schema: str, entries: Collection[VectorEntry]) -> dict[str, list[str]]:
    """By table, what drops the copies that rebuilding has left which was ended. One that is being built now is none."""
    tables = {"schema": schema, "tables": [entry.table for entry in entries]}
    return _drops(schema, entries, connection.execute(_LEFTOVERS, tables))


def _drops(schema: str, entries: Collection[VectorEntry], broken: Iterable[Any]) -> dict[str, list[str]]:
    by_table = {entry.table: entry for entry in entries}
    drops: dict[str, list[str]] = {table: [] for table in by_table}
    for table, name in broken:
        if is_leftover(by_table[table], name):
            drops[table].append(_drop(schema, name))
    return drops


def _drop(schema: str, index: str) -> str:
    return statement("DROP INDEX CONCURRENTLY IF EXISTS {}", sql.Identifier(schema, index))


def is_leftover(entry: VectorEntry, index: str) -> bool:
    """Whether Postgres calls a copy so that REINDEX CONCURRENTLY makes of this index, of which it cuts a long name."""
    copied = re.fullmatch(r"(.+)_cc(?:new|old)\d*", index)
    return copied is not None and entry.index.startswith(copied[1])


def _set_lists(schema: SyncSchema, entry: VectorEntry, lists: int) -> None:
    """Have an IVFFlat index built with so many when it is built next; until then it has those that it has."""
    if entry.storage.index == "ivfflat":
        index = sql.Identifier(schema.name, entry.index)
        with schema.database.transaction() as connection:
            run(connection, [statement("ALTER INDEX {} SET (lists = {})", index, sql.Literal(lists))])


def _comment(index: sql.Identifier, entry: VectorEntry, rows: int) -> str:
    """When it was built, which Postgres itself does not keep."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = f"The vector index of {entry.table} ({entry.storage.index_words}), built {now} UTC over {rows} rows."
    return statement("COMMENT ON INDEX {} IS {}", index, sql.Literal(words))


def count_vectors(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> int:
    """How many rows its index would be built over."""
    return int(connection.execute(select(func.count()).select_from(schema.vector_table(entry))).scalar_one())


def _definition(extension: str, schema: str, entry: VectorEntry, lists: int) -> sql.Composed:
    storage = entry.storage
    options = (
        {"lists": lists} if storage.index == "ivfflat" else {"m": storage.m, "ef_construction": storage.ef_construction}
    )
    return sql.SQL("{table} USING {method} (({expression}) {operators}) WITH ({options})").format(
        table=sql.Identifier(schema, entry.table),
        method=sql.Identifier(storage.index),
        expression=indexed_expression(storage, extension),
        operators=sql.Identifier(extension, storage.operator_class),
        options=joined(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(v)) for n, v in options.items()),
    )


def _run_patiently(
    schema: SyncSchema,
    table: str,
    index: str,
    statements: Sequence[str],
    settings: Mapping[str, str] = _NO_SETTINGS,
    *,
    drop_after: str | None = None,
) -> None:
    """Each in a transaction of its own, concurrently, so that nobody who writes or searches meanwhile waits. What one
    that was held up has left goes last, unless that is held up too: no search uses it."""
    if not statements:
        return
    patience = {"statement_timeout": "0", "lock_timeout": f"{_PATIENCE * 1000:.0f}"}
    with schema.database.autocommit({**settings, **patience}) as connection:
        try:
            run_each(connection, statements)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            older = connection.execute(_OLDER, {"schema": schema.name, "table": table}).all()
            with suppress(OperationalError):
                run_each(connection, [drop_after] if drop_after else [])
            raise HeldUpError(_held_up(schema.name, index, older)) from error


def _held_up(schema: str, index: str, older: Sequence[Row[Any]]) -> str:
    return (
        f"the index {schema}.{index} was not built: it waited {_PATIENCE:.0f} s for an older transaction to end "
        f"({described_all(older)}). End that; the next run builds it. Until then searches may be slow."
    )


def build_kilobytes(connection: Connection, storage: VectorStorage, rows: int, limit_mb: int) -> int:
    """Kilobytes of maintenance_work_mem: a graph that fits in is built much faster, up to the limit. So many lists as
    somebody has chosen take what they need: IVFFlat is not built at all in less."""
    return _kilobytes(storage, rows, limit_mb, int(connection.execute(_MEMORY).scalar_one()))


def _kilobytes(storage: VectorStorage, rows: int, limit_mb: int, current: int) -> int:
    if storage.index == "ivfflat":
        needed = lists_kilobytes(storage, storage.lists or usual_lists(rows))
        return max(current, needed if storage.lists else min(needed, limit_mb * 1024))
    return max(current, min(index_kilobytes(storage, rows), limit_mb * 1024))


# Vector indexes that the end of a sync would build, over what is stored now.


def is_index_due(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether it is wanted, and missing, broken off or stored otherwise. One over no rows is never built."""
    desired = schema.desired_storage(entry)
    if (
        entry.state == "retired"
        or desired.index == "none"
        or (desired == entry.storage and is_built(connection, schema.name, entry))
    ):
        return False
    return count_vectors(connection, schema, entry) > 0


def planned_index(connection: Connection, schema: SyncSchema, entry: VectorEntry, memory_limit_mb: int) -> PlannedIndex:
    """The index, and the memory that building it would take."""
    desired = replace(entry, storage=schema.desired_storage(entry))
    rows = count_vectors(connection, schema, entry)
    return PlannedIndex(
        table=entry.table,
        index=desired.index,
        method=desired.storage.index_words,
        rows=rows,
        graph_bytes=1024 * index_kilobytes(desired.storage, rows),
        memory_bytes=1024 * build_kilobytes(connection, desired.storage, rows, memory_limit_mb),
    )


# What the planner knows of the tables, brought up to date after a load that changed much: otherwise whoever asks next
# gets a plan for tables that are not like that any more. Autovacuum comes later, or is switched off.


_CAN_BE_HURRIED: Final = 150_000
"""The version of Postgres that brought pg_stat_force_next_flush; the ones before count within half a second anyway."""

# A crash of the server has it forget its counts, and that tables were analyzed: then once too often is right.
_DUE: Final = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid "
    "WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind = 'r' "
    "AND CASE WHEN coalesce(s.last_analyze, s.last_autoanalyze) IS NULL THEN pg_relation_size(c.oid) > 0 "
    "ELSE s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0) END ORDER BY 1"
)
"""Those of some tables that have rows and were never analyzed, or more changes than the 50 and a tenth of all rows that
autovacuum allows by default."""


def count_changes_at_once(connection: Connection) -> None:
    """Have Postgres count what this transaction changes when it ends. Up to ten seconds later, as it likes to, these
    changes would be taken for ones that came after their table was analyzed."""
    if driver_of(connection).info.server_version >= _CAN_BE_HURRIED:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))


def analyze(schema: SyncSchema, tables: Sequence[str]) -> None:
    """Analyze these tables.

    Nobody who reads or writes waits for it, and it waits for nobody: a table that somebody else has locked, or analyzes
    just now, is passed over.
    """
    listed = joined(sql.Identifier(schema.name, name) for name in tables)
    with schema.database.autocommit({"statement_timeout": "0"}) as connection:
        run_each(connection, [statement("ANALYZE (SKIP_LOCKED) {}", listed)])
