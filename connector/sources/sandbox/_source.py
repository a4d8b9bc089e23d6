"""A sandbox and the Mixpeek source that reads it over HTTP, as one source."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack

from pydantic import SecretStr

from connector._closing import closing
from connector._records import Asset, Listing, Rejected
from connector._source import Source, Usage

__all__ = ["SandboxSource"]


class SandboxSource:
    """Implements the `Source` protocol. The sandbox runs in the event loop of whoever reads this first."""

    def __init__(self, collections: Sequence[str]) -> None:
        self._wanted = tuple(collections)
        self._stack = AsyncExitStack()
        self._inner: Source | None = None

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far, over real HTTP."""
        return self._inner.usage if self._inner else Usage()

    async def collections(self) -> Sequence[str]:
        """Ids in the configured order, or all of the sample collections. Raises `ConfigurationError` for others."""
        return await (await self._running()).collections()

    def is_gone(self, collection: str) -> bool:  # noqa: ARG002
        """Whether all collections are wanted, and so were named."""
        return not self._wanted

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """Every asset of a collection once."""
        async with closing((await self._running()).scan(collection)) as found:
            async for listing in found:
                yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """These assets with features and vectors."""
        async with closing((await self._running()).pull(collection, listings)) as pulled:
            async for asset in pulled:
                yield asset

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for each asset, and one for each feature with its vectors."""
        return assets + features

    async def aclose(self) -> None:
        """Stop the sandbox. Safe to call twice."""
        await self._stack.aclose()

    async def _running(self) -> Source:
        if self._inner is None:
            self._inner = await self._start()
        return self._inner

    async def _start(self) -> Source:
        from connector.sandbox import Sandbox
        from connector.sources.mixpeek import MixpeekSettings

        sandbox = await self._stack.enter_async_context(Sandbox())
        settings = MixpeekSettings(base_url=sandbox.url, api_key=SecretStr(sandbox.api_key), collections=self._wanted)
        source = settings.open()
        self._stack.push_async_callback(source.aclose)
        return source
