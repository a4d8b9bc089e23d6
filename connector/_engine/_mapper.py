"""Validate and map: what a source said about an asset becomes what every destination is given. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vectorferry.connector._model._batch import MappedAsset, MappedFeature
from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._limits import SourceLimits, VectorBudget, bounded
from vectorferry.connector._model._mapping import SchemaMapping, ledger_fingerprint
from vectorferry.connector._model._near import closest
from vectorferry.connector._model._records import MODALITIES, Asset, Feature, Modality, Reason, Rejected, Vector
from vectorferry.connector._model._rows import RowShape, as_utc, hash_row, row_size
from vectorferry.connector._model._storable import (
    check_id,
    check_name,
    clean,
    safe_rejected,
)
from vectorferry.connector._model._vectors import check_vector, dense_dimension, vector_bytes, vector_hash

_PATHS_KNOWN: Final = 1_000
"""Of one modality; metadata may have a key per asset."""

KNOWN_MODALITIES = frozenset(m.value for m in MODALITIES)


class Mapper:
    """Maps assets for one schema mapping and some modalities; features of other modalities are left out."""

    def __init__(
        self, mapping: SchemaMapping, modalities: frozenset[Modality], limits: SourceLimits | None = None
    ) -> None:
        self.limits = limits or SourceLimits()
        named = ((modality, name) for modality in MODALITIES for name in mapping.modality(modality).vectors)
        self.budget = VectorBudget(self.limits, named)
        self.digest = mapping.digest()
        self.modalities = modalities
        self.use = MappingUse(mapping)
        self._mapping = mapping
        self._shapes = {modality: RowShape(mapping.columns(modality)) for modality in modalities}
        self._reads_asset = any(shape.reads_asset for shape in self._shapes.values())

    def map(self, item: Asset | Rejected) -> MappedRecord:
        """The asset as destinations take it; a `Rejected` when nothing of it can be used."""
        if isinstance(item, Rejected):
            return MappedRecord(safe_rejected(item))
        try:
            mapped = self._asset(item)
        except (QuarantineError, OverflowError, RecursionError) as error:
            return MappedRecord(_rejected(error, item.asset_id, modality=item.modality or ""))
        if isinstance(mapped.record, MappedAsset):
            self.use.note(mapped.record)
        return mapped

    def _asset(self, asset: Asset) -> MappedRecord:
        check_id(asset.asset_id, "asset")
        self.limits.check_asset(asset)
        texts, replaced = clean([asset.modality, asset.url, asset.status, asset.metadata, asset.fields])
        modality, url, status, metadata, extra = texts
        created, updated = (moment and as_utc(moment) for moment in (asset.created_at, asset.updated_at))
        attributes = {"modality": modality, "url": url, "status": status, "created_at": created, "updated_at": updated}
        row_hash, size = hash_row(attributes, metadata, extra)
        context: Mapping[str, Any] = {}
        if self._reads_asset:
            times = {"created_at": created and created.isoformat(), "updated_at": updated and updated.isoformat()}
            context = {**extra, **attributes, **times, "asset_id": asset.asset_id, "metadata": metadata}
        features = _Features(self._shapes, self._mapping, self.budget, asset, context)
        rejected = [safe_rejected(r) for r in asset.rejected if _is_mapped(r.modality, self._shapes)]
        mapped = MappedAsset(
            asset_id=asset.asset_id,
            fingerprint=ledger_fingerprint(asset.fingerprint, self.digest, asset.turn),
            modality=modality,
            url=url,
            status=status,
            metadata=metadata,
            extra=extra,
            created_at=created,
            updated_at=updated,
            row_hash=row_hash,
            features=tuple(sorted(features.mapped, key=lambda feature: feature.feature_id)),
            rejected=bounded(asset.asset_id, [*rejected, *features.rejected], self.limits.quarantine_per_asset),
        )
        return MappedRecord(mapped, _rows(mapped), size + features.bytes, replaced + features.replaced)


@dataclass(frozen=True, slots=True)
class MappedRecord:
    """One asset, mapped or set aside. `rows` and `bytes` are its weight in a batch; `replaced` counts the
    characters that no store can hold and that became U+FFFD."""

    record: MappedAsset | Rejected
    rows: int = 1
    bytes: int = 0
    replaced: int = 0

    @property
    def asset_id(self) -> str:
        """The id of the asset."""
        return self.record.asset_id


def weighed(asset: MappedAsset) -> MappedRecord:
    """An asset that was mapped in an earlier run, with its weight."""
    attributes = {"modality": asset.modality, "url": asset.url, "status": asset.status}
    size = row_size(attributes, asset.metadata, asset.extra)
    for feature in asset.features:
        size += row_size(feature.columns, feature.metadata, feature.extra)
        size += sum(map(vector_bytes, feature.vectors.values()))
    return MappedRecord(asset, _rows(asset), size)


class MappingUse:
    """Which columns and named vectors of a mapping have met something in what was mapped."""

    def __init__(self, mapping: SchemaMapping) -> None:
        self._mapped = {modality: mapping.columns(modality) for modality in MODALITIES}
        self._columns = {modality: dict(mapping.modality(modality).columns) for modality in MODALITIES}
        self._vectors = {modality: set(mapping.modality(modality).vectors) for modality in MODALITIES}
        self._features: Counter[Modality] = Counter()
        self._paths: dict[Modality, dict[str, None]] = {modality: {} for modality in MODALITIES}
        self._names: dict[Modality, dict[str, None]] = {modality: {} for modality in MODALITIES}

    def note(self, asset: MappedAsset) -> None:
        """Look at the features of one asset. Costs nothing once everything has met something."""
        for feature in asset.features:
            columns, vectors = self._columns[feature.modality], self._vectors[feature.modality]
            if not columns and not vectors:
                continue
            self._features[feature.modality] += 1
            for name in [name for name in columns if feature.columns.get(name) is not None]:
                del columns[name]
            vectors.difference_update(feature.vectors)
            self._names[feature.modality] |= dict.fromkeys(feature.vectors)
            if columns and len(paths := self._paths[feature.modality]) < _PATHS_KNOWN:
                paths |= dict.fromkeys([*feature.extra, *(f"metadata.{key}" for key in feature.metadata)])
                filled = (name for name, value in feature.columns.items() if value is not None)
                paths |= dict.fromkeys(self._mapped[feature.modality][name].path for name in filled)

    def take(self) -> dict[str, Any]:
        """What has met something since this was last asked for, as JSON, for `add` of another one of this mapping."""
        taken = {
            modality.value: {
                "features": self._features[modality],
                "columns": sorted(self._columns[modality]),
                "vectors": sorted(self._vectors[modality]),
                "paths": list(self._paths[modality]),
                "names": list(self._names[modality]),
            }
            for modality in self._features
        }
        self._features.clear()
        return taken

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what another process has met."""
        for modality, met in ((Modality(name), each) for name, each in other.items()):
            self._features[modality] = self._features[modality] + int(met["features"])
            for name in self._columns[modality].keys() - set(met["columns"]):
                del self._columns[modality][name]
            self._vectors[modality] &= set(met["vectors"])
            self._paths[modality] |= dict.fromkeys(met["paths"])
            self._names[modality] |= dict.fromkeys(met["names"])

    def unmatched(self) -> Iterator[str]:
        """A sentence for each that has met nothing, of modalities that there are features of."""
        for modality, count in sorted(self._features.items()):
            features = f"{count:,} {modality} feature{'' if count == 1 else 's'}"
            for name, column in self._columns[modality].items():
                near = closest(column.path, list(self._paths[modality]))
                yield f"modalities.{modality}.columns.{name}: {column.path} is in none of {features}{near}"
            for name in sorted(self._vectors[modality]):
                near = closest(name, list(self._names[modality]))
                yield f"modalities.{modality}.vectors.{name}: none of {features} has a vector of this name{near}"


class _Features:
    """The features of one asset, each either mapped or set aside; of one that is mapped, bad parts may be set aside."""

    def __init__(
        self,
        shapes: Mapping[Modality, RowShape],
        mapping: SchemaMapping,
        budget: VectorBudget,
        asset: Asset,
        context: Mapping[str, Any],
    ) -> None:
        self.mapped: list[MappedFeature] = []
        self.rejected: list[Rejected] = []
        self.bytes = 0
        self.replaced = 0
        self._asset_id = asset.asset_id
        self._context = context
        self._shapes = shapes
        self._mapping = mapping
        self._budget = budget
        self._feature_ids: set[str] = set()
        for position, feature in enumerate(asset.features):
            try:
                self._add(feature)
            except (QuarantineError, RecursionError) as error:
                if _is_mapped(feature.modality, shapes):
                    name = feature.feature_id or f"#{position}"  # an empty one would mean the whole asset
                    self.rejected.append(_rejected(error, asset.asset_id, name, feature.modality))

    def _add(self, feature: Feature) -> None:
        check_id(feature.feature_id, "feature")
        if feature.feature_id in self._feature_ids:
            raise QuarantineError(Reason.DUPLICATE_ID, "an earlier feature of this asset has the same id")
        self._feature_ids.add(feature.feature_id)
        if feature.modality not in KNOWN_MODALITIES:
            known = ", ".join(MODALITIES)
            raise QuarantineError(Reason.UNKNOWN_MODALITY, f"modality {feature.modality[:80]!r} is none of {known}")
        modality = Modality(feature.modality)
        if shape := self._shapes.get(modality):
            self._map(feature, modality, shape)

    def _map(self, feature: Feature, modality: Modality, shape: RowShape) -> None:
        fields, replaced = clean(feature.fields)
        row = shape.row(fields, self._context)
        vectors = self._good_vectors(feature, modality)
        for column, error in row.unfit.items():
            self.rejected.append(replace(self._rejected(feature, error), column=column))
        self.mapped.append(
            MappedFeature(
                feature_id=feature.feature_id,
                modality=modality,
                columns=row.columns,
                metadata=row.metadata,
                extra=row.extra,
                row_hash=row.digest,
                vectors=vectors,
                vector_hashes={name: vector_hash(vector) for name, vector in vectors.items()},
            )
        )
        self.bytes += row.size + sum(map(vector_bytes, vectors.values()))
        self.replaced += replaced

    def _good_vectors(self, feature: Feature, modality: Modality) -> dict[str, Vector]:
        """The vectors that can be stored; each of the others is set aside alone."""
        good: dict[str, Vector] = {}
        for position, (name, vector) in enumerate(feature.vectors.items()):
            try:
                check_name(name)
                contiguous = check_vector(name, vector)
                self._mapping.vector(modality, name).check_dimension(name, contiguous)
                self._budget.admit(modality, name, dense_dimension(contiguous))
                good[name] = contiguous
            except QuarantineError as error:
                record = self._rejected(feature, error)
                self.rejected.append(safe_rejected(replace(record, vector_name=name or f"#{position}")))
        return good

    def _rejected(self, feature: Feature, error: QuarantineError) -> Rejected:
        return _rejected(error, self._asset_id, feature.feature_id, feature.modality)


def _rows(asset: MappedAsset) -> int:
    return max(1, len(asset.features) + len(asset.rejected))


def _is_mapped(modality: str, shapes: Mapping[Modality, RowShape]) -> bool:
    return modality not in KNOWN_MODALITIES or Modality(modality) in shapes


def _rejected(error: Exception, asset_id: str, feature_id: str = "", modality: str = "") -> Rejected:
    reason = error.reason if isinstance(error, QuarantineError) else Reason.MALFORMED
    detail = str(error) if isinstance(error, QuarantineError) else f"the fields cannot be read: {error}"
    return safe_rejected(Rejected(asset_id, Reason(reason), detail, feature_id, modality))
