"""A source that reads no asset and a destination that writes nothing: with them a sync decides all it would do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from vectorferry.connector._iterators import closing
from vectorferry.connector._model._batch import Applied, Batch, Counts
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Asset, Listing
from vectorferry.connector._model._related import RelatedRow, RelatedTable, related_counts
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._allowance import Allowance
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import (
    Cursor,
    Destination,
    Known,
    Planned,
    SearchAnswer,
    SearchQuery,
    Status,
)
from vectorferry.connector._protocols._source import Origin, Source, Usage

LOOKED_UP_AT_ONCE: Final = 5_000

DRY: Final = frozenset(
    {Capability.CURSORS, Capability.ORIGINS, Capability.RELATED_TABLES, Capability.STORED_COLLECTIONS}
)
"""What a sync asks of a destination before it writes."""

T = TypeVar("T")


class DrySource(Source):
    """Lists as the source does. Of assets that a sync would read, it gives back little more than the id."""

    def __init__(
        self, inner: Source, destinations: Sequence[DryDestination], limits: SourceLimits | None = None
    ) -> None:
        self._limits = limits or SourceLimits()
        self.capabilities = inner.capabilities & {Capability.CHANGED_SINCE}
        self.listing_seconds = 0.0
        self._inner = inner
        self._destinations = destinations
        self._reads: dict[str, Reads] = defaultdict(Reads)

    @property
    def usage(self) -> Usage:
        """The source's own."""
        return self._inner.usage

    def reads(self, collection: str) -> Reads:
        """What would be read of a collection, be it called by its id or as a summary calls it."""
        return self._reads[safe_id(collection)]

    def requests_to_read(self, assets: int, features: int) -> int | None:
        """The source's own answer."""
        return self._inner.requests_to_read(assets, features)

    async def collections(self) -> Sequence[str]:
        """The source's own."""
        return await self._inner.collections()

    def share(self, allowance: Allowance) -> None:
        """The source's own."""
        self._inner.share(allowance)

    def is_gone(self, collection: str) -> bool:
        """What the source says, if it can."""
        return self._inner.is_gone(collection)

    @property
    def not_found(self) -> Mapping[str, str]:
        """What the source says, if it does."""
        return self._inner.not_found

    def vector_metrics(self) -> Mapping[str, str]:
        """The source's own."""
        return self._inner.vector_metrics()

    async def identity(self, collection: str) -> Origin:
        """The source's own."""
        return await self._inner.identity(collection)

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """The source's own listing; how long it takes is noted."""
        async with closing(self._timed(self._inner.scan(collection))) as listed:
            async for listing in listed:
                yield listing

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        """The source's own listing; how long it takes is noted."""
        async with closing(self._timed(self._inner.scan_changed(collection, since))) as listed:
            async for listing in listed:
                yield listing

    async def cursor(self, collection: str) -> str | None:
        """The source's own."""
        return await self._inner.cursor(collection)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset]:
        """Count what would be read. Nothing is read ahead, so a listing is always of the page that was looked up."""
        async for listing in listings:
            self._note(collection, listing.asset_id)
            yield Asset(listing.asset_id, listing.fingerprint)

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """The source's own."""
        return self._inner.related_tables

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """The source's own; how long it takes is noted as listing."""
        async with closing(self._timed(self._inner.related_rows(table))) as listed:
            async for row in listed:
                yield row

    async def aclose(self) -> None:
        """The source stays open."""

    async def _timed(self, listed: AsyncIterator[T]) -> AsyncIterator[T]:
        started = time.monotonic()
        async with closing(listed) as each:
            async for one in each:
                self.listing_seconds += time.monotonic() - started
                yield one
                started = time.monotonic()
        self.listing_seconds += time.monotonic() - started

    def _note(self, collection: str, asset_id: str) -> None:
        reads = self.reads(collection)
        stored = [each.page(collection) for each in self._destinations]
        had = [features_of(page[asset_id]) for page in stored if asset_id in page]
        if had:
            reads.changed += 1
            reads.features += max(had)
            reads.over_limit += max(had) > self._limits.features_per_asset
        else:
            reads.new += 1


@dataclass(slots=True)
class Reads:
    """Assets of one collection that would be read. `features` is how many the `changed` ones had, of which so many are
    `over_limit` unless they have become less."""

    new: int = 0
    changed: int = 0
    features: int = 0
    over_limit: int = 0


class DryDestination(Destination):
    """Answers as the destination would after `prepare`, and counts what it would be given."""

    def __init__(self, inner: Destination) -> None:
        self.capabilities = inner.capabilities & DRY
        self._inner = inner
        self._page: tuple[str, Mapping[str, Known]] = ("", {})
        self._outlook: Planned | None = None
        self._books: dict[str, Book] = defaultdict(Book)

    @property
    def name(self) -> str:
        """The destination's own."""
        return self._inner.name

    @property
    def hides(self) -> bool:
        """Whether it can hide assets instead of removing them."""
        return Capability.TOMBSTONES in self._inner.capabilities

    @property
    def outlook(self) -> Planned:
        """What the destination said when it was prepared; nothing when it failed then."""
        return self._outlook or Planned(lambda _, __: {}, lambda _: ())

    def book(self, collection: str) -> Book:
        """What would happen to a collection, be it called by its id or as a summary calls it."""
        return self._books[safe_id(collection)]

    def prepare(self, mapping: SchemaMapping) -> None:
        """Ask what would be made."""
        self._outlook = self._inner.planned(mapping)
        allowance = self._inner.capabilities & {Capability.ALLOWANCE}
        # Who has stored something has an allowance to borrow from.
        if allowance and self._outlook.averages and self._inner.reading_allowance():
            self.capabilities |= allowance

    def allowance(self) -> Allowance:
        """The destination's own."""
        return self._inner.allowance()

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries."""
        known = self.outlook.known(collection, asset_ids)
        self._page = (collection, known)
        return known

    def page(self, collection: str) -> Mapping[str, Known]:
        """What it has of the page of assets that is being decided. Nobody asks one that has nothing of a collection."""
        asked, known = self._page
        return known if asked == collection else {}

    def apply(self, batch: Batch) -> Applied:
        """Count assets that it does not have yet as inserted, others as updated."""
        applied, book = Applied(), self.book(batch.collection)
        known = self.outlook.known(batch.collection, [asset.asset_id for asset in batch.assets])
        book.written.add([*(asset.asset_id for asset in batch.assets), *(each.asset_id for each in batch.rejected)])
        book.features += sum(features_of(entry) for entry in known.values())
        applied.assets.updated = len(known)
        applied.assets.inserted = len(batch.assets) - len(known)
        return applied

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset that it has and that would not have been removed by now. Those that would have been written are
        left out: they were listed."""
        book = self.book(collection)
        assets = len(book.written)
        for page in _pages(self.outlook.asset_ids(collection)):
            assets += len(book.written.missing(page))
            yield from book.gone.missing(page)
        book.assets = assets

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Count them."""
        book = self.book(collection)
        book.deleted += len(self.outlook.known(collection, asset_ids))
        book.gone.add(asset_ids)
        return Applied()

    def stored_collections(self) -> Sequence[str]:
        """Those that it has."""
        return self.outlook.collections()

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

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """Of the rows that it has."""
        return self.outlook.related_hashes(table)

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """Count what would change."""
        return related_counts(self.related_hashes(table), rows, complete=complete)

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded last."""
        return self.outlook.cursor(collection)

    def record_cursor(self, collection: str, cursor: Cursor | None, before: Cursor | None = None) -> None:
        """Nothing is."""

    def place(self) -> str | None:
        """The destination's own."""
        return self._inner.place()

    def origin(self, collection: str) -> Origin | None:
        """What was recorded last."""
        return self.outlook.origin(collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Nothing is."""


@dataclass(slots=True)
class Book:
    """What would happen to one collection in one destination.

    `features` is how many the replaced assets have; `assets` counts assets with those that would have been `written`.
    """

    features: int = 0
    assets: int = 0
    deleted: int = 0
    written: SeenIds = field(default_factory=SeenIds)
    gone: SeenIds = field(default_factory=SeenIds)


def features_of(entry: Known) -> int:
    """How many features an asset had."""
    return sum(entry.features.values())


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(ids)
    while page := list(islice(iterator, LOOKED_UP_AT_ONCE)):
        yield page
