"""What a schema holds now, counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, func, select, true

from vectorferry.connector.plugin import MODALITIES, Status, TableStatus
from vectorferry.destinations.pgvector._dimensions import is_not_superseded

from .._postgres import count_rejected
from ._related import count_related
from ._schema import DELETED_AT
from ._tables import SyncSchema
from ._tombstones import visible, with_visible

__all__ = ["read_status"]


def read_status(connection: Connection, schema: SyncSchema, destination: str, location: str) -> Status:
    """Rows per table and collection, but for hidden and superseded ones; quarantine; when something last changed."""
    tables = []
    can_hide = not any(column.name == DELETED_AT for column in schema.later_columns(connection))
    shown, with_shown = (visible, with_visible) if can_hide else (_any, _any)
    for modality in MODALITIES:
        features = schema.features[modality]
        rows = _per_collection(connection, features, shown(features))
        tables.append(TableStatus(features.name, modality, None, sum(rows.values()), rows))
        for entry in schema.catalogue.of(modality):
            vectors = schema.vector_table(entry)
            values = and_(with_shown(vectors, features), is_not_superseded(schema, entry, vectors))
            rows = _per_collection(connection, vectors, values)
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
        assets=_per_collection(connection, schema.tables.assets, shown(schema.tables.assets)),
        tables=tables,
        quarantined=count_rejected(connection, schema.tables.quarantine),
        related=count_related(connection, schema.tables),
        last_change=_last_change(connection, schema.tables.ledger),
    )


def _any(*_: Table) -> ColumnElement[bool]:
    """Nothing can be hidden in a schema that no sync has extended yet."""
    return true()


def _per_collection(connection: Connection, table: Table, counted_rows: ColumnElement[bool]) -> dict[str, int]:
    of_collection = select(table.c.collection, func.count()).where(counted_rows)
    counted = connection.execute(of_collection.group_by(table.c.collection).order_by(table.c.collection))
    return {str(collection): int(count) for collection, count in counted}


def _last_change(connection: Connection, ledger: Table) -> datetime | None:
    return connection.execute(select(func.max(ledger.c.synced_at))).scalar()
