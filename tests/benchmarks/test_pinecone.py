"""How fast an index is written, against the official SDK at its best. Ratios within one run.

pytest -m benchmark tests/benchmarks/test_pinecone.py -s

The store is a sandbox in a process of its own that waits 50 ms before every answer. All ways begin with the same
float32 matrix and the same metadata, and end when the last record is acknowledged; the store must hold the same then.
The destination is the whole of it: journal, index, writes and manifest, batch by batch as the engine hands them over.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest
from pinecone import Pinecone, ServerlessSpec

from vectorferry.connector.plugin import DenseVector, SchemaMapping
from vectorferry.connector.sandbox import SandboxSettings
from vectorferry.destinations import PineconeSettings
from vectorferry.destinations.pinecone._bodies import EncodedRecord, encode_record
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._metadata import MetadataOptions, record_metadata
from vectorferry.destinations.pinecone._requests import WriterLimits
from vectorferry.destinations.pinecone._writer import IndexWriter, WriteUsage

from ..builders import asset, batch, feature
from ..sandbox_process import sandbox_process

ROWS = 20_000
DIMENSION = 1024
LATENCY_MS = 50
ROUNDS = 3
NAMESPACE = "generated"
PREFIX = "contest"
VECTOR = "model-v1"
INDEX = f"{PREFIX}-{VECTOR}-{DIMENSION}"
ASSETS_PER_BATCH = 780
"""32 MB of vectors: the default batch."""
CONCURRENCY = 16
SDK_BATCHES = (100, 200, 450)
"""The documentation's advice, what a migration guide of Pinecone's uses, and all that 2 MB of float32 hold."""

SAID = "somebody says something in this segment of a video"


class Contest:
    """The same rows, written into one new index after the other."""

    def __init__(self, pinecone: Any, url: str, settings: SandboxSettings, database: str, schema: str) -> None:
        self._pinecone = pinecone
        self._url = url
        self._key = settings.api_key
        self._control = {"X-Sandbox-Key": settings.control_key}
        self._database = database
        self._schema = schema
        self.digests: set[str] = set()
        self._vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION), dtype=np.float32)
        features = [
            feature(
                f"segment-{number:06}",
                {VECTOR: vector},
                metadata={"author": "ada"},
                start_time=float(number),
                transcription=SAID,
            )
            for number, vector in enumerate(self._vectors)
        ]
        groups = [features[start : start + 10] for start in range(0, ROWS, 10)]
        self._assets = [asset(f"asset-{number:06}", *group) for number, group in enumerate(groups)]
        each = [(one, part) for one in self._assets for part in one.features]
        self._ids = [record_id(one.asset_id, part.feature_id) for one, part in each]
        self._metadata = [record_metadata(NAMESPACE, one, part, MetadataOptions()) for one, part in each]
        gc.collect()
        gc.freeze()  # the rows are made beforehand here; in a sync they come and go

    def destination(self) -> None:
        """The whole destination, as it is set by default."""
        manifest = {"url": self._database, "schema": self._schema}
        given = {"api_key": self._key, "host": self._url, "manifest": manifest, "vectors": "all"}
        with closing(PineconeSettings.model_validate(given).open(PREFIX)) as opened:
            opened.prepare(SchemaMapping())
            for start in range(0, len(self._assets), ASSETS_PER_BATCH):
                opened.apply(batch(*self._assets[start : start + ASSETS_PER_BATCH], collection=NAMESPACE))

    def writer(self) -> None:
        """Only what sends the records, without journal and manifest."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            limits = WriterLimits(concurrency=CONCURRENCY)
            writer = IndexWriter(self._new_index(), self._key, pool=pool, usage=WriteUsage(), limits=limits)
            assert writer.upsert(NAMESPACE, self._records()).refused == {}
            writer.close()

    def sdk(self, batch_size: int) -> None:
        """The SDK's batched upsert, with the whole matrix made into lists at once."""
        rows = zip(self._ids, self._vectors.tolist(), self._metadata, strict=True)
        vectors = [{"id": name, "values": values, "metadata": said} for name, values, said in rows]
        with self._pinecone.Index(host=self._new_index()) as index:
            done = index.upsert(
                vectors=vectors,
                namespace=NAMESPACE,
                batch_size=batch_size,
                max_concurrency=CONCURRENCY,
                show_progress=False,
            )
        assert not done.has_errors

    def seconds(self, write: Callable[[], None]) -> float:
        """What one way takes, index and all, and whether it did what it should."""
        began = time.perf_counter()
        write()
        taken = time.perf_counter() - began
        self.digests.add(self._digest())
        self._pinecone.delete_index(INDEX)
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
        return taken

    def _new_index(self) -> str:
        place = ServerlessSpec(cloud="aws", region="us-east-1")
        self._pinecone.create_index(name=INDEX, dimension=DIMENSION, metric="cosine", spec=place)
        return str(self._pinecone.describe_index(INDEX).host)

    def _digest(self) -> str:
        answer = httpx.get(f"{self._url}/_sandbox/pinecone", headers=self._control, timeout=60)
        held = answer.json()[INDEX][NAMESPACE]
        assert held["records"] == ROWS
        return str(held["digest"])

    def _records(self) -> Iterator[EncodedRecord]:
        vector: DenseVector
        for name, vector, said in zip(self._ids, self._vectors, self._metadata, strict=True):
            yield encode_record(name, vector, None, said)


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_first_load_against_the_sdk(postgres_url: str, schema: str) -> None:
    settings = SandboxSettings(latency_ms=LATENCY_MS)
    with sandbox_process(settings) as url, Pinecone(api_key=settings.api_key, host=url) as pinecone:
        contest = Contest(pinecone, url, settings, postgres_url, schema)
        sdk = {f"SDK, {size} a batch": partial(contest.sdk, size) for size in SDK_BATCHES}
        ways: dict[str, Callable[[], None]] = {"destination": contest.destination, "writer": contest.writer, **sdk}
        rounds = [{name: contest.seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    assert len(contest.digests) == 1

    medians = {name: statistics.median(taken[name] for taken in rounds) for name in rounds[0]}
    print(f"\n{ROWS:,} × {DIMENSION}-d, {LATENCY_MS} ms, medians of {ROUNDS} rounds, records/s:")
    for name, taken in medians.items():
        print(f"  {name:18} {ROWS / taken:>9,.0f}")
    for name in ("destination", "writer"):
        ratio = statistics.median(min(taken[way] for way in sdk) / taken[name] for taken in rounds)
        print(f"{name} {ratio:.2f} × the SDK at its best")
        assert ratio >= 1.0
