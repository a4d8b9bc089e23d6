"""A manifest that was lost, rebuilt from what the store holds: records that are ours, with the hashes of what they are.

What the source said of them (fingerprints, row hashes) is nowhere in the store. So the next sync reads every asset
again, compares, and writes only what differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from vectorferry.connector import MODALITIES, Modality

from .._postgres import FeatureKey
from ._ids import owner_of
from ._manifest import HeldFeature, IndexRow, Manifest
from ._metadata import keys_hash, metadata_hash
from ._reader import IndexReader, StoredRecord

__all__ = ["adopt_index"]


def adopt_index(manifest: Manifest, row: IndexRow, reader: IndexReader, namespace_of: Callable[[str], str]) -> int:
    """Record every record of an index that is ours; how many there are. The index is complete only then, so that a
    rebuild that was stopped begins anew."""
    manifest.forget_index(row.name)  # what a rebuild that was stopped has entered may be gone by now
    manifest.put_index(replace(row, complete=False))
    found = 0
    for namespace in reader.namespaces():
        for page in reader.pages(namespace):
            for collection, features in _ours(row, reader.fetch(namespace, page)).items():
                if namespace_of(collection) == namespace:
                    manifest.adopt(collection, row.name, features)
                    found += len(features)
    manifest.put_index(row)
    return found


def _ours(row: IndexRow, records: Mapping[str, StoredRecord]) -> Mapping[str, dict[FeatureKey, HeldFeature]]:
    """By collection: the records whose metadata says that their id is theirs."""
    ours: dict[str, dict[FeatureKey, HeldFeature]] = defaultdict(dict)
    for record_id, record in records.items():
        key, collection = owner_of(record_id, record.metadata), record.metadata.get("collection")
        modality = record.metadata.get("modality")
        if key is not None and isinstance(collection, str) and modality in MODALITIES:
            ours[collection][key] = _held(row, record, Modality(modality))
    return ours


def _held(row: IndexRow, record: StoredRecord, modality: Modality) -> HeldFeature:
    return HeldFeature(
        modality=modality,
        row_hash=None,
        metadata_hash=metadata_hash(record.metadata),
        keys_hash=keys_hash(record.metadata),
        records={row.name: record.digest},
    )
