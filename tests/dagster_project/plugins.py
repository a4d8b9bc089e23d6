"""A source and a destination in memory as plug-ins, so that a YAML file can name them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import SecretStr

from vectorferry.connector.plugin import (
    Applied,
    Asset,
    Batch,
    Delivery,
    Destination,
    DestinationSettings,
    Listing,
    Neighbours,
    Probe,
    Reason,
    Rejected,
    SchemaMapping,
    Settings,
    Source,
    SourceSettings,
    Status,
    TableStatus,
    Visibility,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource


class ShelfSource(MemorySource):
    """Knows collections by name too, serves those it was configured for, and breaks where a test wants it to."""

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.names: dict[str, str] = {}
        self.wanted: Sequence[str] = ()
        self.errors: dict[str, BaseException] = {}
        self.scanned: list[str] = []
        self.pulled: list[str] = []
        self.unreadable: dict[str, str] = {}

    async def collections(self) -> Sequence[str]:
        return [self.names.get(name, name) for name in self.wanted or self.assets]

    def is_gone(self, collection: str) -> bool:  # noqa: ARG002
        return not self.wanted

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        self.scanned.append(collection)
        if error := self.errors.get(collection):
            raise error
        async for listing in super().scan(collection):
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for asset in super().pull(collection, listings):
            self.pulled.append(asset.asset_id)
            why = self.unreadable.get(asset.asset_id)
            yield Rejected(asset.asset_id, Reason.UNREADABLE, why) if why else asset

    async def neighbours(self, collection: str, probe: Probe, *, limit: int) -> Neighbours:
        """Declared where a test adds the capability: by the cosine, as the store does."""
        near = sorted(
            (-float(np.dot(vector, probe.vector) / np.linalg.norm(vector)), each.feature_id)
            for asset in self.assets[collection].values()
            for each in asset.features
            if each.modality == probe.modality
            and isinstance(vector := each.vectors.get(probe.vector_name), np.ndarray)
            and isinstance(probe.vector, np.ndarray)
        )
        return Neighbours(probe.vector, [feature_id for _, feature_id in near[:limit]])


class RackDestination(MemoryDestination):
    """Keeps an index per named vector, of all modalities, and tells what writing cost. `older` names further ones."""

    def __init__(self, name: str = "rack") -> None:
        super().__init__(name)
        self.delivery = Delivery(write_units=5)
        self.older: list[str] = []

    def apply(self, batch: Batch) -> Applied:
        applied = super().apply(batch)
        self.delivery.requests += 1
        self.delivery.bytes += 100
        self.delivery.places = [Visibility(f"m-{name}/{batch.collection}", 7, 6) for name in self._vectors()]
        return applied

    def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
        return self.delivery

    def status(self) -> Status:
        tables = [self._index(vector_name) for vector_name in self._vectors()]
        older = [replace(tables[0], name=name) for name in self.older]
        return replace(super().status(), tables=[*tables, *older])

    def _vectors(self) -> list[str]:
        held = [f for assets in self.assets.values() for asset in assets.values() for f in asset.features]
        return sorted({name for feature in held for name in feature.vectors})

    def _index(self, vector_name: str) -> TableStatus:
        rows = {
            collection: sum(vector_name in f.vectors for asset in held.values() for f in asset.features)
            for collection, held in self.assets.items()
        }
        details = {"namespace": "{collection}", "dimension": 3, "metric": "cosine", "host": None}
        return TableStatus(f"m-{vector_name}", None, vector_name, sum(rows.values()), rows, details)


SOURCES: dict[str, ShelfSource] = {}
DESTINATIONS: dict[str, MemoryDestination] = {}
KEYS_SEEN: list[str] = []


class ShelfSettings(SourceSettings):
    """Reads the source that a test has put into `SOURCES` under `shelf`."""

    type: Literal["shelf"] = "shelf"
    shelf: str = "shelf"
    api_key: SecretStr | None = None
    base_url: str = "https://shelf.example"
    collections: tuple[str, ...] = ()

    def console(self, collection: str) -> str:
        return f"https://shelf.example/console/{collection}"

    def open(self) -> Source:
        if self.api_key:
            KEYS_SEEN.append(self.api_key.get_secret_value())
        source = SOURCES[self.shelf]
        source.wanted = self.collections
        return source


class BoxSettings(DestinationSettings):
    """Writes into the destination that a test has put into `DESTINATIONS` under `box`."""

    type: Literal["box"] = "box"
    box: str = "box"
    url: SecretStr | None = None

    def open(self, sync_name: str) -> Destination:  # noqa: ARG002
        return DESTINATIONS[self.box]


class Ledger(Settings):
    """Settings within settings, with a secret of their own."""

    url: SecretStr


class RackSettings(DestinationSettings):
    """Writes into the destination that a test has put into `DESTINATIONS` under `name`."""

    type: Literal["rack"] = "rack"
    name: str = "rack"
    vectors: tuple[str, ...] = ()
    ledger: Ledger | None = None

    def vector_names(self, mapping: SchemaMapping) -> tuple[str, ...]:  # noqa: ARG002
        return self.vectors

    def open(self, sync_name: str) -> Destination:  # noqa: ARG002
        if self.ledger:
            KEYS_SEEN.append(self.ledger.url.get_secret_value())
        return DESTINATIONS[self.name]
