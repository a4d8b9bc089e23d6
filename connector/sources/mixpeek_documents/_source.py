"""The source: names collections, lists assets out of documents, reads them with vectors, follows the change feed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
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
from vectorferry.connector.sources._service import CollectionList, ServiceSource
from vectorferry.connector.sources.mixpeek_documents._api import DIRECT, Collection, DocumentsApi, collection_from
from vectorferry.connector.sources.mixpeek_documents._documents import MultiVectors
from vectorferry.connector.sources.mixpeek_documents._feed import ChangeFeed
from vectorferry.connector.sources.mixpeek_documents._listing import CollectionScan, LastListing
from vectorferry.connector.sources.mixpeek_documents._reader import Chunk, DocumentReader, documents_per_request
from vectorferry.connector.sources.mixpeek_documents._search import Searcher
from vectorferry.connector.sources.mixpeek_documents._submit import Submitter, type_of
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings

CHANGED: Final = "the change feed has events since the last run"
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
        self._reached: dict[str, str | None] = {}
        self._searcher = Searcher(api)
        self._submitter = Submitter(api)

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """Service, namespace and key. The account is the key's own, and naming it would cost every run a request."""
        return {**self._api.identity("mixpeek-documents"), "namespace": self._api.namespace}

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless it is known to be whole."""
        reached = await self._position()
        options = self._options
        scan = CollectionScan(
            self._api,
            await self._collection(collection),
            self._last.setdefault(collection, LastListing()),
            [options.multi_vectors],
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
        happened = await self._feed.since(collection, since)
        if happened.anything:
            raise IncompleteScanError(CHANGED)
        self._reached[collection] = happened.reached
        return
        yield

    async def cursor(self, collection: str) -> str | None:
        """How far the change feed had come when the last scan of this collection began."""
        return self._reached.get(collection)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        reader = await self._document_reader(collection)

        async def chunks() -> AsyncGenerator[Chunk, None]:
            async for chunk in reader.chunks(listings):
                yield chunk

        assets = read_chunks(
            chunks(),
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
        together = min((documents_per_request(each, most) for each in self._known.values()), default=most)
        return -(-max(assets, features) // together)

    async def _listed_collections(self) -> CollectionList:
        tally = Tally("collections", "collection_id")
        pages = [Page(page.rows, page.total, None) async for page in self._api.collections()]
        rows = [row for page in pages for row in tally.fresh(page)]
        found = [collection_from(row) for row in rows]
        self._known = {each.collection_id: each for each in found}
        names = {each.collection_id: each.name for each in found if self._is_theirs(each)}
        return CollectionList(names, tally.problem())

    def _is_theirs(self, collection: Collection) -> bool:
        """Of the system's own collections only the one with what users have put there, or one that they name."""
        names = {collection.collection_id, collection.name}
        system = collection.collection_id.startswith("_") or (collection.name or "").startswith("_")
        return not system or DIRECT in names or bool(names & set(self._configured))

    async def _position(self) -> str | None:
        """How far the change feed has come; None where it is not followed."""
        if not self._options.follow_events:
            return None
        try:
            return await self._feed.position()
        except IncompleteScanError:
            return None

    async def _document_reader(self, collection: str) -> DocumentReader:
        options = self._options
        return DocumentReader(
            self._api,
            await self._collection(collection),
            self._last.setdefault(collection, LastListing()),
            options.vectors_per_request,
            options.multi_vectors,
            options.limits,
        )

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
