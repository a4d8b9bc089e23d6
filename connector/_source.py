"""The protocol a source speaks. Third parties add one through the entry point group ``vectorferry.sources``."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connector._records import Asset, Listing, Rejected

__all__ = ["Source", "Usage"]


@dataclass(slots=True)
class Usage:
    """What talking to the source has cost so far."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


class Source(Protocol):
    """Something that assets and their features are pulled from. Used by one event loop at a time."""

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""

    async def collections(self) -> Sequence[str]:
        """The ids of the collections this source was configured for (all of them when none was named)."""

    def scan(self, collection: str) -> AsyncIterator[Listing]:
        """List every asset of a collection once, cheaply, finished or not.

        Ending normally promises that the listing was complete. Raises `IncompleteScanError` at its end when it
        cannot promise that (the count disagrees, rows moved between pages).
        """

    def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """Read these assets with features and vectors, concurrently, in any order, never more than a bounded
        number ahead of the consumer.

        An asset that vanished meanwhile is left out. One whose answers stay unusable is a `Rejected` with
        `Reason.UNREADABLE` and an empty feature id.
        """

    async def aclose(self) -> None:
        """Release connections."""
