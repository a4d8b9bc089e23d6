"""What a sync reports, as the metadata that Dagster's UI knows how to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from vectorferry.connector import (
    CollectionSummary,
    Counts,
    DestinationSummary,
    Modality,
    SchemaMapping,
    Status,
    Summary,
    TableStatus,
)

__all__ = ["mapped_columns", "partition_metadata", "scan_metadata", "table_metadata"]

KEYS: Final[Mapping[str, str]] = {
    "collection": "the source's collection, and the partition",
    "asset_id": "the asset that this feature describes a piece of",
    "feature_id": "unique within its asset",
}
LEFT_OVER: Final[Mapping[str, str]] = {
    "metadata": "the feature's metadata, as the source says it",
    "extra": "fields that no column is mapped to",
}


def mapped_columns(mapping: SchemaMapping, modality: Modality) -> dg.TableSchema:
    """The columns of a modality's table: the keys, the mapped columns, and what is left over."""
    return dg.TableSchema(
        columns=[
            *(_column(name, "text", description) for name, description in KEYS.items()),
            *(
                _column(name, column.type, f"from {column.path}" if column.path != name else None)
                for name, column in mapping.columns(modality).items()
            ),
            *(_column(name, "jsonb", description) for name, description in LEFT_OVER.items()),
        ]
    )


def _column(name: str, kind: str, description: str | None) -> dg.TableColumn:
    return dg.TableColumn(name=name, type=kind, description=description)


def table_metadata(mapping: SchemaMapping, modality: Modality, statuses: Sequence[Status]) -> dict[str, Any]:
    """What the table holds now, all collections together: its rows, and its columns with the named vectors."""
    table, vectors = _tables(statuses, modality)
    columns = [*mapped_columns(mapping, modality).columns, *map(_vector_column, vectors)]
    rows = {"dagster/row_count": table.rows} if table else {}
    return {**rows, "dagster/column_schema": dg.TableSchema(columns=columns)}


def _tables(statuses: Sequence[Status], modality: Modality) -> tuple[TableStatus | None, list[TableStatus]]:
    """The table of this modality in the first destination that has tables, and the tables of its named vectors: one
    for each dimension, without those that are retired."""
    first = _with_tables(statuses)
    tables = [table for table in first.tables if table.modality == modality] if first else []
    held = (table for table in tables if table.details.get("state") != "retired")
    vectors = [table for table in held if table.vector_name is not None]
    return next((table for table in tables if table.vector_name is None), None), vectors


def _with_tables(statuses: Sequence[Status]) -> Status | None:
    """The first destination with a table per modality; others have an index for all of them."""
    return next((each for each in statuses if any(table.modality is not None for table in each.tables)), None)


def _vector_column(table: TableStatus) -> dg.TableColumn:
    kind = str(table.details.get("storage", "vector"))
    return _column(str(table.vector_name), kind, f"named vector, in {table.name} ({table.rows:,} rows)")


def partition_metadata(
    summary: Summary, statuses: Sequence[Status], modality: Modality, collection: str
) -> dict[str, Any]:
    """What one run did to one modality of one collection, and how many rows the collection has now."""
    return {
        "collection": collection,
        **_changes(summary, statuses, modality, collection),
        **_rows(statuses, modality, collection),
        **scan_metadata(summary, collection),
        **{f"rows/{name}": table.listed for name, table in summary.related.items()},
        "requests": summary.usage.requests,
        "retries": summary.usage.retries,
        "received_bytes": summary.usage.bytes,
        "seconds": round(summary.seconds, 3),
    }


def _changes(summary: Summary, statuses: Sequence[Status], modality: Modality, collection: str) -> dict[str, int]:
    """Counts of the first destination with tables under plain names, of others under ``{destination}/…``."""
    tables = _with_tables(statuses)
    first = tables.destination if tables else next(iter(summary.destinations), None)
    return {
        f"{'' if name == first else f'{name}/'}{kind}": count
        for name, destination in summary.destinations.items()
        for kind, count in _counts(destination, modality, collection).items()
    }


def _counts(destination: DestinationSummary, modality: Modality, collection: str) -> dict[str, int]:
    applied = destination.by_collection.get(collection, destination.applied)
    features = applied.features.get(modality, Counts())
    vectors = [counts for (of, _), counts in applied.vectors.items() if of == modality]
    return {
        "inserted": features.inserted,
        "updated": features.updated,
        "unchanged": features.unchanged,
        "deleted": features.deleted,
        "quarantined": features.quarantined + sum(counts.quarantined for counts in vectors),
        "vectors_written": sum(counts.inserted + counts.updated for counts in vectors),
    }


def _rows(statuses: Sequence[Status], modality: Modality, collection: str) -> dict[str, int]:
    table, vectors = _tables(statuses, modality)
    rows = {"dagster/partition_row_count": table.collections.get(collection, 0)} if table else {}
    for vector in vectors:
        key = f"rows/{vector.vector_name}"
        rows[key] = rows.get(key, 0) + vector.collections.get(collection, 0)
    return rows


def scan_metadata(summary: Summary, collection: str) -> dict[str, Any]:
    """How many assets the source listed, and what became of them; unfinished and failed ones by name."""
    scan = summary.collections.get(collection, CollectionSummary())
    named = {
        "assets_pending_ids": scan.pending,
        "assets_failed_ids": scan.failed,
        "assets_unread_ids": scan.unread,
    }
    said = {"why_full": scan.why_full, "note": scan.note, "error": scan.error}
    return {
        "scan": scan.scan,
        "assets_listed": scan.listed,
        "assets_unchanged": scan.unchanged,
        "assets_pulled": scan.pulled,
        "assets_pending": scan.pending_count,
        "assets_failed": scan.failed_count,
        "assets_unread": scan.unread_count,
        **{key: dg.MetadataValue.json(ids) for key, ids in named.items() if ids},
        **{key: told for key, told in said.items() if told},
    }
