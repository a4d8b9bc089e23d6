"""The cheap list of a collection: partitions side by side, assets put together, and whether that was all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._records import AssetState, Listing
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError, UnreadableError
from vectorferry.connector.sources._pages import Page, Tally
from vectorferry.connector.sources._values import fingerprint_of
from vectorferry.connector.sources.mixpeek_documents._api import (
    SELECTED,
    Collection,
    DocumentPage,
    DocumentsApi,
    Place,
    Query,
)
from vectorferry.connector.sources.mixpeek_documents._documents import (
    ListedDocument,
    VectorsAskedFor,
    internal_of,
    is_brought_with_time,
)

T = TypeVar("T")

PAGES_PER_PARTITION: Final = 4
"""A collection is split into parts of at least so many pages: a part that is nearly empty costs a request as well."""

RECENT_PAGES: Final = 64

PAGES_WITH_VECTORS: Final = 3
"""So many are kept until they are asked for: whoever decides what is read is not further behind."""

DECIDED_TOGETHER: Final = 500
"""So many listings are decided on together: of a page, once as many have been listed after it."""

MARKS: Final = 2**128
"""So many marks are there."""

FAILURES: Final = (UnreadableError, RefusedError, ForbiddenError, NotFoundError)


@dataclass(slots=True)
class RecentPage:
    """A page of documents that are assets: their ids, how many documents had been listed with it, how many of its own
    were pulled (`pulls`), and where they came with vectors its `rows`, until they are taken."""

    ids: Sequence[str]
    listed: int
    rows: Sequence[Any] | None
    pulls: int = 0


class RecentPages:
    """The pages on which the last listed documents were: one that is all new is read as a whole, and where it came with
    vectors it has been read."""

    def __init__(self) -> None:
        self._pages: dict[Place, RecentPage] = {}
        self._places: dict[str, Place] = {}
        self._listed = 0

    def add(self, page: DocumentPage, ids: Sequence[str]) -> None:
        """Remember a page; the oldest is forgotten."""
        if len(self._pages) == RECENT_PAGES:
            oldest = next(iter(self._pages))
            for name in self._pages.pop(oldest).ids:
                self._places.pop(name, None)
        self._listed += len(ids)
        self._pages[page.place] = RecentPage(ids, self._listed, page.rows if page.with_vectors else None)
        self._places.update(dict.fromkeys(ids, page.place))
        self._forget_rows(PAGES_WITH_VECTORS)

    def place(self, asset_id: str) -> Place | None:
        """The page of a document that is an asset by itself, if it is remembered."""
        return self._places.get(asset_id)

    def size(self, place: Place) -> int:
        """How many documents a page had."""
        return len(self._pages[place].ids) if place in self._pages else 0

    def take(self, place: Place, pulls: int) -> Sequence[Any] | None:
        """The rows of a page of which so many are read now, if they came with vectors. Once: what is read a second time
        is asked for a second time."""
        page = self._pages.get(place)
        if page is None:
            return None
        page.pulls += pulls
        rows, page.rows = page.rows, None
        return rows

    def forget_rows(self) -> None:
        """Nothing more of what has been listed is read."""
        self._forget_rows(0)

    def is_news(self, partition: int) -> bool | None:
        """Whether most of a partition's last page was asked for, of those that have been decided on; None: of none."""
        for place, page in reversed(self._pages.items()):
            if place.index == partition and self._listed - page.listed >= DECIDED_TOGETHER:
                return 2 * page.pulls > len(page.ids)
        return None

    def _forget_rows(self, keep: int) -> None:
        filled = [page for page in self._pages.values() if page.rows is not None]
        for page in filled[: max(len(filled) - keep, 0)]:
            page.rows = None


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
        self.marks = (self.marks + int(document.mark, 16)) % MARKS
        self.pending |= document.state is AssetState.PENDING
        self.ready |= document.state is AssetState.READY

    def fingerprint(self, settings: Sequence[Any]) -> str:
        """What changes with any of the documents, and with what else decides what they are read as."""
        return fingerprint_of([*settings, self.documents, self.marks])

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
        self.objects: defaultdict[str, ObjectGroup] = defaultdict(ObjectGroup)
        self.has_documents = False


class CollectionScan:
    """One scan of a collection, which leaves in `last` what helps to read it.

    Pages are asked for with vectors, at most `most_with_vectors` documents together, where all of them are going to be
    read: as long as `expects_all` says so, and then as the last pages turned out. `settings` is what else decides what
    an asset is read as: other settings need another answer.
    """

    def __init__(
        self,
        api: DocumentsApi,
        collection: Collection,
        last: LastListing,
        asked_for: VectorsAskedFor,
        settings: Sequence[Any],
        *,
        most_with_vectors: int,
        expects_all: bool,
        scoped_key: bool,
    ) -> None:
        self._api = api
        self._collection = collection
        self._last = last
        self._asked_for = asked_for
        self._settings = list(settings)
        self._most_with_vectors = most_with_vectors
        self._expects_all = expects_all and collection.is_brought
        self._vectors_do = bool(asked_for.names)
        self._scoped_key = scoped_key

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
            yield Listing(object_id, group.fingerprint(self._settings), group.state)
        tally.check()
        if not self._scoped_key:
            await self._check_count(tally.listed)

    def _pages(self, first: Place) -> AsyncIterator[DocumentPage]:
        """Where the service leaves out what is selected, which the first page without vectors shows, the whole
        documents have to be listed."""
        query: Query | None = None

        async def read(place: Place) -> DocumentPage:
            nonlocal query
            if self._all_is_read(place.index) and (page := await self._with_vectors(place)):
                return page
            page = await self._documents(place, SELECTED if query is None else query)
            if query is None:
                query = {} if any(isinstance(row, dict) and not internal_of(row) for row in page.rows) else SELECTED
                return page if query else await self._documents(place, query)
            return page

        return self._api.document_pages(self._collection.collection_id, first, read)

    async def _documents(self, place: Place, query: Query, vectors: tuple[str, ...] = ()) -> DocumentPage:
        return await self._api.documents(self._collection.collection_id, place, query, vectors)

    def _all_is_read(self, partition: int) -> bool:
        if not self._vectors_do:
            return False
        news = self._last.pages.is_news(partition)
        return self._expects_all if news is None else news

    async def _with_vectors(self, place: Place) -> DocumentPage | None:
        """None where only a list without vectors does, and from then on: what is too large or fails otherwise; objects'
        documents, which are read when all have been listed; those whose mark is made of all that such a list says."""
        place = replace(place, limit=min(place.limit, self._most_with_vectors))
        try:
            page = await self._documents(place, self._asked_for.query, self._asked_for.names)
        except FAILURES:
            page = None
        if page and not page.warnings and all(isinstance(row, dict) and is_brought_with_time(row) for row in page.rows):
            return page
        self._vectors_do = False
        return None

    def _on(self, page: DocumentPage, rows: Sequence[Mapping[str, Any]]) -> Iterator[Listing]:
        alone: list[ListedDocument] = []
        for document in map(ListedDocument.of, rows):
            if document.object_id is None:
                alone.append(document)
            else:
                self._last.objects[document.object_id].add(document)
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
