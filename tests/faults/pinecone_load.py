"""A load into Pinecone and a change of it, while requests fail; and a count of what is not as it should be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import httpx
import numpy as np
from pinecone import Pinecone

from vectorferry.connector.plugin import DenseVector, MappedAsset, MappedFeature, SchemaMapping
from vectorferry.connector.sandbox import Fault, Reset, SandboxSettings, Status
from vectorferry.destinations import PineconeDestination, PineconeSettings
from vectorferry.destinations.pinecone._ids import record_id

from ..builders import asset, batch, feature
from ..sandbox_process import sandbox_process

__all__ = ["NONE", "Load", "Outcome"]

TROUBLE: Final = [
    Fault(route="/vectors/(upsert|update|delete)", probability=0.026, seed=seed, do=do)
    for seed, do in enumerate(
        [Status(status=429, retry_after=1), Status(status=429), Status(status=503), Reset(when="after")]
    )
]
"""Together they hit every tenth write."""

COLLECTION: Final = "ads"
VECTOR: Final = "model-v1"
FEATURES_PER_ASSET: Final = 10
ASSETS_PER_BATCH: Final = 390
SAID: Final = "somebody says something in this segment of a video"
KEY: Final = SandboxSettings().api_key


@dataclass(frozen=True)
class Outcome:
    """How many records are not there, are there in excess, and are not as they were written last."""

    missing: int
    duplicate: int
    stale: int


NONE: Final = Outcome(0, 0, 0)


@dataclass(frozen=True)
class Load:
    """So many features, written, changed, and read back."""

    features: int
    dimension: int
    latency_ms: float
    database: str
    schema: str
    request_bytes: int = 2_000_000

    def run(self, *, troubled: bool) -> tuple[Outcome, Mapping[str, float]]:
        """What became of it, and figures: features written per second, requests that were retries, faults that hit."""
        settings = SandboxSettings(latency_ms=self.latency_ms)
        control = {"X-Sandbox-Key": settings.control_key}
        with sandbox_process(settings) as url:
            if troubled:
                rules = [rule.model_dump(mode="json") for rule in TROUBLE]
                httpx.post(f"{url}/_sandbox/faults", json=rules, headers=control).raise_for_status()
            with closing(self._opened(url, f"{self.schema}_{int(troubled)}")) as destination:
                destination.prepare(SchemaMapping())
                began = time.perf_counter()
                self._write(destination)
                taken = time.perf_counter() - began
                told = destination.delivered()
            hits = httpx.get(f"{url}/_sandbox/faults", headers=control).json()["hits"]
            outcome = self._compare(url)
        figures = {"features/s": self.features / taken, "requests": told.requests, "retries": told.retries}
        return outcome, {**figures, "faults": sum(hits)}

    def _opened(self, url: str, schema: str) -> PineconeDestination:
        manifest = {"url": self.database, "schema": schema}
        given = {
            "api_key": KEY,
            "host": url,
            "manifest": manifest,
            "vectors": "all",
            "request_bytes": self.request_bytes,
        }
        return PineconeSettings.model_validate(given).open("media")

    def _write(self, destination: PineconeDestination) -> None:
        """The first version, then the second, and then what that does not have any more is removed."""
        first, second = self._first(), self._second()
        for version in (first, second):
            assets = iter(version.values())
            while some := list(islice(assets, ASSETS_PER_BATCH)):
                destination.apply(batch(*some, collection=COLLECTION))
        destination.remove(COLLECTION, [*(first.keys() - second.keys())])

    def _first(self) -> dict[str, MappedAsset]:
        vectors = np.random.default_rng(0).standard_normal((self.features, self.dimension), dtype=np.float32)
        every = [_feature(number, vector) for number, vector in enumerate(vectors)]
        return _assets(
            [every[start : start + FEATURES_PER_ASSET] for start in range(0, len(every), FEATURES_PER_ASSET)]
        )

    def _second(self) -> dict[str, MappedAsset]:
        """Every fiftieth asset is gone; of every twenty features one has another vector, one has other metadata, one
        has lost a key, and one is gone."""
        groups = [[*_changed(each.features)] for each in self._first().values()]
        return {name: one for number, (name, one) in enumerate(_assets(groups, "2").items()) if number % 50}

    def _compare(self, url: str) -> Outcome:
        """Every record of every index against the second version."""
        wanted = {
            record_id(each.asset_id, one.feature_id): one for each in self._second().values() for one in each.features
        }
        found: Counter[str] = Counter()
        stale = 0
        for name, values, metadata in _stored(url):
            found[name] += 1
            stale += name in wanted and not _is(wanted[name], values, metadata)
        return Outcome(len(wanted.keys() - found.keys()), found.total() - len(found.keys() & wanted.keys()), stale)


def _feature(number: int, vector: DenseVector, author: str = "ada", **metadata: str) -> MappedFeature:
    told = {"author": author, **metadata}
    return feature(f"f{number}", {VECTOR: vector}, metadata=told, start_time=float(number), transcription=SAID)


def _changed(features: Sequence[MappedFeature]) -> Iterator[MappedFeature]:
    for one in features:
        number = int(one.feature_id[1:])
        vector = one.vectors[VECTOR]
        assert isinstance(vector, np.ndarray)
        match number % 20:
            case 0:
                yield _feature(number, -vector)
            case 5:
                yield _feature(number, vector, author="grace")
            case 10:
                yield _feature(number, vector, tag="new")
            case 15:
                continue
            case _:
                yield one


def _assets(groups: Sequence[Sequence[MappedFeature]], fingerprint: str = "1") -> dict[str, MappedAsset]:
    each = (asset(f"a{number}", *group, fingerprint=fingerprint) for number, group in enumerate(groups))
    return {one.asset_id: one for one in each}


def _stored(url: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    with Pinecone(api_key=KEY, host=url) as pinecone:
        for model in pinecone.list_indexes():
            with pinecone.Index(host=str(model.host)) as index:
                for space in (one.name for page in index.list_namespaces() for one in page.namespaces):
                    for page in index.list(namespace=space):
                        ids = [str(one.id) for one in page.vectors]
                        fetched = index.fetch(ids=ids, namespace=space).vectors
                        yield from ((name, fetched[name].values, fetched[name].metadata or {}) for name in ids)


def _is(wanted: MappedFeature, values: Any, metadata: Mapping[str, Any]) -> bool:
    vector = wanted.vectors[VECTOR]
    assert isinstance(vector, np.ndarray)
    told = {key.removeprefix("metadata."): value for key, value in metadata.items() if key.startswith("metadata.")}
    return np.array(values, dtype=np.float32).tobytes() == vector.tobytes() and told == wanted.metadata
