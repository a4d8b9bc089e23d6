"""Fills one destination from another one: no source is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from vectorferry.connector._closing import closing
from vectorferry.connector._destination import Destination, Known
from vectorferry.connector._engine._changes import record_cursor
from vectorferry.connector._engine._checks import safe_id
from vectorferry.connector._engine._diff import Action, Decision, holds
from vectorferry.connector._engine._finish import exit_code, finish, raise_when_all_failed
from vectorferry.connector._engine._lane import Lane
from vectorferry.connector._engine._load import Loaded
from vectorferry.connector._engine._locking import LOCK_WAIT, locked
from vectorferry.connector._engine._origins import record_origin
from vectorferry.connector._engine._progress import Progress, ProgressCallback
from vectorferry.connector._engine._prune import anything_missing, kept, prune
from vectorferry.connector._engine._store import Store, StoreReader
from vectorferry.connector._engine._tally import note_listing, unchanged
from vectorferry.connector._errors import ConfigurationError, GuardRefusedError, VectorferryError
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._records import MODALITIES, Listing
from vectorferry.connector._seen import SeenIds
from vectorferry.connector._settings import BatchLimits, DeleteGuard
from vectorferry.connector._summary import CollectionSummary, Summary

__all__ = ["refill"]

ALL: Final = frozenset(MODALITIES)
NAMED: Final = 5


async def refill(
    store: Store,
    target: Destination,
    *,
    name: str,
    mapping: SchemaMapping | None = None,
    collections: Sequence[str] | None = None,
    batch: BatchLimits | None = None,
    deletes: DeleteGuard | None = None,
    progress: ProgressCallback | None = None,
    wait_visible: float = 0,
) -> Summary:
    """Make the target hold what the store holds of these collections (None: all of the store's).

    Only assets that the target lacks are read, and those that the store does not have are removed under the guard.
    Assets that the store holds only in part are left as they are. Afterwards a sync finds the target as if it had
    been there all the time. Syncs are kept out of a collection meanwhile, or waited for, for a minute at most.
    Both stay open; each is used from one thread, which has ended when this returns.

    Raises the error of the destination that failed, and `ConfigurationError` for a collection that the store does
    not have.
    """
    started = time.monotonic()
    reader, lane = StoreReader(store), Lane(target, ALL, batch or BatchLimits(), mapping or SchemaMapping())
    summary = Summary(name, destinations={lane.name: lane.summary})
    job = _Job(reader, lane, deletes or DeleteGuard(), progress)
    try:
        wanted = _checked(collections, await reader.prepare(mapping or SchemaMapping()), reader.name)
        await lane.call(partial(target.prepare, mapping or SchemaMapping()))
        raise_when_all_failed([lane])
        for collection in wanted:
            run = _CollectionRefill(job, collection)
            summary.collections[safe_id(collection)] = run.summary
            async with locked([lane], collection, LOCK_WAIT):
                await run.run()
            summary.usage.bytes += run.bytes
            raise_when_all_failed([lane])
        await finish(lane, wanted, wait_visible, mapping or SchemaMapping())
        raise_when_all_failed([lane])
    finally:
        await lane.close()
        reader.close()
    summary.seconds, summary.exit_code = time.monotonic() - started, exit_code(summary)
    return summary


@dataclass(frozen=True, slots=True)
class _Job:
    reader: StoreReader
    lane: Lane
    guard: DeleteGuard
    progress: ProgressCallback | None


class _CollectionRefill:
    """Copies one collection; `summary` is filled as it goes, `bytes` counts what was read."""

    def __init__(self, job: _Job, collection: str) -> None:
        self.summary = CollectionSummary()
        self.bytes = 0
        self._job = job
        self._lane = job.lane
        self._collection = collection
        self._seen = SeenIds()
        self._to_read = 0
        self._partial: list[str] = []
        self._partial_count = 0
        self._damaged: list[str] = []
        self._damaged_count = 0

    async def run(self) -> None:
        """Copy, then prune. What was read is written, whatever the store does afterwards.

        The store may be behind the source, so what the target has followed of its changes counts no more.
        """
        self._lane.begin(self._collection)
        await record_cursor([self._lane], self._collection, None)
        try:
            await self._copy()
        except VectorferryError:
            await self._lane.flush()
            raise
        await self._lane.flush()
        await self._settle_losses()
        self._tell_partial()
        if self._lane.alive:
            self.summary.complete = True
            await self._prune()
            await self._take_over_origin()
        self._report()

    async def _copy(self) -> None:
        async with closing(self._job.reader.asset_ids(self._collection)) as listed:
            async for page in listed:
                self._seen.add(page)
                self.summary.listed += len(page)
                await self._copy_lacking(await self._lacking(page))
                if not self._lane.alive:
                    return

    async def _copy_lacking(self, lacking: Mapping[str, Known]) -> None:
        self._to_read += len(lacking)
        self._report()
        async with closing(self._job.reader.read(self._collection, lacking)) as groups:
            async for group in groups:
                for loaded in group:
                    await self._take(loaded)
                self._report()
                if not self._lane.alive:
                    return

    async def _take(self, loaded: Loaded | str) -> None:
        self.summary.pulled += 1
        if isinstance(loaded, str):
            self._damaged_count += 1
            self._damaged += [loaded][: NAMED - len(self._damaged)]
        else:
            self.bytes += loaded.bytes
            await self._lane.put(loaded, Listing(loaded.asset_id, ""))

    async def _settle_losses(self) -> None:
        """What the target has more of than the store goes within the guard's share, as in a sync."""
        guard, lane = self._job.guard.of(self._collection), self._lane
        asset_ids = [listing.asset_id for listing in await lane.begin_second_look(guard.max_share)]
        if not asset_ids:
            return
        await self._copy_lacking(await self._job.reader.known(self._collection, asset_ids))
        await lane.flush()
        await lane.end_second_look()
        if refusal := lane.held_back.refusal(guard, self._job.reader.name):
            self.summary.refused = True
            self.summary.held_back[lane.name] = len(lane.held_back.ids)
            self.summary.add_note(refusal)

    async def _lacking(self, page: Sequence[str]) -> dict[str, Known]:
        """The store's entries of those assets of a page that it has whole and the target has not."""
        stored = await self._job.reader.known(self._collection, page)
        held = await self._lane.call(partial(self._lane.destination.known, self._collection, page))
        if held is None:
            return {}
        whole = {asset_id: entry for asset_id, entry in stored.items() if entry.modalities >= ALL}
        self._note_partial([asset_id for asset_id in page if asset_id not in whole])
        decisions = [self._decide(asset_id, entry, held.get(asset_id)) for asset_id, entry in whole.items()]
        for decision in decisions:
            note_listing(self.summary, decision)
        self._lane.record(unchanged(decisions, self._lane.name, held, ALL))
        return {one.listing.asset_id: whole[one.listing.asset_id] for one in decisions if one.action is Action.PULL}

    def _decide(self, asset_id: str, stored: Known, held: Known | None) -> Decision:
        listing = Listing(asset_id, stored.fingerprint)
        if holds(held, stored.fingerprint, ALL):
            return Decision(listing, Action.KEEP)
        return Decision(listing, Action.PULL, frozenset({self._lane.name}))

    def _note_partial(self, asset_ids: Sequence[str]) -> None:
        self._partial_count += len(asset_ids)
        self._partial += asset_ids[: NAMED - len(self._partial)]

    def _tell_partial(self) -> None:
        if self._damaged_count:
            named = ", ".join(map(safe_id, self._damaged))
            more = f" and {self._damaged_count - NAMED:,} more" if self._damaged_count > NAMED else ""
            self.summary.add_note(
                f"{self._damaged_count:,} assets lack rows in {self._job.reader.name} that its own ledger names, and "
                f"were left as they are here: {named}{more}. `vectorferry verify --repair` reads them again."
            )
        if self._partial_count:
            named = ", ".join(map(safe_id, self._partial))
            more = f" and {self._partial_count - NAMED:,} more" if self._partial_count > NAMED else ""
            self.summary.add_note(
                f"{self._partial_count:,} of {self.summary.listed:,} assets are not whole in {self._job.reader.name} "
                f"(set aside, or synced for some modalities only) and were left as they are here: {named}{more}. "
                "`vectorferry sync` brings them."
            )

    async def _prune(self) -> None:
        """Remove what the store does not hold. A sync may have added to both since the store was listed, so the store
        is listed once more before anything goes."""
        reader, seen = self._job.reader, self._seen
        if self._job.guard.mode == "keep":
            self.summary.keep(await kept([self._lane], self._collection, seen), reader.name)
            return
        if not await anything_missing([self._lane], self._collection, seen):
            return
        async with closing(reader.asset_ids(self._collection)) as listed:
            async for page in listed:
                seen.add(page)
        try:
            await prune([self._lane], self._collection, seen, self._job.guard.of(self._collection), reader.name)
        except GuardRefusedError as error:
            self.summary.refused = True
            self.summary.add_note(str(error))

    async def _take_over_origin(self) -> None:
        """What the target holds now was read as what the store holds, unless something of its own has stayed."""
        origin = await self._job.reader.origin(self._collection)
        if origin is not None and not (self.summary.refused or self.summary.kept):
            await record_origin([self._lane], self._collection, origin)

    def _report(self) -> None:
        if self._job.progress:
            self._job.progress(
                Progress(
                    collection=self._collection,
                    listed=self.summary.listed,
                    total=self.summary.listed if self.summary.complete else None,
                    to_pull=self._to_read,
                    pulled=self.summary.pulled,
                    written=self._lane.written,
                )
            )


def _checked(wanted: Sequence[str] | None, stored: Sequence[str], store: str) -> list[str]:
    if wanted is None:
        return list(stored)
    if unknown := [collection for collection in wanted if collection not in stored]:
        there = ", ".join(stored[:NAMED]) + (f" and {len(stored) - NAMED:,} more" if len(stored) > NAMED else "")
        raise ConfigurationError(f"collection {unknown[0]}: not in {store}, which holds: {there or 'none'}")
    return list(dict.fromkeys(wanted))
