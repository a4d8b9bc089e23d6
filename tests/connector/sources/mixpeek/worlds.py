"""Small Mixpeek services that answer exactly what a test says, and sources that read them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from tests.connector.http.serving import KEY, Server, json, serving
from vectorferry.connector.http import RetryPolicy
from vectorferry.connector.plugin import Asset, Listing, Rejected
from vectorferry.connector.sandbox import Sandbox, SandboxSettings
from vectorferry.connector.sources.mixpeek import MixpeekSettings, MixpeekSource

QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.05)


def source_for(url: str, **settings: Any) -> MixpeekSource:
    """A source with quick retries and the canary key."""
    given = {"api_key": SecretStr(KEY), "retry": QUICK, **settings}
    return MixpeekSettings(base_url=url, **given).open()


@asynccontextmanager
async def reading_sandbox(
    served: SandboxSettings | None = None, **settings: Any
) -> AsyncIterator[tuple[MixpeekSource, Sandbox]]:
    """A source that reads a sandbox."""
    async with Sandbox(served) as sandbox:
        source = source_for(sandbox.url, **{"api_key": SecretStr(sandbox.api_key), **settings})
        try:
            yield source, sandbox
        finally:
            await source.aclose()


@dataclass
class Answers:
    """A service by path: each holds one answer, or several that are given in turn (the last one for ever)."""

    by_path: Mapping[str, Any]
    asked: dict[str, int] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path not in self.by_path:
            return json({"detail": "Not Found"}, 404)
        number = self.asked[path] = self.asked.get(path, 0) + 1
        answer = self.by_path[path]
        if isinstance(answer, Sequence):
            answer = answer[min(number, len(answer)) - 1]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        return json(answer)


@asynccontextmanager
async def reading(by_path: Mapping[str, Any], **settings: Any) -> AsyncIterator[tuple[MixpeekSource, Server]]:
    """A source that reads a service with these answers."""
    async with serving(Answers(by_path).handle) as server:
        source = source_for(server.url, **settings)
        try:
            yield source, server
        finally:
            await source.aclose()


def page(*rows: Any, total: Any = None, number: int = 1, pages: Any = 1) -> dict[str, Any]:
    """A page of a list; the total is the number of its rows unless it is given."""
    counts = {"total": len(rows) if total is None else total, "page": number, "page_size": 10, "total_pages": pages}
    return {"results": list(rows), "pagination": {**counts, "next_page": None, "previous_page": None}}


NO_COLLECTIONS = page()


def listings_of(asset_ids: Iterable[str]) -> AsyncIterable[Listing]:
    """Listings as a scan would give them."""

    async def listings() -> AsyncIterator[Listing]:
        for asset_id in asset_ids:
            yield Listing(asset_id, f"fingerprint of {asset_id}")

    return listings()


async def pulled(source: MixpeekSource, *asset_ids: str, collection: str = "c") -> list[Asset | Rejected]:
    """Everything that a pull of these assets gives, by asset id."""
    results = [result async for result in source.pull(collection, listings_of(asset_ids))]
    return sorted(results, key=lambda result: result.asset_id)


async def pull_one(by_path: Mapping[str, Any], asset_id: str = "a1", **settings: Any) -> Asset | Rejected | None:
    """The one asset of a service with these answers; None when it is left out."""
    async with reading({"/collections": NO_COLLECTIONS, **by_path}, **settings) as (source, _):
        results = await pulled(source, asset_id)
    return results[0] if results else None


async def pulled_asset(by_path: Mapping[str, Any], asset_id: str = "a1") -> Asset:
    """The same when it has to be an asset."""
    result = await pull_one(by_path, asset_id)
    assert isinstance(result, Asset)
    return result
