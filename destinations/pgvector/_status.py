"""What a schema holds now, counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, func, select

from connector import MODALITIES, Status, TableStatus

from .._postgres import count_rejected
from ._related import count_related
from ._tables import SyncSchema

__all__ = ["read_status"]


def read_status(connection: Connection, schema: SyncSchema, destination: str, location: str) -> Status:
    """Rows per table and collection, quarantine, and when something last changed."""
    tables = []
    for modality in MODALITIES:
        rows = _per_collection(connection, schema.features[modality])
        tables.append(TableStatus(schema.features[modality].name, modality, None, sum(rows.values()), rows))
        for entry in schema.catalogue.of(modality):
            rows = _per_collection(connection, schema.vector_table(entry))
            details = {
                "view": entry.layer.view,
                "function": entry.layer.function,
                "storage": f"{entry.layout.storage}({entry.layout.dimension})",
                "metric": entry.layout.metric,
                "index": entry.layout.index,
                "state": entry.state,
            }
            tables.append(TableStatus(entry.table, modality, entry.vector_name, sum(rows.values()), rows, details))
    return Status(
        destination=destination,
        location=location,
        assets=_per_collection(connection, schema.tables.assets),
        tables=tables,
        quarantined=count_rejected(connection, schema.tables.quarantine),
        related=count_related(connection, schema.tables),
        last_change=_last_change(connection, schema.tables.ledger),
    )


def _per_collection(connection: Connection, table: Table) -> dict[str, int]:
    counted = connection.execute(
        select(table.c.collection, func.count()).group_by(table.c.collection).order_by(table.c.collection)
    )
    return {str(collection): int(count) for collection, count in counted}


def _last_change(connection: Connection, ledger: Table) -> datetime | None:
    return connection.execute(select(func.max(ledger.c.synced_at))).scalar()
