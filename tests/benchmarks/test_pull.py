"""How fast sources list and pull, against a bare loop that reads the same answers in the same run.

Run with ``pytest -m benchmark tests/benchmarks/test_pull.py -s``. The service is a sandbox in a process of its own:
Mixpeek's answers are one of 4 kB for each asset and one of some 20 kB for each feature, TwelveLabs' small ones have two
vectors of 512 numbers, its large ones 90 and 0.6 MB.
"""

from __future__ import annotations

from contextlib import aclosing

import pytest

from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedIndexes, SandboxSettings

from ..sandbox_process import sandbox_process
from .pulling import KINDS, compared, pull_all

CONCURRENCY = 16
ROUNDS = 4
LATENCY_MS, IN_FLIGHT = 50, 64
SERVED = {
    "mixpeek": SandboxSettings(generate=GeneratedCatalogue(assets=250, features_per_asset=4, dimension=1408)),
    "twelvelabs small": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=1_000, segments_per_asset=1, dimension=512, printed=True)
    ),
    "twelvelabs large": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=100, segments_per_asset=30, dimension=512, printed=True)
    ),
}
IDEAL = {
    "mixpeek": SandboxSettings(generate=GeneratedCatalogue(assets=1_000, features_per_asset=4, dimension=1408)),
    "twelvelabs": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=4_000, segments_per_asset=1, dimension=512, printed=True)
    ),
}


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", SERVED)
async def test_pulling_is_as_fast_as_a_bare_loop(name: str) -> None:
    settings, kind = SERVED[name], KINDS[name.partition(" ")[0]]
    with sandbox_process(settings) as url:
        _, pulled = await compared(name, kind, url, settings.api_key, CONCURRENCY, ROUNDS)
    assert pulled >= 0.9


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", IDEAL)
async def test_pulling_reaches_four_fifths_of_the_ideal(name: str) -> None:
    """At 50 ms before every answer and with 64 requests in flight that is 1,280 requests per second, where the machine
    is fast enough."""
    settings, kind = IDEAL[name].model_copy(update={"latency_ms": LATENCY_MS}), KINDS[name]
    with sandbox_process(settings) as url:
        source = kind.open(url, settings.api_key, IN_FLIGHT)
        async with aclosing(source):
            (collection,) = await source.collections()
            listings = [listing async for listing in source.scan(collection)]
            pulled = [await pull_all(source, collection, listings) for _ in range(ROUNDS)]
    best, ideal = max(each.requests / each.seconds for each in pulled), IN_FLIGHT / (LATENCY_MS / 1_000)
    print(f"\n{name}: best {best:,.0f} requests/s; ideal {ideal:,.0f}; ratio {best / ideal:.2f}")
    assert best >= 0.8 * ideal
