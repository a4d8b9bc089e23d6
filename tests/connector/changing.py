"""A source that can list what has changed: each change gets a number, and some are shown late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from tests.connector.worlds import Scripted
from vectorferry.connector.plugin import Asset, Capability, Listing

__all__ = ["OVERLAP", "Changing"]

OVERLAP: Final = 1


class Changing(Scripted):
    """Shows a change with the number that it began with, up to `OVERLAP` numbers late; `meanwhile` happens while the
    next scan's assets are read. `scans` says what was asked for: a cursor, or None for everything."""

    capabilities = frozenset({Capability.CHANGED_SINCE})

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.numbers: dict[tuple[str, str], int] = {}
        self.meanwhile: list[Callable[[], None]] = []
        self.scans: list[str | None] = []
        self._last = 0
        self._cursors: dict[str, str | None] = {}
        for collection, held in assets.items():
            for asset in held:
                self.changed(collection, asset.asset_id)

    def put(self, collection: str, asset: Asset, late: int = 0) -> None:
        """Add or replace an asset."""
        self.assets[collection][asset.asset_id] = asset
        self.changed(collection, asset.asset_id, late)

    def changed(self, collection: str, asset_id: str, late: int = 0) -> None:
        """Number a change of this asset; it began as many changes ago as it is late."""
        self._last += 1
        self.numbers[collection, asset_id] = self._last - late

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        async for listing in self._scan(collection, None):
            yield listing

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        async for listing in self._scan(collection, since):
            yield listing

    async def cursor(self, collection: str) -> str | None:
        return self._cursors[collection]

    async def _scan(self, collection: str, since: str | None) -> AsyncIterator[Listing]:
        self.scans.append(since)
        numbers, begin = dict(self.numbers), int(since or -OVERLAP)
        reached = begin
        async for listing in super().scan(collection):
            number = numbers[collection, listing.asset_id]
            reached = max(reached, number - OVERLAP)
            if number > begin:
                yield listing
        self._cursors[collection] = str(reached)
        if self.meanwhile:
            self.meanwhile.pop(0)()
