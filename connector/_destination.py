"""The protocol a destination speaks, and the values that cross it.

Third parties add one through the entry point group ``vectorferry.destinations``. Destinations are plain
blocking code: the engine calls each from one thread of its own, one call at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._records import MODALITIES, Modality, Reason, Rejected, Vector
from vectorferry.connector._verify import Discrepancy, StoredDigest

__all__ = [
    "Advising",
    "Applied",
    "Batch",
    "Contents",
    "Counts",
    "Delivery",
    "Destination",
    "IndexBuild",
    "Known",
    "LoadedAsset",
    "LoadedFeature",
    "Lockable",
    "Placed",
    "Quarantined",
    "RecordHashes",
    "RowCounts",
    "SearchAnswer",
    "SearchQuery",
    "Status",
    "StoredAssets",
    "StoredContents",
    "TableStatus",
    "Verifiable",
    "Visibility",
]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedFeature:
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
class LoadedAsset:
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
    features: tuple[LoadedFeature, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Whole assets of one collection, no asset twice.

    Only features of `modalities` are present, and only those modalities' stale features may be removed. `rejected`
    names assets that could not be read or mapped at all; their old rows stay as they are, under an empty fingerprint.
    """

    collection: str
    modalities: frozenset[Modality]
    assets: tuple[LoadedAsset, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of one asset: its fingerprint, the modalities synced under it, features per modality."""

    fingerprint: str
    modalities: frozenset[Modality]
    features: Mapping[Modality, int] = field(default_factory=dict)


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
        for key in before.keys() | after.keys():
            modality, vector_name, _ = key
            if vector_name is None:
                counts = self.features.setdefault(modality, Counts())
            else:
                counts = self.vectors.setdefault((modality, vector_name), Counts())
            counts.compare(before.get(key), after.get(key))

    def set_aside(self, record: Rejected) -> None:
        """Name and count a record that was put into quarantine."""
        self.rejected.append(record)
        self._counts_of(record).quarantined += 1

    def _counts_of(self, record: Rejected) -> Counts:
        if not record.feature_id or record.modality not in MODALITIES:
            return self.assets
        modality = Modality(record.modality)
        if record.vector_name:
            return self.vectors.setdefault((modality, record.vector_name), Counts())
        return self.features.setdefault(modality, Counts())

    def __iadd__(self, other: Applied) -> Applied:
        self.assets += other.assets
        for modality, counts in other.features.items():
            self.features.setdefault(modality, Counts()).__iadd__(counts)
        for key, counts in other.vectors.items():
            self.vectors.setdefault(key, Counts()).__iadd__(counts)
        self.rejected.extend(other.rejected)
        return self


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """One vector index that was built; `seconds` is wall time."""

    table: str
    index: str
    method: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Visibility:
    """How far one place of a destination (``index/namespace``) has been written, and how far queries see it.

    Both are the store's own sequence numbers, which grow with every write; `visible` is None when it was not asked.
    """

    place: str
    written: int
    visible: int | None = None

    @property
    def is_visible(self) -> bool:
        """Whether a query sees everything that was written."""
        return self.visible is not None and self.visible >= self.written


@dataclass(slots=True)
class Delivery:
    """What writing has cost since the destination was opened, and whether queries see it.

    `bytes` are those of request bodies; `write_units` an estimate of what the store will bill. All zero and empty for
    a destination that is not metered and whose commits are seen at once.
    """

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    write_units: int = 0
    places: list[Visibility] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Nearest features of one modality under one named vector; `like` is a feature id, else `vector` is given."""

    modality: Modality
    vector_name: str | None = None
    vector: Vector | None = None
    like: str | None = None
    limit: int = 10
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Rows, nearest first, and the statement that anyone can run to get them again, in a `language`."""

    statement: str
    rows: Sequence[Mapping[str, Any]]
    language: Literal["sql", "python"] = "sql"


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table, or one index of all modalities (`modality` None). `collections` holds rows per collection."""

    name: str
    modality: Modality | None
    vector_name: str | None
    rows: int
    collections: Mapping[str, int]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """What a destination holds now. `related` counts the rows of each table of metadata beside the assets."""

    destination: str
    location: str
    assets: Mapping[str, int]
    tables: Sequence[TableStatus]
    quarantined: int
    last_change: datetime | None = None
    related: Mapping[str, int] = field(default_factory=dict)


class Destination(Protocol):
    """A store that features are upserted into. Every method may raise `DestinationError`."""

    @property
    def name(self) -> str:
        """A short label for logs and summaries, unique within the sync."""

    def prepare(self, mapping: SchemaMapping) -> None:
        """Make or extend whatever the mapping needs. A no-op, without any write, when nothing is missing."""

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""

    def apply(self, batch: Batch) -> Applied:
        """Replace these assets as wholes: upsert their rows and vectors, remove their stale ones, record
        fingerprints and quarantine. All or nothing, and the same batch again changes nothing.

        What a rejected record names is not stale: the stored feature with all its vectors, the one vector, or the value
        of the one column stays until a good one comes, counts as unchanged, and the record is `kept`.

        An asset that is only rejected loses the fingerprint that the ledger has of it: it is read again even when the
        source goes back to what it was, and leaves the quarantine then."""

    def asset_ids(self, collection: str) -> Iterable[str]:
        """Every asset of a collection in the ledger or the quarantine, streamed."""

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Remove assets that a complete scan did not see, with their features, vectors and ledger entries."""

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Build the vector indexes that are due; nothing when all are there and valid."""

    def delivered(self, wait: float = 0) -> Delivery:
        """What writing has cost since this was opened, and how far queries see what this wrote: as it is known now,
        or after waiting up to `wait` seconds for queries to see all of it."""

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""

    def status(self) -> Status:
        """Row counts, tables and quarantine as they are now."""

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Answer a similarity query."""

    def close(self) -> None:
        """Release connections. Safe to call twice."""


@runtime_checkable
class StoredAssets(Protocol):
    """What a destination also provides when other destinations can be filled from it."""

    def stored_collections(self) -> Sequence[str]:
        """The collections that it holds assets of, be it in the quarantine only. `prepare` comes first."""

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[LoadedAsset]:
        """These assets with all their features and vectors, as they would be applied, streamed. Vectors (and their
        hashes) are as they are stored, which may be less precise than the source had them."""


@runtime_checkable
class StoredContents(Protocol):
    """What a destination also provides so that an asset which comes with less than is stored of it is read a second
    time first, and so that the delete guard counts features and vectors. `prepare` comes first."""

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """What its books say is in each of these assets, also in those that `known` leaves out; nothing of an asset
        that it does not have, or hides."""

    def content_counts(self, collection: str) -> RowCounts:
        """How many features and vectors its books have of a collection, hidden ones left out."""


@runtime_checkable
class Quarantined(Protocol):
    """What a destination also provides so that its quarantine can be read and worked off. `prepare` is not needed."""

    def rejected(self, collection: str | None = None) -> Iterable[tuple[str, Rejected, datetime]]:
        """The collection, the record and when it was written, for every record in quarantine of one collection or of
        all, streamed; sorted by collection, asset and feature. Times are aware."""

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop the records of these assets, all or those of one reason; how many there were. Nothing else changes: an
        asset that the ledger has is not read again before it changes."""

    def read_again(self, collection: str, asset_ids: Sequence[str]) -> int:
        """Let the next sync read these assets as if they had changed: `known` has an empty fingerprint for them until
        they are applied again. How many of them the ledger had. Rows and records stay."""


@runtime_checkable
class Verifiable(Protocol):
    """What a destination also provides so that it can be checked, and repaired. `prepare` comes first."""

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterable[Discrepancy]:
        """Every record of a collection that is missing, extra or different from what the destination's own books say,
        streamed. Which records there are is compared for all assets; their contents for all (None), or for at most
        `sample` assets, other ones each time."""

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterable[StoredDigest]:
        """What the books say of every row and vector of these assets (None: all of a collection), streamed, sorted by
        asset, feature, modality and vector name. Two destinations that were given the same vectors answer alike,
        however exactly they store them; a row or vector whose own hash the books do not have has an empty digest."""

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Until it has written these assets again, `known` leaves them out, `asset_ids` names them all, and `apply`
        writes those of their records that were found to be different, whatever their hashes say."""


@runtime_checkable
class Lockable(Protocol):
    """What a destination also provides when one sync can keep others out. Everything between may be called meanwhile,
    from the same thread."""

    def lock(self, collection: str, wait: float = 0) -> AbstractContextManager[None]:
        """Keep everybody else who would lock this collection out until the block ends, or this process does.

        Waits up to `wait` seconds for who is in there. Raises `LockedError`, which says who that is. `prepare` is not
        needed.
        """


@runtime_checkable
class Placed(Protocol):
    """What a destination also provides when two of them could be one."""

    def place(self) -> str:
        """Where it writes, without secrets: the same text for all that write there, however they were spelled. Writes
        nothing, and needs no `prepare`."""


@runtime_checkable
class Advising(Protocol):
    """What a destination also provides when it may not do all that it was asked to."""

    def advice(self) -> Sequence[str]:
        """What it does not do, or does otherwise, and what to change; a sentence or two each. `prepare` comes first."""
