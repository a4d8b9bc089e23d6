"""The source: names collections, lists assets, reads them with features and vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._records import Listing
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import (
    EmbeddedText,
    Hit,
    Neighbours,
    Origin,
    Probe,
    SourceQuery,
    Submission,
    SubmitOptions,
)
from vectorferry.connector.sources._pages import Page, Tally
from vectorferry.connector.sources._reading import ReadAsset
from vectorferry.connector.sources._service import CollectionList, ServiceSource
from vectorferry.connector.sources.mixpeek._api import MixpeekApi, fingerprint, state_of
from vectorferry.connector.sources.mixpeek._reader import AssetReader
from vectorferry.connector.sources.mixpeek._search import Searcher
from vectorferry.connector.sources.mixpeek._submit import Submitter, check

DEFAULT_VECTOR: Final = "multimodal-v1"


class MixpeekSource(ServiceSource):
    """Mixpeek's assets and features API."""

    capabilities = frozenset({Capability.EMBED, Capability.NEIGHBOURS, Capability.SEARCH, Capability.SUBMIT})
    makes_collections = True

    _api: MixpeekApi
    _nothing_listed = (
        "lists no collection; check source.namespace and the key. An account of documents is read with source.type: "
        "mixpeek-documents."
    )

    def __init__(
        self,
        api: MixpeekApi,
        collections: Sequence[str],
        concurrency: int,
        namespace: str | None = None,
        limits: SourceLimits | None = None,
    ) -> None:
        super().__init__(api, collections, concurrency)
        self._namespace = namespace
        self._limits = limits or SourceLimits()
        self._submitter = Submitter(api)
        self._searcher = Searcher(api)

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """Service, namespace, organization and key. The same for every collection, and asked for once: what a key is
        narrowed to (reads are filtered by its principal), no answer tells."""
        organization = await self._api.organization()
        named = {"organization": organization} if organization else {}
        return {**self._api.identity("mixpeek"), "namespace": self._namespace or "the key's own", **named}

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless the unique rows agree with
        a total that stayed the same from the first page to the last."""
        tally = AssetTally(collection)
        async for page in self._api.assets(collection):
            for listing in tally.listings(page):
                yield listing
        tally.check()

    def check_submission(self, urls: Sequence[str], options: SubmitOptions) -> None:
        """Raise `ConfigurationError` for what no release of the API takes."""
        check(urls, options)

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """Have it fetched and indexed, and tell of each change of its task until that has ended."""
        async with aclosing(self._submitter.submit(collection, url, options)) as changes:
            async for change in changes:
                yield change

    async def search(self, collection: str, query: SourceQuery) -> Sequence[Hit]:
        """The features that Mixpeek's own search finds, under the models that `options` name."""
        return await self._searcher.search(collection, query)

    async def embed(self, text: str, vector_name: str | None) -> EmbeddedText:
        """By the model of a named vector, `multimodal-v1` where none is named."""
        name = vector_name or DEFAULT_VECTOR
        return EmbeddedText(name, await self._searcher.embed(text, name))

    async def neighbours(self, collection: str, probe: Probe, *, limit: int) -> Neighbours | None:
        """What Mixpeek's own search finds for the words of a feature, and the vector that it makes of them."""
        return await self._searcher.neighbours(collection, probe, limit)

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for each asset, and one for each feature with its vectors."""
        return assets + features

    async def _listed_collections(self) -> CollectionList:
        tally = Tally("collections", "collection_id")
        rows = [row async for page in self._api.collections() for row in tally.fresh(page)]
        if any("feature_extractor" in row for row in rows):
            raise ConfigurationError(
                f"{self._api.host} has collections of documents, which Mixpeek's first API knew nothing of: set "
                "source.type to mixpeek-documents, and source.namespace."
            )
        return CollectionList({row["collection_id"]: row.get("collection_name") for row in rows}, tally.problem())

    async def _reader(self, collection: str) -> ReadAsset:  # noqa: ARG002 - assets are found by their ids alone
        return AssetReader(self._api, self._concurrency, self._limits).read


class AssetTally(Tally):
    """One scan of a collection: its listings, and whether they are all."""

    def __init__(self, collection: str) -> None:
        super().__init__("assets", "asset_id")
        self._collection = collection
        self._own = 0
        self._foreign = 0

    def listings(self, page: Page) -> Iterator[Listing]:
        """The listings of assets that were on no page before, also of those whose id no store can take."""
        for row in self.fresh(page):
            if row.get("collection_id") in (None, self._collection):
                self._own += 1
                yield Listing(row["asset_id"], fingerprint(row), state_of(row.get("status")))
            else:
                self._foreign += 1

    def problem(self) -> str | None:
        """Why the listing may not have been complete; None when it was."""
        if problem := super().problem():
            return problem
        if self._foreign and not self._own:
            return f"all {self._foreign} rows belong to other collections"
        return None
