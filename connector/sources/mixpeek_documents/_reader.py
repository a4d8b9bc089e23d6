"""Reading assets with vectors, as many as fit in a request: whole pages of the list again, or documents by ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from vectorferry.connector._model._errors import IncompleteScanError, QuarantineError
from vectorferry.connector._model._limits import AssetBudget, SourceLimits
from vectorferry.connector._model._records import Asset, Listing
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError, UnreadableError, one_line
from vectorferry.connector.sources._reading import Outcome, ShortAnswerError, check_id, outcome_of, results_of
from vectorferry.connector.sources.mixpeek_documents._api import Collection, DocumentPage, DocumentsApi, Place, Query
from vectorferry.connector.sources.mixpeek_documents._documents import (
    Document,
    ListedDocument,
    VectorsAskedFor,
    asset_of,
)
from vectorferry.connector.sources.mixpeek_documents._listing import LastListing, ObjectGroup

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

Documents: TypeAlias = list[Document]


class FilterIgnoredError(UnreadableError):
    """A list by ids held what was not asked for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Assets that are read together: all of one page of the list, or any (`place` is None). `rows` are those of the
    page, where it was listed with vectors."""

    listings: Sequence[Listing]
    place: Place | None = None
    rows: Sequence[Any] | None = None


class DocumentReader:
    """Reads the assets of one collection.

    Where `last` knows nothing of an asset, it is looked for as a document and as an object.
    """

    def __init__(
        self,
        api: DocumentsApi,
        collection: Collection,
        last: LastListing,
        asked_for: VectorsAskedFor,
        vectors_per_request: int,
        limits: SourceLimits,
    ) -> None:
        self._api = api
        self._collection = collection
        self._last = last
        self._limits = limits
        self._asked_for = asked_for
        self._most = asked_for.per_request(vectors_per_request)
        self._largest_page = asked_for.per_request(MOST_ROWS)
        self._by_ids = True
        self._fruitless = 0

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
        self._last.pages.forget_rows()
        if failure:
            raise failure

    async def read(self, chunk: Chunk) -> Sequence[Outcome]:
        """What reading each of these assets came to. Those that do not come together are asked for in smaller chunks,
        and at last one by one."""
        try:
            documents = await self._together(chunk)
        except FAILURES as error:
            if chunk.place is None:
                self._by_ids &= not isinstance(error, RefusedError | FilterIgnoredError)
            return await self._apart(chunk)
        await self._complete(documents)
        whole, missing = list[Listing](), list[Listing]()
        for each in chunk.listings:
            (whole if self._is_whole(each, documents[each.asset_id]) else missing).append(each)
        outcomes = [await outcome_of(partial(self._asset, documents[each.asset_id]), each) for each in whole]
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

    def _most_of(self, place: Place | None) -> int:
        """How many documents are read together: those of a page, or as many as are asked for by their ids."""
        if place is not None:
            return self._last.pages.size(place)
        return self._most if self._by_ids else 1

    def _documents_of(self, asset_id: str) -> int:
        """How many documents an asset has, as far as it is known."""
        group = self._last.objects.get(asset_id)
        return group.documents if group else 1

    def _is_whole(self, listing: Listing, documents: Documents) -> bool:
        """Whether these are as many as were listed of an asset: what comes with fewer would count as all of it. Where
        another process has listed it, whether they are those that make its fingerprint."""
        if listing.asset_id in self._last.objects:
            return len(documents) >= self._documents_of(listing.asset_id)
        if not documents or documents[0].is_brought or not all(document.is_timed for document in documents):
            return bool(documents)
        group = ObjectGroup()
        for document in documents:
            group.add(ListedDocument.of(document.row))
        return group.fingerprint([self._asked_for.multi_vectors]) == listing.fingerprint

    def _split(self, waiting: Sequence[Listing], place: Place | None) -> list[Chunk]:
        """A page is read again when most of it is wanted, and not too much."""
        if not waiting:
            return []
        size = self._last.pages.size(place) if place else 0
        rows = self._last.pages.take(place, len(waiting)) if place else None
        if place and size <= self._most and (rows or 2 * len(waiting) > size):
            return [Chunk(waiting, place, rows)]
        most = self._most if self._by_ids else 1
        return [Chunk(waiting[start : start + most]) for start in range(0, len(waiting), most)]

    async def _together(self, chunk: Chunk) -> dict[str, Documents]:
        if chunk.rows is not None:
            documents = self._usable(chunk.rows)
        elif chunk.place is not None:
            documents = self._usable((await self._page(self._asked_for.query, chunk.place)).rows)
        else:
            documents = await self._listed([listing.asset_id for listing in chunk.listings])
        return self._by_asset(chunk, documents)

    def _by_asset(self, chunk: Chunk, documents: Documents) -> dict[str, Documents]:
        by_asset: dict[str, Documents] = {listing.asset_id: [] for listing in chunk.listings}
        seen: set[str] = set()
        for document in documents:
            asset = by_asset.get(document.asset_id)
            if asset is None and chunk.place is None:
                raise FilterIgnoredError(f"{self._api.host} listed a document that was not asked for.")
            if asset is not None and document.document_id not in seen:
                seen.add(document.document_id)
                asset.append(document)
        return by_asset

    async def _listed(self, asset_ids: Sequence[str]) -> Documents:
        """All documents of these assets, by a filter. Raises `UnreadableError` when they are not as many as announced,
        and `RefusedError` where the service does not filter by ids."""
        if not self._by_ids:
            raise UnreadableError("ids are not filtered by")
        listed: Documents = []
        for name in self._id_fields(asset_ids):
            condition = {"field": name, "operator": "in", "value": list(asset_ids)}
            query = {"filters": {"AND": [condition]}, **self._asked_for.query}
            # One object may have more documents than are otherwise read at once: as few pages as there can be.
            documents = sum(map(self._documents_of, asset_ids))
            listed += await self._all_pages(query, max(self._most, min(documents, self._largest_page)))
        return listed

    def _id_fields(self, asset_ids: Sequence[str]) -> list[str]:
        """What these assets are ids of."""
        objects = self._last.objects
        if not objects and not self._last.has_documents:
            return [BY_DOCUMENT, BY_OBJECT]
        kinds = {asset_id in objects for asset_id in asset_ids}
        return [name for name, is_object in ((BY_DOCUMENT, False), (BY_OBJECT, True)) if is_object in kinds]

    async def _all_pages(self, query: Query, limit: int) -> Documents:
        documents: Documents = []
        total: int | None = None
        collection = self._collection.collection_id
        async for page in self._api.document_pages(collection, Place(limit), partial(self._page, query)):
            if page.place.cursor is None:
                total = page.total
            documents += self._usable(page.rows)
            if total is not None and len(documents) > total:
                break
        # One that is there twice may stand in the place of another.
        distinct = len({document.document_id for document in documents})
        if total is not None and not distinct == len(documents) == total:
            raise UnreadableError(f"{self._api.host} announced {total:,} documents and sent {distinct:,}.")
        return documents

    async def _page(self, query: Query, place: Place) -> DocumentPage:
        return await self._api.documents(self._collection.collection_id, place, query, self._asked_for.names)

    def _usable(self, rows: Sequence[Any]) -> Documents:
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("document_id"), str) or not row["document_id"]:
                raise UnreadableError(f"{self._api.host} sent a document without an id.")
        return [Document(row, self._asked_for) for row in rows]

    async def _complete(self, assets: Mapping[str, Documents]) -> None:
        """Ask again, a few times, for the documents that came without all their vectors."""
        for wait in WAITS:
            if self._fruitless >= FRUITLESS or not _any_lacks(assets):
                return
            await asyncio.sleep(wait)
            await self._ask_again(assets)
        self._fruitless = self._fruitless + 1 if _any_lacks(assets) else 0

    async def _ask_again(self, assets: Mapping[str, Documents]) -> None:
        for documents in assets.values():
            for place, document in enumerate(documents):
                if document.missing:
                    try:
                        documents[place] = await self._document(document.document_id)
                    except (*FAILURES, QuarantineError):
                        continue

    async def _document(self, document_id: str) -> Document:
        return Document(await self._api.document(self._collection.collection_id, document_id), self._asked_for)

    async def _asset(self, documents: Documents, listing: Listing) -> Asset:
        check_id(listing.asset_id)
        if any(document.asset_id != listing.asset_id for document in documents):
            raise UnreadableError(f"{self._api.host} answered with documents of another asset than the one asked for.")
        AssetBudget(self._limits).spend(len(documents))
        return asset_of(listing, documents, self._asked_for)

    async def read_alone(self, listing: Listing) -> Asset:
        """An asset by itself. Raises `NotFoundError` when there is neither a document nor an object of this id, and
        `ShortAnswerError` when an object has fewer documents than were listed."""
        check_id(listing.asset_id)
        documents: Documents = []
        if listing.asset_id not in self._last.objects:
            try:
                documents = [await self._brought(listing.asset_id)]
            except NotFoundError:
                if self._last.has_documents and not self._last.objects:
                    raise
        if not documents:
            documents = await self._of_object(listing.asset_id)
        await self._complete({listing.asset_id: documents})
        return await self._asset(documents, listing)

    async def _brought(self, document_id: str) -> Document:
        document = await self._document(document_id)
        if not document.is_brought:
            raise UnreadableError(
                f"{one_line(document_id, 80)} was listed as an asset by itself and belongs to an object by now."
            )
        return document

    async def _of_object(self, object_id: str) -> Documents:
        ids = await self._api.documents_of(self._collection.collection_id, object_id)
        if not ids:
            raise NotFoundError(f"{self._api.host} has no documents of {one_line(object_id, 80)}.")
        if len(ids) < self._documents_of(object_id):
            raise ShortAnswerError(
                f"{self._api.host} listed {self._documents_of(object_id):,} documents of {one_line(object_id, 80)} and "
                f"gives {len(ids):,}."
            )
        AssetBudget(self._limits).spend(len(ids))
        return [await self._document(each) for each in ids]


def _any_lacks(assets: Mapping[str, Documents]) -> bool:
    return any(document.missing for documents in assets.values() for document in documents)


async def _iterated(listings: Sequence[Listing]) -> AsyncIterator[Listing]:
    for listing in listings:
        yield listing
