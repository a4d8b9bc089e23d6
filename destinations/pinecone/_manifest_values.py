"""What goes into the manifest and comes out of it. Plain values."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from vectorferry.connector import Modality

from .._postgres import FeatureKey

__all__ = ["Held", "HeldFeature", "IndexRow", "ManifestCounts", "ManifestRows", "NamespaceRow", "Place"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where one record is, within a collection."""

    asset_id: str
    feature_id: str
    index: str

    @property
    def key(self) -> FeatureKey:
        """The feature that the record is of."""
        return self.asset_id, self.feature_id


@dataclass(frozen=True, slots=True)
class HeldFeature:
    """What the store holds of one feature.

    `records` maps the name of an index to the hash of the vectors in it; the metadata is the same in each. `row_hash`
    is None in a manifest that was rebuilt from the store; empty metadata hashes say that it is not known.
    """

    modality: Modality
    row_hash: bytes | None
    metadata_hash: bytes
    keys_hash: bytes
    records: Mapping[str, bytes]

    def without_row_hash(self) -> HeldFeature:
        """The same, as a manifest that was rebuilt from the store has it."""
        return replace(self, row_hash=None)

    def also_in(self, index: str, other: HeldFeature) -> HeldFeature:
        """The same with the record that was found in an index; metadata that differs is not known any more."""
        same = (self.metadata_hash, self.keys_hash) == (other.metadata_hash, other.keys_hash)
        joined = replace(self, records={**self.records, index: other.records[index]})
        return joined if same else replace(joined, metadata_hash=b"", keys_hash=b"")


@dataclass(frozen=True, slots=True)
class Held:
    """What the manifest holds of some assets of one collection.

    `assets` maps asset ids to row hashes. `unconfirmed` are the places that a run which never came to its end has
    touched: a record may or may not be there, with unknown content.
    """

    features: Mapping[FeatureKey, HeldFeature] = field(default_factory=dict)
    assets: Mapping[str, bytes] = field(default_factory=dict)
    unconfirmed: Mapping[Place, Modality] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManifestRows:
    """What the manifest should hold for a batch's assets. `per_asset` counts features by modality, for the ledger.

    Of features that were `touched`, nothing else stays, of whatever modality they were before. Those that are
    `uncertain` stay as they are, and in the journal: a run that was killed had begun to write them, this one has not.
    """

    features: Mapping[FeatureKey, HeldFeature]
    per_asset: Mapping[str, Mapping[str, int]]
    touched: Set[FeatureKey] = frozenset()
    uncertain: Set[FeatureKey] = frozenset()


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One index. `dimension` is None for sparse vectors; `host` is where it is written and queried.

    An index is `complete` once all of its records are known: not while a lost manifest is being rebuilt from it.
    """

    name: str
    vector_name: str
    dimension: int | None
    metric: str
    host: str
    complete: bool = True


@dataclass(frozen=True, slots=True)
class NamespaceRow:
    """One namespace of one index; `lsn` is the highest sequence number that a write to it was answered with, `visible`
    the highest of these that a query is known to have seen."""

    index: str
    collection: str
    namespace: str
    lsn: int
    visible: int = 0


@dataclass(frozen=True, slots=True)
class ManifestCounts:
    """What there is: records per index and collection, assets per collection, quarantine, and the last change."""

    records: Mapping[str, dict[str, int]]
    assets: Mapping[str, int]
    quarantined: int
    last_change: datetime | None
