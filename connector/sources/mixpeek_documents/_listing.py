"""The cheap list of a collection: partitions side by side, assets put together, and whether that was all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._records import AssetState, Listing
from vectorferry.connector.sources._pages import Page, Tally
from vectorferry.connector.sources._values import fingerprint_of
from vectorferry.connector.sources.mixpeek_documents._api import INTERNAL, Collection, DocumentPage, DocumentsApi, Place
from vectorferry.connector.sources.mixpeek_documents._documents import ListedDocument, internal_of

T = TypeVar("T")

PAGES_PER_PARTITION: Final = 4
"""A collection is split into parts of at least so many pages: a part that is nearly empty costs a request as well."""

RECENT_PAGES: Final = 64


class RecentPages:
    """On which page the last listed documents were, so that pages that are all new can be read again with vectors."""

    def __init__(self) -> None:
        self._pages: dict[Place, Sequence[str]] = {}
        self._places: dict[str, Place] = {}

    def add(self, page: DocumentPage, ids: Sequence[str]) -> None:
        """Remember a page; the oldest is forgotten."""
        if len(self._pages) == RECENT_PAGES:
            oldest = next(iter(self._pages))
            for name in self._pages.pop(oldest):
                self._places.pop(name, None)
        self._pages[page.place] = ids
        self._places.update(dict.fromkeys(ids, page.place))

    def place(self, asset_id: str) -> Place | None:
        """The page of a document that is an asset by itself, if it is remembered."""
        return self._places.get(asset_id)

    def size(self, place: Place) -> int:
        """How many documents a page had."""
        return len(self._pages.get(place, ()))


@dataclass(slots=True)
class ObjectGroup:
    """What has been listed so far of one object. `marks` is a sum, so that the order of the list does not matter."""

    documents: int = 0
    marks: int = 0
    pending: bool = False
    ready: bool = False

    def add(self, document: ListedDocument) -> None:
        """Count a document."""
        self.documents += 1
        self.marks = (self.marks + int(document.mark, 16)) % 2**128
        self.pending |= document.state is AssetState.PENDING
        self.ready |= document.state is AssetState.READY

    @property
    def state(self) -> AssetState:
        """Unfinished while any document is; failed when all are."""
        if self.pending:
            return AssetState.PENDING
        return AssetState.READY if self.ready else AssetState.FAILED


class LastListing:
    """What the last scan of a collection saw and what helps to read it: pages, and how many documents an object has.

    `has_documents` says that there are some that are assets by themselves.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin a scan."""
        self.pages = RecentPages()
        self.objects: dict[str, ObjectGroup] = {}
        self.has_documents = False


class CollectionScan:
    """One scan of a collection, which leaves in `last` what helps to read it.

    `settings` is what else decides what an asset is read as: other settings need another answer.
    """

    def __init__(
        self,
        api: DocumentsApi,
        collection: Collection,
        last: LastListing,
        settings: Sequence[Any],
        *,
        scoped_key: bool,
    ) -> None:
        self._api = api
        self._collection = collection
        self._settings = list(settings)
        self._scoped_key = scoped_key
        self._last = last

    async def listings(self, page_size: int, readers: int) -> AsyncGenerator[Listing, None]:
        """Every asset once; raises `IncompleteScanError` at its end unless all documents are known to have been listed.

        Documents that are assets come as their pages do. Of an object nothing is known before the last page, since its
        documents are on any of them.
        """
        self._last.forget()
        tally = DocumentTally(self._collection.collection_id)
        count = partitions(self._collection.document_count, page_size, readers)
        lists = [self._pages(Place(page_size, index, count)) for index in range(count)]
        async with aclosing(side_by_side(lists)) as pages:
            async for page in pages:
                for listing in self._on(page, tally.documents(page)):
                    yield listing
        for object_id, group in self._last.objects.items():
            yield Listing(object_id, fingerprint_of([*self._settings, group.documents, group.marks]), group.state)
        tally.check()
        if not self._scoped_key:
            await self._check_count(tally.listed)

    async def _pages(self, first: Place) -> AsyncIterator[DocumentPage]:
        """Where the service leaves out what is selected, the whole documents have to be listed."""
        query: dict[str, Any] = {"select": list(INTERNAL)}
        async for page in self._api.document_pages(self._collection.collection_id, first, query):
            if page.place == first and any(isinstance(row, dict) and not internal_of(row) for row in page.rows):
                break
            yield page
        else:
            return
        async for page in self._api.document_pages(self._collection.collection_id, first, {}):
            yield page

    def _on(self, page: DocumentPage, rows: Sequence[Mapping[str, Any]]) -> Iterator[Listing]:
        alone: list[ListedDocument] = []
        for document in map(ListedDocument.of, rows):
            if document.object_id is None:
                alone.append(document)
            else:
                self._last.objects.setdefault(document.object_id, ObjectGroup()).add(document)
        if len(alone) == len(page.rows):
            self._last.pages.add(page, [document.document_id for document in alone])
        for document in alone:
            self._last.has_documents = True
            yield Listing(document.document_id, fingerprint_of([*self._settings, document.mark]), document.state)

    async def _check_count(self, listed: int) -> None:
        """A key that sees less than there is lists less, and the total is no higher; the collection's own count is.

        Raises `IncompleteScanError` where that count is higher, also when it is asked for again.
        """
        count = self._collection.document_count
        if count is None or listed >= count:
            return
        count = (await self._api.collection(self._collection.collection_id)).document_count
        if count is not None and listed < count:
            raise IncompleteScanError(
                f"the key sees {listed:,} of the {count:,} documents that the collection says it has, so nothing is "
                "deleted: give it a key that sees all, or set source.scoped_key if that is how it should be",
                unknowable=True,
            )


class DocumentTally(Tally):
    """One scan of a collection: its documents, each once, and whether they are all."""

    def __init__(self, collection_id: str) -> None:
        super().__init__("documents", "document_id")
        self._collection_id = collection_id
        self._partition_totals: dict[int, int | None] = {}
        self._rows_of: dict[int, int] = {}
        self._count = 1
        self._foreign = 0
        self._warnings: list[str] = []
        self.listed = 0

    def documents(self, page: DocumentPage) -> list[dict[str, Any]]:
        """The documents of a page that were on none before."""
        place = page.place
        self._warnings += page.warnings
        if place.cursor is None:
            self._partition_totals[place.index], self._count = page.total, place.count
        rows = self.fresh(Page(list(page.rows), None, None))
        own = [row for row in rows if row.get("collection_id") in (None, self._collection_id)]
        self._foreign += len(rows) - len(own)
        self._rows_of[place.index] = self._rows_of.get(place.index, 0) + len(own)
        self.listed += len(own)
        return own

    def check(self) -> None:
        """Raise `IncompleteScanError` for a list that was not complete, or whose length nobody said."""
        problem = self.problem() or self._short()
        if problem:
            raise IncompleteScanError(f"the listing was not complete, so nothing is deleted: {problem}")
        if any(total is None for total in self._partition_totals.values()):
            raise IncompleteScanError(
                "the service never says how many documents there are, so nothing is deleted", unknowable=True
            )

    def _short(self) -> str | None:
        if self._warnings:
            return f"the service warns of its list: {self._warnings[0]}"
        if self._foreign:
            return f"{self._foreign} rows belong to other collections"
        totals = self._partition_totals
        if any(total is None for total in totals.values()) or self._agrees(totals):
            return None
        announced = " and ".join(f"{total:,}" for total in sorted({total or 0 for total in totals.values()}))
        return f"{self.listed:,} documents listed, {announced} announced"

    def _agrees(self, totals: Mapping[int, int | None]) -> bool:
        """Whether a partition's total counts all documents or its own is not said, and either is taken. Not so where
        one partition alone has as many as all of them: then it counts its own, and the others lack theirs."""
        if all(total == self._rows_of.get(index, 0) for index, total in totals.items()):
            return True
        alone = self._count > 1 and any(rows == self.listed for rows in self._rows_of.values())
        return set(totals.values()) == {self.listed} and not alone


def partitions(documents: int | None, page_size: int, readers: int) -> int:
    """Into how many parts a collection of so many documents is split."""
    return max(1, min((documents or 0) // (page_size * PAGES_PER_PARTITION), readers))


async def side_by_side(iterators: Sequence[AsyncIterator[T]]) -> AsyncGenerator[T, None]:
    """The items of all of them as they come, each with one item ahead. The first error ends it."""
    ahead = {asyncio.ensure_future(_next(each)): each for each in iterators}
    try:
        while ahead:
            done, _ = await asyncio.wait(ahead, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                iterator, items = ahead.pop(task), task.result()
                if items:
                    ahead[asyncio.ensure_future(_next(iterator))] = iterator
                    yield items[0]
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)
        for iterator in iterators:
            if aclose := getattr(iterator, "aclose", None):
                await aclose()


async def _next(iterator: AsyncIterator[T]) -> list[T]:
    """The next item, or nothing."""
    try:
        return [await anext(iterator)]
    except StopAsyncIteration:
        return []
