"""How fast a generated TwelveLabs library is given away: it must not be what a benchmark measures."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.sandbox_process import sandbox_process
from vectorferry.connector.sandbox import GeneratedIndexes, SandboxSettings, running_sandbox

OPTIONS = "embedding_option=visual&embedding_option=audio&embedding_option=transcription&transcription=true"


@pytest.mark.benchmark
@pytest.mark.parametrize("printed", [False, True])
async def test_a_library_over_64_connections(printed: bool) -> None:
    settings = SandboxSettings(generate_twelvelabs=GeneratedIndexes(printed=printed), latency_ms=50)
    with running_sandbox(SandboxSettings(generate_twelvelabs=GeneratedIndexes())) as twin:
        (index,) = twin.twelvelabs.index_ids()
        ids = twin.twelvelabs.asset_ids(index)
    with sandbox_process(settings) as url:
        connector = aiohttp.TCPConnector(limit=64)
        headers = {"x-api-key": settings.api_key}
        async with aiohttp.ClientSession(base_url=url, headers=headers, connector=connector) as session:
            paths = [f"/v1.3/indexes/{index}/indexed-assets/{one}?{OPTIONS}" for one in ids]
            started = time.perf_counter()
            sizes = await asyncio.gather(*(_read(session, path) for path in paths))
            taken = time.perf_counter() - started
    print(f"\n{len(ids)} assets, {sum(sizes):,} bytes, in {taken:.2f} s; printed beforehand: {printed}")
    assert min(sizes) > 400_000


async def _read(session: aiohttp.ClientSession, path: str) -> int:
    async with session.get(path, raise_for_status=True) as answer:
        return len(await answer.read())
