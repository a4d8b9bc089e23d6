"""What is in Pinecone, counted in the manifest: the store's own counts lag behind its writes."""

from __future__ import annotations

from vectorferry.connector import Status, TableStatus

from ._manifest import IndexRow, Manifest

__all__ = ["read_status"]


def read_status(manifest: Manifest, destination: str, host: str, template: str) -> Status:
    """Records per index and collection, assets, quarantine, and when something last changed."""
    counted = manifest.counts()
    return Status(
        destination=destination,
        location=f"{host}, manifest in {manifest.location}",
        assets=counted.assets,
        tables=[_table(row, counted.records.get(row.name, {}), template) for row in manifest.indexes().values()],
        quarantined=counted.quarantined,
        last_change=counted.last_change,
    )


def _table(row: IndexRow, collections: dict[str, int], template: str) -> TableStatus:
    details = {
        "index": row.name,
        "namespace": template,
        "storage": "sparse" if row.dimension is None else f"dense({row.dimension})",
        "metric": row.metric,
        "dimension": row.dimension,
        "host": row.host,
    }
    return TableStatus(row.name, None, row.vector_name, sum(collections.values()), collections, details)
