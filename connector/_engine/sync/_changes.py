"""Whether a collection is listed in full or only what has changed, and the cursor that a run leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import uuid4

from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._engine.sync._origins import origin_of, since_recorded
from vectorferry.connector._model._records import Listing
from vectorferry.connector._model._storable import id_problem
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Cursor, Destination
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._summary import CollectionSummary

MAX_CURSOR_BYTES: Final = 4_000
SOME_ASSETS: Final = "some assets were asked for by their ids"
ASKED_FOR: Final = "a full scan was asked for"
NEVER_COMPLETE: Final = "no earlier run has left this collection wholly up to date"
APART: Final = "the destinations are not equally up to date"
OTHER_MAPPING: Final = "the mapping is not the one of the last run"
READ_BY_ANOTHER: Final = "the source is not read as it was in the last run"
OTHER_MODALITIES: Final = "the last run was for other modalities"


class Changes:
    """Follows the changes of one collection, and writes into the summary which scan was made and why.

    `full`: the scan of this run is to be one; `full_every`: so is one in so many runs.
    """

    def __init__(
        self, source: Source, collection: str, mapper: Mapper, full: bool, full_every: int, summary: CollectionSummary
    ) -> None:
        self._source = source
        self._collection = collection
        self._mapper = mapper
        self._full = full
        self._full_every = full_every
        self._summary = summary
        self._start: Cursor | None = None
        self._kept: Cursor | None = None
        """What the books keep while this run is under way, unless somebody forgets it."""
        self._reached: str | None = None

    @property
    def only_changed(self) -> bool:
        """Whether the scan is incremental."""
        return self._start is not None

    async def begin(self, lanes: Sequence[Lane], *, read_by_another: bool = False) -> None:
        """Choose. An incremental scan needs the same cursor in every destination, and a source `read_by_another`
        account may not follow it."""
        self._kept = None
        if why := self._why_not_to_ask(lanes) or (READ_BY_ANOTHER if read_by_another else None):
            await self.list_in_full(lanes, why)
            return
        cursors = await self._recorded_cursors(lanes)
        if why := why_full(cursors, self._mapper, self._full_every):
            await self.list_in_full(lanes, why)
        else:
            self._start = self._kept = cursors[0]
            self._summary.scan = "incremental"

    def begin_narrow(self) -> None:
        """List everything, and leave every cursor as it is: nothing is passed over that it would not have shown."""
        self._summary.scan, self._summary.why_full = "full", SOME_ASSETS

    async def list_in_full(self, lanes: Sequence[Lane], why: str) -> None:
        """Follow no cursor. Only a void one is kept meanwhile: a full run that is stopped may leave behind, half
        written, what only another full one would look at. It takes the place of one that was followed only where that
        is still kept: of what this run has decided on already, somebody may have had something read again since."""
        self._start = self._reached = None
        self._summary.scan, self._summary.why_full = "full", why
        before, self._kept = self._kept, Cursor(uuid4().hex, "", frozenset(), is_void=True) if self._follows else None
        await record_cursor(lanes, self._collection, self._kept, before)

    def scan(self) -> AsyncIterator[Listing]:
        """The source's listing, as it was chosen."""
        if self._start is not None:
            return self._source.scan_changed(self._collection, self._start.since)
        return self._source.scan(self._collection)

    async def reached(self) -> None:
        """Ask the source for the cursor of the scan that has just ended normally."""
        cursor = await self._source.cursor(self._collection) if self._follows else None
        self._reached = cursor if cursor is not None and id_problem(cursor, MAX_CURSOR_BYTES) is None else None

    async def end(self, lanes: Sequence[Lane], *, everything_arrived: bool) -> None:
        """Leave a cursor in the destinations. When something that was listed has not arrived, the next run starts where
        this one did, from the same cursor or with a full scan again: nothing is passed over. Nor is it where somebody
        has forgotten what was kept, to have something read again: there is none to replace, and none is left. Where
        there is none to leave, the void one goes."""
        since = self._reached if everything_arrived else None
        cursor: Cursor | None = None
        if self._start is not None:
            scans = self._start.incremental_scans + 1
            cursor = replace(self._start, since=since or self._start.since, incremental_scans=scans)
        elif since is not None:
            cursor = Cursor(since, self._mapper.digest, self._mapper.modalities)
        elif self._kept is None:
            return
        await record_cursor(lanes, self._collection, cursor, self._kept)

    @property
    def _follows(self) -> bool:
        return Capability.CHANGED_SINCE in self._source.capabilities

    def _why_not_to_ask(self, lanes: Sequence[Lane]) -> str | None:
        if not self._follows:
            return Capability.CHANGED_SINCE.value
        if self._full:
            return ASKED_FOR
        unable = [lane.name for lane in lanes if not lane.can(Capability.CURSORS)]
        return f"no cursor can be kept in {', '.join(unable)}" if unable else None

    async def _recorded_cursors(self, lanes: Sequence[Lane]) -> list[Cursor | None]:
        """The cursors of the destinations that can still be asked."""
        cursors = await call_each(lanes, lambda each: each.cursor(self._collection), Capability.CURSORS)
        return [cursor for lane, cursor in cursors.items() if lane.alive]


async def followed_cursors(source: Source, lanes: Sequence[Lane], mapper: Mapper, full_every: int) -> Mapping[str, str]:
    """The cursor of every collection that is stored; none when any of them is to be listed in full."""
    needed = (Capability.CURSORS, Capability.STORED_COLLECTIONS)
    able = all(lane.can(each) for lane in lanes for each in needed)
    if Capability.CHANGED_SINCE not in source.capabilities or not lanes or not able:
        return {}
    stored = await call_each(lanes, lambda each: each.stored_collections(), Capability.STORED_COLLECTIONS)
    cursors: dict[str, str] = {}
    for collection in {name for names in stored.values() for name in names or ()}:
        if await since_recorded(lanes, collection, await origin_of(source, collection)):
            return {}
        recorded = await call_each(lanes, partial(_cursor_of, collection), Capability.CURSORS)
        first, *others = recorded.values()
        if first is None or why_full([first, *others], mapper, full_every):
            return {}
        cursors[collection] = first.since
    return cursors


def _cursor_of(collection: str, destination: Destination) -> Cursor | None:
    return destination.cursor(collection)


async def record_cursor(
    lanes: Sequence[Lane], collection: str, cursor: Cursor | None, before: Cursor | None = None
) -> None:
    """Keep it in every destination that can, with one `before` only where that is still kept; None: forget what is."""
    await call_each(lanes, lambda each: each.record_cursor(collection, cursor, before), Capability.CURSORS)


def why_full(cursors: Sequence[Cursor | None], mapper: Mapper, full_every: int) -> str | None:
    """Why these cursors, one of each destination, cannot be followed; None when they can."""
    first = next((cursor for cursor in cursors if cursor), None)
    if first is None:
        return NEVER_COMPLETE
    if any(cursor != first for cursor in cursors):
        return APART
    if first.mapping != mapper.digest:
        return OTHER_MAPPING
    if first.modalities != mapper.modalities:
        return OTHER_MODALITIES
    if first.incremental_scans + 1 >= full_every:
        often = "every run" if full_every == 1 else f"one run in {full_every}"
        return f"{often} looks for deletes"
    return None
