"""What a second sync of many assets costs when none of them has changed: requests, bytes, seconds and CPU.

Run with ``pytest -m benchmark tests/benchmarks/test_unchanged.py -s``. The first sync writes down every asset as it is
listed, without its features: nothing of these is looked at where nothing has changed. The bare loop reads the same
pages and parses them, in the same run.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, closing

import pytest

from vectorferry import SyncOptions
from vectorferry.connector._engine._opening import RARE_GARBAGE
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector.plugin import Asset, Listing, Origin, Source
from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedDocuments, GeneratedIndexes, SandboxSettings
from vectorferry.connector.testing import sync
from vectorferry.destinations.pgvector import PgvectorSettings

from ..sandbox_process import sandbox_process
from .pulling import KINDS, asking

ASSETS = {"mixpeek": 100_000, "mixpeek-documents": 100_000, "twelvelabs": 20_000}

CONCURRENCY = 8
ROUNDS = 3
FULL = SyncOptions(full=True)
SERVED = {
    "mixpeek": SandboxSettings(
        generate=GeneratedCatalogue(assets=ASSETS["mixpeek"], features_per_asset=1, dimension=4)
    ),
    "twelvelabs": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=ASSETS["twelvelabs"], segments_per_asset=1)
    ),
    "mixpeek-documents": SandboxSettings(
        generate_documents=GeneratedDocuments(documents=ASSETS["mixpeek-documents"], dimension=4)
    ),
}
LARGEST_PAGE = {"mixpeek": 500, "twelvelabs": 50, "mixpeek-documents": 1_000}
"""That each service has."""


@pytest.mark.benchmark
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", SERVED)
async def test_a_second_sync_costs_no_more_than_listing(name: str, postgres_url: str, schema: str) -> None:
    settings, kind, assets = SERVED[name], KINDS[name], ASSETS[name]
    with (
        RARE_GARBAGE,  # as in every run that is made from settings
        sandbox_process(settings) as url,
        closing(PgvectorSettings(url=postgres_url, schema=schema).open(name)) as store,
    ):
        source = kind.open(url, settings.api_key, CONCURRENCY)
        ours, bare = [], []
        async with aclosing(source):
            first = await sync(AsListed(source), [store], FULL, name=name)
            assert first.destinations["pgvector"].applied.assets.inserted == assets
            for _ in range(ROUNDS):
                began, cpu = time.perf_counter(), time.process_time()
                second = await sync(source, [store], FULL, name=name)
                ours.append((time.process_time() - cpu, time.perf_counter() - began))
                assert second.destinations["pgvector"].applied.assets.unchanged == assets
                async with asking(url, kind.headers(settings.api_key), CONCURRENCY) as ask:
                    began, cpu = time.perf_counter(), time.process_time()
                    assert len(await kind.assets(ask)) == assets
                    bare.append((time.process_time() - cpu, time.perf_counter() - began))
    (cpu, seconds), (floor, listing) = min(ours), min(bare)  # other work only ever makes one slower
    print(
        f"\n{name}: {assets:,} unchanged assets in {seconds:.1f} s, {second.usage.requests:,} requests, "
        f"{second.usage.bytes / 1e6:,.1f} MB; CPU {cpu / assets * 1e6:.0f} µs each; the bare list takes "
        f"{listing:.1f} s and {floor / assets * 1e6:.0f} µs; load {os.getloadavg()[0]:.0f}"
    )
    assert second.usage.requests <= assets / LARGEST_PAGE[name] + 20


class AsListed(Source):
    """A source whose assets have no features, and which reads them without asking."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def usage(self) -> Usage:
        return self._source.usage

    async def collections(self) -> Sequence[str]:
        return await self._source.collections()

    def scan(self, collection: str) -> AsyncIterator[Listing]:
        return self._source.scan(collection)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset]:  # noqa: ARG002
        async for listing in listings:
            yield Asset(listing.asset_id, listing.fingerprint, turn=listing.turn)

    async def identity(self, collection: str) -> Origin:
        return await self._source.identity(collection)

    async def aclose(self) -> None:
        await self._source.aclose()
