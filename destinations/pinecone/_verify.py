"""Comparing what the manifest says with what Pinecone has, index by index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Final

from vectorferry.connector.plugin import (
    MODALITIES,
    MOST_UNRECORDED,
    Difference,
    DigestKind,
    Discrepancy,
    Modality,
    SeenIds,
    SliceSums,
    StoredDigest,
)
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._catalogue import Catalogue
from vectorferry.destinations.pinecone._ids import owner_of, record_id
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, Place, RecordedFeature
from vectorferry.destinations.pinecone._metadata import metadata_hash
from vectorferry.destinations.pinecone._reader import IndexReader, StoredRecord

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


def unrecorded_collections(manifest: Manifest, catalogue: Catalogue, layout: Layout) -> dict[str, list[str]]:
    """Those that are in no table of the manifest, and that a namespace has records of which say that they are theirs,
    each with what deletes them. What nobody has written as Vectorferry does is somebody else's."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in manifest.indexes().values():
        reader = catalogue.reader(row.name)
        namespaces = reader.namespaces()
        # After these: a sync enters its records into the journal before it makes a namespace.
        recorded = {layout.namespace_of(collection) for collection in manifest.collections()}
        for namespace in sorted({*namespaces} - recorded):
            for collection in _first_owners(reader, namespace):
                if layout.namespace_of(collection) == namespace and len(found.keys() | {collection}) <= MOST_UNRECORDED:
                    found[collection].append(
                        f"delete the namespace {namespace} of the index {row.name} in Pinecone, or what is yours in it"
                    )
    return dict(found)


def _first_owners(reader: IndexReader, namespace: str) -> set[str]:
    """The collections that the first records of a namespace say they are of."""
    ids = next(iter(reader.pages(namespace)), [])
    records = reader.fetch(namespace, ids[:_FETCHED_AT_ONCE]) if ids else {}
    owned = (each.metadata for name, each in records.items() if owner_of(name, each.metadata) is not None)
    return {collection for metadata in owned if isinstance(collection := metadata.get("collection"), str)}


def read_digests(
    manifest: Manifest, layout: Layout, collection: str, asset_ids: Sequence[str] | None = None
) -> Iterator[StoredDigest]:
    """The manifest's hashes of rows and vectors. Of records with two vectors only the dense one is named, without a
    hash: theirs is of both."""
    names = {row.name: row.vector_name for row in manifest.indexes().values()}
    rows = (StoredDigest(asset_id, "", "", "", digest) for asset_id, digest in manifest.assets(collection, asset_ids))
    yield from merge(rows, _feature_digests(manifest, layout, collection, asset_ids, names))


def digest_sums(manifest: Manifest, layout: Layout, collection: str, slices: int) -> SliceSums[DigestKind]:
    """The same summed up by Postgres."""
    partners = set(layout.hybrid.values())
    rows = manifest.indexes().values()
    names = {row.name: row.vector_name for row in rows if row.vector_name not in partners}
    return manifest.digest_sums(collection, slices, names, layout.hybrid)


def _feature_digests(
    manifest: Manifest, layout: Layout, collection: str, asset_ids: Sequence[str] | None, names: Mapping[str, str]
) -> Iterator[StoredDigest]:
    for (asset_id, feature_id), recorded in manifest.features(collection, asset_ids):
        vectors = {names.get(index, index): digest for index, digest in recorded.records.items()}
        digests = {"": recorded.row_hash or b"", **_own_digests(vectors, layout)}
        for vector_name in sorted(digests):
            yield StoredDigest(asset_id, feature_id, recorded.modality.value, vector_name, digests[vector_name])


def places_of(manifest: Manifest, collection: str, discrepancies: Iterable[Discrepancy]) -> dict[Place, Modality]:
    """Every record that these are about."""
    of_records = [each for each in discrepancies if each.vector_name is not None]
    recorded = manifest.recorded(collection, sorted({each.asset_id for each in of_records})).features
    rows = manifest.indexes().values()
    return {
        Place(each.asset_id, each.feature_id, row.name): each.modality
        for each in of_records
        if each.modality is not None
        for row in rows
        if row.vector_name == each.vector_name and _concerns(each, row, recorded.get((each.asset_id, each.feature_id)))
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
        expected, present = SeenIds(), SeenIds()
        for key, _ in self._expected():
            expected.add([record_id(*key)])
        for page in self._reader.pages(self._namespace) if self._exists else ():
            present.add(page)
            if extra := expected.missing(page):
                yield from self._extra(self._reader.fetch(self._namespace, extra))
        for key, recorded in self._expected():
            if present.missing([record_id(*key)]):
                yield self._discrepancy(Difference.MISSING, key, recorded.modality)

    def different(self, asset_ids: Sequence[str] | None) -> Iterator[Discrepancy]:
        """Records whose vectors or metadata are not what was written, of these assets or of all (None)."""
        for page in _pages(self._expected(asset_ids)):
            ids = {record_id(*key): key for key in page}
            records = self._reader.fetch(self._namespace, list(ids)) if self._exists else {}
            for name, record in records.items():
                key = ids[name]
                if detail := _difference(record, page[key], self._row.name):
                    yield self._discrepancy(Difference.DIFFERENT, key, page[key].modality, detail)

    def _expected(self, asset_ids: Sequence[str] | None = None) -> Iterator[tuple[FeatureKey, RecordedFeature]]:
        for key, recorded in self._manifest.features(self._collection, asset_ids):
            if self._row.name in recorded.records and key not in self._unconfirmed:
                yield key, recorded

    def _extra(self, records: Mapping[str, StoredRecord]) -> Iterator[Discrepancy]:
        for name, record in records.items():
            key, modality = owner_of(name, record.metadata), record.metadata.get("modality")
            ours = record.metadata.get("collection") == self._collection and modality in MODALITIES
            if key is not None and ours and key not in self._unconfirmed:
                yield self._discrepancy(Difference.EXTRA, key, Modality(str(modality)))

    def _discrepancy(self, kind: Difference, key: FeatureKey, modality: Modality, detail: str = "") -> Discrepancy:
        return Discrepancy(kind, *key, modality, self._row.vector_name, detail)


def _pages(features: Iterator[tuple[FeatureKey, RecordedFeature]]) -> Iterator[dict[FeatureKey, RecordedFeature]]:
    page: dict[FeatureKey, RecordedFeature] = {}
    for key, recorded in features:
        page[key] = recorded
        if len(page) == _FETCHED_AT_ONCE:
            yield page
            page = {}
    if page:
        yield page


def _difference(record: StoredRecord, recorded: RecordedFeature, index: str) -> str | None:
    if record.digest != recorded.records[index]:
        return "the vector is another one"
    if recorded.metadata_hash and metadata_hash(record.metadata) != recorded.metadata_hash:
        return "the metadata is other"
    return None


def _own_digests(vectors: Mapping[str, bytes], layout: Layout) -> dict[str, bytes]:
    partners = set(layout.hybrid.values())
    own = {name: digest for name, digest in vectors.items() if name not in partners}
    return {name: b"" if name in layout.hybrid else digest for name, digest in own.items()}


def _concerns(discrepancy: Discrepancy, row: IndexRow, recorded: RecordedFeature | None) -> bool:
    """A model may have had other dimensions, and so other indexes; only what is extra can be in any of them."""
    return discrepancy.kind is Difference.EXTRA or (recorded is not None and row.name in recorded.records)
