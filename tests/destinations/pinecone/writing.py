"""A sandbox's index with a writer of ours, and records to write to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pinecone import Pinecone, ServerlessSpec

from tests.pinecone import pinecone_alone
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.plugin import Delivery
from vectorferry.connector.sandbox import Fault, PineconeDialect, Sandbox, Stall, running_sandbox
from vectorferry.destinations.pinecone._bodies import EncodedRecord, encode_record
from vectorferry.destinations.pinecone._requests import WriterLimits
from vectorferry.destinations.pinecone._writer import IndexWriter, WriteUsage

__all__ = [
    "DIMENSION",
    "FAST",
    "INDEX",
    "NAMESPACE",
    "Written",
    "all_at_once",
    "ids",
    "on",
    "record",
    "records",
    "small",
    "written",
]

DIMENSION = 4
INDEX = "clips"
NAMESPACE = "books"

FAST = WriterLimits(first_wait=0.001, longest_wait=0.01, longest_retry_after=0.05, timeout=PATIENCE)
"""The same patience, in no time."""


@dataclass
class Written:
    """One index in a sandbox, and the writer under test. `usage` is what the writer has counted."""

    sandbox: Sandbox
    host: str
    writer: IndexWriter
    pool: ThreadPoolExecutor
    usage: WriteUsage = field(default_factory=WriteUsage)

    def recorded(self, namespace: str = NAMESPACE) -> dict[str, dict[str, Any]]:
        """What the store holds."""
        return self.sandbox.pinecone.records(INDEX, namespace)

    def requests(self, kind: str = "upsert") -> int:
        """How often the store was asked."""
        return self.sandbox.requests.counts().get(f"pinecone.{kind}", 0)

    def delivery(self) -> Delivery:
        """What the writer has counted."""
        return self.usage.delivery()


@contextmanager
def written(
    *faults: Fault, limits: WriterLimits = FAST, threads: int = 8, key: str = "", dimension: int = DIMENSION, **how: Any
) -> Iterator[Written]:
    """A sandbox of this dialect with these fault rules, an index in it, and a writer for that."""
    settings = pinecone_alone(pinecone=PineconeDialect(**how), faults=faults)
    with running_sandbox(settings) as sandbox, ThreadPoolExecutor(threads) as pool:
        with Pinecone(api_key=sandbox.api_key, host=sandbox.url) as pinecone:
            pinecone.create_index(
                name=INDEX,
                dimension=dimension,
                metric="dotproduct",
                spec=ServerlessSpec(cloud="aws", region="us-east-1"),
            )
            host = str(pinecone.describe_index(INDEX).host)
        usage = WriteUsage()
        writer = IndexWriter(host, key or sandbox.api_key, pool=pool, usage=usage, limits=limits)
        sandbox.requests.reset()
        try:
            yield Written(sandbox, host, writer, pool, usage)
        finally:
            writer.close()


@contextmanager
def all_at_once(sandbox: Sandbox, count: int) -> Iterator[None]:
    """Answer no upsert before so many have come and wait; then all of them."""
    sandbox.faults.add(on("upsert", Stall(seconds=PATIENCE), until=count))

    def answer() -> None:
        wait_until(lambda: sandbox.requests.peak >= count)
        sandbox.faults.clear()

    sandbox.requests.reset()
    with ThreadPoolExecutor(1) as watcher:
        answered = watcher.submit(answer)
        yield
        answered.result()


def record(record_id: str, *, dimension: int = DIMENSION, **metadata: Any) -> EncodedRecord:
    """One record with a vector that its id decides."""
    vector = np.full(dimension, 1 + sum(record_id.encode()) % 97, dtype=np.float32)
    return encode_record(record_id, vector, None, metadata)


def records(count: int, first: int = 0, **metadata: Any) -> list[EncodedRecord]:
    """Records r0, r1, r2, …, the number of each in its metadata."""
    return [record(f"r{number}", n=number, **metadata) for number in range(first, first + count)]


def ids(of: Iterable[EncodedRecord]) -> set[str]:
    """Their ids."""
    return {one.id for one in of}


def on(kind: str, do: Any, **rule: Any) -> Fault:
    """A rule for one kind of write."""
    return Fault(route=f"pinecone.{kind}", do=do, **rule)


def small(**changes: Any) -> WriterLimits:
    """Quick limits with so many records per request, or whatever else is different."""
    return replace(FAST, **changes)
