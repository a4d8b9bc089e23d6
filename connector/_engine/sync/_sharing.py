"""Several workers on one collection: what is to be read is cut into shards, which they claim, read and write.

One process lists, compares, looks a second time, deletes and builds indexes, as if it were alone (`CollectionRun`);
what others do for it is only to pull, map and write (`Transfer`). The shards are in the first destination's books.
Nobody's safety rests on anybody knowing who lives: a batch is written only while its shards' tokens stand (`Fence`).

A collection of no more assets than `FIRST` never comes here. Whoever lists works as well, so that a run never depends
on workers being there; one that is idle asks whoever has most left for half of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from vectorferry.connector._engine.sync._diff import Action, Decision, Reread, diff
from vectorferry.connector._engine.sync._lane import Lane, Worker, call_each
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._origins import origin_of
from vectorferry.connector._engine.sync._tally import add_tally
from vectorferry.connector._engine.sync._transfer import Job, Request, Transfer
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._batch import Fence
from vectorferry.connector._model._errors import ConfigurationError, TakenOverError, VectorferryError
from vectorferry.connector._model._records import Listing, Modality
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._shards import RunOutlook, ShardBook, SharedRun
from vectorferry.connector._reports._run_id import current_run_id
from vectorferry.connector._reports._summary import CollectionSummary

T = TypeVar("T")
_log = logging.getLogger("vectorferry")

FIRST: Final = 100
"""With so many assets or fewer to read nothing is shared: a worker's start takes about as long as reading them."""

SMALLEST: Final = 16
LARGEST: Final = 500
PART: Final = 64
"""A shard has at most this part of what was cut before it: the last ones are short, and nobody waits for them."""

MOST_OPEN: Final = 64
"""Shards that nobody has: listing further ahead would only fill the table."""

POLL: Final = 0.3
HEARTBEAT: Final = 1.0
LONGEST_OWNER: Final = 100


@dataclass(frozen=True, slots=True)
class SharedCollection:
    """What a list step has cut: how many assets are to be read, in how many shards. `error` says what was wrong with
    the listing; whoever closes lists again."""

    collection: str
    run_id: str
    listed: int
    to_pull: int
    shards: int
    error: str | None = None


class Board:
    """The shard book of one destination, on a thread of its own."""

    def __init__(self, name: str, book: ShardBook) -> None:
        self.name = name
        self._book = book
        self._calls = Worker(f"{name} shards")

    async def ask(self, work: Callable[[ShardBook], T]) -> T:
        """What the book answers. Raises `DestinationError`."""
        return await self._calls.run(partial(work, self._book))

    async def close(self) -> None:
        """Let go of its connection."""
        with suppress(VectorferryError):
            await self._calls.run(self._book.close, attempts=1)
        self._calls.close()


async def boards_of(lanes: Sequence[Lane]) -> list[Board]:
    """Those of these destinations, in their order. Raises `NotSupportedError` where one has none."""
    for lane in lanes:
        if not lane.can(Capability.SHARDS):
            raise Capability.SHARDS.missing(lane.name)
    return [Board(lane.name, await lane.ask(lane.destination.shard_book)) for lane in lanes]


def worker_name(name: str | None = None) -> str:
    """What a process calls itself: as it was told to, or by machine and process; never twice the same."""
    who = (name or f"{socket.gethostname()}:{os.getpid()}")[:LONGEST_OWNER]
    return f"{safe_id(who)}:{secrets.token_hex(2)}"


async def terms_of(job: Job, collection: str) -> dict[str, Any]:
    """What all workers of a run have to agree to, as JSON; and what the run reads, which they take over."""
    options, places = job.options, await call_each(job.alive, lambda each: each.place())
    return {
        "mapping": job.mapper.digest,
        "origin": dict(await origin_of(job.source, collection)),
        "places": {lane.name: place for lane, place in places.items()},
        "modalities": sorted(options.modalities),
        "reread": {
            "days": options.reread.days,
            "everything": options.reread.everything,
            "asset_ids": sorted(options.reread.asset_ids),
        },
    }


def options_of(terms: Mapping[str, Any]) -> SyncOptions:
    """Those of the run that has these terms."""
    reread = terms["reread"]
    return SyncOptions(
        modalities=frozenset(map(Modality, terms["modalities"])),
        reread=Reread(reread["days"], reread["everything"], frozenset(reread["asset_ids"])),
    )


def check_terms(run: SharedRun, own: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` unless a worker with these terms would write what the run writes, where it does."""
    theirs = run.terms
    different = []
    if theirs["mapping"] != own["mapping"]:
        different.append("the mapping (`modalities`)")
    different += [
        f"the source's {part}"
        for part in sorted(theirs["origin"].keys() | own["origin"].keys())
        if theirs["origin"].get(part) != own["origin"].get(part)
    ]
    different += [
        f"the destination {name}"
        for name, place in theirs["places"].items()
        if name not in own["places"] or own["places"][name] != place
    ]
    if different:
        raise ConfigurationError(
            f"{safe_id(run.collection)}: the run that is going on has another configuration: {', '.join(different)} is "
            "not the same here. Join it with the file, the key and the address that it was started with."
        )


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
        self._failure: VectorferryError | None = None

    async def work(self, before: AsyncIterator[Listing] | None = None) -> bool:
        """Read what comes `before`, and then shards as long as there are any. Whether there was anything.

        Raises what the source raises, and `TakenOverError` when this worker was not heard of for too long. What was
        read is written then, if it may be, and the rest of its shards is everybody's.
        """
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
        with suppress(VectorferryError):
            await self._boards[0].ask(
                lambda book: book.release(*self._place, self._owner),
            )

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
                if self._current is not None and self._current.number in asked:
                    await self._give_away(self._current)
            except VectorferryError as error:
                _log.warning("%s: this worker's lease could not be renewed: %s", safe_id(self._collection), error)

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
        """The second half of what the source has not been asked for."""
        given = [self._left.pop() for _ in range((len(self._left) + 1) // 2)]
        if not given:
            return
        claimed, ids = self._claimed[fence], {decision.listing.asset_id for decision in given}
        claimed.decisions = [each for each in claimed.decisions if each.listing.asset_id not in ids]
        claimed.awaited -= ids
        kept, given_away = [[d.listing for d in each] for each in (claimed.decisions, given)]
        collection = self._collection
        if not await self._boards[0].ask(lambda book: book.split(collection, fence, kept, given_away)):
            self._failure = _taken_over(collection, fence)


def _taken_over(collection: str, fence: Fence) -> TakenOverError:
    return TakenOverError(
        f"{safe_id(collection)}: shard {fence.number} was taken over, for this worker was not heard of for longer than "
        "its lease; what it has not written, another one writes"
    )


def _finished(collection: str, fence: Fence, result: Mapping[str, Any], book: ShardBook) -> bool:
    return book.finish(collection, fence, result)


def _new_run_id() -> str:
    """Never the same twice, so that no fence of an earlier run stands in a later one."""
    return f"{current_run_id()}.{secrets.token_hex(4)}"


class Sharing:
    """Lets others help with one collection, for whoever lists it."""

    def __init__(self, job: Job, collection: str, transfer: Transfer, summary: CollectionSummary) -> None:
        self.shards = 0
        self._job = job
        self._collection = collection
        self._transfer = transfer
        self._summary = summary
        self._boards: list[Board] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._owner = worker_name()
        self._run_id = ""
        self._ahead: deque[Decision] = deque()
        """What was listed and not handed out, as long as nothing is shared."""
        self._news = asyncio.Event()
        self._shared = self._listed = False
        self._assets = 0
        self._shards_since_look = 0

    async def pull(self, decisions: AsyncIterator[Decision]) -> None:
        """Have all of them read and written, by whomever. Raises what the source raises here: what others were not
        given, they leave to this process."""
        self._run_id = _new_run_id()
        self._shared = self._listed = False
        claims = Claims(self._job, self._transfer, self._boards, self._place, self._job.options.lease, self._owner)
        try:
            await claims.work(self._first(decisions, claims))
            while self._shared and self._job.alive and not await self._is_done():
                if not await claims.work():
                    await self._home.ask(lambda book: book.ask_for_share(*self._place))
                    await asyncio.sleep(POLL)
            if self._ahead and self._job.alive:
                self._summary.complete = False  # the source has not taken what was listed
        except VectorferryError:
            await self._wind_down()
            raise
        finally:
            await self._end()

    async def cut(self, decisions: AsyncIterator[Decision], seconds: float) -> SharedRun:
        """Cut all of them into shards, for workers that come within so many seconds, and read none."""
        self._run_id = _new_run_id()
        run = await self._begin(seconds)
        await self._cut_all([], decisions, within=math.inf)
        await self._home.ask(lambda book: book.renew_run(*self._place, seconds, listed=True))
        return run

    async def close(self) -> None:
        """Let go of the books."""
        await asyncio.gather(*(board.close() for board in self._boards))
        self._boards.clear()

    @property
    def _place(self) -> tuple[str, str]:
        return self._collection, self._run_id

    @property
    def _home(self) -> Board:
        return self._boards[0]

    async def _first(self, decisions: AsyncIterator[Decision], claims: Claims) -> AsyncIterator[Listing]:
        """The assets that are not shared: all of them, where they are few; else those that were handed out before the
        listing, which goes ahead, has shown that they are many."""
        lister = asyncio.create_task(self._list(decisions, claims))
        self._tasks.append(lister)
        while not self._shared:
            while self._ahead and not self._shared:
                yield self._transfer.ask_for(self._ahead.popleft())
            if lister.done():
                lister.result()
                return
            await self._news.wait()
            self._news.clear()

    async def _list(self, decisions: AsyncIterator[Decision], claims: Claims) -> None:
        listed = 0
        try:
            async for decision in decisions:
                self._ahead.append(decision)
                self._news.set()
                listed += 1
                if listed > FIRST:
                    await self._share(claims)
                    await self._cut_all(list(self._take_ahead()), decisions, within=MOST_OPEN)
                    break
            self._listed = True
            if self._shared:
                await self._renew()
        finally:
            self._news.set()

    async def _share(self, claims: Claims) -> None:
        await self._begin(self._job.options.lease)
        if self._job.helpers:
            self._job.helpers.start()
        _log.info("%s: is shared from here on", safe_id(self._collection))
        self._tasks += (asyncio.create_task(self._be_heard_of()), asyncio.create_task(claims.keep_alive()))
        self._shared = True
        self._news.set()

    def _take_ahead(self) -> Iterator[Decision]:
        while self._ahead:
            yield self._ahead.popleft()

    async def _begin(self, seconds: float) -> SharedRun:
        if [board.name for board in self._boards] != [lane.name for lane in self._job.alive]:
            await self.close()  # a destination has failed since
            self._boards.extend(await boards_of(self._job.alive))
        terms = await terms_of(self._job, self._collection)
        run = SharedRun(*self._place, self._owner, terms, self._job.options.lease)
        self._assets = self._shards_since_look = 0
        for board in self._boards:
            await board.ask(lambda book: book.begin(run, seconds))
        return run

    async def _cut_all(self, first: list[Decision], decisions: AsyncIterator[Decision], within: float) -> None:
        waiting = list(first)
        async for decision in decisions:
            waiting.append(decision)
            if len(waiting) >= min(LARGEST, max(SMALLEST, self._assets // PART)):
                await self._add(waiting, within)
                waiting = []
        if waiting:
            await self._add(waiting, within)

    async def _add(self, decisions: list[Decision], within: float) -> None:
        """A shard, as soon as fewer than so many wait."""
        if self._shards_since_look >= within / 4:
            while (await self._outlook()).open >= within:  # noqa: ASYNC110 - others are elsewhere
                await asyncio.sleep(POLL)
            self._shards_since_look = 0
        listings = [decision.listing for decision in decisions]
        if not await self._home.ask(lambda book: book.add(*self._place, listings)):
            raise self._ended()
        self._assets += len(listings)
        self._shards_since_look += 1
        self.shards += 1
        self._transfer.to_pull += len(listings)

    async def _be_heard_of(self) -> None:
        lost_at = time.monotonic() + self._job.options.lease
        while True:
            await asyncio.sleep(min(HEARTBEAT, self._job.options.lease / 10))
            try:
                await self._renew()
                await self._collect()
            except TakenOverError:
                raise
            except VectorferryError as error:
                if time.monotonic() > lost_at:
                    raise
                _log.warning("%s: this run's lease could not be renewed: %s", safe_id(self._collection), error)
            else:
                lost_at = time.monotonic() + self._job.options.lease
            for death in self._job.helpers.deaths() if self._job.helpers else ():
                _log.warning("%s: %s", safe_id(self._collection), death)
                self._summary.add_note(death)

    async def _renew(self) -> None:
        lease, listed = self._job.options.lease, self._listed
        if not await self._home.ask(lambda book: book.renew_run(*self._place, lease, listed=listed)):
            raise self._ended()

    def _ended(self) -> TakenOverError:
        return TakenOverError(
            f"{safe_id(self._collection)}: another sync of this collection has begun, as if this one had died: it lost "
            "its lock. Run again if that one fails."
        )

    async def _outlook(self) -> RunOutlook:
        return await self._home.ask(lambda book: book.outlook(*self._place))

    async def _is_done(self) -> bool:
        """Whether everything is listed and written; raises what the listing, or being heard of, has failed with."""
        for task in self._tasks:
            if task.done():
                task.result()
        outlook = await self._outlook()
        await self._collect()
        return self._listed and not outlook.open and not outlook.claimed

    async def _collect(self) -> None:
        """Count what others have done since."""
        for each in await self._home.ask(lambda book: book.results(*self._place)):
            if each.owner != self._owner:
                self._summary.workers.add(each.owner)
                add_tally(each.result, self._job.lanes, self._job.mapper, self._transfer, self._summary)
        self._transfer.report()

    async def _wind_down(self) -> None:
        """Let others end what they have begun, for as long as a lease lasts: what was read is written."""
        if not self._shared:
            return
        self._cancel_tasks()
        deadline = time.monotonic() + self._job.options.lease
        with suppress(VectorferryError):
            await self._home.ask(lambda book: book.renew_run(*self._place, 0, listed=True))
            while (await self._outlook()).claimed and time.monotonic() < deadline:  # noqa: ASYNC110 - as in `_add`
                await asyncio.sleep(POLL)
            await self._collect()

    async def _end(self) -> None:
        """From here on nobody else writes anything, and what others have made is known here."""
        tasks = self._tasks
        self._cancel_tasks()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ahead.clear()
        if not self._shared:
            return
        for board in self._boards:
            try:
                await board.ask(lambda book: book.end(*self._place))
            except VectorferryError as error:
                _log.warning("%s: what was shared could not be cleared away: %s", board.name, error)
        await call_each(self._job.alive, lambda each: each.catch_up())
        for stored in (await call_each(self._job.alive, lambda each: each.vector_kinds())).values():
            self._job.mapper.budget.know(stored or ())

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
