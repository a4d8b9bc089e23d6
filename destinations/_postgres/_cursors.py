"""How far the changes of each collection have been followed."""

from __future__ import annotations

from sqlalchemy import Column, Connection, DateTime, Integer, MetaData, Table, Text, delete, func, inspect, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from vectorferry.connector import Cursor, Modality

from ._tables import ID

__all__ = ["cursor_table", "forget_cursors", "read_cursor", "write_cursor"]


def cursor_table(name: str, metadata: MetaData) -> Table:
    """One row per collection that a source lists the changes of."""
    return Table(
        name,
        metadata,
        Column("collection", ID, primary_key=True),
        Column("since", Text, nullable=False, comment="the source's own mark"),
        Column("mapping", Text, nullable=False),
        Column("layout", Text, nullable=False, comment="how features became records, where that can change"),
        Column("modalities", ARRAY(Text), nullable=False),
        Column("incremental_scans", Integer, nullable=False, comment="since the last full one"),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def read_cursor(connection: Connection, table: Table, collection: str, layout: str = "") -> Cursor | None:
    """What was recorded under this layout. The table need not be there yet."""
    if not _exists(connection, table):
        return None
    columns = (table.c.since, table.c.mapping, table.c.modalities, table.c.incremental_scans)
    wanted = (table.c.collection == collection, table.c.layout == layout)
    row = connection.execute(select(*columns).where(*wanted)).one_or_none()
    return row and Cursor(row.since, row.mapping, frozenset(map(Modality, row.modalities)), row.incremental_scans)


def write_cursor(connection: Connection, table: Table, collection: str, cursor: Cursor, layout: str = "") -> None:
    """Record it. The same again writes nothing."""
    row = {
        "since": cursor.since,
        "mapping": cursor.mapping,
        "layout": layout,
        "modalities": sorted(modality.value for modality in cursor.modalities),
        "incremental_scans": cursor.incremental_scans,
    }
    new = insert(table).values(collection=collection, **row)
    differs = or_(*(table.c[name].is_distinct_from(new.excluded[name]) for name in row))
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[table.c.collection], set_={**row, "recorded_at": func.now()}, where=differs
        )
    )


def forget_cursors(connection: Connection, table: Table, collection: str | None = None) -> None:
    """Forget that of one collection, or of all (None). The table need not be there yet."""
    if _exists(connection, table):
        forgotten = delete(table)
        connection.execute(forgotten if collection is None else forgotten.where(table.c.collection == collection))


def _exists(connection: Connection, table: Table) -> bool:
    """Schemas that nobody has synced into since there are cursors do not have it."""
    return inspect(connection).has_table(table.name, schema=table.schema)
