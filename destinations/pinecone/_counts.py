"""What is in Pinecone and what a batch changed, by the manifest: the store's own counts lag behind its writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vectorferry.connector.plugin import Applied, Counts, RecordHashes, Status, TableStatus
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Held, HeldFeature, IndexRow
from vectorferry.destinations.pinecone._wanted import Wanted

__all__ = ["count_removed", "count_written", "read_status"]


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


# What a batch or a removal has changed, in numbers: the manifest before against what was written. Pure.


def count_written(wanted: Wanted, held: Held, vector_of: Callable[[str], str]) -> Applied:
    """Counts of a batch. `vector_of` names the vector that an index holds."""
    applied = Applied()
    for asset in wanted.assets.values():
        applied.assets.compare(held.assets.get(asset.asset_id), asset.row_hash)
    before = {key: one for key, one in held.features.items() if one.modality in wanted.batch.modalities}
    after = {key: _like(one.as_held(), before.get(key)) for key, one in wanted.features.items()} | wanted.kept
    applied.compare(_digests(before, vector_of), _digests(after, vector_of))
    for record in wanted.rejected:
        applied.set_aside(record)
    return applied


def count_removed(held: Held, vector_of: Callable[[str], str]) -> Applied:
    """Counts of assets that were removed."""
    applied = Applied(assets=Counts(deleted=len(held.assets)))
    applied.compare(_digests(held.features, vector_of), {})
    return applied


def _like(after: HeldFeature, before: HeldFeature | None) -> HeldFeature:
    """A manifest that was rebuilt from the store has no hash of the row; its metadata says whether it is the same."""
    same = before is not None and before.row_hash is None and before.metadata_hash == after.metadata_hash
    return after.without_row_hash() if same else after


def _digests(features: Mapping[FeatureKey, HeldFeature], vector_of: Callable[[str], str]) -> RecordHashes:
    rows: RecordHashes = {(one.modality, None, key): one.row_hash or b"" for key, one in features.items()}
    records: RecordHashes = {
        (one.modality, vector_of(index), key): digest
        for key, one in features.items()
        for index, digest in one.records.items()
    }
    return {**rows, **records}
