"""What the store has of the vectors and columns that a batch sets aside, read back from it.

Only their hashes are in the manifest. A record is written whole where a key of its metadata has gone, so that an
earlier vector has to be read before it can stay beside what is new; and so has the value of a column.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from vectorferry.connector.plugin import (
    Distrusted,
    MappedAsset,
    MappedFeature,
    Rejected,
    SchemaMapping,
    Vector,
    vector_hash,
    with_last_good,
)
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._catalogue import Catalogue
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Place, RecordedAssets, RecordedFeature
from vectorferry.destinations.pinecone._metadata import Metadata, column_keys
from vectorferry.destinations.pinecone._reader import StoredRecord, wait_until_visible

_LONGEST_WAIT: Final = 60.0
"""Seconds until a record that was just written must be seen; else its earlier version is given up."""

_StoredRecords: TypeAlias = Mapping[FeatureKey, Mapping[str, StoredRecord]]
"""By feature and index."""


class EarlierParts:
    """Reads earlier versions of what is set aside of one collection's assets."""

    def __init__(
        self,
        manifest: Manifest,
        catalogue: Catalogue,
        layout: Layout,
        mapping: SchemaMapping,
        collection: str,
        distrusted: Distrusted,
    ) -> None:
        self._manifest = manifest
        self._catalogue = catalogue
        self._layout = layout
        self._mapping = mapping
        self._collection = collection
        self._distrusted = distrusted

    def joined(
        self, assets: Sequence[MappedAsset], recorded: RecordedAssets
    ) -> tuple[list[MappedAsset], dict[FeatureKey, Metadata]]:
        """These assets with the vectors that the store has in place of those that were set aside, and their records
        marked of which it has an earlier version; and by feature the stored metadata of columns that were set aside.
        Features that were set aside whole are left as they are."""
        records = self._read({place for asset in assets for place in self._places(asset, recorded)}, recorded)
        complete, columns = [], defaultdict[FeatureKey, Metadata](dict)
        for asset in assets:
            stored = [self._stored(feature, asset.asset_id, records) for feature in asset.features]
            whole = with_last_good(asset, [feature for feature in stored if feature.vectors], self._mapping)
            rejected = []
            for record in whole.rejected:
                values = _column_values(record, records)
                if values:
                    columns[record.asset_id, record.feature_id] |= values
                rejected.append(replace(record, kept=record.kept or bool(values)))
            complete.append(replace(whole, rejected=tuple(rejected)))
        return complete, columns

    def _places(self, asset: MappedAsset, recorded: RecordedAssets) -> Iterator[Place]:
        """Where the earlier versions of vectors and columns are."""
        features = {(feature.feature_id, feature.modality.value): feature for feature in asset.features}
        for record in asset.rejected:
            now = features.get((record.feature_id, record.modality))
            before = recorded.features.get((asset.asset_id, record.feature_id))
            if now is not None and before is not None and now.modality == before.modality:
                for index in self._indexes(record, now, before):
                    yield Place(asset.asset_id, record.feature_id, index)

    def _indexes(self, record: Rejected, now: MappedFeature, before: RecordedFeature) -> Sequence[str]:
        if record.column:
            return sorted(before.records)[:1]  # the metadata is the same in each
        if record.vector_name in now.vectors:
            return []
        return [index for index in before.records if record.vector_name in self._names_in(index)]

    def _names_in(self, index: str) -> tuple[str, ...]:
        name = self._catalogue.vector_of(index)
        return (name, self._layout.hybrid[name]) if name in self._layout.hybrid else (name,)

    def _read(self, places: set[Place], recorded: RecordedAssets) -> _StoredRecords:
        """The records at these places, as far as they are what was written."""
        by_index: dict[str, list[Place]] = defaultdict(list)
        for place in sorted(places):
            by_index[place.index_name].append(place)
        read: dict[FeatureKey, dict[str, StoredRecord]] = defaultdict(dict)
        for index, in_index in by_index.items():
            records = self._fetched(index, in_index)
            late = [place for place in in_index if not self._is_as_written(place, records.get(place), recorded)]
            if late and self._has_waited(index):
                records |= self._fetched(index, late)
            for place, record in records.items():
                if self._is_as_written(place, record, recorded):
                    read[place.key][index] = record
        return read

    def _fetched(self, index: str, places: Sequence[Place]) -> dict[Place, StoredRecord]:
        ids = {record_id(*place.key): place for place in places}
        namespace = self._layout.namespace_of(self._collection)
        records = self._catalogue.reader(index).fetch(namespace, list(ids))
        return {ids[name]: record for name, record in records.items()}

    def _has_waited(self, index: str) -> bool:
        """Whether something had been written that may not have been seen, and had time to be."""
        rows = [row for row in self._manifest.namespaces() if (row.index, row.collection) == (index, self._collection)]
        unseen = [(row, self._catalogue.reader(index)) for row in rows if row.visible < row.lsn]
        return bool(unseen and wait_until_visible(unseen, _LONGEST_WAIT))

    def _is_as_written(self, place: Place, record: StoredRecord | None, recorded: RecordedAssets) -> bool:
        """What a run that was killed has written is as good as what it found; what a check has found to be another one
        than was written is not."""
        before = recorded.features[place.key]
        name = self._catalogue.vector_of(place.index_name)
        if record is None or self._distrusted.names(self._collection, before.modality, name, place.key):
            return False
        return place in recorded.unconfirmed or record.digest == before.records[place.index_name]

    def _stored(self, feature: MappedFeature, asset_id: str, records: _StoredRecords) -> MappedFeature:
        """The feature with the vectors that were read back of it, and no others."""
        vectors: dict[str, Vector] = {}
        for index, record in records.get((asset_id, feature.feature_id), {}).items():
            present = [vector for vector in (record.dense, record.sparse) if vector is not None]
            vectors |= dict(zip(self._names_in(index), present, strict=False))
        hashes = {name: vector_hash(vector) for name, vector in vectors.items()}
        return replace(feature, columns={}, vectors=vectors, vector_hashes=hashes)


def _column_values(rejected: Rejected, records: _StoredRecords) -> Metadata:
    """What is stored of a column that was set aside; nothing of anything else."""
    by_index = records.get((rejected.asset_id, rejected.feature_id), {})
    if not rejected.column or not by_index:
        return {}
    return column_keys(next(iter(by_index.values())).metadata, rejected.column)
