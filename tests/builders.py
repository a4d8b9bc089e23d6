"""Loaded assets and batches with as little said as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    DenseVector,
    MappedAsset,
    MappedFeature,
    Modality,
    Rejected,
    SchemaMapping,
    SparseVector,
    Vector,
    vector_hash,
)

DIMENSION = 8


def dense(*values: float, dimension: int = DIMENSION) -> DenseVector:
    """A dense vector, padded with ones."""
    padded = [*values, *[1.0] * (dimension - len(values))]
    return np.array(padded, dtype=np.float32)


def sparse(elements: Mapping[int, float]) -> SparseVector:
    """A sparse vector from index to value."""
    indices = np.array(sorted(elements), dtype=np.int32)
    return SparseVector(indices, np.array([elements[int(i)] for i in indices], dtype=np.float32))


def feature(
    feature_id: str,
    vectors: Mapping[str, Vector] | None = None,
    *,
    modality: Modality = Modality.VIDEO,
    mapping: SchemaMapping | None = None,
    metadata: Mapping[str, Any] | None = None,
    **columns: Any,
) -> MappedFeature:
    """A feature whose other columns are empty."""
    filled = {name: columns.get(name) for name in (mapping or SchemaMapping()).columns(modality)}
    vectors = {"model-v1": dense(0.5)} if vectors is None else vectors
    return MappedFeature(
        feature_id=feature_id,
        modality=modality,
        columns=filled,
        metadata=metadata or {},
        extra={},
        row_hash=hash_row(filled, metadata or {}, {})[0],
        vectors=vectors,
        vector_hashes={name: vector_hash(vector) for name, vector in vectors.items()},
    )


def asset(
    asset_id: str, *features: MappedFeature, fingerprint: str = "1", rejected: Sequence[Rejected] = ()
) -> MappedAsset:
    """An asset with these features."""
    named: dict[str, Any] = {"modality": "video", "url": None, "status": "DONE", "created_at": None, "updated_at": None}
    return MappedAsset(
        asset_id=asset_id,
        fingerprint=fingerprint,
        **named,
        metadata={},
        extra={},
        row_hash=hash_row(named, {}, {})[0],
        features=features,
        rejected=tuple(rejected),
    )


def batch(
    *assets: MappedAsset,
    collection: str = "ads",
    modalities: Sequence[Modality] = MODALITIES,
    rejected: Sequence[Rejected] = (),
) -> Batch:
    """A batch of one collection."""
    return Batch(collection, frozenset(modalities), assets, tuple(rejected))
