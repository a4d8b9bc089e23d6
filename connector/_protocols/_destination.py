"""The protocol a destination speaks, and the values that cross it.

Third parties add one through the entry point group ``vectorferry.destinations``. Destinations are plain
blocking code: the engine calls each from one thread of its own, one call at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from vectorferry.connector._model._batch import Applied, Batch
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Modality, Vector

__all__ = [
    "Delivery",
    "Destination",
    "IndexBuild",
    "Known",
    "SearchAnswer",
    "SearchQuery",
    "Status",
    "TableStatus",
    "Visibility",
]


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of one asset: its fingerprint, the modalities synced under it, features per modality."""

    fingerprint: str
    modalities: frozenset[Modality]
    features: Mapping[Modality, int] = field(default_factory=dict)


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
