"""A source and a destination in memory as plug-ins, so that a YAML file can name them."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr

from connector import Destination, DestinationSettings, MemoryDestination, MemorySource, Source, SourceSettings

SOURCES: dict[str, MemorySource] = {}
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
        return SOURCES[self.shelf]


class BoxSettings(DestinationSettings):
    """Writes into the destination that a test has put into `DESTINATIONS` under `box`."""

    type: Literal["box"] = "box"
    box: str = "box"
    url: SecretStr | None = None

    def open(self, sync_name: str) -> Destination:  # noqa: ARG002
        return DESTINATIONS[self.box]
