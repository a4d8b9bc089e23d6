"""Sandboxes with a few of Mixpeek's documents, and sources that read them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from vectorferry.connector.http import RetryPolicy
from vectorferry.connector.plugin import Asset, Listing, Rejected
from vectorferry.connector.sandbox import GeneratedDocuments, Sandbox, SandboxSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings, MixpeekDocumentsSource

COLLECTION = "col_generated"
VECTOR = "text_extractor_v1_embedding"
QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.05)


def generated(count: int = 12, per_object: int = 0, **more: Any) -> SandboxSettings:
    """So many documents with a vector of four numbers."""
    made = GeneratedDocuments(documents=count, documents_per_object=per_object, dimension=4)
    return SandboxSettings(generate_documents=made, **more)


def settings_for(sandbox: Sandbox, **settings: Any) -> MixpeekDocumentsSettings:
    """Settings of a source that reads the sandbox's generated documents."""
    said = {"api_key": SecretStr(sandbox.api_key), "retry": QUICK, "namespace": "generated", **settings}
    return MixpeekDocumentsSettings(**{"base_url": sandbox.documents_url, **said})


@asynccontextmanager
async def reading(
    served: SandboxSettings | None = None, **settings: Any
) -> AsyncIterator[tuple[MixpeekDocumentsSource, Sandbox]]:
    """A source that reads a sandbox."""
    async with Sandbox(served or generated()) as sandbox:
        source = settings_for(sandbox, **settings).open()
        try:
            yield source, sandbox
        finally:
            await source.aclose()


async def scanned(source: MixpeekDocumentsSource, collection: str = COLLECTION) -> dict[str, Listing]:
    """A whole scan by asset id."""
    return {listing.asset_id: listing async for listing in source.scan(collection)}


async def pulled(
    source: MixpeekDocumentsSource,
    listings: Iterable[Listing] | None = None,
    collection: str = COLLECTION,
    *,
    first: bool = False,
) -> dict[str, Asset | Rejected]:
    """What a pull gives by asset id: of these listings, or of those of a scan that goes on meanwhile, which is the
    `first` one of all."""
    if first:
        source.expect_all(collection)

    async def each() -> AsyncIterator[Listing]:
        for listing in listings or ():
            yield listing

    asked: AsyncIterable[Listing] = source.scan(collection) if listings is None else each()
    return {result.asset_id: result async for result in source.pull(collection, asked)}


def asset_in(results: dict[str, Asset | Rejected], asset_id: str) -> Asset:
    """One of them, which has to be an asset."""
    result = results[asset_id]
    assert isinstance(result, Asset)
    return result
