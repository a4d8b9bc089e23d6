"""What stays of an asset of which something was set aside: its last good version, as it is stored. Pure.

What a destination refuses is taken out of the asset first (`without_rejected`), then what is stored of everything that
was set aside is joined to it (`with_last_good`). The result is written, hashed and recorded like any other asset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from vectorferry.connector._model._batch import MappedAsset, MappedFeature
from vectorferry.connector._model._discrepancies import Distrusted
from vectorferry.connector._model._limits import REMAINDER
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Reason, Rejected
from vectorferry.connector._model._rows import hash_row, is_row_of
from vectorferry.connector._model._vectors import dense_dimension

_Key: TypeAlias = tuple[str, str]
"""Feature id and modality: only a feature of the same modality has the same vectors and columns."""

_NAMELESS: Final = frozenset({Reason.MALFORMED, Reason.BAD_ID, Reason.OVER_LIMIT})
"""What is set aside for these may have no id that can be read: the record says where it stood, and no more."""


def rejected_features(asset: MappedAsset) -> set[str] | None:
    """The ids of the features that rejected records name, in whole or in part; None where one may be of any feature."""
    read = {feature.feature_id for feature in asset.features}
    if any(each.reason in _NAMELESS and each.feature_id not in read for each in asset.rejected):
        return None
    return {each.feature_id for each in asset.rejected if each.feature_id}


class StoredVersions:
    """The features that are stored of an asset, by id and modality, and the ids of those that were `read` of it now."""

    def __init__(self, read: Set[str], stored: Iterable[_Key]) -> None:
        self._read = read
        self._by_id: dict[str, list[_Key]] = defaultdict(list)
        self._by_modality: dict[str, list[_Key]] = defaultdict(list)
        for key in stored:
            self._by_id[key[0]].append(key)
            self._by_modality[key[1]].append(key)

    def whole(self, record: Rejected) -> Sequence[_Key]:
        """The features that stay as they are, since they may be what this record is about: the one of this id, whatever
        its modality has become at the source. Where nothing is stored under an id that may be none, any may be meant
        of its modality that was not read."""
        if record.feature_id in self._read:
            return ()
        if (named := self._by_id.get(record.feature_id)) or record.reason not in _NAMELESS:
            return named or ()
        return [key for key in self._by_modality.get(record.modality, ()) if key[0] not in self._read]


def without_rejected(asset: MappedAsset, records: Sequence[Rejected]) -> MappedAsset:
    """The asset without the features and the vectors that these records name, and with the records."""
    if not records:
        return asset
    whole = {record.feature_id for record in records if not record.vector_name and not record.column}
    vectors: dict[str, set[str]] = defaultdict(set)
    for record in records:
        vectors[record.feature_id].add(record.vector_name)
    features = tuple(
        _without_vectors(feature, vectors.get(feature.feature_id, set()))
        for feature in asset.features
        if feature.feature_id not in whole
    )
    return replace(asset, features=features, rejected=(*asset.rejected, *records))


def with_last_good(asset: MappedAsset, stored: Iterable[MappedFeature], mapping: SchemaMapping) -> MappedAsset:
    """The asset with the version that is stored of everything that its rejected records name.

    A feature comes back with all its vectors, or one vector does, or the value of one column; what the asset itself has
    goes first. The records that something is stored of are `kept`. `stored` are this asset's features, of the
    modalities that are being written: those that `rejected_features` names, or all. A vector of another dimension than
    the `mapping` says is no good version.
    """
    if not asset.rejected:
        return asset
    before = {(one.feature_id, one.modality.value): _of_mapped_dimensions(one, mapping) for one in stored}
    if not before:
        return asset
    union = _Union({(one.feature_id, one.modality.value): one for one in asset.features}, before)
    rejected = tuple(replace(each, kept=union.take_back(each) or each.kept) for each in asset.rejected)
    features = sorted(union.features.values(), key=lambda one: one.feature_id)
    return replace(asset, features=tuple(features), rejected=rejected)


def without_distrusted(
    stored: Iterable[MappedFeature], asset: MappedAsset, collection: str, distrusted: Distrusted
) -> Iterator[MappedFeature]:
    """What is stored of an asset, without the vectors and the columns' values that a check has found to be others than
    were written: those are no good version. A row that there is nothing in place of stays as it is."""
    read = {feature.feature_id for feature in asset.features}
    for feature in stored:
        key = (asset.asset_id, feature.feature_id)
        wrong = {name for name in feature.vectors if distrusted.names(collection, feature.modality, name, key)}
        kept = _without_vectors(feature, wrong)
        is_wrong = feature.feature_id in read and distrusted.names(collection, feature.modality, None, key)
        yield replace(kept, columns={}) if is_wrong else kept


class _Union:
    """The features of an asset, and what is taken back into them of the features that are stored."""

    def __init__(self, features: Mapping[_Key, MappedFeature], stored: Mapping[_Key, MappedFeature]) -> None:
        self.features = dict(features)
        self._stored = stored
        self._read = {feature_id for feature_id, _ in features}
        self._versions = StoredVersions(self._read, stored)

    def take_back(self, record: Rejected) -> bool:
        """Whether anything is stored of what was set aside; then it is among the features."""
        if record.feature_id not in self._read:
            whole = self._take_back_features(self._versions.whole(record))
            return self._take_back_parts(record.modality) or whole if record.feature_id == REMAINDER else whole
        key = (record.feature_id, record.modality)
        now, before = self.features.get(key), self._stored.get(key)
        if now is None or before is None:
            return False
        if record.vector_name:
            joined = _with_vector(now, before, record.vector_name)
        else:
            joined = _with_column(now, before, record.column)
        self.features[key] = joined
        return joined is not now

    def _take_back_parts(self, modality: str) -> bool:
        """Of every feature that was read: nobody says which parts of which were set aside."""
        before = dict(self.features)
        for key in [key for key in before if key[1] == modality and key in self._stored]:
            joined, stored = self.features[key], self._stored[key]
            for name in stored.vectors:
                joined = _with_vector(joined, stored, name)
            for column in joined.columns:
                joined = _with_column(joined, stored, column)
            self.features[key] = joined
        return any(self.features[key] is not feature for key, feature in before.items())

    def _take_back_features(self, keys: Sequence[_Key]) -> bool:
        self.features |= {key: _hashed_anew(self._stored[key]) for key in keys}
        return bool(keys)


def _of_mapped_dimensions(feature: MappedFeature, mapping: SchemaMapping) -> MappedFeature:
    unfit = {
        name
        for name, vector in feature.vectors.items()
        if not mapping.vector(feature.modality, name).takes_dimension(dense_dimension(vector))
    }
    return _without_vectors(feature, unfit)


def _without_vectors(feature: MappedFeature, names: set[str]) -> MappedFeature:
    if not names & feature.vectors.keys():
        return feature
    vectors = {name: vector for name, vector in feature.vectors.items() if name not in names}
    return replace(feature, vectors=vectors, vector_hashes={name: feature.vector_hashes[name] for name in vectors})


def _with_vector(now: MappedFeature, before: MappedFeature, name: str) -> MappedFeature:
    if name in now.vectors or name not in before.vectors:
        return now
    vectors = {**now.vectors, name: before.vectors[name]}
    return replace(now, vectors=vectors, vector_hashes={**now.vector_hashes, name: before.vector_hashes[name]})


def _with_column(now: MappedFeature, before: MappedFeature, name: str) -> MappedFeature:
    value = _in_utc(before.columns.get(name))
    if value is None or now.columns.get(name, value) is not None:
        return now
    columns = {**now.columns, name: value}
    return replace(now, columns=columns, row_hash=hash_row(columns, now.metadata, now.extra)[0])


def _hashed_anew(feature: MappedFeature) -> MappedFeature:
    """The hash is another one where the mapping, and with it the row, has changed since it was written."""
    row = (feature.columns, feature.metadata, feature.extra)
    return feature if is_row_of(feature.row_hash, *row) else replace(feature, row_hash=hash_row(*row)[0])


def _in_utc(value: Any) -> Any:
    """As it was hashed: a database tells times in its session's zone."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value
