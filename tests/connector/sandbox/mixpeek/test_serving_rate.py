"""How many answers with vectors the sandbox gives per second: it must not be what a benchmark measures."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.sandbox_process import sandbox_process
from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings, running_sandbox

ANSWERS = 8_000


@pytest.mark.benchmark
@pytest.mark.parametrize("connections", [1, 16])
async def test_answers_per_second(connections: int) -> None:
    settings = SandboxSettings(generate=GeneratedCatalogue(assets=5_000, features_per_asset=10))
    with running_sandbox(settings) as twin:
        ids = twin.mixpeek.feature_ids()[:ANSWERS]
    with sandbox_process(settings) as url:
        headers = {"Authorization": f"Bearer {settings.api_key}"}
        async with aiohttp.ClientSession(base_url=url, headers=headers) as session:
            started = time.perf_counter()
            sizes = await asyncio.gather(*(_read(session, ids[n::connections]) for n in range(connections)))
            taken = time.perf_counter() - started
    size = sum(sizes) // ANSWERS
    print(f"\n{ANSWERS / taken:,.0f} answers/s of {size:,} bytes over {connections} connections, one core each side")
    assert 15_000 < size < 25_000


async def _read(session: aiohttp.ClientSession, feature_ids: list[str]) -> int:
    read = 0
    for feature_id in feature_ids:
        async with session.get(f"/features/{feature_id}?include_vectors=true", raise_for_status=True) as answer:
            read += len(await answer.read())
    return read
