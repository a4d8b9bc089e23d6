"""A source and a destination in memory as plug-ins, so that a YAML file can name them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Literal

from pydantic import SecretStr

from connector import (
    Asset,
    Destination,
    DestinationSettings,
    Listing,
    MemoryDestination,
    MemorySource,
    Rejected,
    Source,
    SourceSettings,
)


class ShelfSource(MemorySource):
    """Knows collections by name too, serves those it was configured for, and breaks where a test wants it to."""

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.names: dict[str, str] = {}
        self.wanted: Sequence[str] = ()
        self.errors: dict[str, BaseException] = {}
        self.scanned: list[str] = []
        self.pulled: list[str] = []

    async def collections(self) -> Sequence[str]:
        return [self.names.get(name, name) for name in self.wanted or self.assets]

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        self.scanned.append(collection)
        if error := self.errors.get(collection):
            raise error
        async for listing in super().scan(collection):
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for asset in super().pull(collection, listings):
            self.pulled.append(asset.asset_id)
            yield asset


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
