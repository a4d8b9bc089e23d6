"""Every source that comes with Vectorferry, each over twelve assets that a test can change."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from pydantic import SecretStr

from vectorferry.connector.http import ApiSourceSettings, RetryPolicy
from vectorferry.connector.plugin import Asset, Feature, Listing, Rejected, Source
from vectorferry.connector.sandbox import (
    Fault,
    GeneratedCatalogue,
    GeneratedDocuments,
    GeneratedIndexes,
    Html,
    Sandbox,
    SandboxKey,
    SandboxSettings,
)
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.connector.testing import MemorySource

ASSETS = 12
CONCURRENCY = 3
PAGE = 5
QUICK = RetryPolicy(attempts=2, first_wait=0.01, longest_wait=0.05)
ANOTHER_KEY = "sk_another"
KEYS = (SandboxKey(api_key=ANOTHER_KEY),)


class Edits(Protocol):
    """Changing what a source reads."""

    def asset_ids(self) -> list[str]: ...
    def remove(self, asset_id: str) -> None: ...
    def edit_metadata(self, asset_id: str) -> None: ...
    def change_vectors(self, asset_id: str) -> None: ...


@dataclass
class World:
    """A source with one collection of twelve assets, among others for services.

    A service is in a sandbox, where `read` is the route that an asset is read by, `listing` the one that lists them,
    and `rows` and `total` are what a page calls its rows and the number of all. `configured` opens further sources.
    `reads_together` says that a request may read several assets.
    """

    source: Source
    collection: str
    edits: Edits
    sandbox: Sandbox | None = None
    configured: Callable[..., Source] | None = None
    name: str = ""
    listing: str = ""
    read: str = ""
    total: str = ""
    reads_together: bool = False

    def break_asset(self, asset_id: str) -> None:
        """Let no request for this asset be answered as it should."""
        self.served.faults.add(Fault(route=f"/.*{asset_id}", do=Html()))
        if self.reads_together:
            self.served.faults.add(Fault(route=self.read, containing=asset_id, do=Html()))

    @property
    def served(self) -> Sandbox:
        """The sandbox of a service."""
        assert self.sandbox is not None
        return self.sandbox

    def another(self, **settings: Any) -> Source:
        """Another source of the same service."""
        assert self.configured is not None
        return self.configured(**settings)


class _MemoryEdits:
    def __init__(self, assets: dict[str, Asset]) -> None:
        self._assets = assets

    def asset_ids(self) -> list[str]:
        return list(self._assets)

    def remove(self, asset_id: str) -> None:
        del self._assets[asset_id]

    def edit_metadata(self, asset_id: str) -> None:
        asset = self._assets[asset_id]
        self._assets[asset_id] = replace(asset, fingerprint=f"{asset.fingerprint}.", metadata={"author": "somebody"})

    def change_vectors(self, asset_id: str) -> None:
        asset = self._assets[asset_id]
        features = tuple(replace(one, vectors={"m": np.zeros(4, np.float32)}) for one in asset.features)
        self._assets[asset_id] = replace(asset, fingerprint=f"{asset.fingerprint}+", features=features)


class _MixpeekEdits:
    def __init__(self, sandbox: Sandbox) -> None:
        self._editor = sandbox.mixpeek

    def asset_ids(self) -> list[str]:
        return self._editor.asset_ids("first")

    def remove(self, asset_id: str) -> None:
        self._editor.remove_asset(asset_id)

    def edit_metadata(self, asset_id: str) -> None:
        self._editor.edit_metadata(asset_id, {"author": "somebody"})

    def change_vectors(self, asset_id: str) -> None:
        for feature_id in self._editor.feature_ids(asset_id):
            self._editor.put_vector(feature_id, "multimodal-v1", [0, 0, 0, 1])


class _TwelveLabsEdits:
    def __init__(self, sandbox: Sandbox) -> None:
        self._editor = sandbox.twelvelabs

    def asset_ids(self) -> list[str]:
        return self._editor.asset_ids(self._editor.index_id("first"))

    def remove(self, asset_id: str) -> None:
        self._editor.remove_asset(asset_id)

    def edit_metadata(self, asset_id: str) -> None:
        self._editor.edit_metadata(asset_id, {"author": "somebody"})

    def change_vectors(self, asset_id: str) -> None:
        self._editor.reembed(asset_id)


@asynccontextmanager
async def memory() -> AsyncIterator[World]:
    """The model of a source."""
    source = MemorySource({"first": [_asset(number) for number in range(ASSETS)]})
    yield World(source, "first", _MemoryEdits(source.assets["first"]))


@asynccontextmanager
async def mixpeek() -> AsyncIterator[World]:
    """Mixpeek's API in a sandbox."""
    catalogue = GeneratedCatalogue(
        assets=2 * ASSETS, features_per_asset=2, dimension=4, collections=("first", "second")
    )
    settings = SandboxSettings(generate=catalogue, latency_ms=2, keys=KEYS)
    async with _served(settings, MixpeekSettings, lambda sandbox: sandbox.url) as (sandbox, opened):
        yield World(
            opened(collections=("first",)),
            "first",
            _MixpeekEdits(sandbox),
            sandbox,
            opened,
            name="first",
            listing="assets.list",
            read="assets.features",
            total="total",
        )


class _DocumentsEdits:
    def __init__(self, sandbox: Sandbox) -> None:
        self._editor = sandbox.documents

    def asset_ids(self) -> list[str]:
        return self._editor.asset_ids("first")

    def remove(self, asset_id: str) -> None:
        self._editor.remove_asset(asset_id)

    def edit_metadata(self, asset_id: str) -> None:
        self._editor.edit_metadata(asset_id, {"author": "somebody"})

    def change_vectors(self, asset_id: str) -> None:
        self._editor.reembed(asset_id)


@asynccontextmanager
async def _mixpeek_documents(per_object: int) -> AsyncIterator[World]:
    documents = GeneratedDocuments(
        documents=2 * ASSETS * max(per_object, 1),
        documents_per_object=per_object,
        dimension=4,
        collections=("first", "second"),
    )
    settings = SandboxSettings(generate_documents=documents, latency_ms=2, keys=KEYS)
    async with _served(settings, MixpeekDocumentsSettings, lambda sandbox: sandbox.documents_url) as (sandbox, opened):

        def configured(**given: Any) -> Source:
            each = max(per_object, 1)
            said = {"namespace": "generated", "page_size": PAGE * each, "vectors_per_request": each}
            source: Source = opened(**{**said, **given})
            return source

        yield World(
            configured(collections=("first",)),
            "col_first",
            _DocumentsEdits(sandbox),
            sandbox,
            configured,
            name="first",
            listing="documents.list",
            read="documents.vectors",
            total="total",
            reads_together=True,
        )


@asynccontextmanager
async def mixpeek_objects() -> AsyncIterator[World]:
    """Mixpeek's documents in a managed namespace: an asset is the object that two of them were made of."""
    async with _mixpeek_documents(2) as world:
        yield world


@asynccontextmanager
async def mixpeek_vectors() -> AsyncIterator[World]:
    """Mixpeek's documents in a standalone namespace: each is an asset."""
    async with _mixpeek_documents(0) as world:
        yield world


@asynccontextmanager
async def twelvelabs() -> AsyncIterator[World]:
    """TwelveLabs' API in a sandbox."""
    indexes = GeneratedIndexes(assets=2 * ASSETS, segments_per_asset=2, dimension=4, indexes=("first", "second"))
    settings = SandboxSettings(generate_twelvelabs=indexes, latency_ms=2, keys=KEYS)
    async with _served(settings, TwelveLabsSettings, lambda sandbox: sandbox.twelvelabs_url) as (sandbox, opened):
        yield World(
            opened(collections=("first",), reread_days=None),
            sandbox.twelvelabs.index_id("first"),
            _TwelveLabsEdits(sandbox),
            sandbox,
            opened,
            name="first",
            listing="twelvelabs.indexed_assets.list",
            read="twelvelabs.indexed_assets.get",
            total="total_results",
        )


SERVICES = {
    "mixpeek": mixpeek,
    "mixpeek-objects": mixpeek_objects,
    "mixpeek-vectors": mixpeek_vectors,
    "twelvelabs": twelvelabs,
}
WORLDS = {"memory": memory, **SERVICES}


@asynccontextmanager
async def _served(
    settings: SandboxSettings, kind: type[ApiSourceSettings], address: Callable[[Sandbox], str]
) -> AsyncIterator[tuple[Sandbox, Callable[..., Any]]]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(settings))

        def opened(**given: Any) -> Source:
            said = {"concurrency": CONCURRENCY, "page_size": PAGE, "retry": QUICK, **given}
            source = kind(**{"base_url": address(sandbox), "api_key": SecretStr(sandbox.api_key), **said}).open()
            stack.push_async_callback(source.aclose)
            return source

        yield sandbox, opened


def _asset(number: int) -> Asset:
    features = tuple(
        Feature(f"{number}/{part}", "video", {}, {"m": np.full(4, number + 1, np.float32)}) for part in range(2)
    )
    return Asset(f"a{number}", f"f{number}", features=features)


def in_order(listings: Iterable[Listing], taken: list[str] | None = None) -> AsyncIterable[Listing]:
    """These listings, one by one; `taken` gets the id of each that was asked for."""

    async def each() -> AsyncIterator[Listing]:
        for listing in listings:
            if taken is not None:
                taken.append(listing.asset_id)
            yield listing

    return each()


async def scanned(source: Source, collection: str) -> dict[str, Listing]:
    """A whole scan by asset id, in which none comes twice."""
    listings = [listing async for listing in source.scan(collection)]
    by_id = {listing.asset_id: listing for listing in listings}
    assert len(by_id) == len(listings)
    return by_id


async def pulled(source: Source, collection: str, listings: Iterable[Listing]) -> dict[str, Asset | Rejected]:
    """A whole pull by asset id, in which none comes twice."""
    results = [result async for result in source.pull(collection, in_order(listings))]
    by_id = {result.asset_id: result for result in results}
    assert len(by_id) == len(results)
    return by_id
