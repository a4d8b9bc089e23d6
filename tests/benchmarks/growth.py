"""What each part of a sync takes of a thousand to a million features: seconds, CPU, memory, requests.

    python -m tests.benchmarks.growth                      to 100,000 features
    python -m tests.benchmarks.growth --to 1000000 --write

Each leg runs in a process of its own, so that its peak of memory is its own. Listing and pulling ask a sandbox in one
more process for Mixpeek's documents, ten to an object. The legs into a store get their assets from a source that makes
them when they are asked for, and keeps none. `--write` puts the figures into docs/benchmarks/growth.json, and the table
and the plots of docs/benchmarks.md are made anew from it.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, closing
from multiprocessing import get_context
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
import typer
from pydantic import SecretStr

from tests.sandbox_process import sandbox_process
from vectorferry.connector._engine._opening import RARE_GARBAGE
from vectorferry.connector.plugin import Asset, AssetState, Destination, Feature, Listing, SchemaMapping, Source
from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedDocuments, GeneratedIndexes, SandboxSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.testing import MemorySource, sync, verify
from vectorferry.destinations import PgvectorSettings, PineconeSettings

from .machine import about_this_run
from .page import exponent, read_figures, write_figures
from .peers.runners.given import Meter
from .peers.servers import PostgresServer, postgres_server

FEATURES_PER_ASSET: Final = 10
DIMENSION: Final = 64
VECTOR: Final = "model-v1"
COLLECTION: Final = "grown"
MAPPING: Final = SchemaMapping.model_validate({"video": {"vectors": {VECTOR: {"index": "none"}}}})
SANDBOX_UP_TO: Final = 100_000
"""Beyond it the sandbox, which prints every vector as text, would take most of the machine."""
_NO_MEDIA: Final[Mapping[str, Any]] = {
    "generate": GeneratedCatalogue(assets=0),
    "generate_twelvelabs": GeneratedIndexes(assets=0),
}


class GrownSource(MemorySource):
    """So many assets, each made when it is asked for."""

    def __init__(self, assets: int) -> None:
        super().__init__({COLLECTION: ()})
        self._count = assets
        self._vectors = np.random.default_rng(0).standard_normal((4096, DIMENSION), dtype=np.float32)

    async def scan(self, collection: str) -> AsyncIterator[Listing]:  # noqa: ARG002
        """Name them."""
        for number in range(self._count):
            yield Listing(f"asset-{number:07}", "1", AssetState.READY, "")

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset]:  # noqa: ARG002
        """Make them."""
        async for listing in listings:
            yield self._asset(listing.asset_id)

    def _asset(self, asset_id: str) -> Asset:
        first = int(asset_id.rpartition("-")[2]) * FEATURES_PER_ASSET
        features = tuple(self._feature(number) for number in range(first, first + FEATURES_PER_ASSET))
        return Asset(asset_id, "1", "video", features=features)

    def _feature(self, number: int) -> Feature:
        vector = self._vectors[number % len(self._vectors)].copy()
        vector[0] = number / 1e6  # no two are the same
        said = {"transcription": f"segment {number}", "start_time": float(number % FEATURES_PER_ASSET)}
        return Feature(f"segment-{number:08}", "video", said, {VECTOR: vector})


Figures: TypeAlias = dict[str, float]


def pull_leg(url: str, key: str, vectors: bool) -> Figures:
    """List what a sandbox has, or pull all of it."""

    async def work(source: Source) -> None:
        (collection,) = await source.collections()
        read: AsyncIterator[Any] = source.scan(collection)
        if vectors:
            read = source.pull(collection, read)
        async for _ in read:
            pass

    async def whole() -> Figures:
        source: Source = settings.open()
        async with aclosing(source):
            with Meter() as meter:
                await work(source)
            return {**meter.used, "requests": source.usage.requests}

    given = {"base_url": url, "api_key": SecretStr(key), "namespace": "generated", "follow_events": False}
    settings = MixpeekDocumentsSettings.model_validate(given)
    return asyncio.run(whole())


def sync_leg(store: Mapping[str, Any], assets: int) -> Figures:
    """One sync of a source with so many assets."""
    with closing(_destination(store)) as destination, Meter() as meter:
        summary = asyncio.run(sync(GrownSource(assets), [destination], name="growth", mapping=MAPPING))
    assert summary.exit_code == 0, summary
    (report,) = summary.destinations.values()
    return {**meter.used, "requests": report.delivery.requests if report.delivery else 0}


def verify_leg(store: Mapping[str, Any], assets: int) -> Figures:
    """Compare what is stored with what should be, all contents included."""
    with closing(_destination(store)) as destination, Meter() as meter:
        report = asyncio.run(verify(GrownSource(assets), [destination], name="growth", mapping=MAPPING, sample=None))
    assert report.exit_code == 0, report
    return meter.used


def in_run(leg: Callable[..., Figures], *given: Any) -> Figures:
    """What a leg takes where garbage is looked for as in every run that is made from settings."""
    with RARE_GARBAGE:
        return leg(*given)


def _destination(store: Mapping[str, Any]) -> Destination:
    settings = PineconeSettings if store["type"] == "pinecone" else PgvectorSettings
    return settings.model_validate(store).open("growth")


class Growth:
    """The legs at one size after the other."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.legs: defaultdict[str, list[Figures]] = defaultdict(list)

    def measure(self, features: int) -> None:
        """Every leg at this size."""
        assets = features // FEATURES_PER_ASSET
        self._pull(features)
        self._store("Postgres", features, assets, {"type": "pgvector"})
        if features <= SANDBOX_UP_TO:
            settings = SandboxSettings(**_NO_MEDIA)
            with sandbox_process(settings) as url:
                pinecone = {"type": "pinecone", "api_key": settings.api_key, "host": url, "vectors": "all"}
                self._store("Pinecone", features, assets, pinecone)

    def _pull(self, features: int) -> None:
        documents = GeneratedDocuments(documents=features, documents_per_object=FEATURES_PER_ASSET, dimension=DIMENSION)
        settings = SandboxSettings(**{**_NO_MEDIA, "generate_documents": documents})
        legs = {"list": False, "pull": True} if features <= SANDBOX_UP_TO else {"list": False}
        for leg, vectors in legs.items():
            with sandbox_process(settings) as url:
                address = f"{url}/mixpeek-documents"
                self._leg(leg, features, pull_leg, address, settings.api_key, vectors)

    def _store(self, name: str, features: int, assets: int, store: dict[str, Any]) -> None:
        self._server.new_database("growth")
        url = self._server.url("growth")
        store |= {"url": url} if store["type"] == "pgvector" else {"manifest": {"url": url}}
        self._leg(f"{name}: first load", features, sync_leg, store, assets)
        self._leg(f"{name}: unchanged", features, sync_leg, store, assets)
        self._leg(f"{name}: verify", features, verify_leg, store, assets)
        self._leg(f"{name}: 10 % gone", features, sync_leg, store, assets - assets // 10)

    def _leg(self, leg: str, features: int, work: Callable[..., Figures], *given: Any) -> None:
        """In a process of its own, so that its peak of memory is its own."""
        server = self._server.cpu()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            figures = pool.submit(in_run, work, *given).result()
        self.legs[leg].append({"features": features, **figures, "server_cpu": self._server.cpu() - server})
        said = ", ".join(f"{name} {value:,.2f}" for name, value in self.legs[leg][-1].items())
        print(f"{leg:22} {said}", flush=True)


def main(
    begin: Annotated[int, typer.Option(min=1_000, help="features at first; what is kept of fewer stays")] = 1_000,
    to: Annotated[int, typer.Option(min=1_000, help="features at most, a power of ten")] = 100_000,
    write: Annotated[bool, typer.Option(help="into docs")] = False,
) -> None:
    """Measure every leg at 1,000 features, ten times as many, and so on."""
    with postgres_server() as server:
        about = {**about_this_run(), "server": server.version(), "dimension": DIMENSION}
        growth = Growth(server)
        for power in range(round(math.log10(begin)), round(math.log10(to)) + 1):
            growth.measure(10**power)
    kept = read_figures("growth")["legs"] if begin > 1_000 else {}
    legs = {leg: [each for each in figures if each["features"] < begin] for leg, figures in kept.items()}
    for leg, figures in growth.legs.items():
        legs[leg] = legs.get(leg, []) + figures
        print(f"{leg:22} exponent of CPU {exponent(legs[leg]):.2f}")
    if write:
        write_figures("growth", {"about": about, "legs": legs})


if __name__ == "__main__":
    typer.run(main)
