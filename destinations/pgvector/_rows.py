"""A batch as rows: what each table should hold for the batch's assets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from connector import (
    Batch,
    LoadedAsset,
    LoadedFeature,
    Modality,
    QuarantineError,
    Reason,
    Rejected,
    SchemaMapping,
    Vector,
    canonical_json,
)

from ._catalogue import Catalogue
from ._diff import FeatureKey
from ._encode import encode_vector
from ._storage import VectorLayout, choose_layout

__all__ = ["BatchRows", "Row", "WantedRows", "batch_rows", "first_layouts", "jsonb"]

Row: TypeAlias = tuple[Any, ...]
WantedRows: TypeAlias = dict[FeatureKey, tuple[bytes, Row]]
"""By key: the hash that is compared, and the values in the order of the table's columns."""

_JSONB_VERSION = b"\x01"


@dataclass(slots=True)
class BatchRows:
    """Everything a batch wants in the tables. `features` counts per asset what is written, for the ledger."""

    features: dict[Modality, WantedRows] = field(default_factory=dict)
    vectors: dict[tuple[Modality, str], WantedRows] = field(default_factory=dict)
    per_asset: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


def jsonb(value: Mapping[str, Any] | Any) -> bytes:
    """A value in jsonb's binary wire format: a version byte, then JSON text."""
    return _JSONB_VERSION + canonical_json(value)


def first_layouts(batch: Batch, mapping: SchemaMapping) -> dict[tuple[Modality, str], VectorLayout]:
    """The layout that each vector name gets from its first storable vector, in the order of ids: what arrives
    first over the network must not decide."""
    layouts: dict[tuple[Modality, str], VectorLayout] = {}
    for feature in _features_in_order(batch):
        for name, vector in feature.vectors.items():
            if (feature.modality, name) not in layouts:
                with suppress(QuarantineError):
                    layouts[feature.modality, name] = choose_layout(vector, mapping.vector(feature.modality, name))
    return layouts


def batch_rows(batch: Batch, catalogue: Catalogue, mapping: SchemaMapping) -> BatchRows:
    """Encode every feature; one that does not fit its tables is set aside whole, the rest goes on."""
    rows = BatchRows()
    for asset in batch.assets:
        rows.per_asset[asset.asset_id] = {modality.value: 0 for modality in batch.modalities}
        for feature in asset.features:
            _add_feature(rows, batch.collection, asset, feature, catalogue, mapping)
    return rows


def _add_feature(
    rows: BatchRows,
    collection: str,
    asset: LoadedAsset,
    feature: LoadedFeature,
    catalogue: Catalogue,
    mapping: SchemaMapping,
) -> None:
    key = (asset.asset_id, feature.feature_id)
    try:
        vectors = _encode_vectors(feature, catalogue, mapping)
    except QuarantineError as error:
        reason = Reason(error.reason)
        rows.rejected.append(Rejected(asset.asset_id, reason, str(error), feature.feature_id, feature.modality))
        return
    row = _feature_row(collection, key, feature, mapping)
    rows.features.setdefault(feature.modality, {})[key] = (feature.row_hash, row)
    rows.per_asset[asset.asset_id][feature.modality] += 1
    for name, encoded in vectors.items():
        digest = feature.vector_hashes[name]
        wanted = rows.vectors.setdefault((feature.modality, name), {})
        wanted[key] = (digest, (collection, *key, encoded, digest))


def _encode_vectors(feature: LoadedFeature, catalogue: Catalogue, mapping: SchemaMapping) -> dict[str, bytes]:
    encoded = {}
    for name, vector in feature.vectors.items():
        try:
            encoded[name] = encode_vector(vector, _layout(feature.modality, name, vector, catalogue, mapping))
        except QuarantineError as error:
            raise QuarantineError(error.reason, f"vector {name}: {error}") from error
    return encoded


def _layout(
    modality: Modality, name: str, vector: Vector, catalogue: Catalogue, mapping: SchemaMapping
) -> VectorLayout:
    """No entry means that no vector of this name could be stored so far: choosing a layout says why."""
    entry = catalogue.get((modality, name))
    return entry.layout if entry else choose_layout(vector, mapping.vector(modality, name))


def _feature_row(collection: str, key: FeatureKey, feature: LoadedFeature, mapping: SchemaMapping) -> Row:
    columns = (
        _column_value(feature.columns[name], column.type) for name, column in mapping.columns(feature.modality).items()
    )
    return (collection, *key, *columns, jsonb(feature.metadata), jsonb(feature.extra), feature.row_hash)


def _column_value(value: Any, kind: str) -> Any:
    return jsonb(value) if kind == "jsonb" and value is not None else value


def _features_in_order(batch: Batch) -> Iterator[LoadedFeature]:
    for asset in sorted(batch.assets, key=lambda asset: asset.asset_id):
        yield from sorted(asset.features, key=lambda feature: feature.feature_id)
