"""Small assets, sources and destinations that misbehave on purpose, shared by the engine's tests."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vectorferry import SyncSettings
from vectorferry.connector.plugin import (
    Applied,
    Asset,
    Batch,
    DestinationError,
    DestinationSettings,
    Feature,
    IncompleteScanError,
    Listing,
    Rejected,
    SchemaMapping,
    SourceSettings,
    Vector,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource

__all__ = [
    "Crashing",
    "ReadOnly",
    "Scripted",
    "Unreliable",
    "asset",
    "assets",
    "content",
    "feature",
    "incomplete",
    "settings_for",
]


def feature(
    feature_id: str, modality: str = "video", text: str = "hello", vectors: dict[str, Vector] | None = None, **more: Any
) -> Feature:
    """A feature with further fields, by default with one three-dimensional vector made of its text."""
    if vectors is None:
        vectors = {"multimodal-v1": np.array([len(text), sum(map(ord, text)), 1], dtype=np.float32)}
    return Feature(feature_id, modality, {"text": text, **more}, vectors)


def asset(asset_id: str, version: int = 1, features: Iterable[Feature] | None = None) -> Asset:
    """An asset of two video segments and an image, all of which say which version they are."""
    if features is None:
        names = [("s0", "video"), ("s1", "video"), ("i0", "image")]
        features = [feature(name, modality, f"{asset_id} v{version}") for name, modality in names]
    return Asset(asset_id, f"v{version}", "video", features=tuple(features), metadata={"version": version})


def assets(count: int, version: int = 1) -> list[Asset]:
    """As many assets, named a0000, a0001, …"""
    return [asset(f"a{number:04}", version) for number in range(count)]


def content(destination: MemoryDestination) -> dict[str, Any]:
    """Everything that a destination holds, as values that can be compared."""
    return {
        collection: {
            asset_id: (held.row_hash, {f.feature_id: (f.row_hash, dict(f.vector_hashes)) for f in held.features})
            for asset_id, held in by_id.items()
        }
        for collection, by_id in destination.assets.items()
        if by_id
    }


class ReadOnly(MemoryDestination):
    """Fails the test when something is written."""

    def apply(self, batch: Batch) -> Applied:
        raise AssertionError(f"apply was called with {len(batch.assets)} assets")

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        raise AssertionError(f"remove was called with {asset_ids} of {collection}")


class Crashing(MemoryDestination):
    """Gives up at its n-th write, before or (`late`) after that write was made."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self.writes = 0
        self.crash_at: int | None = None
        self.late = False

    def apply(self, batch: Batch) -> Applied:
        self._crash(late=False)
        applied = super().apply(batch)
        self._crash(late=True)
        return applied

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        self._crash(late=False)
        applied = super().remove(collection, asset_ids)
        self._crash(late=True)
        return applied

    def tombstone(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        self._crash(late=False)
        applied = super().tombstone(collection, asset_ids)
        self._crash(late=True)
        return applied

    def arm(self, crash_at: int | None, *, late: bool) -> None:
        """Crash at that write from now on, counting from 0; None: never."""
        self.writes, self.crash_at, self.late = 0, crash_at, late

    def _crash(self, *, late: bool) -> None:
        if self.writes == self.crash_at and self.late == late:
            raise DestinationError("the store went away")
        self.writes += late


class Unreliable(MemoryDestination):
    """Raises what it is told to, once each, from the method of that name; then works."""

    def __init__(self, name: str = "memory", errors: Mapping[str, Sequence[Exception]] | None = None) -> None:
        super().__init__(name)
        self.errors = {method: list(each) for method, each in (errors or {}).items()}

    def _maybe(self, method: str) -> None:
        if waiting := self.errors.get(method):
            raise waiting.pop(0)

    def prepare(self, mapping: SchemaMapping) -> None:
        self._maybe("prepare")
        super().prepare(mapping)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Any:
        self._maybe("known")
        return super().known(collection, asset_ids)

    def apply(self, batch: Batch) -> Applied:
        self._maybe("apply")
        return super().apply(batch)

    def build_indexes(self) -> Any:
        self._maybe("build_indexes")
        return super().build_indexes()


class Scripted(MemorySource):
    """Says what it is told to, beyond what its dictionary holds."""

    scan_error: VectorferryError | None = None
    pull_error: VectorferryError | None = None
    listed_first: Sequence[Listing] = ()
    listed_last: Sequence[Listing] = ()
    instead: dict[str, Asset | Rejected | None]

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.instead = {}
        self.pulled: list[str] = []

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        for listing in self.listed_first:
            yield listing
        async for listing in super().scan(collection):
            yield listing
        for listing in self.listed_last:
            yield listing
        if self.scan_error:
            raise self.scan_error

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for listing in listings:
            self.pulled.append(listing.asset_id)
            answer = self.instead.get(listing.asset_id, self.assets[collection].get(listing.asset_id))
            if answer:
                yield answer
        if self.pull_error:
            raise self.pull_error


def incomplete(*, unknowable: bool = False) -> IncompleteScanError:
    """What a source raises when its listing cannot be trusted."""
    return IncompleteScanError("8 assets were counted, 10 announced, so nothing is deleted", unknowable=unknowable)


def settings_for(source: MemorySource, *destinations: MemoryDestination, **more: Any) -> SyncSettings:
    """A sync named media whose settings open these very objects; `key` is the source's."""

    class Source(SourceSettings):
        type: str = "memory"
        key: str = more.pop("key", "none")

        def open(self) -> MemorySource:
            opened.append(self.key)
            return source

    def opening(destination: MemoryDestination) -> DestinationSettings:
        class Destination(DestinationSettings):
            type: str = "memory"
            name: str = destination.name

            def open(self, sync_name: str) -> MemoryDestination:
                opened.append(f"{destination.name} for {sync_name}")
                return destination

        return Destination()

    opened: list[str] = more.pop("opened", [])
    return SyncSettings(name="media", source=Source(), destinations=tuple(map(opening, destinations)), **more)
