"""How fast a first sync is, from a source to a store, against the slower of its two legs alone.

Run with ``pytest -m benchmark tests/benchmarks/test_end_to_end.py -s``. One leg lists and pulls everything, and nobody
stores it; the other syncs the same assets, which are in memory already, into an empty schema of Postgres. Both are
ours, in the same run, in turns with the whole sync; the best round of each counts, since other work only ever makes one
slower. The service is a sandbox in a process of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import pytest

from vectorferry.connector._engine._opening import RARE_GARBAGE
from vectorferry.connector.plugin import Asset, SchemaMapping, Source
from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedDocuments, GeneratedIndexes, SandboxSettings
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations.pgvector import PgvectorSettings

from ..sandbox_process import sandbox_process
from .pulling import KINDS

CONCURRENCY: Final = 16
ROUNDS: Final = 3
CASES: Final = {
    "mixpeek": SandboxSettings(generate=GeneratedCatalogue(assets=2_000, features_per_asset=4, dimension=1_024)),
    "mixpeek, 50 ms": SandboxSettings(
        generate=GeneratedCatalogue(assets=500, features_per_asset=4, dimension=1_024), latency_ms=50
    ),
    "mixpeek-documents": SandboxSettings(generate_documents=GeneratedDocuments(documents=50_000, dimension=1_024)),
    "twelvelabs": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=1_000, segments_per_asset=10, dimension=1_024, printed=True)
    ),
    "twelvelabs, 50 ms": SandboxSettings(
        generate_twelvelabs=GeneratedIndexes(assets=3_000, segments_per_asset=10, dimension=1_024, printed=True),
        latency_ms=50,
    ),
}
"""What is served, and how long the service takes for an answer, beyond what this machine takes to make it. With 50 ms
there are several batches, since the last one is written when all has been read."""

WITHOUT_LATENCY: Final = 0.4
"""Both legs need all of one Python then, so that what a sync takes is nearly the sum of both."""
WITH_LATENCY: Final = 0.8


@dataclass
class Leg:
    """The least that some rounds of it took."""

    seconds: float = float("inf")
    cpu: float = float("inf")

    @contextmanager
    def round(self) -> Iterator[None]:
        """Measure one more."""
        began, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds = min(self.seconds, time.perf_counter() - began)
        self.cpu = min(self.cpu, time.process_time() - cpu)


class FirstSyncs:
    """Syncs of one source, each into a schema of its own."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schemas = (f"{schema}_{number}" for number in count())

    async def run(self, source: Source, mapping: SchemaMapping, leg: Leg) -> int:
        """One of them, measured; how many vectors are stored."""
        settings = PgvectorSettings(url=self._url, schema=next(self._schemas))
        with closing(settings.open("benchmark")) as store, leg.round():
            summary = await sync(source, [store], name="benchmark", mapping=mapping)
        assert summary.exit_code == 0, summary
        (report,) = summary.destinations.values()
        return sum(counts.inserted for counts in report.applied.vectors.values())


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", CASES)
async def test_a_first_sync_takes_little_more_than_its_slower_leg(name: str, postgres_url: str, schema: str) -> None:
    settings, kind = CASES[name], KINDS[name.partition(",")[0]]
    pulling, writing, whole = Leg(), Leg(), Leg()
    syncs = FirstSyncs(postgres_url, schema)
    with RARE_GARBAGE, sandbox_process(settings) as url:  # garbage is looked for as in every run made from settings
        for _ in range(ROUNDS):
            source = kind.open(url, settings.api_key, CONCURRENCY)
            async with aclosing(source):
                (collection,) = await source.collections()
                with pulling.round():
                    assets = await _pull(source, collection)
            mapping = _without_indexes(assets)
            vectors = await syncs.run(MemorySource({collection: assets}), mapping, writing)
            del assets
            source = kind.open(url, settings.api_key, CONCURRENCY)
            async with aclosing(source):
                assert await syncs.run(source, mapping, whole) == vectors
    legs = {"pulling": pulling, "writing": writing, "whole": whole}
    said = ", ".join(f"{leg} {each.seconds:.2f} s ({each.cpu / vectors * 1e6:.0f} µs)" for leg, each in legs.items())
    ratio = max(pulling.seconds, writing.seconds) / whole.seconds
    print(f"\n{name}: {vectors:,} vectors: {said}; ratio {ratio:.2f}; load {os.getloadavg()[0]:.0f}")
    assert ratio >= (WITH_LATENCY if settings.latency_ms else WITHOUT_LATENCY)


async def _pull(source: Source, collection: str) -> list[Asset]:
    """Everything that is listed, as a sync without a store would read it."""
    source.expect_all(collection)
    listings = source.scan(collection)
    return [item async for item in source.pull(collection, listings) if isinstance(item, Asset)]


def _without_indexes(assets: Sequence[Asset]) -> SchemaMapping:
    """A mapping whose vectors have no index: that is built when all of them are there, and overlaps with nothing."""
    features = [feature for asset in assets for feature in asset.features]
    named = {(feature.modality, name) for feature in features for name in feature.vectors}
    mapping = dict[str, Any]()
    for modality, name in named:
        mapping.setdefault(modality, {"vectors": {}})["vectors"][name] = {"index": "none"}
    return SchemaMapping.model_validate(mapping)
