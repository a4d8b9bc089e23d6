"""One worker's part in a run that is shared: the shards that it claims, has read and written, or gives away.

Whoever lists the collection works in the same way (`Sharing`). Nobody's safety rests on anybody knowing who lives: a
batch is written only while its shards' tokens stand (`Fence`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from vectorferry.connector._engine._calls import CallThread
from vectorferry.connector._engine.sync._diff import Action, Decision, diff
from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector._engine.sync._transfer import Job, Request, Transfer
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._batch import Fence
from vectorferry.connector._model._errors import DestinationError, LockLostError, TakenOverError, VectorferryError
from vectorferry.connector._model._records import Listing
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._shards import ShardBook

T = TypeVar("T")
_log = logging.getLogger("vectorferry")

POLL: Final = 0.3
HEARTBEAT: Final = 1.0
LONGEST_OWNER: Final = 100


class BookLostError(DestinationError):
    """The destination of this name cannot be asked for its shards."""

    def __init__(self, name: str, error: DestinationError) -> None:
        super().__init__(str(error))
        self.name = name


class Board:
    """The shard book of one destination, on a thread of its own."""

    def __init__(self, name: str, book: ShardBook) -> None:
        self.name = name
        self._book = book
        self._calls = CallThread(f"{name} shards")

    async def ask(self, work: Callable[[ShardBook], T]) -> T:
        """What the book answers. Raises `BookLostError`, and `LockLostError` as it is."""
        try:
            return await self._calls.run(partial(work, self._book))
        except LockLostError:
            raise
        except DestinationError as error:
            raise BookLostError(self.name, error) from error

    async def close(self) -> None:
        """Let go of its connection."""
        with suppress(VectorferryError):
            await self._calls.run(self._book.close, attempts=1)
        self._calls.close()


async def boards_of(lanes: Sequence[Lane]) -> list[Board]:
    """Those of these destinations, in their order. Raises `NotSupportedError` where one has none, and `BookLostError`
    where one cannot be opened."""
    for lane in lanes:
        Capability.SHARDS.check(lane.destination.capabilities, lane.name)
    boards: list[Board] = []
    for lane in lanes:
        try:
            boards.append(Board(lane.name, await lane.ask(lane.destination.shard_book)))
        except DestinationError as error:
            await asyncio.gather(*(board.close() for board in boards))
            raise BookLostError(lane.name, error) from error
    return boards


def worker_name(name: str | None = None) -> str:
    """What a process calls itself: as it was told to, or by machine and process; never twice the same."""
    who = (name or f"{socket.gethostname()}:{os.getpid()}")[:LONGEST_OWNER]
    return f"{safe_id(who)}:{secrets.token_hex(2)}"


@dataclass(slots=True)
class _Claimed:
    """A shard of ours: the assets that have not come, and in which batch of each lane its last one is."""

    decisions: list[Decision]
    awaited: set[str]
    positions: dict[str, int] = field(default_factory=dict)


class Claims:
    """Claims shards, has them read and written, and says so in the book. Of one worker in one run.

    `place` is the run's collection and id; there are no `boards` yet where nothing is shared so far. `result` is asked,
    with the assets that have not come, what to enter for a shard that is done. Where the worker is
    not the one that lists, a destination that fails ends its work (`strict`): others can write there perhaps.
    """

    def __init__(
        self,
        job: Job,
        transfer: Transfer,
        boards: Sequence[Board],
        place: tuple[str, str],
        lease: float,
        owner: str,
        result: Callable[[Sequence[str]], Mapping[str, Any]] = lambda _: {},
        *,
        strict: bool = False,
    ) -> None:
        self.shards = 0
        self.assets = 0
        self._job = job
        self._transfer = transfer
        self._boards = boards
        self._collection, self._run_id = self._place = place
        self._owner = owner
        self._result = result
        self._strict = strict
        self._pause = min(HEARTBEAT, lease / 10)
        self._claimed: dict[Fence, _Claimed] = {}
        self._current: Fence | None = None
        self._left: deque[Decision] = deque()
        """Of the current shard, what the source has not been asked for yet."""
        self._left_lock = asyncio.Lock()
        """Held while the book is asked for what `_left` follows from: a shard, or to give half of one away."""
        self._failure: VectorferryError | None = None

    async def work(self, before: AsyncIterator[Listing] | None = None) -> bool:
        """Read what comes `before`, and then shards as long as there are any. Whether there was anything.

        Raises what the source raises, and `TakenOverError` when this worker was not heard of for too long. What was
        read is written then, if it may be, and the rest of its shards is everybody's.
        """
        self._failure = None  # it was raised, and its shards have been given back
        if before is None and not await self._claim():
            return False
        feed = self._feed(before)
        failure: VectorferryError | None = None
        try:
            async with closing(feed), closing(self._job.source.pull(self._collection, feed)) as pulled:
                async for item in pulled:
                    await self._note(await self._transfer.deliver(item))
                    if not self._job.alive:
                        break
        except VectorferryError as error:
            failure = error
        failure = failure or self._failure
        try:
            await asyncio.gather(*(lane.flush() for lane in self._job.lanes))
            await self._finish_written(at_end=failure is None)
        except VectorferryError as error:
            failure = failure or error
        if failure:
            for lane in self._job.lanes:
                lane.give_up()
            await self.release()
            raise failure
        return True

    async def release(self) -> None:
        """Give back what has not been done. Where the book cannot be asked, its lease runs out."""
        self._claimed.clear()
        self._left.clear()
        self._current = None
        if self._boards:
            with suppress(VectorferryError):
                await self._boards[0].ask(lambda book: book.release(*self._place, self._owner))

    async def keep_alive(self) -> None:
        """Be heard of, until this is cancelled; give away half of what is left when another one asks for it."""
        while True:
            await asyncio.sleep(self._pause)
            numbers = {fence.number: 0 for fence in self._claimed}
            if not numbers:
                continue
            if self._current in self._claimed and self._current is not None:
                numbers[self._current.number] = len(self._left)
            try:
                asked = await self._boards[0].ask(
                    lambda book: book.renew(*self._place, self._owner, numbers)  # noqa: B023
                )
            except VectorferryError as error:
                _log.warning("%s: this worker's lease could not be renewed: %s", safe_id(self._collection), error)
                continue
            if self._current is not None and self._current.number in asked:
                await self._give_away(self._current)

    async def _feed(self, before: AsyncIterator[Listing] | None) -> AsyncIterator[Listing]:
        """A failure waits in `_failure`, so that the source never sees it come back through what it reads from."""
        try:
            if before is not None:
                async with closing(before):
                    async for listing in before:
                        yield listing
            while self._left or await self._claim():
                if self._left:
                    yield self._transfer.ask_for(self._left.popleft(), self._current)
        except VectorferryError as error:
            self._failure = error

    async def _claim(self) -> bool:
        """Whether there is something that the source can be asked for. Nothing new is, before it is known whether what
        is being given away has to be read here after all."""
        async with self._left_lock:
            return bool(self._left) or await self._claim_next()

    async def _claim_next(self) -> bool:
        if not self._boards:
            return False
        collection = self._collection
        shard = await self._boards[0].ask(lambda book: book.claim(*self._place, self._owner))
        if shard is None:
            return False
        if shard.previous and shard.previous != self._owner:
            _log.info("%s: shard %d is taken over from %s", collection, shard.fence.number, shard.previous)
        for board in self._boards[1:]:
            if not await board.ask(lambda book: book.register(collection, shard.fence, shard.previous)):
                raise _taken_over(collection, shard.fence)
        known = await self._transfer.known([listing.asset_id for listing in shard.listings])
        mapper = self._job.mapper
        decisions = diff(shard.listings, known, mapper.digest, mapper.modalities, self._job.options.reread)
        needed = [decision for decision in decisions if decision.action is Action.PULL]
        self._claimed[shard.fence] = _Claimed(needed, {each.listing.asset_id for each in needed})
        self._current, self._left = shard.fence, deque(needed)
        if self._strict:
            self._transfer.fence = shard.fence
        await self._finish_written()
        return True

    async def _note(self, request: Request | None) -> None:
        """What has come of a shard; and what has been written meanwhile."""
        claimed = self._claimed.get(request.fence) if request and request.fence else None
        if request and claimed:
            claimed.awaited.discard(request.decision.listing.asset_id)
        if self._failure:
            raise self._failure
        await self._finish_written()

    async def _finish_written(self, *, at_end: bool = False) -> None:
        """Say of the shards that are written that they are; `at_end`, what has not come of them never will."""
        if self._strict and (error := next((lane.error for lane in self._job.lanes if lane.error), None)):
            raise error
        for fence, claimed in list(self._claimed.items()):
            if fence not in self._claimed or (claimed.awaited and not at_end):
                continue  # the feed comes here too, while this waits
            claimed.positions = claimed.positions or {lane.name: lane.position for lane in self._job.lanes}
            if any(lane.alive and lane.landed < claimed.positions[lane.name] for lane in self._job.lanes):
                continue
            del self._claimed[fence]
            result = self._result(sorted(claimed.awaited))
            if not await self._boards[0].ask(partial(_finished, self._collection, fence, result)):
                raise _taken_over(self._collection, fence)
            self.shards += 1
            self.assets += len(claimed.decisions)

    async def _give_away(self, fence: Fence) -> None:
        """The second half of what the source has not been asked for. It is awaited here until the book says that it is
        a shard of its own: until then nobody else reads it, and this shard must not be finished."""
        async with self._left_lock:
            if fence != self._current or not self._left:  # something else was claimed meanwhile
                return
            given = [self._left.pop() for _ in range((len(self._left) + 1) // 2)][::-1]
            claimed, ids = self._claimed[fence], {decision.listing.asset_id for decision in given}
            kept = [each for each in claimed.decisions if each.listing.asset_id not in ids]
            own, others = [[decision.listing for decision in each] for each in (kept, given)]
            try:
                is_given = await self._boards[0].ask(lambda book: book.split(self._collection, fence, own, others))
            except VectorferryError as error:
                shard = f"{safe_id(self._collection)}: shard {fence.number}"
                _log.warning("%s: half of it could not be given away, and is read here: %s", shard, error)
                if fence in self._claimed:
                    self._left.extend(given)
                return
            if is_given:
                claimed.decisions = kept
                claimed.awaited -= ids
            elif fence in self._claimed:  # or it was given back meanwhile
                self._failure = _taken_over(self._collection, fence)


def _taken_over(collection: str, fence: Fence) -> TakenOverError:
    return TakenOverError(
        f"{safe_id(collection)}: shard {fence.number} was taken over, for this worker was not heard of for longer than "
        "its lease; what it has not written, another one writes"
    )


def _finished(collection: str, fence: Fence, result: Mapping[str, Any], book: ShardBook) -> bool:
    return book.finish(collection, fence, result)
