"""A destination that is only read, in a thread of its own: one that is checked, or that another is filled from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import ClassVar, TypeVar

from vectorferry.connector._engine._opening import prepare_untouched
from vectorferry.connector._engine.sync._lane import Worker
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, Known
from vectorferry.connector._protocols._source import Origin

__all__ = ["Reader"]

T = TypeVar("T")


class Reader:
    """Makes the calls of one destination, one at a time. What is asked for again after a failure is asked for as a
    whole, so nothing can be missed."""

    page: ClassVar = 1_000
    """Items of a stream that come at once."""

    def __init__(self, destination: Destination) -> None:
        self.name = destination.name
        self.destination = destination
        self._worker = Worker(destination.name)
        self.run = self._worker.run

    def can(self, capability: Capability) -> bool:
        """Whether the destination declares it."""
        return capability in self.destination.capabilities

    async def prepare(self, mapping: SchemaMapping) -> None:
        """Prepare the destination, as long as that changes nothing."""
        await self.run(partial(prepare_untouched, self.destination, mapping))

    async def stored_collections(self) -> Sequence[str]:
        """The collections that it holds anything of, if it tells."""
        return await self.run(self.destination.stored_collections) if self.can(Capability.STORED_COLLECTIONS) else ()

    async def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for these assets."""
        return await self.run(partial(self.destination.known, collection, asset_ids))

    async def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete here, if it tells."""
        if not self.can(Capability.ORIGINS):
            return None
        return await self.run(partial(self.destination.origin, collection))

    def asset_ids(self, collection: str) -> AsyncIterator[list[str]]:
        """Every asset, page by page. Ending normally means that the list was complete."""
        return self.pages(partial(self.destination.asset_ids, collection))

    async def pages(self, items: Callable[[], Iterable[T]]) -> AsyncIterator[list[T]]:
        """What a call streams, page by page."""
        stream = await self.run(lambda: iter(items()))
        try:
            # A stream that broke off would end at once when it is asked again, as if it were complete: no second try.
            while page := await self.run(lambda: list(islice(stream, self.page)), attempts=1):
                yield page
        finally:
            await self.run(partial(_close, stream))

    def close(self) -> None:
        """Wait for the call that is running. The destination itself stays open."""
        self._worker.close()


def _close(stream: Iterator[object]) -> None:
    if close := getattr(stream, "close", None):
        close()
