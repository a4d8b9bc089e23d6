"""Reading assets with vectors, as many as fit in a request: whole pages of the list again, or documents by ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from vectorferry.connector._model._errors import IncompleteScanError, QuarantineError
from vectorferry.connector._model._limits import AssetBudget, SourceLimits
from vectorferry.connector._model._records import Asset, Listing
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError, UnreadableError, one_line
from vectorferry.connector.sources._reading import Outcome, check_id, outcome_of, results_of
from vectorferry.connector.sources.mixpeek_documents._api import VECTORS, Collection, DocumentsApi, Place, Query
from vectorferry.connector.sources.mixpeek_documents._documents import (
    MultiVectors,
    asset_id_of,
    asset_of,
    left_out,
    missing_vectors,
    object_of,
)
from vectorferry.connector.sources.mixpeek_documents._listing import LastListing

NUMBERS_PER_REQUEST: Final = 1_200_000
"""So many numbers take some 15 to 25 MB in an answer: a thousand documents of 1,024."""

MOST_ROWS: Final = 1_000
"""The service's own limit."""

WAITS: Final = (2.0, 4.0, 8.0)
"""Seconds before vectors that were not given are asked for again: a cold partition is read in meanwhile."""

FRUITLESS: Final = 2
"""After asking again in vain for so many chunks, vectors that are not given are not waited for any more: Mixpeek may
keep nothing of them but codes."""

SMALL: Final = 100
"""So many assets are asked for again together when more of them did not come."""

MOST_ALONE: Final = 16
FAILURES: Final = (UnreadableError, RefusedError, ForbiddenError, NotFoundError, IncompleteScanError)

BY_DOCUMENT: Final = "document_id"
BY_OBJECT: Final = "_internal.lineage.root_object_id"

Rows = list[dict[str, Any]]


class FilterIgnoredError(UnreadableError):
    """A list by ids held what was not asked for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Assets that are read together: all of one page of the list, or any (`place` is None)."""

    listings: Sequence[Listing]
    place: Place | None = None


class DocumentReader:
    """Reads the assets of one collection.

    Where `last` knows nothing of an asset, it is looked for as a document and as an object.
    """

    def __init__(
        self,
        api: DocumentsApi,
        collection: Collection,
        last: LastListing,
        vectors_per_request: int,
        multi_vectors: MultiVectors,
        limits: SourceLimits,
    ) -> None:
        self._api = api
        self._collection = collection
        self._last = last
        self._limits = limits
        self._multi_vectors = multi_vectors
        self._most = documents_per_request(collection, vectors_per_request)
        self._largest_page = documents_per_request(collection, MOST_ROWS)
        self._by_ids = True
        self._fruitless = 0
        self._query: Query = self._vectors_asked_for()

    async def chunks(self, listings: AsyncIterable[Listing]) -> AsyncIterator[Chunk]:
        """Listings in the order in which they come, as many as are read together."""
        waiting: list[Listing] = []
        documents = 0
        place: Place | None = None
        failure: Exception | None = None
        try:
            async for listing in listings:
                at = self._last.pages.place(listing.asset_id)
                if waiting and at != place:
                    for chunk in self._split(waiting, place):
                        yield chunk
                    waiting, documents = [], 0
                place = at
                waiting.append(listing)
                documents += self._documents_of(listing.asset_id)
                # Nothing is taken from whoever lists before it is needed.
                if documents >= self._most_of(place):
                    for chunk in self._split(waiting, place):
                        yield chunk
                    waiting, documents = [], 0
        except Exception as error:
            failure = error
        for chunk in self._split(waiting, place):
            yield chunk
        if failure:
            raise failure

    async def read(self, chunk: Chunk) -> Sequence[Outcome]:
        """What reading each of these assets came to. Those that do not come together are asked for in smaller chunks,
        and at last one by one."""
        try:
            rows = await self._together(chunk)
        except FAILURES as error:
            if chunk.place is None:
                self._by_ids &= not isinstance(error, RefusedError | FilterIgnoredError)
            return await self._apart(chunk)
        await self._complete(rows)
        whole = [listing for listing in chunk.listings if rows[listing.asset_id]]
        outcomes = [await outcome_of(partial(self._asset, rows[each.asset_id]), each) for each in whole]
        missing = [each for each in chunk.listings if not rows[each.asset_id]]
        # Since it was listed, a page may have come to hold others.
        again = self._one_by_one(missing) if chunk.place is None or not missing else self.read(Chunk(missing))
        return [*outcomes, *await again]

    async def _apart(self, chunk: Chunk) -> Sequence[Outcome]:
        listings = chunk.listings
        if not self._by_ids or (chunk.place is None and len(listings) <= SMALL):
            return await self._one_by_one(listings)
        smaller = [Chunk(listings[start : start + SMALL]) for start in range(0, len(listings), SMALL)]
        return [outcome for each in smaller for outcome in await self.read(each)]

    async def _one_by_one(self, listings: Sequence[Listing]) -> Sequence[Outcome]:
        alone = results_of(_iterated(listings), partial(outcome_of, self.read_alone), min(len(listings), MOST_ALONE))
        async with aclosing(alone) as results:
            return [result async for result in results] if listings else []

    def _vectors_asked_for(self) -> Query:
        """By name where some are left out, so that they are not even sent."""
        wanted = [name for name, index in self._collection.indexes.items() if index.kind != "multi_dense"]
        if self._multi_vectors == "leave_out" and 0 < len(wanted) < len(self._collection.indexes):
            return {"return_vector_names": wanted}
        return VECTORS

    def _most_of(self, place: Place | None) -> int:
        """How many documents are read together: those of a page, or as many as are asked for by their ids."""
        if place is not None:
            return self._last.pages.size(place)
        return self._most if self._by_ids else 1

    def _documents_of(self, asset_id: str) -> int:
        """How many documents an asset has, as far as it is known."""
        group = self._last.objects.get(asset_id)
        return group.documents if group else 1

    def _split(self, waiting: Sequence[Listing], place: Place | None) -> list[Chunk]:
        """A page is read again when most of it is wanted, and not too much."""
        if not waiting:
            return []
        size = self._last.pages.size(place) if place else 0
        if place and size <= self._most and 2 * len(waiting) > size:
            return [Chunk(waiting, place)]
        most = self._most if self._by_ids else 1
        return [Chunk(waiting[start : start + most]) for start in range(0, len(waiting), most)]

    async def _together(self, chunk: Chunk) -> dict[str, Rows]:
        if chunk.place is not None:
            page = await self._api.documents(self._collection.collection_id, chunk.place, self._query)
            rows = self._usable(page.rows)
        else:
            rows = await self._listed([listing.asset_id for listing in chunk.listings])
        return self._by_asset(chunk, rows)

    def _by_asset(self, chunk: Chunk, rows: Rows) -> dict[str, Rows]:
        by_asset: dict[str, Rows] = {listing.asset_id: [] for listing in chunk.listings}
        seen: set[str] = set()
        for row in rows:
            asset_id = asset_id_of(row)
            if asset_id not in by_asset and chunk.place is None:
                raise FilterIgnoredError(f"{self._api.host} listed a document that was not asked for.")
            if asset_id in by_asset and row["document_id"] not in seen:
                seen.add(row["document_id"])
                by_asset[asset_id].append(row)
        return by_asset

    async def _listed(self, asset_ids: Sequence[str]) -> Rows:
        """All documents of these assets, by a filter. Raises `UnreadableError` when they are not as many as announced,
        and `RefusedError` where the service does not filter by ids."""
        if not self._by_ids:
            raise UnreadableError("ids are not filtered by")
        rows: Rows = []
        for name in self._id_fields(asset_ids):
            condition = {"field": name, "operator": "in", "value": list(asset_ids)}
            query = {"filters": {"AND": [condition]}, **self._query}
            # One object may have more documents than are otherwise read at once: as few pages as there can be.
            documents = sum(map(self._documents_of, asset_ids))
            rows += await self._all_pages(query, max(self._most, min(documents, self._largest_page)))
        return rows

    def _id_fields(self, asset_ids: Sequence[str]) -> list[str]:
        """What these assets are ids of."""
        objects = self._last.objects
        if not objects and not self._last.has_documents:
            return [BY_DOCUMENT, BY_OBJECT]
        kinds = {asset_id in objects for asset_id in asset_ids}
        return [name for name, is_object in ((BY_DOCUMENT, False), (BY_OBJECT, True)) if is_object in kinds]

    async def _all_pages(self, query: Query, limit: int) -> Rows:
        rows: Rows = []
        total: int | None = None
        pages = self._api.document_pages(self._collection.collection_id, Place(limit), query)
        async for page in pages:
            if page.place.cursor is None:
                total = page.total
            rows += self._usable(page.rows)
            if total is not None and len(rows) > total:
                break
        if total is not None and len(rows) != total:
            raise UnreadableError(f"{self._api.host} announced {total:,} documents and sent {len(rows):,}.")
        return rows

    def _usable(self, rows: Sequence[Any]) -> Rows:
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("document_id"), str) or not row["document_id"]:
                raise UnreadableError(f"{self._api.host} sent a document without an id.")
        return list(rows)

    async def _complete(self, rows: Mapping[str, Rows]) -> None:
        """Ask again, a few times, for the documents that came without all their vectors."""
        for wait in WAITS:
            lacking = [row for documents in rows.values() for row in documents if self._lacks(row)]
            if not lacking or self._fruitless >= FRUITLESS:
                return
            await asyncio.sleep(wait)
            await self._ask_again(rows)
        if any(self._lacks(row) for documents in rows.values() for row in documents):
            self._fruitless += 1
        else:
            self._fruitless = 0

    async def _ask_again(self, rows: Mapping[str, Rows]) -> None:
        for documents in rows.values():
            for place, row in enumerate(documents):
                if self._lacks(row):
                    try:
                        documents[place] = await self._api.document(self._collection.collection_id, row["document_id"])
                    except (*FAILURES, QuarantineError):
                        continue

    def _lacks(self, row: Mapping[str, Any]) -> bool:
        indexes = self._collection.indexes
        return bool(missing_vectors(row, indexes, left_out(indexes, self._multi_vectors)))

    async def _asset(self, rows: Rows, listing: Listing) -> Asset:
        check_id(listing.asset_id)
        AssetBudget(self._limits).spend(len(rows))
        return asset_of(listing, rows, self._collection.indexes, self._multi_vectors)

    async def read_alone(self, listing: Listing) -> Asset:
        """An asset by itself. Raises `NotFoundError` when there is neither a document nor an object of this id."""
        check_id(listing.asset_id)
        rows: Rows = []
        if listing.asset_id not in self._last.objects:
            try:
                rows = [await self._document(listing.asset_id)]
            except NotFoundError:
                if self._last.has_documents and not self._last.objects:
                    raise
        if not rows:
            rows = await self._of_object(listing.asset_id)
        await self._complete({listing.asset_id: rows})
        return await self._asset(rows, listing)

    async def _document(self, document_id: str) -> dict[str, Any]:
        row = await self._api.document(self._collection.collection_id, document_id)
        if object_of(row) is not None:
            raise UnreadableError(
                f"{one_line(document_id, 80)} was listed as an asset by itself and belongs to an object by now."
            )
        return row

    async def _of_object(self, object_id: str) -> Rows:
        ids = await self._api.documents_of(self._collection.collection_id, object_id)
        if not ids:
            raise NotFoundError(f"{self._api.host} has no documents of {one_line(object_id, 80)}.")
        AssetBudget(self._limits).spend(len(ids))
        return [await self._api.document(self._collection.collection_id, each) for each in ids]


def documents_per_request(collection: Collection, most: int) -> int:
    """How many documents are read at once: fewer of those with many numbers."""
    numbers = sum(index.dimensions or 0 for index in collection.indexes.values())
    return max(1, min(most, NUMBERS_PER_REQUEST // numbers)) if numbers else most


async def _iterated(listings: Sequence[Listing]) -> AsyncIterator[Listing]:
    for listing in listings:
        yield listing
