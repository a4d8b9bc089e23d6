"""One destination of a run: its thread, its batches, its counts, and its own failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from vectorferry.connector._config._settings import BatchLimits
from vectorferry.connector._engine._calls import LONGEST_CALL, CallThread
from vectorferry.connector._engine._mapper import MappedRecord
from vectorferry.connector._engine.sync._dimensions import WrittenDimension, dimensions_in
from vectorferry.connector._engine.sync._losses import HeldBack
from vectorferry.connector._model._batch import Applied, Batch, Fence, MappedAsset
from vectorferry.connector._model._errors import (
    DestinationError,
    LockedError,
    LockLostError,
    TakenOverError,
    VectorferryError,
)
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Listing, Modality, Reason, Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._reports._summary import DestinationSummary

T = TypeVar("T")
_log = logging.getLogger("vectorferry")
CONTENTS_AT_ONCE: Final = 500  # assets whose stored contents are in memory together
KEPT_REJECTED: Final = 100  # the rest is in the quarantine; a summary must not grow with the collection


class Lane:
    """Feeds one destination, from one thread, one call at a time.

    At most one batch is being applied while the next one fills; `put` waits beyond that. After a failure the lane
    takes nothing more: `call` answers None, `put` drops, and `error` says why.
    """

    def __init__(
        self, destination: Destination, modalities: frozenset[Modality], limits: BatchLimits, mapping: SchemaMapping
    ) -> None:
        self.destination = destination
        self.name = destination.name
        self.summary = DestinationSummary()
        self.error: VectorferryError | None = None
        self.lock_lost: LockLostError | None = None
        """Why it sits the current collection out, though it was locked."""
        self.written = 0
        self.holds_nothing = False
        """Whether the destination has nothing of the current collection but what this process writes, once."""
        self.left_out = 0
        """Assets of the current collection that the destination could not take, and that a later run may bring."""
        self.held_back = HeldBack(mapping)
        """Assets of the current collection that came with less than is stored."""
        self._listings: dict[str, Listing] = {}
        """Of the assets that are to be compared with what is stored before they are written."""
        self.dimensions: set[WrittenDimension] = set()
        """Of all vectors that were written in this run."""
        self._modalities = modalities
        self._mapping = mapping
        self._limits = limits
        self._collection = ""
        self._batcher = Batcher("", modalities, limits)
        self._flight: asyncio.Task[None] | None = None
        self._handed_over = 0
        self.landed = 0
        """How many batches have been written, or dropped after a failure."""
        self._batching = asyncio.Lock()
        self._sits_out = False
        self._calls = CallThread(self.name)

    @property
    def alive(self) -> bool:
        """Whether the destination has not failed, and takes part in the current collection."""
        return self.error is None and not self._sits_out

    @property
    def position(self) -> int:
        """How many batches will have `landed` when everything is written that was put in by now."""
        return self._handed_over + (not self._batcher.is_empty)

    def can(self, capability: Capability) -> bool:
        """Whether the destination declares it."""
        return capability in self.destination.capabilities

    def begin(self, collection: str) -> None:
        """From now on, assets and counts belong to this collection."""
        self._collection = collection
        self._sits_out, self.lock_lost = False, None
        self.holds_nothing = False
        self.left_out = 0
        self.held_back, self._listings = HeldBack(self._mapping), {}
        self._batcher = Batcher(collection, self._modalities, self._limits)
        self.summary.by_collection.setdefault(collection, Applied())

    def sit_out(self) -> None:
        """Take nothing until the next collection begins, or `rejoin`."""
        self._sits_out = True

    def rejoin(self) -> None:
        """Take part again."""
        self._sits_out = False

    async def call(self, work: Callable[[], T]) -> T | None:
        """The answer of `work`, as `CallThread.run` gets it; None once the destination has failed, or lost its lock.

        Raises `LockedError` and `TakenOverError`, which are no failures.
        """
        return await self._attempt(work) if self.alive else None

    async def ask(self, work: Callable[[], T]) -> T:
        """The answer of `work`, as `CallThread.run` gets it. What that raises is no failure of the destination."""
        return await self._calls.run(work)

    async def release(self, work: Callable[[], object]) -> None:
        """Call what has to be called even after a failure, when nothing is being applied any more."""
        await self._abandon()
        await self._attempt(work)

    async def put(self, mapped: MappedRecord, listing: Listing | None = None, fence: Fence | None = None) -> None:
        """Add an asset to the batch that is filling; hand that over when it is full.

        One with the `listing` to read it again by is held back instead of written when it has less than is stored; one
        with a `fence` is written only while that stands. Raises `TakenOverError` for a batch before it.
        """
        async with self._batching:
            if self.alive:
                self.summary.replaced_nul += mapped.replaced
                if listing and isinstance(mapped.record, MappedAsset) and self.can(Capability.CONTENTS):
                    self._listings[mapped.asset_id] = listing
                await self._hand_over(self._batcher.add(mapped, fence))

    async def keep_busy(self) -> None:
        """Hand over what has been gathered, full or not, where nothing is being applied."""
        async with self._batching:
            if self.alive and (self._flight is None or self._flight.done()):
                await self._hand_over(self._batcher.flush())

    async def flush(self) -> None:
        """Hand over what has been gathered, and wait until all of it is written."""
        async with self._batching:
            await self._hand_over(self._batcher.flush())
            await self._end_flight()

    def give_up(self) -> None:
        """Count what was not written as landed: nobody waits for it any more."""
        self.landed = self.position

    async def begin_second_look(self, share: float) -> list[Listing]:
        """Believe from now on, within this share of what is stored, what comes with less again. What to read."""
        if not self.held_back.listings:
            return []
        await self._leave_unremembered()  # of what other workers have held back
        stored = await self.call(partial(self.destination.content_counts, self._collection))
        return self.held_back.begin_second_look(share, stored or {})

    async def end_second_look(self) -> None:
        """Have what was not written after all read again by the next run, whatever its fingerprint says then."""
        self.held_back.end_second_look()
        self.left_out += len(self.held_back.ids)
        await self._read_again(self.held_back.ids)

    def record(self, applied: Applied) -> None:
        """Add to the counts of the run and of the current collection."""
        collection = self.summary.by_collection[self._collection]
        self.summary.applied += applied
        collection += applied
        del self.summary.applied.rejected[KEPT_REJECTED:], collection.rejected[KEPT_REJECTED:]

    def forget_set_aside(self) -> None:
        """Name no more which assets were set aside as a whole: they are about to be listed again, and set aside."""
        collection = self.summary.by_collection[self._collection]
        whole = [record for record in collection.rejected if not record.feature_id]
        for named in (self.summary.applied.rejected, collection.rejected):
            for record in whole:
                with suppress(ValueError):  # of several collections, only the first records are named
                    named.remove(record)

    async def close(self) -> None:
        """Take nothing more, and cancel the call that is running."""
        await self._abandon()
        self._calls.close()

    def fail(self, error: VectorferryError) -> None:
        """Take nothing more, because of this."""
        self.error = self.error or error
        self.summary.error = str(self.error)

    async def _attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return await self._calls.run(work)
        except (LockedError, TakenOverError):
            raise
        except LockLostError as error:
            self.lock_lost = error
            self.sit_out()
        except VectorferryError as error:
            self.fail(error)
        return None

    async def _hand_over(self, batch: Batch | None) -> None:
        if batch is not None:
            await self._end_flight()
            self._handed_over += 1
            self._flight = asyncio.create_task(self._apply(batch))
            await asyncio.sleep(0)  # or it would begin when whoever fills the next batch has to wait for something

    async def _end_flight(self) -> None:
        flight, self._flight = self._flight, None
        if flight:
            await flight

    async def _abandon(self) -> None:
        """Cancel what is being applied, if anything is, and wait until it has ended."""
        if self._flight:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
            self._flight = None

    async def _apply(self, batch: Batch) -> None:
        await self._write(batch)
        self.landed += 1

    async def _write(self, batch: Batch) -> None:
        batch = await self._without_losses(batch)
        if not batch.assets and not batch.rejected:
            return
        applied = await self.call(partial(self.destination.apply, batch))
        if applied is not None:
            self.left_out += sum(_may_come_later(record) for record in applied.rejected)
            self.record(applied)
            self.dimensions |= dimensions_in(batch)
            features = sum(len(asset.features) for asset in batch.assets)
            self.written += features
            assets = len(batch.assets)
            _log.debug("%s: %s: %d assets with %d features written", self.name, batch.collection, assets, features)

    async def _without_losses(self, batch: Batch) -> Batch:
        """The batch without the assets that have less than is stored of them; these are held back."""
        listings = self._listings
        if not self.can(Capability.CONTENTS):
            return batch
        whole = []
        for start in range(0, len(batch.assets), CONTENTS_AT_ONCE):
            some = batch.assets[start : start + CONTENTS_AT_ONCE]
            compared = [asset.asset_id for asset in some if asset.asset_id in listings]
            stored = await self.call(partial(self.destination.contents, batch.collection, compared)) if compared else {}
            for asset in some:
                listing, contents = listings.pop(asset.asset_id, None), (stored or {}).get(asset.asset_id)
                if listing is None or not contents or self.held_back.takes(listing, asset, contents, batch.modalities):
                    whole.append(asset)
        await self._leave_unremembered()
        return replace(batch, assets=tuple(whole))

    async def _leave_unremembered(self) -> None:
        self.left_out += len(self.held_back.unremembered)
        await self._read_again(self.held_back.unremembered)
        self.held_back.unremembered = []

    async def _read_again(self, asset_ids: list[str]) -> None:
        if asset_ids and self.can(Capability.QUARANTINE):
            await self.call(partial(self.destination.read_again, self._collection, asset_ids, in_run=True))


def _may_come_later(record: Rejected) -> bool:
    """Of a whole asset: that it may be taken when it is read again. An id stays as it is."""
    return not record.feature_id and record.reason != Reason.BAD_ID


async def call_each(
    lanes: Iterable[Lane], work: Callable[[Destination], T], needs: Capability | None = None
) -> dict[Lane, T | None]:
    """What the destinations that have what is needed answer, side by side; None of one that has failed."""
    able = [lane for lane in lanes if needs is None or lane.can(needs)]
    answers = await asyncio.gather(*(lane.call(partial(work, lane.destination)) for lane in able))
    return dict(zip(able, answers, strict=True))


async def look_for_empty(lanes: Iterable[Lane], collection: str) -> None:
    """Note which destinations hold nothing of the collection, where they can tell. Such a one need not be asked what it
    lacks: to ask waits until a batch has been applied, so that reading would stand still meanwhile."""
    stored = await call_each(lanes, lambda each: each.stored_collections(), Capability.STORED_COLLECTIONS)
    for lane, names in stored.items():
        lane.holds_nothing = names is not None and collection not in names


@asynccontextmanager
async def locked(lanes: Sequence[Lane], collection: str, wait: float) -> AsyncIterator[str | None]:
    """Hold the collection in every destination that can be locked, after waiting `wait` seconds at most for all.

    A lane that did not get it sits this collection out; what it is told is yielded. Raises `DestinationError` when no
    lane is left; and at the end `LockLostError`, when one has had to leave its collection to others. Everybody takes
    locks in the order of the names, so that no two runs wait for each other.
    """
    deadline = time.monotonic() + wait
    refusals: list[str] = []
    async with AsyncExitStack() as locks:
        for lane in sorted(lanes, key=lambda lane: lane.name):
            try:
                await _hold(lane, collection, deadline, locks)
            except LockedError as error:
                lane.sit_out()
                refusals.append(_waited(lane, error, wait))
        if refusals and not any(lane.alive for lane in lanes):
            raise DestinationError("; ".join(refusals))
        yield "; ".join(refusals) or None
    if lost := [f"{lane.name}: {lane.lock_lost}" for lane in lanes if lane.lock_lost]:
        raise LockLostError("; ".join(lost))


async def _hold(lane: Lane, collection: str, deadline: float, locks: AsyncExitStack) -> None:
    """Try until the deadline, then raise the last `LockedError`."""
    destination = lane.destination
    if Capability.LOCK not in destination.capabilities:
        return
    waiting = False
    while True:
        remaining = max(0.0, deadline - time.monotonic())
        seconds = min(remaining, LONGEST_CALL) if waiting else 0.0
        try:
            lock = await lane.call(partial(_entered, destination, collection, seconds))
        except LockedError as error:
            if not remaining:
                raise
            if not waiting:
                _log.warning("%s: waiting up to %.0f s: %s", lane.name, remaining, error)
            waiting = True
        else:
            if lock is not None:
                locks.push_async_callback(lane.release, lock.close)
            return


def _entered(destination: Destination, collection: str, wait: float) -> ExitStack:
    with ExitStack() as entering:
        entering.enter_context(destination.lock(collection, wait))
        return entering.pop_all()


def _waited(lane: Lane, error: LockedError, wait: float) -> str:
    waited = f" Waited {wait:g} s." if wait else ""
    return f"{lane.name}: {error}{waited} Run again later; a sync waits longer with --lock-wait SECONDS."


class Batcher:
    """Fills one batch at a time. An asset is never split, and never in a batch twice: the newer one stays."""

    def __init__(self, collection: str, modalities: frozenset[Modality], limits: BatchLimits) -> None:
        self._collection = collection
        self._modalities = modalities
        self._limits = limits
        self._filling: dict[str, MappedRecord] = {}
        self._fences: set[Fence] = set()
        self._rows = 0
        self._bytes = 0
        self._since = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been gathered."""
        return not self._filling

    def add(self, mapped: MappedRecord, fence: Fence | None = None) -> Batch | None:
        """Take one more asset; the batch before it when the two do not fit together, or it has waited long enough.

        Only an asset that is over a limit by itself makes a batch that is.
        """
        self._forget(mapped.asset_id)
        full = self.flush() if self._overflows(mapped) or self._is_old() else None
        if not self._filling:
            self._since = time.monotonic()
        self._filling[mapped.asset_id] = mapped
        if fence is not None:
            self._fences.add(fence)
        self._rows += mapped.rows
        self._bytes += mapped.bytes
        return full

    def flush(self) -> Batch | None:
        """What has been gathered, sorted by asset id so that concurrent writers lock rows in one order."""
        if not self._filling:
            return None
        records = [self._filling[asset_id].record for asset_id in sorted(self._filling)]
        fences = tuple(sorted(self._fences))
        self._filling, self._fences = {}, set()
        self._rows = self._bytes = 0
        return Batch(
            self._collection,
            self._modalities,
            tuple(record for record in records if isinstance(record, MappedAsset)),
            tuple(record for record in records if isinstance(record, Rejected)),
            fences,
        )

    def _overflows(self, mapped: MappedRecord) -> bool:
        return self._rows + mapped.rows > self._limits.rows or self._bytes + mapped.bytes > self._limits.bytes

    def _is_old(self) -> bool:
        """Whether a slow source has kept what was read waiting: a run that is stopped reads it again."""
        return time.monotonic() - self._since >= self._limits.seconds

    def _forget(self, asset_id: str) -> None:
        if older := self._filling.pop(asset_id, None):
            self._rows -= older.rows
            self._bytes -= older.bytes
