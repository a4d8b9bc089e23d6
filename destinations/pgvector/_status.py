"""What a schema holds now, counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, select

from vectorferry.connector.plugin import MODALITIES, Status, TableStatus
from vectorferry.destinations._postgres import count_rejected
from vectorferry.destinations.pgvector._generations import is_not_superseded
from vectorferry.destinations.pgvector._related import count_related
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._tables import KEY_COLUMNS, visible


def read_status(connection: Connection, schema: SyncSchema, destination: str, location: str) -> Status:
    """Rows per table and collection, but for hidden and superseded ones; quarantine; when something last changed."""
    tables = []
    for modality in MODALITIES:
        features = schema.features[modality]
        rows = _per_collection(connection, features, visible(features))
        tables.append(TableStatus(features.name, modality, None, sum(rows.values()), rows))
        for entry in schema.catalogue.of(modality):
            vectors = schema.vector_table(entry)
            values = and_(with_visible(vectors, features), is_not_superseded(schema, entry, vectors))
            rows = _per_collection(connection, vectors, values)
            details = {
                "view": entry.layer.view,
                "function": entry.layer.function,
                "storage": f"{entry.storage.column_type}({entry.storage.dimension})",
                "metric": entry.storage.metric,
                "index": entry.storage.index,
                "state": entry.state,
            }
            tables.append(TableStatus(entry.table, modality, entry.vector_name, sum(rows.values()), rows, details))
    return Status(
        destination=destination,
        location=location,
        assets=_per_collection(connection, schema.tables.assets, visible(schema.tables.assets)),
        tables=tables,
        quarantined=count_rejected(connection, schema.tables.quarantine),
        related=count_related(connection, schema.tables),
        last_change=_last_change(connection, schema.tables.ledger),
    )


def with_visible(vectors: Table, features: Table) -> ColumnElement[bool]:
    """Of a row of vectors: its feature is not hidden."""
    same = and_(*(features.c[name] == vectors.c[name] for name in KEY_COLUMNS))
    return ~exists().where(same, ~visible(features))


def _per_collection(connection: Connection, table: Table, counted_rows: ColumnElement[bool]) -> dict[str, int]:
    of_collection = select(table.c.collection, func.count()).where(counted_rows)
    counted = connection.execute(of_collection.group_by(table.c.collection).order_by(table.c.collection))
    return {str(collection): int(count) for collection, count in counted}


def _last_change(connection: Connection, ledger: Table) -> datetime | None:
    return connection.execute(select(func.max(ledger.c.synced_at))).scalar()
