"""A sandbox and the source that reads one of its services over HTTP, as one source."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, SecretStr, StringConstraints

from vectorferry.connector._iterators import closing
from vectorferry.connector._model._mapping import ColumnMapping
from vectorferry.connector._model._records import Asset, Listing, Modality, Rejected
from vectorferry.connector._model._related import RelatedTable
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import EmbeddedText, Origin, Source, SourceSettings, Usage

if TYPE_CHECKING:
    from vectorferry.connector.sandbox import Sandbox

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Service: TypeAlias = Literal["mixpeek", "mixpeek-documents", "twelvelabs"]


class SandboxSettings(SourceSettings):
    """Sample media from a sandbox that is started when it is read and stopped when it is closed."""

    type: Literal["sandbox"] = "sandbox"
    service: Service = Field(default="mixpeek", description="whose API is stood in for")
    collections: tuple[Name, ...] = Field(default=(), description="ids of the sample collections to sync; none: all")

    @property
    def default_columns(self) -> Mapping[Modality, Mapping[str, ColumnMapping]]:
        """Those of the service."""
        from vectorferry.connector.sources.twelvelabs import DEFAULT_COLUMNS

        return DEFAULT_COLUMNS if self.service == "twelvelabs" else {}

    def open(self) -> SandboxSource:
        """A source with these settings. Nothing is started yet."""
        return SandboxSource(self.collections, self.service)


class SandboxSource(Source):
    """The sandbox runs in the event loop of whoever reads this first."""

    capabilities = frozenset({Capability.EMBED})

    def __init__(self, collections: Sequence[str], service: Service = "mixpeek") -> None:
        self._collections = tuple(collections)
        self._service = service
        self._stack = AsyncExitStack()
        self._inner: Source | None = None

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far, over real HTTP."""
        return self._inner.usage if self._inner else Usage()

    async def collections(self) -> Sequence[str]:
        """Ids in the configured order, or all of the sample collections. Raises `ConfigurationError` for others."""
        return await (await self._running()).collections()

    @property
    def not_found(self) -> Mapping[str, str]:
        """Configured collections that `collections` has not found, each with why."""
        return self._inner.not_found if self._inner else {}

    def is_gone(self, collection: str) -> bool:
        """Whether all collections are wanted, and so were named, or this one is configured and was not found."""
        return not self._collections or collection in self.not_found

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """The service: address and key are new each time, and mean nothing."""
        return {"source": "sandbox", "service": self._service}

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """Every asset of a collection once."""
        async with closing((await self._running()).scan(collection)) as listings:
            async for listing in listings:
                yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """These assets with features and vectors."""
        async with closing((await self._running()).pull(collection, listings)) as pulled:
            async for asset in pulled:
                yield asset

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for each asset; from Mixpeek's first API one more for each feature with its vectors, and of its
        documents a thousand at once."""
        if self._service == "mixpeek-documents":
            return -(-max(assets, features) // 1_000)
        return assets if self._service == "twelvelabs" else assets + features

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """Those of the service."""
        from vectorferry.connector.sources.twelvelabs import ENTITY_TABLES, INDEXES

        return (INDEXES, *ENTITY_TABLES) if self._service == "twelvelabs" else ()

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """The rows of one of them."""
        async with closing((await self._running()).related_rows(table)) as rows:
            async for row in rows:
                yield row

    async def embed(self, text: str, vector_name: str | None) -> EmbeddedText:
        """As the service does that is stood in for. Raises `NotSupportedError` where it does not."""
        return await (await self._running()).embed(text, vector_name)

    async def aclose(self) -> None:
        """Stop the sandbox. Safe to call twice."""
        await self._stack.aclose()

    async def _running(self) -> Source:
        if self._inner is None:
            self._inner = await self._start()
        return self._inner

    async def _start(self) -> Source:
        from vectorferry.connector.sandbox import Sandbox

        sandbox = await self._stack.enter_async_context(Sandbox())
        source = _reader(self._service, _address(sandbox, self._service), sandbox.api_key, self._collections)
        self._stack.push_async_callback(source.aclose)
        return source


def _address(sandbox: Sandbox, service: Service) -> str:
    urls = {"twelvelabs": sandbox.twelvelabs_url, "mixpeek-documents": sandbox.documents_url}
    return urls.get(service, sandbox.url)


def _reader(service: Service, url: str, api_key: str, collections: Sequence[str]) -> Source:
    """What is read twice from samples that never change should not look as if it had grown old meanwhile."""
    from vectorferry.connector.sources.mixpeek import MixpeekSettings
    from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
    from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings

    key, ids = SecretStr(api_key), tuple(collections)
    if service == "twelvelabs":
        return TwelveLabsSettings(base_url=url, api_key=key, collections=ids, reread_days=None).open()
    if service == "mixpeek-documents":
        return MixpeekDocumentsSettings(base_url=url, api_key=key, collections=ids, namespace="media").open()
    return MixpeekSettings(base_url=url, api_key=key, collections=ids).open()
