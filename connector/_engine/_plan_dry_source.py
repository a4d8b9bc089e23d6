"""A source that reads no asset, for plans."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vectorferry.connector._closing import closing
from vectorferry.connector._engine._checks import safe_id
from vectorferry.connector._engine._origins import origin_of
from vectorferry.connector._engine._plan_dry import DryDestination, features_of
from vectorferry.connector._gone import AllCollections, not_found
from vectorferry.connector._origin import Origin
from vectorferry.connector._planned import CountedReads
from vectorferry.connector._records import Asset, Listing
from vectorferry.connector._related import RelatedTable, RelatedTables
from vectorferry.connector._source import ChangedSince, Source, Usage

__all__ = ["DrySource", "Reads", "dry_source"]

T = TypeVar("T")


@dataclass(slots=True)
class Reads:
    """Assets of one collection that would be read. `features` is how many the `changed` ones had."""

    new: int = 0
    changed: int = 0
    features: int = 0


class DrySource:
    """Lists as the source does. Of assets that a sync would read, it gives back little more than the id."""

    def __init__(self, inner: Source, destinations: Sequence[DryDestination]) -> None:
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

    def requests_to_read(self, assets: int, features: int | None) -> int | None:
        """The source's own answer; None where it has none, or the features cannot be estimated."""
        if not assets:
            return 0
        if features is None or not isinstance(self._inner, CountedReads):
            return None
        return self._inner.requests_to_read(assets, features)

    async def collections(self) -> Sequence[str]:
        """The source's own."""
        return await self._inner.collections()

    def is_gone(self, collection: str) -> bool:
        """What the source says, if it can."""
        return isinstance(self._inner, AllCollections) and self._inner.is_gone(collection)

    @property
    def not_found(self) -> Mapping[str, str]:
        """What the source says, if it does."""
        return not_found(self._inner)

    async def identity(self, collection: str) -> Origin:
        """The source's own."""
        return await origin_of(self._inner, collection)

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """The source's own listing; how long it takes is noted."""
        async with closing(self._timed(self._inner.scan(collection))) as listed:
            async for listing in listed:
                yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset]:
        """Count what would be read. Nothing is read ahead, so a listing is always of the page that was looked up."""
        async for listing in listings:
            self._note(self.reads(collection), listing.asset_id)
            yield Asset(listing.asset_id, listing.fingerprint)

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """The source's own."""
        return self._inner.related_tables if isinstance(self._inner, RelatedTables) else ()

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """The source's own; how long it takes is noted as listing."""
        if isinstance(self._inner, RelatedTables):
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

    def _note(self, reads: Reads, asset_id: str) -> None:
        had = [features_of(each.page[asset_id]) for each in self._destinations if asset_id in each.page]
        if had:
            reads.changed += 1
            reads.features += max(had)
        else:
            reads.new += 1


class DryChangedSource(DrySource):
    """One that can list what has changed."""

    def __init__(self, inner: Source, changes: ChangedSince, destinations: Sequence[DryDestination]) -> None:
        super().__init__(inner, destinations)
        self._changes = changes

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        """The source's own listing; how long it takes is noted."""
        async with closing(self._timed(self._changes.scan_changed(collection, since))) as listed:
            async for listing in listed:
                yield listing

    async def cursor(self, collection: str) -> str | None:
        """The source's own."""
        return await self._changes.cursor(collection)


def dry_source(inner: Source, destinations: Sequence[DryDestination]) -> DrySource:
    """One that provides what the real one provides."""
    if isinstance(inner, ChangedSince):
        return DryChangedSource(inner, inner, destinations)
    return DrySource(inner, destinations)
