"""A batch as rows: what of it fits the tables, what each should hold for its assets, and their hashes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from vectorferry.connector.plugin import (
    Batch,
    MappedAsset,
    MappedFeature,
    Modality,
    QuarantineError,
    Reason,
    Rejected,
    SchemaMapping,
    SparseVector,
    Storage,
    Vector,
    vector_hash,
    without_rejected,
)
from vectorferry.destinations._postgres import WantedRows
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorKey
from vectorferry.destinations.pgvector._storage import VectorLayout, check_vector, choose_layout, dimension_of

__all__ = [
    "BatchRows",
    "batch_rows",
    "first_layouts",
    "is_vector_of",
    "source_hash",
    "with_fitting_vectors",
]


_HASH: Final = 16


def recorded_hash(vector: Vector, digest: bytes, storage: Storage) -> bytes:
    """What stands beside a vector whose own hash is `digest`."""
    return digest if storage == "vector" else digest + vector_hash(_as_stored(vector))


def source_hash(recorded: bytes) -> bytes:
    """The hash of the vector as the source had it."""
    return recorded[:_HASH]


def is_vector_of(recorded: bytes, stored: Vector, storage: Storage) -> bool:
    """Whether this is what the recorded hash was taken of; True where nothing was recorded of the column's own form."""
    known = recorded if storage == "vector" else recorded[_HASH:]
    return vector_hash(stored) == known or (storage != "vector" and len(recorded) == _HASH)


def _as_stored(vector: Vector) -> Vector:
    if isinstance(vector, SparseVector):
        kept = vector.values != 0
        return SparseVector(vector.indices[kept], vector.values[kept])
    return vector.astype(np.float16).astype(np.float32)


# A batch as rows: what of it fits the tables, and what each table should hold for the batch's assets. Pure.


@dataclass(slots=True)
class BatchRows:
    """Everything a batch wants in the tables. `features` counts per asset what is written, for the ledger."""

    features: dict[Modality, WantedRows] = field(default_factory=dict)
    vectors: dict[VectorKey, WantedRows] = field(default_factory=dict)
    per_asset: dict[str, dict[str, int]] = field(default_factory=dict)


def first_layouts(batch: Batch, mapping: SchemaMapping) -> dict[VectorKey, VectorLayout]:
    """The layout that each vector name gets for each of its dimensions, in the order of ids: what arrives first over
    the network must not decide."""
    layouts: dict[VectorKey, VectorLayout] = {}
    for feature in _features_in_order(batch):
        for name, vector in feature.vectors.items():
            key = (feature.modality, name, dimension_of(vector))
            if key not in layouts:
                with suppress(QuarantineError):
                    layouts[key] = choose_layout(vector, mapping.vector(feature.modality, name))
    return layouts


def with_fitting_vectors(batch: Batch, catalogue: Catalogue, mapping: SchemaMapping) -> Batch:
    """The batch, in which each vector that does not fit its table is set aside."""
    layouts = {key: entry.layout for key, entry in catalogue.items()}
    assets = (without_rejected(asset, _unfit_vectors(asset, layouts, mapping)) for asset in batch.assets)
    return replace(batch, assets=tuple(assets))


def batch_rows(batch: Batch, catalogue: Catalogue) -> BatchRows:
    """Lay out every feature of a batch whose vectors fit."""
    layouts = {key: entry.layout for key, entry in catalogue.items()}
    rows = BatchRows()
    for asset in batch.assets:
        rows.per_asset[asset.asset_id] = {modality.value: 0 for modality in batch.modalities}
        for feature in asset.features:
            _add_feature(rows, batch.collection, asset.asset_id, feature, layouts)
    return rows


def _add_feature(
    rows: BatchRows,
    collection: str,
    asset_id: str,
    feature: MappedFeature,
    layouts: Mapping[VectorKey, VectorLayout],
) -> None:
    key, modality, digest = (asset_id, feature.feature_id), feature.modality, feature.row_hash
    row = (collection, *key, *feature.columns.values(), feature.metadata, feature.extra, digest)
    rows.features.setdefault(modality, {})[key] = (digest, row)
    rows.per_asset[asset_id][modality.value] += 1
    for name, vector in feature.vectors.items():
        place = (modality, name, dimension_of(vector))
        digest = recorded_hash(vector, feature.vector_hashes[name], layouts[place].storage)
        rows.vectors.setdefault(place, {})[key] = (digest, (collection, *key, vector, digest))


def _unfit_vectors(
    asset: MappedAsset, layouts: Mapping[VectorKey, VectorLayout], mapping: SchemaMapping
) -> list[Rejected]:
    unfit = []
    for feature in asset.features:
        for name, vector in feature.vectors.items():
            try:
                # No layout means that no vector of this kind could be stored so far: choosing one says why.
                layout = layouts.get((feature.modality, name, dimension_of(vector)))
                check_vector(vector, layout or choose_layout(vector, mapping.vector(feature.modality, name)))
            except QuarantineError as error:
                unfit.append(_rejected(asset.asset_id, feature, name, error))
    return unfit


def _rejected(asset_id: str, feature: MappedFeature, vector_name: str, error: QuarantineError) -> Rejected:
    detail = f"vector {vector_name}: {error}"
    return Rejected(asset_id, Reason(error.reason), detail, feature.feature_id, feature.modality, vector_name)


def _features_in_order(batch: Batch) -> Iterator[MappedFeature]:
    for asset in sorted(batch.assets, key=lambda asset: asset.asset_id):
        yield from sorted(asset.features, key=lambda feature: feature.feature_id)
