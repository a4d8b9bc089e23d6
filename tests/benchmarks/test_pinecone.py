"""How fast an index is written, against the official SDK at its best. Ratios within one run.

pytest -m benchmark tests/benchmarks/test_pinecone.py -s

The store is a sandbox in a process of its own that waits 50 ms before every answer. Both ways begin with the same
float32 matrix and the same metadata, and end when the last record is acknowledged; the store must hold the same then.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from pinecone import Pinecone, ServerlessSpec

from connector import DenseVector
from connector.sandbox import SandboxSettings
from destinations.pinecone._bodies import EncodedRecord, encode_record
from destinations.pinecone._usage import WriteUsage
from destinations.pinecone._writer import IndexWriter, WriterLimits

from ..sandbox_process import sandbox_process

ROWS = 20_000
DIMENSION = 1024
LATENCY_MS = 50
ROUNDS = 3
NAMESPACE = "generated"
CONCURRENCY = 16
SDK_BATCHES = (100, 200, 450)
"""The documentation's advice, what a migration guide of Pinecone's uses, and all that 2 MB of float32 hold."""

SAID = "somebody says something in this segment of a video"


class Contest:
    """The same rows, written into one new index after the other."""

    def __init__(self, pinecone: Any, url: str, key: str) -> None:
        self._pinecone = pinecone
        self._url = url
        self._key = key
        self.digests: set[str] = set()
        self._vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION), dtype=np.float32)
        self._ids = [f"asset-{number // 10:06}#segment-{number:06}" for number in range(ROWS)]
        self._metadata = [
            {"asset_id": name.partition("#")[0], "start_time": float(number), "author": "ada", "transcription": SAID}
            for number, name in enumerate(self._ids)
        ]

    def ours(self, host: str) -> None:
        """The writer, as it is set by default."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            limits = WriterLimits(concurrency=CONCURRENCY)
            writer = IndexWriter(host, self._key, pool=pool, usage=WriteUsage(), limits=limits)
            assert writer.upsert(NAMESPACE, self._records()).refused == {}
            writer.close()

    def sdk(self, host: str, batch: int) -> None:
        """The SDK's batched upsert, with the whole matrix made into lists at once."""
        rows = zip(self._ids, self._vectors.tolist(), self._metadata, strict=True)
        vectors = [{"id": name, "values": values, "metadata": said} for name, values, said in rows]
        with self._pinecone.Index(host=host) as index:
            done = index.upsert(
                vectors=vectors,
                namespace=NAMESPACE,
                batch_size=batch,
                max_concurrency=CONCURRENCY,
                show_progress=False,
            )
        assert not done.has_errors

    def seconds(self, write: Callable[[str], None]) -> float:
        """What one way takes, and whether it did what it should."""
        place = ServerlessSpec(cloud="aws", region="us-east-1")
        self._pinecone.create_index(name="contest", dimension=DIMENSION, metric="cosine", spec=place)
        host = str(self._pinecone.describe_index("contest").host)
        began = time.perf_counter()
        write(host)
        taken = time.perf_counter() - began
        self.digests.add(self._digest())
        self._pinecone.delete_index("contest")
        return taken

    def _digest(self) -> str:
        held = httpx.get(f"{self._url}/_sandbox/pinecone", timeout=60).json()["contest"][NAMESPACE]
        assert held["records"] == ROWS
        return str(held["digest"])

    def _records(self) -> Iterator[EncodedRecord]:
        vector: DenseVector
        for name, vector, said in zip(self._ids, self._vectors, self._metadata, strict=True):
            yield encode_record(name, vector, None, said)


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_first_load_against_the_sdk() -> None:
    settings = SandboxSettings(latency_ms=LATENCY_MS)
    with sandbox_process(settings) as url, Pinecone(api_key=settings.api_key, host=url) as pinecone:
        contest = Contest(pinecone, url, settings.api_key)
        sdk = {f"SDK, {batch} a batch": partial(contest.sdk, batch=batch) for batch in SDK_BATCHES}
        ways: dict[str, Callable[[str], None]] = {"ours": contest.ours, **sdk}
        rounds = [{name: contest.seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    assert len(contest.digests) == 1

    medians = {name: statistics.median(taken[name] for taken in rounds) for name in rounds[0]}
    print(f"\n{ROWS:,} × {DIMENSION}-d, {LATENCY_MS} ms, medians of {ROUNDS} rounds, records/s:")
    for name, taken in medians.items():
        print(f"  {name:18} {ROWS / taken:>9,.0f}")
    ratio = statistics.median(min(taken[name] for name in sdk) / taken["ours"] for taken in rounds)
    print(f"ours is {ratio:.2f} × the SDK at its best")
    assert ratio >= 1.1
