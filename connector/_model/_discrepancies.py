"""What a check finds between a destination and its own books, and what is distrusted until it is written again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from vectorferry.connector._model._records import Modality


class Difference(StrEnum):
    """How two places that should hold the same differ."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One record that is not as its destination's own books say.

    A vector when `vector_name` is set, else the row of a feature when `feature_id` is, else the asset's own row, or
    the asset as a whole; `detail` says what cannot be said by names.
    """

    kind: Difference
    asset_id: str
    feature_id: str = ""
    modality: Modality | None = None
    vector_name: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, order=True)
class StoredDigest:
    """The hash of one row (`vector_name` empty) or vector of a feature, as the source had it; of the asset's own row
    where `feature_id` and `modality` are empty."""

    asset_id: str
    feature_id: str
    modality: str
    vector_name: str
    digest: bytes


SLICES: Final = 4_096
"""How many slices a collection is compared in: each asset is in one of them, with all its records, by a hash of its id.
A power of two, so that a hash's lowest bits are the slice."""

MOST_SLICES: Final = SLICES // 8
"""Where more of them differ, reading everything is as fast as picking their assets out."""

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class DigestSum:
    """How many records there are, and the sums of one or two 64-bit hashes of each: of its ids, and of its digest where
    that counts. `unknown` are the records without a digest, which are in neither sum.

    A sum is the same in whatever order rows are read, so that a server adds up as it scans, in several processes at
    once. What was changed has the same sum as before once in 2^64, with two hashes less often (the 64 bits of the ids
    seed both). That one change takes another one back is no likelier: the hash of a digest depends on whose it is.
    """

    records: int
    low: int
    high: int = 0
    unknown: int = 0

    def __add__(self, other: DigestSum) -> DigestSum:
        return DigestSum(
            self.records + other.records, self.low + other.low, self.high + other.high, self.unknown + other.unknown
        )


SliceSums: TypeAlias = Mapping[_Kind, Mapping[int, DigestSum]]
"""By kind of record and slice; what has no record is not there."""

DigestKind: TypeAlias = tuple[str, str]
"""Modality and vector name, empty as in a `StoredDigest`."""


def sum_slices(entries: Iterable[tuple[_Kind, int, DigestSum]]) -> SliceSums[_Kind]:
    """Sums by kind and slice, those of the same ones added up."""
    by_kind: defaultdict[_Kind, dict[int, DigestSum]] = defaultdict(dict)
    for kind, number, each in entries:
        if each.records:
            before = by_kind[kind].get(number)
            by_kind[kind][number] = each if before is None else before + each
    return dict(by_kind)


def different_slices(sums: SliceSums[_Kind], other: SliceSums[_Kind]) -> set[int]:
    """The slices in which any kind of record has other sums, or records without a digest."""
    return {
        number
        for kind in sums.keys() | other.keys()
        for number in sums.get(kind, {}).keys() | other.get(kind, {}).keys()
        if (one := sums.get(kind, {}).get(number)) != other.get(kind, {}).get(number) or (one and one.unknown)
    }


_Key: TypeAlias = tuple[str, str]
_Table: TypeAlias = tuple[str, Modality | None, str | None]


class Distrusted:
    """The assets of a destination that are to be read again, whatever its ledger says, and their records that are to be
    written, whatever their hashes say. In memory only: whoever stops before they are written has changed nothing."""

    def __init__(self) -> None:
        self._assets: dict[str, set[str]] = defaultdict(set)
        self._records: dict[_Table, set[_Key]] = defaultdict(set)

    def add(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Distrust the asset of each, and each record that is different."""
        for one in discrepancies:
            self._assets[collection].add(one.asset_id)
            if one.kind is Difference.DIFFERENT:
                table = (collection, one.modality, one.vector_name)
                self._records[table].add((one.asset_id, one.feature_id))

    def assets(self, collection: str) -> frozenset[str]:
        """The assets of a collection that are to be read again."""
        return frozenset(self._assets.get(collection, ()))

    def names(self, collection: str, modality: Modality | None, vector_name: str | None, key: _Key) -> bool:
        """Whether this record, by asset and feature, was found to be different."""
        return key in self._records.get((collection, modality, vector_name), ())

    def blanked(
        self, collection: str, modality: Modality | None, vector_name: str | None, stored: Mapping[_Key, bytes]
    ) -> Mapping[_Key, bytes]:
        """Hashes by asset and feature, with one that no record has for each that is distrusted."""
        distrusted = self._records.get((collection, modality, vector_name))
        return stored if not distrusted else {**stored, **dict.fromkeys(distrusted & stored.keys(), b"")}

    def forget(self, collection: str, asset_ids: Iterable[str]) -> None:
        """Trust these assets again: they have just been written, or removed."""
        gone = set(asset_ids) & self._assets.get(collection, set())
        self._assets[collection] -= gone
        for table in [table for table in self._records if table[0] == collection] if gone else []:
            self._records[table] = {key for key in self._records[table] if key[0] not in gone}
