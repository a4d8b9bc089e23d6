"""What answers about videos of many hours take in memory: a small multiple of one of them, however many there are.

Run with ``pytest -m benchmark tests/benchmarks/test_long_answers.py -s``. Four hours in segments of six seconds with
three embedding options are 7,200 vectors, some 45 MB of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vectorferry.connector.sandbox import GeneratedIndexes, SandboxSettings

from ..sandbox_process import sandbox_process

ASSETS = 6
SEGMENTS = 2_400
OPTIONS = 3

MEASURE = """
import asyncio, json, resource, sys
from contextlib import aclosing
from pydantic import SecretStr
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    source = TwelveLabsSettings(base_url=sys.argv[1], api_key=SecretStr("sk_sandbox"), concurrency=8).open()
    async with aclosing(source):
        (collection,) = await source.collections()
        before, listed = peak(), source.usage.bytes
        vectors = 0
        async for asset in source.pull(collection, source.scan(collection)):
            vectors += sum(len(feature.vectors) for feature in asset.features)
        print(json.dumps({"peak": peak() - before, "bytes": source.usage.bytes - listed, "vectors": vectors}))

asyncio.run(main())
"""


@pytest.mark.benchmark
@pytest.mark.timeout(300)
def test_long_answers_take_a_small_multiple_of_one_of_them() -> None:
    indexes = GeneratedIndexes(assets=ASSETS, segments_per_asset=SEGMENTS, dimension=512)
    with sandbox_process(SandboxSettings(generate_twelvelabs=indexes)) as url:
        command = [sys.executable, "-c", MEASURE, f"{url}/v1.3"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    answer = found["bytes"] / ASSETS
    print(f"\none answer {answer / 1e6:.0f} MB; {ASSETS} of them: peak {found['peak'] / 1e6:.0f} MB")
    assert found["vectors"] == ASSETS * SEGMENTS * OPTIONS
    assert found["peak"] <= 4 * answer
