"""Letting several workers share a collection: what is to be read is cut into shards, which they claim, read and write.

One process lists, compares, looks a second time, deletes and builds indexes, as if it were alone (`CollectionRun`);
what others do for it is only to pull, map and write (`Claims`). The shards are in the first destination's books.

A collection of no more assets than `FIRST` never comes here. Whoever lists works as well, so that a run never depends
on workers being there; one that is idle asks whoever has most left for half of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from vectorferry.connector._engine.sync._claims import (
    HEARTBEAT,
    POLL,
    Board,
    BookLostError,
    Claims,
    boards_of,
    worker_name,
)
from vectorferry.connector._engine.sync._diff import Decision, Reread
from vectorferry.connector._engine.sync._lane import call_each
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._origins import origin_of
from vectorferry.connector._engine.sync._tally import add_tally
from vectorferry.connector._engine.sync._transfer import Job, Transfer
from vectorferry.connector._model._errors import ConfigurationError, TakenOverError, VectorferryError
from vectorferry.connector._model._records import Listing, Modality
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._shards import RunOutlook, SharedRun
from vectorferry.connector._reports._run_id import current_run_id
from vectorferry.connector._reports._summary import CollectionSummary

_log = logging.getLogger("vectorferry")

FIRST: Final = 100
"""With so many assets or fewer to read nothing is shared: a worker's start takes about as long as reading them."""

SMALLEST: Final = 16
LARGEST: Final = 500
PART: Final = 64
"""A shard has at most this part of what was cut before it: the last ones are short, and nobody waits for them."""

MOST_OPEN: Final = 64
"""Shards that nobody has: listing further ahead would only fill the table."""


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
        given, they leave to this process; and `BookLostError`, after which nobody else writes anything either."""
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
        except BookLostError:
            raise  # nobody can end what was begun
        except VectorferryError:
            await self._wind_down()
            raise
        finally:
            await self._end()

    async def cut(self, decisions: AsyncIterator[Decision], seconds: float) -> SharedRun:
        """Cut all of them into shards, for workers that come within so many seconds, and read none."""
        self._run_id = _new_run_id()
        run = await self._begin(seconds)
        heartbeat = asyncio.create_task(self._be_heard_of_cutting(seconds))
        try:
            await self._cut_all([], decisions, within=math.inf)
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)
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
        for lane in self._job.lanes:
            lane.holds_nothing = False  # from now on others write there too
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

    async def _be_heard_of_cutting(self, seconds: float) -> None:
        """Workers that are faster stay: whoever lists is heard of, however long the source takes."""
        while True:
            await asyncio.sleep(min(HEARTBEAT, self._job.options.lease / 10))
            with suppress(VectorferryError):  # the next shard says whether the run can still be asked for
                await self._home.ask(lambda book: book.renew_run(*self._place, seconds, listed=False))

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
        await self._job.catch_up()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
