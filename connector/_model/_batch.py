"""What a destination is given, mapped and ready to be written, and the counts of what it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from vectorferry.connector._model._records import MODALITIES, Modality, Rejected, Vector


@dataclass(frozen=True, slots=True, eq=False)
class MappedFeature:
    """A feature after validation and mapping, ready to be written.

    `columns` holds exactly the mapped columns of its modality, in the mapping's order, as Python values (None for
    absent); `metadata` and `extra` are JSON objects; `row_hash` covers these three, `vector_hashes` each vector.
    """

    feature_id: str
    modality: Modality
    columns: Mapping[str, Any]
    metadata: Mapping[str, Any]
    extra: Mapping[str, Any]
    row_hash: bytes
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    vector_hashes: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class MappedAsset:
    """An asset after validation and mapping; `rejected` names its features, and parts of features, that were set aside.

    Of what these name, the version that is stored is not stale: `with_last_good` joins it to the asset.
    """

    asset_id: str
    fingerprint: str
    modality: str | None
    url: str | None
    status: str | None
    metadata: Mapping[str, Any]
    extra: Mapping[str, Any]
    created_at: datetime | None
    updated_at: datetime | None
    row_hash: bytes
    features: tuple[MappedFeature, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """One worker's right to write the assets of one shard of a run: it lasts as long as `token` is the highest that was
    given out for this shard. `owner` names the worker."""

    run_id: str
    number: int
    token: int
    owner: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Whole assets of one collection, no asset twice.

    Only features of `modalities` are present, and only those modalities' stale features may be removed. `rejected`
    names assets that could not be read or mapped at all; their old rows stay as they are, under an empty fingerprint.
    With `fences`, it is written only while all of them stand: several processes share the collection.
    """

    collection: str
    modalities: frozenset[Modality]
    assets: tuple[MappedAsset, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    fences: tuple[Fence, ...] = ()


@dataclass(slots=True)
class Counts:
    """Records written, by kind of change."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0

    def compare(self, before: bytes | None, after: bytes | None) -> None:
        """Count one record by its hash before and after; None where it was not there, or is gone."""
        if before is None:
            self.inserted += 1
        elif after is None:
            self.deleted += 1
        elif before == after:
            self.unchanged += 1
        else:
            self.updated += 1

    def __iadd__(self, other: Counts) -> Counts:
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.deleted += other.deleted
        self.quarantined += other.quarantined
        return self


RecordHashes: TypeAlias = Mapping[tuple[Modality, str | None, Hashable], bytes]
"""Hashes of rows and vectors, by modality, vector name (None for the row itself) and whatever names the feature."""

Contents: TypeAlias = Mapping[Modality, Mapping[str, Mapping[str, int | None]]]
"""What is in one asset: by modality and feature id, the names of its vectors with their dimensions (None: sparse, or
not known)."""

RowCounts: TypeAlias = Mapping[tuple[Modality, str | None], int]
"""Numbers of features by modality (the name is None), and of vectors by modality and name."""


@dataclass(slots=True)
class Applied:
    """What one `apply` or `remove` changed: assets, features per modality, vectors per (modality, vector name).

    `rejected` names the records that were put into quarantine: the batch's, and those that the destination itself
    refused (another dimension, say).
    """

    assets: Counts = field(default_factory=Counts)
    features: dict[Modality, Counts] = field(default_factory=dict)
    vectors: dict[tuple[Modality, str], Counts] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def compare(self, before: RecordHashes, after: RecordHashes) -> None:
        """Count features and vectors by their hashes before and after."""
        for (modality, name), number in _numbers(after.keys() - before.keys()).items():
            self._counts(modality, name).inserted += number
        for (modality, name), number in _numbers(before.keys() - after.keys()).items():
            self._counts(modality, name).deleted += number
        for key in before.keys() & after.keys():
            self._counts(key[0], key[1]).compare(before[key], after[key])

    def set_aside(self, record: Rejected) -> None:
        """Name and count a record that was put into quarantine."""
        self.rejected.append(record)
        self._counts_of(record).quarantined += 1

    def _counts_of(self, record: Rejected) -> Counts:
        if not record.feature_id or record.modality not in MODALITIES:
            return self.assets
        return self._counts(Modality(record.modality), record.vector_name)

    def _counts(self, modality: Modality, vector_name: str | None) -> Counts:
        if vector_name:
            return self.vectors.setdefault((modality, vector_name), Counts())
        return self.features.setdefault(modality, Counts())

    def __iadd__(self, other: Applied) -> Applied:
        self.assets += other.assets
        for modality, counts in other.features.items():
            self.features.setdefault(modality, Counts()).__iadd__(counts)
        for key, counts in other.vectors.items():
            self.vectors.setdefault(key, Counts()).__iadd__(counts)
        self.rejected.extend(other.rejected)
        return self


def _numbers(keys: Iterable[tuple[Modality, str | None, Hashable]]) -> RowCounts:
    """How many of these hashes are of rows and of vectors."""
    return Counter((modality, vector_name) for modality, vector_name, _ in keys)
