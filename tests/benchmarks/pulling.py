"""Reading assets as fast as a source does, with nobody to store them; and as fast as a bare loop does.

The bare loop is what somebody would write by hand: aiohttp, orjson, numpy; every vector made float32 and forgotten, no
answer checked, nothing tried again. Its rate and its CPU are measured in the same run, in turns with ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
import orjson
from pydantic import SecretStr

from vectorferry.connector.plugin import Asset, Listing, Source
from vectorferry.connector.sandbox import GeneratedDocuments, GeneratedIndexes
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings

__all__ = ["KINDS", "Kind", "Pulled", "asking", "compared", "pull_all"]

OPTIONS = GeneratedIndexes().options
DOCUMENTS = GeneratedDocuments()
PARTITIONS = 8

Ask = Callable[..., Awaitable[Any]]
"""Method, path and what `aiohttp.ClientSession.request` takes besides; answers the JSON value."""


@dataclass(frozen=True)
class Pulled:
    """What came of one round."""

    assets: int
    vectors: int
    requests: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Kind:
    """One service: our source for it, and the bare loop's way to its assets and their vectors."""

    open: Callable[[str, str, int], Source]
    headers: Callable[[str], dict[str, str]]
    assets: Callable[[Ask], Awaitable[list[Any]]]
    vectors: Callable[[Ask, Any], Awaitable[int]]


async def pull_all(source: Source, collection: str, listings: Sequence[Listing]) -> Pulled:
    """Pull these assets, each of which must be readable."""

    async def given() -> AsyncIterator[Listing]:
        for listing in listings:
            yield listing

    before, began, cpu = source.usage.requests, time.perf_counter(), time.process_time()
    assets = vectors = 0
    async for asset in source.pull(collection, given()):
        assert isinstance(asset, Asset)
        assets += 1
        vectors += sum(len(feature.vectors) for feature in asset.features)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Pulled(assets, vectors, source.usage.requests - before, seconds, cpu)


async def compared(name: str, kind: Kind, url: str, key: str, concurrency: int, rounds: int) -> tuple[float, float]:
    """Pull and list everything, and do the same in a bare loop, in turns; the best round of each counts, since other
    work on the machine only ever makes one slower. Prints what came of it; the bare loop's seconds, as a multiple of
    ours, to list and to pull."""
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(await _ours(kind, url, key, concurrency))
        bare.append(await _bare(kind, url, key, concurrency))
    ratios = []
    for step, place in (("list", 0), ("pull", 1)):
        mine, theirs = [each[place] for each in ours], [each[place] for each in bare]
        assert len({(each.assets, each.vectors) for each in (*mine, *theirs)}) == 1
        units = mine[0].vectors or mine[0].assets
        best, other = min(each.seconds for each in mine), min(each.seconds for each in theirs)
        cpu, other_cpu = min(each.cpu for each in mine), min(each.cpu for each in theirs)
        print(
            f"\n{name}, {step}: {units:,} {'vectors' if mine[0].vectors else 'assets'}, {best:.2f} s, bare loop "
            f"{other:.2f} s, rate {other / best:.2f}; CPU {cpu / units * 1e6:.0f} µs each, bare loop "
            f"{other_cpu / units * 1e6:.0f}, ratio {cpu / other_cpu:.2f}",
            end="",
        )
        ratios.append(other / best)
    return ratios[0], ratios[1]


async def _ours(kind: Kind, url: str, key: str, concurrency: int) -> tuple[Pulled, Pulled]:
    source = kind.open(url, key, concurrency)
    async with aclosing(source):
        (collection,) = await source.collections()
        before, began, cpu = source.usage.requests, time.perf_counter(), time.process_time()
        listings = [listing async for listing in source.scan(collection)]
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        listed = Pulled(len(listings), 0, source.usage.requests - before, seconds, cpu)
        return listed, await pull_all(source, collection, listings)


async def _bare(kind: Kind, url: str, key: str, concurrency: int) -> tuple[Pulled, Pulled]:
    async with asking(url, kind.headers(key), concurrency) as ask:
        began, cpu = time.perf_counter(), time.process_time()
        assets = await kind.assets(ask)
        listed = Pulled(len(assets), 0, 0, time.perf_counter() - began, time.process_time() - cpu)
        began, cpu = time.perf_counter(), time.process_time()
        vectors = sum(await asyncio.gather(*(kind.vectors(ask, asset) for asset in assets)))
        return listed, Pulled(len(assets), vectors, 0, time.perf_counter() - began, time.process_time() - cpu)


@asynccontextmanager
async def asking(url: str, headers: dict[str, str], concurrency: int) -> AsyncIterator[Ask]:
    """Asks the service, at most so many times at once."""
    room = asyncio.Semaphore(concurrency)

    async def ask(method: str, path: str, **more: Any) -> Any:
        async with room, session.request(method, f"{url}{path}", **more) as response:
            return orjson.loads(await response.read())

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield ask


def _float32(vector: list[float]) -> None:
    np.array(vector, dtype=np.float32)


def _open_mixpeek(url: str, key: str, concurrency: int) -> Source:
    return MixpeekSettings(base_url=url, api_key=SecretStr(key), concurrency=concurrency, page_size=500).open()


async def _mixpeek_assets(ask: Ask) -> list[Any]:
    (collection,) = (await ask("GET", "/collections"))["results"]
    assets: list[Any] = []
    while True:
        paged = {"page": len(assets) // 500 + 1, "page_size": 500}
        page = await ask("POST", "/assets", params=paged, json={"collections": [collection["collection_id"]]})
        assets += page["results"]
        if len(assets) >= page["pagination"]["total"]:
            return assets


async def _mixpeek_vectors(ask: Ask, asset: Any) -> int:
    async def read(feature: Any) -> int:
        query = {"include_vectors": "true", "return_vectors": "true"}
        vectors = (await ask("GET", f"/features/{feature['feature_id']}", params=query))["vectors"]
        for vector in vectors.values():
            _float32(vector)
        return len(vectors)

    features = (await ask("GET", f"/assets/{asset['asset_id']}/features"))["features"]
    return sum(await asyncio.gather(*(read(feature) for rows in features.values() for feature in rows or ())))


def _open_twelvelabs(url: str, key: str, concurrency: int) -> Source:
    settings = TwelveLabsSettings(base_url=f"{url}/v1.3", api_key=SecretStr(key), concurrency=concurrency)
    return settings.model_copy(update={"reread_days": None}).open()


async def _twelvelabs_assets(ask: Ask) -> list[Any]:
    (index,) = (await ask("GET", "/v1.3/indexes"))["data"]
    path = f"/v1.3/indexes/{index['_id']}"
    assets: list[Any] = []
    while True:
        page = await ask("GET", f"{path}/indexed-assets", params={"page": len(assets) // 50 + 1, "page_limit": 50})
        assets += [f"{path}/indexed-assets/{row['_id']}" for row in page["data"]]
        if len(assets) >= page["page_info"]["total_results"]:
            return assets


async def _twelvelabs_vectors(ask: Ask, asset: Any) -> int:
    answer = await ask("GET", asset, params=[("embedding_option", option) for option in OPTIONS])
    segments = answer["embedding"]["video_embedding"]["segments"]
    for segment in segments:
        _float32(segment["float"])
    return len(segments)


def _open_documents(url: str, key: str, concurrency: int) -> Source:
    settings = {"base_url": f"{url}/mixpeek-documents", "namespace": DOCUMENTS.namespace, "api_key": key}
    return MixpeekDocumentsSettings.model_validate({**settings, "concurrency": concurrency}).open()


async def _documents(ask: Ask) -> list[Any]:
    path = "/mixpeek-documents/v1/collections/generated/documents/list"

    async def part(index: int) -> list[Any]:
        rows: list[Any] = []
        body: dict[str, Any] = {"partition": {"index": index, "count": PARTITIONS}}
        while body:
            page = await ask("POST", path, json={"limit": 1_000, "select": ["_internal"], **body})
            rows += page["results"]
            cursor = page["pagination"]["next_cursor"]
            body = {"cursor": cursor} if cursor else {}
        return rows

    return [row for rows in await asyncio.gather(*map(part, range(PARTITIONS))) for row in rows]


async def _no_vectors(_: Ask, __: Any) -> int:
    return 0


KINDS = {
    "mixpeek": Kind(_open_mixpeek, lambda key: {"Authorization": f"Bearer {key}"}, _mixpeek_assets, _mixpeek_vectors),
    "mixpeek-documents": Kind(
        _open_documents,
        lambda key: {"Authorization": f"Bearer {key}", "X-Namespace": DOCUMENTS.namespace},
        _documents,
        _no_vectors,
    ),
    "twelvelabs": Kind(_open_twelvelabs, lambda key: {"x-api-key": key}, _twelvelabs_assets, _twelvelabs_vectors),
}
