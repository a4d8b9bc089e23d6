"""The source: names collections, lists assets out of documents, reads them with vectors, follows the change feed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from vectorferry.connector._model._errors import CollectionError, IncompleteScanError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._records import Asset, Listing, Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import (
    Hit,
    Neighbours,
    Origin,
    Probe,
    RetrieverQuery,
    SourceQuery,
    Submission,
    SubmitOptions,
)
from vectorferry.connector.http import NotFoundError, RefusedError
from vectorferry.connector.sources._pages import Page, Tally
from vectorferry.connector.sources._reading import ReadAsset, read_chunks
from vectorferry.connector.sources._service import CollectionList, ServiceSource, resolved
from vectorferry.connector.sources.mixpeek_documents._api import DIRECT, Collection, DocumentsApi, collection_from
from vectorferry.connector.sources.mixpeek_documents._documents import MultiVectors, VectorsAskedFor
from vectorferry.connector.sources.mixpeek_documents._feed import ChangeFeed, Mark, Position
from vectorferry.connector.sources.mixpeek_documents._listing import CollectionScan, LastListing
from vectorferry.connector.sources.mixpeek_documents._reader import DocumentReader
from vectorferry.connector.sources.mixpeek_documents._search import Searcher
from vectorferry.connector.sources.mixpeek_documents._submit import Submitter, type_of
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings

CHANGED: Final = "the change feed has events since the last run"
METRICS: Final = {
    "cosine": "cosine",
    "dot": "inner_product",
    "dot_product": "inner_product",
    "inner_product": "inner_product",
    "euclid": "l2",
    "euclidean": "l2",
    "l2": "l2",
    "manhattan": "l1",
}
"""The mapping's words for those of an index; the service's own pages show only the first."""

NOT_FOLLOWED: Final = "source.follow_events is false"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What is asked for, and how much at once."""

    concurrency: int = 10
    page_size: int = 1_000
    vectors_per_request: int = 1_000
    multi_vectors: MultiVectors = "set_aside"
    scoped_key: bool = False
    follow_events: bool = True
    feed_delay_minutes: float = 10
    limits: SourceLimits = field(default_factory=SourceLimits)


class MixpeekDocumentsSource(ServiceSource):
    """Mixpeek's documents API: one namespace of it."""

    capabilities = frozenset(
        {
            Capability.CHANGED_SINCE,
            Capability.NEIGHBOURS,
            Capability.RETRIEVERS,
            Capability.SEARCH,
            Capability.SUBMIT,
        }
    )

    _api: DocumentsApi
    _nothing_listed = "lists no collection; check source.namespace and the key."

    def __init__(self, api: DocumentsApi, collections: Sequence[str], options: ReadOptions) -> None:
        super().__init__(api, collections, options.concurrency)
        self._options = options
        self._known: dict[str, Collection] = {}
        self._last: dict[str, LastListing] = {}
        self._feed = ChangeFeed(api, options.feed_delay_minutes)
        self._reached: dict[str, Position | None] = {}
        self._searcher = Searcher(api)
        self._submitter = Submitter(api)
        self._names: dict[str, str | None] = {}
        self._expected: dict[str, Mark | None] = {}
        self._expects_all: str | None = None

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """Service, namespace and key. The account is the key's own, and naming it would cost every run a request."""
        return {**self._api.identity("mixpeek-documents"), "namespace": self._api.namespace}

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless it is known to be whole."""
        reached = await self._position()
        options, found = self._options, await self._collection(collection)
        asked_for = self._vectors_of(found)
        expects_all, self._expects_all = collection == self._expects_all, None
        scan = CollectionScan(
            self._api,
            found,
            self._last.setdefault(collection, LastListing()),
            asked_for,
            [options.multi_vectors],
            most_with_vectors=asked_for.per_request(options.vectors_per_request),
            expects_all=expects_all,
            scoped_key=options.scoped_key,
        )
        async with aclosing(scan.listings(options.page_size, options.concurrency)) as listings:
            async for each in listings:
                yield each
        self._reached[collection] = reached

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        """Nothing, where nothing has happened in the namespace since then. Raises `IncompleteScanError` where something
        has: what it was is no contract, so that everything has to be listed."""
        if not self._options.follow_events:
            raise IncompleteScanError(NOT_FOLLOWED)
        mark = Mark.read(since)
        if mark is None:
            raise IncompleteScanError("the cursor that was kept is none of the change feed")
        happened = await self._feed.since(collection, mark.position)
        if happened.anything:
            raise IncompleteScanError(CHANGED)
        self._names[collection] = mark.name
        self._reached[collection] = happened.reached
        return
        yield

    async def cursor(self, collection: str) -> str | None:
        """How far the change feed had come when the last scan of this collection began."""
        reached = self._reached.get(collection)
        return None if reached is None else Mark(reached, self._names.get(collection)).text()

    def expect(self, cursors: Mapping[str, str]) -> None:
        """Remember them for `collections`."""
        self._expected = {collection: Mark.read(text) for collection, text in cursors.items()}

    def expect_all(self, collection: str) -> None:
        """Remember it for the next `scan`."""
        self._expects_all = collection

    async def collections(self) -> Sequence[str]:
        """As every service's; those of the last run, without asking for them, where the change feed has no event."""
        return await self._unchanged_collections() or await super().collections()

    async def _unchanged_collections(self) -> Sequence[str]:
        """Empty when that is not known: collections come and go with events as well."""
        expected, self._expected = self._expected, {}
        marks = {collection: mark for collection, mark in expected.items() if mark}
        names = {collection: mark.name for collection, mark in marks.items()}
        ids, missing = resolved(self._configured, names)
        if not self._options.follow_events or not ids or missing or len(marks) < len(expected):
            return ()
        try:
            happened = [await self._feed.since("", each) for each in _oldest(mark.position for mark in marks.values())]
        except IncompleteScanError:
            return ()
        if any(each.anything for each in happened):
            return ()
        self._not_found = {}
        return ids

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        listed = aiter(listings)
        first = await anext(listed, None)
        if first is None:
            return  # before anything is asked of the collection
        reader = await self._document_reader(collection)

        async def from_first() -> AsyncGenerator[Listing, None]:
            yield first
            async for listing in listed:
                yield listing

        assets = read_chunks(
            reader.chunks(from_first()),
            reader.read,
            width=self._concurrency,
            collection=collection,
            scan=partial(self.scan, collection),
            check=self._api.check,
        )
        async with aclosing(assets) as results:
            async for result in results:
                yield result

    def check_submission(self, urls: Sequence[str], options: SubmitOptions) -> None:
        """Raise `ConfigurationError` for an address that does not say what kind of file it is, where nothing does."""
        settings = options.settings
        if not (isinstance(settings, MixpeekDocumentsSubmitSettings) and settings.type):
            for url in urls:
                type_of(url)

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """Put it into the collection's bucket as an object, have that processed, and tell of each change."""
        async with aclosing(self._submitter.submit(collection, url, options)) as changes:
            async for change in changes:
                yield change

    async def search(self, collection: str, query: SourceQuery) -> Sequence[Hit]:
        """The documents that Mixpeek's own search finds, under the index that an option names, or the only one."""
        return await self._searcher.search(await self._collection(collection), query)

    async def retrieve(self, collection: str, query: RetrieverQuery) -> Sequence[Hit]:
        """The documents that a retriever finds."""
        return await self._searcher.retrieve(await self._collection(collection), query)

    async def neighbours(self, collection: str, probe: Probe, *, limit: int) -> Neighbours | None:
        """The documents that Mixpeek finds near a vector."""
        return await self._searcher.neighbours(await self._collection(collection), probe, limit)

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for as many documents as are read together; documents of one object are never apart."""
        most = self._options.vectors_per_request
        together = min((self._vectors_of(each).per_request(most) for each in self._known.values()), default=most)
        return -(-max(assets, features) // together)

    def vector_metrics(self) -> Mapping[str, str]:
        """Those of the indexes of the collections that were listed, where these agree."""
        told: dict[str, set[str]] = {}
        for collection in self._last.keys() & self._known.keys():
            for name, index in self._known[collection].indexes.items():
                if index.kind == "dense" and (metric := METRICS.get(index.distance.lower())):
                    told.setdefault(name, set()).add(metric)
        return {name: metrics.pop() for name, metrics in told.items() if len(metrics) == 1}

    async def _listed_collections(self) -> CollectionList:
        tally = Tally("collections", "collection_id")
        pages = [Page(page.rows, page.total, None) async for page in self._api.collections()]
        rows = [row for page in pages for row in tally.fresh(page)]
        found = [collection_from(row) for row in rows]
        self._known = {each.collection_id: each for each in found}
        self._names = {each.collection_id: each.name for each in found}
        names = {each.collection_id: each.name for each in found if self._is_theirs(each)}
        return CollectionList(names, tally.problem())

    def _is_theirs(self, collection: Collection) -> bool:
        """Of the system's own collections only the one with what users have put there, or one that they name."""
        names = {collection.collection_id, collection.name}
        system = collection.collection_id.startswith("_") or (collection.name or "").startswith("_")
        return not system or DIRECT in names or bool(names & set(self._configured))

    async def _position(self) -> Position | None:
        """How far the change feed has come; None where it is not followed."""
        if not self._options.follow_events:
            return None
        try:
            return await self._feed.position()
        except IncompleteScanError:
            return None

    async def _document_reader(self, collection: str) -> DocumentReader:
        found = await self._collection(collection)
        return DocumentReader(
            self._api,
            found,
            self._last.setdefault(collection, LastListing()),
            self._vectors_of(found),
            self._options.vectors_per_request,
            self._options.limits,
        )

    def _vectors_of(self, collection: Collection) -> VectorsAskedFor:
        return VectorsAskedFor.of(collection.indexes, self._options.multi_vectors)

    async def _reader(self, collection: str) -> ReadAsset:
        return (await self._document_reader(collection)).read_alone

    async def _collection(self, collection: str) -> Collection:
        if collection not in self._known or not self._known[collection].indexes:
            try:
                self._known[collection] = await self._api.collection(collection)
            except (NotFoundError, RefusedError) as error:
                missing = str(error)
            else:
                return self._known[collection]
            raise CollectionError(f"{missing} Check source.collections and source.namespace.")
        return self._known[collection]


def _oldest(positions: Iterable[Position]) -> Iterable[Position]:
    """The oldest of those with the same cursor."""
    return {each.cursor: each for each in sorted(positions, key=lambda each: each.at, reverse=True)}.values()
