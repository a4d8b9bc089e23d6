"""Comparing what the manifest says with what Pinecone has, index by index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Final

from vectorferry.connector.plugin import MODALITIES, Difference, Discrepancy, Modality, SeenIds, StoredDigest
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import HeldFeature, IndexRow, Place

from .._postgres import FeatureKey
from ._catalogue import Catalogue
from ._ids import owner_of, record_id
from ._layout import Layout
from ._metadata import metadata_hash
from ._reader import IndexReader, StoredRecord

__all__ = ["find_discrepancies", "places_of", "read_digests"]

_FETCHED_AT_ONCE: Final = 100


def find_discrepancies(
    manifest: Manifest, catalogue: Catalogue, layout: Layout, collection: str, sample: int | None
) -> Iterator[Discrepancy]:
    """Records that are missing or extra, by their ids, then those that are different among the sample's.

    Features that a killed run has touched are left out: what there is of them is not known, and the next sync writes
    them. So are records that Vectorferry did not write.
    """
    asset_ids = None if sample is None else manifest.any_assets(collection, sample)
    for row in manifest.indexes().values():
        check = _IndexCheck(manifest, row, catalogue.reader(row.name), collection, layout.namespace_of(collection))
        yield from check.missing_or_extra()
        if asset_ids is None or asset_ids:
            yield from check.different(asset_ids)


def read_digests(
    manifest: Manifest, layout: Layout, collection: str, asset_ids: Sequence[str] | None = None
) -> Iterator[StoredDigest]:
    """The manifest's hashes of rows and vectors. Of records with two vectors only the dense one is named, without a
    hash: theirs is of both."""
    names = {row.name: row.vector_name for row in manifest.indexes().values()}
    rows = (StoredDigest(asset_id, "", "", "", digest) for asset_id, digest in manifest.assets(collection, asset_ids))
    yield from merge(rows, _feature_digests(manifest, layout, collection, asset_ids, names))


def _feature_digests(
    manifest: Manifest, layout: Layout, collection: str, asset_ids: Sequence[str] | None, names: Mapping[str, str]
) -> Iterator[StoredDigest]:
    for (asset_id, feature_id), held in manifest.features(collection, asset_ids):
        vectors = {names.get(index, index): digest for index, digest in held.records.items()}
        digests = {"": held.row_hash or b"", **_own_digests(vectors, layout)}
        for vector_name in sorted(digests):
            yield StoredDigest(asset_id, feature_id, held.modality.value, vector_name, digests[vector_name])


def places_of(manifest: Manifest, collection: str, discrepancies: Iterable[Discrepancy]) -> dict[Place, Modality]:
    """Every record that these are about."""
    wrong = [one for one in discrepancies if one.vector_name is not None and one.modality is not None]
    held = manifest.held(collection, sorted({one.asset_id for one in wrong})).features
    rows = manifest.indexes().values()
    return {
        Place(one.asset_id, one.feature_id, row.name): one.modality
        for one in wrong
        if one.modality is not None
        for row in rows
        if row.vector_name == one.vector_name and _concerns(one, row, held.get((one.asset_id, one.feature_id)))
    }


class _IndexCheck:
    """One collection in one index."""

    def __init__(self, manifest: Manifest, row: IndexRow, reader: IndexReader, collection: str, namespace: str) -> None:
        self._manifest = manifest
        self._row = row
        self._reader = reader
        self._collection = collection
        self._namespace = namespace
        self._exists = namespace in reader.namespaces()
        self._unconfirmed = manifest.unconfirmed_keys(collection)

    def missing_or_extra(self) -> Iterator[Discrepancy]:
        """By their ids, which are kept as hashes: a collection of any size fits."""
        expected, there = SeenIds(), SeenIds()
        for key, _ in self._expected():
            expected.add([record_id(*key)])
        for page in self._reader.pages(self._namespace) if self._exists else ():
            there.add(page)
            if extra := expected.missing(page):
                yield from self._extra(self._reader.fetch(self._namespace, extra))
        for key, held in self._expected():
            if there.missing([record_id(*key)]):
                yield self._discrepancy(Difference.MISSING, key, held.modality)

    def different(self, asset_ids: Sequence[str] | None) -> Iterator[Discrepancy]:
        """Records whose vectors or metadata are not what was written, of these assets or of all (None)."""
        for page in _pages(self._expected(asset_ids)):
            ids = {record_id(*key): key for key in page}
            found = self._reader.fetch(self._namespace, list(ids)) if self._exists else {}
            for name, record in found.items():
                key = ids[name]
                if told := _difference(record, page[key], self._row.name):
                    yield self._discrepancy(Difference.DIFFERENT, key, page[key].modality, told)

    def _expected(self, asset_ids: Sequence[str] | None = None) -> Iterator[tuple[FeatureKey, HeldFeature]]:
        for key, held in self._manifest.features(self._collection, asset_ids):
            if self._row.name in held.records and key not in self._unconfirmed:
                yield key, held

    def _extra(self, records: Mapping[str, StoredRecord]) -> Iterator[Discrepancy]:
        for name, record in records.items():
            key, modality = owner_of(name, record.metadata), record.metadata.get("modality")
            ours = record.metadata.get("collection") == self._collection and modality in MODALITIES
            if key is not None and ours and key not in self._unconfirmed:
                yield self._discrepancy(Difference.EXTRA, key, Modality(str(modality)))

    def _discrepancy(self, kind: Difference, key: FeatureKey, modality: Modality, detail: str = "") -> Discrepancy:
        return Discrepancy(kind, *key, modality, self._row.vector_name, detail)


def _pages(features: Iterator[tuple[FeatureKey, HeldFeature]]) -> Iterator[dict[FeatureKey, HeldFeature]]:
    page: dict[FeatureKey, HeldFeature] = {}
    for key, held in features:
        page[key] = held
        if len(page) == _FETCHED_AT_ONCE:
            yield page
            page = {}
    if page:
        yield page


def _difference(record: StoredRecord, held: HeldFeature, index: str) -> str | None:
    if record.digest != held.records[index]:
        return "the vector is another one"
    if held.metadata_hash and metadata_hash(record.metadata) != held.metadata_hash:
        return "the metadata is other"
    return None


def _own_digests(vectors: Mapping[str, bytes], layout: Layout) -> dict[str, bytes]:
    partners = set(layout.hybrid.values())
    own = {name: digest for name, digest in vectors.items() if name not in partners}
    return {name: b"" if name in layout.hybrid else digest for name, digest in own.items()}


def _concerns(one: Discrepancy, row: IndexRow, held: HeldFeature | None) -> bool:
    """A model may have had other dimensions, and so other indexes; only what is extra can be in any of them."""
    return one.kind is Difference.EXTRA or (held is not None and row.name in held.records)
