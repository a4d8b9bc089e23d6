"""What a check finds between a destination and its own books, and what is distrusted until it is written again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

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
