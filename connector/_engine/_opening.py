"""What resolved settings describe, opened for a block and closed whatever happens in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager

from vectorferry.connector._destination import Destination
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector._source import Source

__all__ = ["open_destinations", "open_source"]


@contextmanager
def open_destinations(settings: SyncSettings) -> Iterator[Sequence[Destination]]:
    """All of a sync's destinations, in their order."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(each.open(settings.name))) for each in settings.destinations]


@asynccontextmanager
async def open_source(settings: SyncSettings) -> AsyncIterator[Source]:
    """A sync's source, for one event loop."""
    source = settings.source.open()
    try:
        yield source
    finally:
        await source.aclose()
