"""One destination of a run: its thread, its batches, its counts, and its own failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from connector._destination import Applied, Batch, Destination
from connector._engine._batches import Batcher
from connector._engine._dimensions import WrittenDimension, dimensions_in
from connector._engine._load import Loaded
from connector._engine._worker import Worker
from connector._errors import LockedError, VectorferryError
from connector._records import Modality, Reason, Rejected
from connector._settings import BatchLimits
from connector._summary import DestinationSummary

__all__ = ["Lane"]

T = TypeVar("T")

KEPT_REJECTED: Final = 100  # the rest is in the quarantine; a summary must not grow with the collection


class Lane:
    """Feeds one destination, from one thread, one call at a time.

    At most one batch is being applied while the next one fills; `put` waits beyond that. After a failure the lane
    takes nothing more: `call` answers None, `put` drops, and `error` says why.
    """

    def __init__(self, destination: Destination, modalities: frozenset[Modality], limits: BatchLimits) -> None:
        self.destination = destination
        self.name = destination.name
        self.summary = DestinationSummary()
        self.error: VectorferryError | None = None
        self.written = 0
        self.left_out = 0
        """Assets of the current collection that the destination could not take, and that a later run may bring."""
        self.dimensions: set[WrittenDimension] = set()
        """Of all vectors that were written in this run."""
        self._modalities = modalities
        self._limits = limits
        self._collection = ""
        self._batcher = Batcher("", modalities, limits)
        self._flight: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._sits_out = False
        self._worker = Worker(self.name)

    @property
    def alive(self) -> bool:
        """Whether the destination has not failed, and takes part in the current collection."""
        return self.error is None and not self._sits_out

    def begin(self, collection: str) -> None:
        """From now on, assets and counts belong to this collection."""
        self._collection = collection
        self._sits_out = False
        self.left_out = 0
        self._batcher = Batcher(collection, self._modalities, self._limits)
        self.summary.by_collection.setdefault(collection, Applied())

    def sit_out(self) -> None:
        """Take nothing until the next collection begins, or `rejoin`."""
        self._sits_out = True

    def rejoin(self) -> None:
        """Take part again."""
        self._sits_out = False

    async def call(self, work: Callable[[], T]) -> T | None:
        """The answer of `work`, as `Worker.run` gets it; None once the destination has failed.

        Raises `LockedError`, which is no failure.
        """
        return await self._attempt(work) if self.alive else None

    async def ask(self, work: Callable[[], T]) -> T:
        """The answer of `work`, as `Worker.run` gets it. What that raises is no failure of the destination."""
        return await self._worker.run(work)

    async def release(self, work: Callable[[], object]) -> None:
        """Call what has to be called even after a failure."""
        await self._attempt(work)

    async def put(self, loaded: Loaded) -> None:
        """Add an asset to the batch that is filling; hand that over when it is full."""
        async with self._turn:
            if self.alive:
                self.summary.replaced_nul += loaded.replaced
                await self._hand_over(self._batcher.add(loaded))

    async def flush(self) -> None:
        """Hand over what has been gathered, and wait until all of it is written."""
        async with self._turn:
            await self._hand_over(self._batcher.flush())
            await self._landed()

    def record(self, applied: Applied) -> None:
        """Add to the counts of the run and of the current collection."""
        collection = self.summary.by_collection[self._collection]
        self.summary.applied += applied
        collection += applied
        del self.summary.applied.rejected[KEPT_REJECTED:], collection.rejected[KEPT_REJECTED:]

    async def close(self) -> None:
        """Take nothing more, and wait for the call that is running: a thread cannot be interrupted."""
        if self._flight:
            self._flight.cancel()
        self._worker.close()
        if self._flight:
            await asyncio.gather(self._flight, return_exceptions=True)

    async def _attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return await self._worker.run(work)
        except LockedError:
            raise
        except VectorferryError as error:
            self.error = self.error or error
            self.summary.error = str(self.error)
        return None

    async def _hand_over(self, batch: Batch | None) -> None:
        if batch is not None:
            await self._landed()
            self._flight = asyncio.create_task(self._apply(batch))

    async def _landed(self) -> None:
        if self._flight:
            await self._flight
            self._flight = None

    async def _apply(self, batch: Batch) -> None:
        applied = await self.call(partial(self.destination.apply, batch))
        if applied is not None:
            self.left_out += sum(_may_come_later(record) for record in applied.rejected)
            self.record(applied)
            self.dimensions |= dimensions_in(batch)
            self.written += sum(len(asset.features) for asset in batch.assets)


def _may_come_later(record: Rejected) -> bool:
    """Of a whole asset: that it may be taken when it is read again. An id stays as it is."""
    return not record.feature_id and record.reason != Reason.BAD_ID
