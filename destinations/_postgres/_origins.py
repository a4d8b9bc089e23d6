"""Who each collection was read as when it was last complete."""

from __future__ import annotations

from sqlalchemy import Column, Connection, DateTime, MetaData, Table, delete, func, inspect, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from vectorferry.connector import Origin

from ._tables import ID

__all__ = ["origin_table", "read_origin", "write_origin"]


def origin_table(name: str, metadata: MetaData) -> Table:
    """One row per collection; the empty one stands for the tables of metadata."""
    return Table(
        name,
        metadata,
        Column("collection", ID, primary_key=True),
        Column("parts", JSONB, nullable=False, comment="service, account and namespace; a hash of the key"),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def read_origin(connection: Connection, table: Table, collection: str) -> Origin | None:
    """What was recorded. The table need not be there yet."""
    if not inspect(connection).has_table(table.name, schema=table.schema):
        return None
    parts = connection.execute(select(table.c.parts).where(table.c.collection == collection)).scalar_one_or_none()
    return {str(name): str(value) for name, value in parts.items()} if isinstance(parts, dict) else None


def write_origin(connection: Connection, table: Table, collection: str, origin: Origin | None) -> None:
    """Record it; None: forget what is recorded. The same again writes nothing."""
    if origin is None:
        connection.execute(delete(table).where(table.c.collection == collection))
        return
    new = insert(table).values(collection=collection, parts=dict(origin))
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[table.c.collection],
            set_={"parts": new.excluded.parts, "recorded_at": func.now()},
            where=table.c.parts.is_distinct_from(new.excluded.parts),
        )
    )
