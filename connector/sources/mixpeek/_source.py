"""The source: names collections, lists assets, reads them with features and vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from vectorferry.connector._model._errors import SourceError
from vectorferry.connector._model._records import Asset, Listing, Rejected
from vectorferry.connector._protocols._source import Origin, Source, Usage
from vectorferry.connector.sources._collections import Found, Listed, find_collections
from vectorferry.connector.sources._pages import Tally, check_complete
from vectorferry.connector.sources._reading import read_assets
from vectorferry.connector.sources.mixpeek._api import MixpeekApi
from vectorferry.connector.sources.mixpeek._listing import AssetTally
from vectorferry.connector.sources.mixpeek._reader import AssetReader

__all__ = ["MixpeekSource"]


async def wanted_collections(api: MixpeekApi, wanted: Sequence[str]) -> Found:
    """Raises `ConfigurationError` when none of those configured is there, and `SourceError` when the list does not come
    completely, or is empty while none was configured."""

    async def listed() -> Listed:
        tally = Tally("collections", "collection_id")
        rows = [row async for page in api.collections() for row in tally.fresh(page)]
        return {row["collection_id"]: row.get("collection_name") for row in rows}, tally.problem()

    found = await find_collections(api.host, listed, wanted)
    found.check_any()
    if not found.ids:
        raise SourceError(f"{api.host} lists no collection; check source.namespace and the key.")
    return found


# The source: names collections, lists assets, reads them with features and vectors.


class MixpeekSource(Source):
    """Mixpeek's assets and features API."""

    def __init__(
        self, api: MixpeekApi, collections: Sequence[str], concurrency: int, namespace: str | None = None
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._wanted = collections
        self._concurrency = concurrency
        self._not_found: Mapping[str, str] = {}

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""
        return self._api.usage

    async def collections(self) -> Sequence[str]:
        """Ids in the configured order, or of all collections, sorted, when none was configured.

        Raises `ConfigurationError` when the service has none of those configured, and `SourceError` when the list does
        not come completely, or holds nothing while none was configured.
        """
        found = await wanted_collections(self._api, self._wanted)
        self._not_found = found.missing
        return found.ids

    @property
    def not_found(self) -> Mapping[str, str]:
        """Configured collections that `collections` has not found, each with why."""
        return self._not_found

    def is_gone(self, collection: str) -> bool:
        """Whether all collections are wanted, and so were named, or this one is configured and was not found."""
        return not self._wanted or collection in self._not_found

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """Service, namespace, organization and key. The same for every collection, and asked for once: what a key is
        narrowed to (reads are filtered by its principal), no answer tells."""
        organization = await self._api.organization()
        told = {"organization": organization} if organization else {}
        return {**self._api.identity("mixpeek"), "namespace": self._namespace or "the key's own", **told}

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless the unique rows agree with
        a total that stayed the same from the first page to the last."""
        tally = AssetTally(collection)
        async for page in self._api.assets(collection):
            for listing in tally.listings(page):
                yield listing
        check_complete(tally.problem(), knows_total=tally.knows_total)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        assets = read_assets(
            listings,
            AssetReader(self._api, self._concurrency).read,
            width=self._concurrency,
            collection=collection,
            scan=partial(self.scan, collection),
            check=self._api.check,
        )
        async with aclosing(assets) as results:
            async for result in results:
                yield result

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for each asset, and one for each feature with its vectors."""
        return assets + features

    async def aclose(self) -> None:
        """Release connections."""
        await self._api.aclose()
