"""A destination that writes nothing. A sync between it and a source that reads no asset decides as the real one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from vectorferry.connector._cursor import Cursor, Cursors
from vectorferry.connector._destination import (
    Applied,
    Batch,
    Counts,
    Delivery,
    Destination,
    IndexBuild,
    Known,
    Placed,
    SearchAnswer,
    SearchQuery,
    Status,
)
from vectorferry.connector._engine._checks import safe_id
from vectorferry.connector._gone import Tombstones
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._origin import Origin, Origins
from vectorferry.connector._planned import Plannable, Planned
from vectorferry.connector._related import RelatedRow, RelatedTable, StoresRelated, related_counts
from vectorferry.connector._seen import SeenIds

__all__ = ["Book", "DryDestination", "PlannableDestination", "dry_destination", "features_of"]

LOOKED_UP_AT_ONCE: Final = 5_000


class PlannableDestination(Destination, Plannable, Protocol):
    """A destination that can be planned for."""


@dataclass(slots=True)
class Book:
    """What would happen to one collection in one destination.

    `features` is how many the replaced assets have; `held` counts assets with those that would have been `written`.
    """

    features: int = 0
    held: int = 0
    deleted: int = 0
    written: SeenIds = field(default_factory=SeenIds)
    gone: SeenIds = field(default_factory=SeenIds)


class DryDestination:
    """Answers as the destination would after `prepare`, and counts what it would be given."""

    def __init__(self, inner: PlannableDestination) -> None:
        self.page: Mapping[str, Known] = {}
        """The answer to the last question: what it has of the page of assets that is being decided."""
        self._inner = inner
        self._planned: Planned | None = None
        self._books: dict[str, Book] = defaultdict(Book)

    @property
    def name(self) -> str:
        """The destination's own."""
        return self._inner.name

    @property
    def hides(self) -> bool:
        """Whether it can hide assets instead of removing them."""
        return isinstance(self._inner, Tombstones)

    @property
    def planned(self) -> Planned:
        """What the destination said when it was prepared; nothing when it failed then."""
        return self._planned or Planned(lambda _, __: {}, lambda _: ())

    def book(self, collection: str) -> Book:
        """What would happen to a collection, be it called by its id or as a summary calls it."""
        return self._books[safe_id(collection)]

    def prepare(self, mapping: SchemaMapping) -> None:
        """Ask what would be made."""
        self._planned = self._inner.planned(mapping)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries."""
        self.page = self.planned.known(collection, asset_ids)
        return self.page

    def apply(self, batch: Batch) -> Applied:
        """Count assets that it does not have yet as inserted, others as updated."""
        applied, book = Applied(), self.book(batch.collection)
        known = self.planned.known(batch.collection, [asset.asset_id for asset in batch.assets])
        book.written.add([*(asset.asset_id for asset in batch.assets), *(each.asset_id for each in batch.rejected)])
        book.features += sum(features_of(entry) for entry in known.values())
        applied.assets.updated = len(known)
        applied.assets.inserted = len(batch.assets) - len(known)
        return applied

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset that it has and that would not have been removed by now. Those that would have been written are
        left out: they were listed."""
        book = self.book(collection)
        held = len(book.written)
        for page in _pages(self.planned.asset_ids(collection)):
            held += len(book.written.missing(page))
            yield from book.gone.missing(page)
        book.held = held

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Count them."""
        book = self.book(collection)
        book.deleted += len(self.planned.known(collection, asset_ids))
        book.gone.add(asset_ids)
        return Applied()

    def stored_collections(self) -> Sequence[str]:
        """Those that it has."""
        return self.planned.collections()

    def build_indexes(self) -> Sequence[IndexBuild]:
        """None; those that are due are in what was planned."""
        return []

    def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
        """Nothing was."""
        return Delivery()

    def quarantined(self, collection: str) -> int:  # noqa: ARG002
        """Nothing is set aside by a plan."""
        return 0

    def status(self) -> Status:
        """The destination's own."""
        return self._inner.status()

    def search(self, query: SearchQuery) -> SearchAnswer:
        """The destination's own."""
        return self._inner.search(query)

    def close(self) -> None:
        """The destination stays open."""


class DryRelatedDestination(DryDestination):
    """One that would also be given tables of metadata."""

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """Of the rows that it has."""
        return self.planned.related_hashes(table)

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """Count what would change."""
        return related_counts(self.related_hashes(table), rows, complete=complete)


class DryFollowingDestination(DryDestination):
    """One that has followed changes, and does so no further."""

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded last."""
        return self.planned.cursor(collection)

    def record_cursor(self, collection: str, cursor: Cursor | None) -> None:
        """Nothing is."""


class DryPlacedDestination(DryDestination):
    """One that knows where it would write."""

    def place(self) -> str:
        """The destination's own."""
        return self._inner.place() if isinstance(self._inner, Placed) else self.name


class DryRecordingDestination(DryDestination):
    """One that has recorded who read the source, and records nobody else."""

    def origin(self, collection: str) -> Origin | None:
        """What was recorded last."""
        return self.planned.origin(collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Nothing is."""


OPTIONAL: Final = (
    (StoresRelated, DryRelatedDestination),
    (Cursors, DryFollowingDestination),
    (Placed, DryPlacedDestination),
    (Origins, DryRecordingDestination),
)


def dry_destination(inner: PlannableDestination) -> DryDestination:
    """One that provides what the real one provides."""
    able = tuple(dry for protocol, dry in OPTIONAL if isinstance(inner, protocol))
    made: type[DryDestination] = type(DryDestination.__name__, (*able, DryDestination), {})
    return made(inner)


def features_of(entry: Known) -> int:
    """How many features an asset had."""
    return sum(entry.features.values())


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(ids)
    while page := list(islice(iterator, LOOKED_UP_AT_ONCE)):
        yield page
