"""A batch as rows: what of it fits the tables, what each should hold for its assets, and their hashes. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Final, TypeAlias

import numpy as np
from sqlalchemy import Connection, Table, func, select, true

from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    MappedAsset,
    MappedFeature,
    Modality,
    QuarantineError,
    Reason,
    Rejected,
    RowCounts,
    SchemaMapping,
    SparseVector,
    Storage,
    Vector,
    canonical_json,
    vector_hash,
    without_rejected,
)
from vectorferry.connector.plugin import Contents as AssetContents
from vectorferry.destinations._postgres import DesiredRows, FeatureKey, Row, of_assets
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorKey
from vectorferry.destinations.pgvector._storage import (
    SPARSE_DIMENSION,
    VectorStorage,
    check_vector,
    choose_storage,
    dimension_of,
)

HASH_BYTES: Final = 16


def recorded_hash(vector: Vector, digest: bytes, storage: Storage) -> bytes:
    """What stands beside a vector whose own hash is `digest`."""
    return digest if storage == "vector" else digest + vector_hash(_as_stored(vector))


def source_hash(recorded: bytes) -> bytes:
    """The hash of the vector as the source had it."""
    return recorded[:HASH_BYTES]


def is_vector_of(recorded: bytes, stored: Vector, storage: Storage) -> bool:
    """Whether this is what the recorded hash was taken of."""
    return vector_hash(stored) == (recorded if storage == "vector" else recorded[HASH_BYTES:])


def _as_stored(vector: Vector) -> Vector:
    if isinstance(vector, SparseVector):
        kept = vector.values != 0
        return SparseVector(vector.indices[kept], vector.values[kept])
    return vector.astype(np.float16).astype(np.float32)


FeatureRow: TypeAlias = tuple[str, MappedFeature]
"""A feature behind the id of its asset. What its rows hold is laid out as they are sent: meanwhile, Postgres works."""


@dataclass(slots=True)
class BatchRows:
    """Everything a batch wants in the tables, in the order of keys, and by asset what the ledger is to name of it."""

    batch: Batch
    features: defaultdict[Modality, list[FeatureRow]] = field(default_factory=lambda: defaultdict(list))
    vectors: defaultdict[VectorKey, list[FeatureRow]] = field(default_factory=lambda: defaultdict(list))
    contents: dict[str, Contents] = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """By asset and modality, how many features are written."""
        return {
            asset_id: {modality: sum(len(ids) for _, ids in pairs) for modality, pairs in contents.items()}
            for asset_id, contents in self.contents.items()
        }


def keys_of(rows: Iterable[FeatureRow]) -> set[FeatureKey]:
    """The keys of the rows of these features."""
    return {(asset_id, feature.feature_id) for asset_id, feature in rows}


def new_storages(
    batch: Batch, keys: Set[VectorKey], catalogue: Catalogue, mapping: SchemaMapping
) -> dict[VectorKey, VectorStorage]:
    """The storage that each vector name gets for each dimension that has no live table yet, in the order of ids: what
    arrives first over the network must not decide. `keys` are those of the batch."""
    missing = {key for key in keys if key not in catalogue or catalogue[key].state == "retired"}
    storages: dict[VectorKey, VectorStorage] = {}
    for feature in _features_in_order(batch) if missing else ():
        for name, vector in feature.vectors.items():
            key = (feature.modality, name, dimension_of(vector))
            if key in missing:
                with suppress(QuarantineError):
                    storages[key] = choose_storage(vector, mapping.vector(feature.modality, name))
                    missing.remove(key)
        if not missing:
            break
    return storages


def with_fitting_vectors(batch: Batch, keys: Set[VectorKey], catalogue: Catalogue, mapping: SchemaMapping) -> Batch:
    """The batch, in which each vector that does not fit its table is set aside. It has no others than of these
    `keys`."""
    storages = {key: entry.storage for key, entry in catalogue.items()}
    if all(key in storages and storages[key].column_type == "vector" for key in keys):
        return batch  # such a column takes every vector of its dimension
    assets = (without_rejected(asset, _unfit_vectors(asset, storages, mapping)) for asset in batch.assets)
    return replace(batch, assets=tuple(assets))


def batch_rows(batch: Batch) -> BatchRows:
    """Lay out which features of a batch have a row in which table."""
    rows = BatchRows(batch)
    nothing: Contents = {modality.value: [] for modality in batch.modalities}
    for asset in sorted(batch.assets, key=_asset_id):
        alike: _Alike = {}
        for feature in sorted(asset.features, key=_feature_id):
            modality, row = feature.modality, (asset.asset_id, feature)
            named = tuple([(name, dimension_of(vector)) for name, vector in feature.vectors.items()])
            rows.features[modality].append(row)
            for name, dimension in named:
                rows.vectors[modality, name, dimension].append(row)
            alike.setdefault((modality, named), []).append(feature.feature_id)
        rows.contents[asset.asset_id] = {**nothing, **_contents_of(alike)}
    return rows


_asset_id: Final = attrgetter("asset_id")
_feature_id: Final = attrgetter("feature_id")


def _unfit_vectors(
    asset: MappedAsset, storages: Mapping[VectorKey, VectorStorage], mapping: SchemaMapping
) -> list[Rejected]:
    unfit = []
    for feature in asset.features:
        for name, vector in feature.vectors.items():
            try:
                # No storage means that no vector of this kind could be stored so far: choosing one says why.
                storage = storages.get((feature.modality, name, dimension_of(vector)))
                check_vector(vector, storage or choose_storage(vector, mapping.vector(feature.modality, name)))
            except QuarantineError as error:
                unfit.append(_rejected(asset.asset_id, feature, name, error))
    return unfit


def _rejected(asset_id: str, feature: MappedFeature, vector_name: str, error: QuarantineError) -> Rejected:
    detail = f"vector {vector_name}: {error}"
    return Rejected(asset_id, Reason(error.reason), detail, feature.feature_id, feature.modality, vector_name)


def _features_in_order(batch: Batch) -> Iterator[MappedFeature]:
    for asset in sorted(batch.assets, key=_asset_id):
        yield from sorted(asset.features, key=_feature_id)


# Which rows each asset should have: recorded in the ledger by name, since a row that is gone tells nothing itself.


Named: TypeAlias = tuple[str, int]
"""A vector's name and dimension."""

Contents: TypeAlias = Mapping[str, Sequence[tuple[Sequence[Named], Sequence[str]]]]
"""By modality: pairs of vectors and the ids of the features that have exactly these. Features of one asset mostly have
the same, so that a name is written once and not once for each."""


def feature_vectors(contents: Contents) -> dict[tuple[str, str], dict[str, int]]:
    """By modality and feature id: the dimensions of its vectors by their names."""
    return {
        (modality, feature_id): dict(named)
        for modality, pairs in contents.items()
        for named, feature_ids in pairs
        for feature_id in feature_ids
    }


def readable_contents(contents: object) -> Contents | None:
    """The same, or None where somebody has written something else into the ledger."""
    if not isinstance(contents, dict) or contents.keys() - {modality.value for modality in MODALITIES}:
        return None
    try:
        named = feature_vectors(contents).values()
        is_readable = all(isinstance(size, int) for dimensions in named for size in dimensions.values())
    except (TypeError, ValueError):
        return None
    return contents if is_readable else None


def asset_contents(contents: Contents) -> AssetContents:
    """The same by modality and feature id; features with the same vectors share one mapping."""
    return {
        Modality(modality): {feature_id: vectors for vectors, ids in _groups(pairs) for feature_id in ids}
        for modality, pairs in contents.items()
    }


def count_contents(connection: Connection, ledger: Table, collection: str) -> RowCounts:
    """How many features and vectors the ledger names in a collection."""
    modality = func.jsonb_each(ledger.c.contents).table_valued("key", "value", name="modality")
    pair = func.jsonb_array_elements(modality.c.value).table_valued("value", name="pair")
    named, ids = pair.c.value.op("->")(0), pair.c.value.op("->")(1)
    grouped = (
        select(modality.c.key, named, func.sum(func.jsonb_array_length(ids)))
        .select_from(ledger.join(modality, true()).join(pair, true()))
        .where(ledger.c.collection == collection)
        .group_by(modality.c.key, named)
    )
    counts: Counter[tuple[Modality, str | None]] = Counter()
    for of, vectors, features in connection.execute(grouped):
        for name in (None, *dict(vectors)):
            counts[Modality(of), name] += int(features)
    return counts


def recorded_contents(
    connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str]
) -> dict[str, Contents]:
    """What the ledger has of these assets."""
    columns = (ledger.c.asset_id, ledger.c.contents)
    rows = connection.execute(select(*columns).where(of_assets(ledger, collection, asset_ids))).all()
    return {row.asset_id: readable_contents(row.contents) or {} for row in rows}


def with_contents(
    entries: DesiredRows, written: Mapping[str, Contents], recorded: Mapping[str, Contents]
) -> DesiredRows:
    """The ledger's rows with what a batch writes; modalities that it is not about keep their rows, and so their
    names."""

    def extended(asset_id: str, digest: bytes, row: Row) -> tuple[bytes, Row]:
        before = recorded.get(asset_id)
        if before is None:  # there is nothing to compare it with
            return digest, (*row, written[asset_id])
        contents = {**before, **written[asset_id]}
        return comparable(digest, contents), (*row, contents)

    return {key: extended(key[0], *entry) for key, entry in entries.items()}


def comparable(digest: bytes, contents: Contents) -> bytes:
    """What is compared of a ledger's row: the rest of it, and its contents."""
    return digest + canonical_json(contents)


_Alike: TypeAlias = dict[tuple[Modality, tuple[Named, ...]], list[str]]
"""The ids of an asset's features, by modality and by the vectors that they have, in whatever order these came."""


def _contents_of(alike: _Alike) -> Contents:
    by_names: dict[Modality, dict[tuple[Named, ...], list[str]]] = {}
    for (modality, named), feature_ids in alike.items():
        by_names.setdefault(modality, {}).setdefault(_in_order(named), []).extend(feature_ids)
    return {modality.value: _pairs(groups) for modality, groups in by_names.items()}


def _pairs(by_names: Mapping[tuple[Named, ...], list[str]]) -> list[tuple[Sequence[Named], list[str]]]:
    return [(names, sorted(by_names[names])) for names in sorted(by_names)]


@lru_cache(maxsize=1_024)  # most features have the same vectors
def _in_order(named: tuple[Named, ...]) -> tuple[Named, ...]:
    return tuple(sorted(named))


def _groups(
    pairs: Sequence[tuple[Sequence[Named], Sequence[str]]],
) -> Iterator[tuple[dict[str, int | None], Sequence[str]]]:
    for named, feature_ids in pairs:
        dimensions = dict(named)
        vectors = {name: None if size == SPARSE_DIMENSION else size for name, size in dimensions.items()}
        yield vectors, feature_ids
