"""Fills one destination from another one: no source is asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from os import environ as process_environ
from typing import Final

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config._settings import BatchLimits, DeleteGuard, SyncSettings
from vectorferry.connector._engine._mapper import MappedRecord, weighed
from vectorferry.connector._engine._opening import RARE_GARBAGE, destination_label, destinations_called, opened_at
from vectorferry.connector._engine._reader import Reader
from vectorferry.connector._engine.sync._changes import record_cursor
from vectorferry.connector._engine.sync._collection import note_listing, unchanged
from vectorferry.connector._engine.sync._diff import Action, Decision, holds
from vectorferry.connector._engine.sync._lane import Lane, locked, look_for_empty
from vectorferry.connector._engine.sync._losses import losses
from vectorferry.connector._engine.sync._options import LOCK_WAIT
from vectorferry.connector._engine.sync._origins import record_origin
from vectorferry.connector._engine.sync._prune import anything_missing, kept_assets, prune
from vectorferry.connector._engine.sync._run import exit_code, finish, raise_when_all_failed
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._errors import ConfigurationError, GuardRefusedError, VectorferryError
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import ALL_MODALITIES, Listing
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, Known
from vectorferry.connector._reports._progress import ProgressCallback, numbered
from vectorferry.connector._reports._summary import CollectionSummary, Summary, first_of

PAGE: Final = 500

FEATURES_AT_ONCE: Final = 2_000
"""Some 11 MB of 1,408-d vectors: enough that the store's own work is what takes the time. (Of 1,000 features, a quarter
of the CPU was spent on asking.)"""

NAMED: Final = 5


def run_refill(
    settings: SyncSettings,
    target: str,
    store: str | None = None,
    *,
    collections: Sequence[str] | None = None,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
    wait_visible: float = 0,
) -> Summary:
    """Fill the destination called `target` from the one called `store` (None: the only other one that can be read).

    Both are called by `name` or type. Only their ``${NAME}`` are resolved: no source's key is needed. Raises what
    `refill` raises, and `ConfigurationError` when it is not clear which destinations are meant.
    """
    to = _only(settings, target)
    candidates = _candidates(settings, to, store)
    with ExitStack() as stack:
        into, *others = (stack.enter_context(opened_at(settings, place, environ)) for place in (to, *candidates))
        source = _store(settings, dict(zip(candidates, others, strict=True)))
        stack.enter_context(RARE_GARBAGE)
        return run_cancellable(
            refill(
                source,
                into,
                name=settings.name,
                mapping=settings.modalities,
                collections=collections,
                batch=settings.batch,
                deletes=settings.deletes,
                progress=progress,
                wait_visible=wait_visible,
            )
        )


def _only(settings: SyncSettings, word: str) -> int:
    places = destinations_called(settings, word)
    if len(places) > 1:
        raise ConfigurationError(
            f"{settings.where}: {len(places)} destinations are called {word!r}; give each a `name` of its own"
        )
    return places[0]


def _candidates(settings: SyncSettings, target: int, store: str | None) -> list[int]:
    """The one that was named, or all but the target."""
    if store is None:
        others = [place for place in range(len(settings.destinations)) if place != target]
        if not others:
            raise ConfigurationError(f"{settings.where}: there is no other destination to refill this one from")
        return others
    named = _only(settings, store)
    if named == target:
        raise ConfigurationError(f"--from {store}: a destination cannot be refilled from itself")
    return [named]


def _store(settings: SyncSettings, candidates: Mapping[int, Destination]) -> Destination:
    needs = Capability.STORED_ASSETS
    stores = {place: destination for place, destination in candidates.items() if needs in destination.capabilities}
    if not stores:
        raise needs.missing(", ".join(destination_label(settings.destinations[place]) for place in candidates))
    if len(stores) > 1:
        labels = ", ".join(destination_label(settings.destinations[place]) for place in stores)
        raise ConfigurationError(f"it can be refilled from each of {labels}: say which with --from")
    return next(iter(stores.values()))


async def refill(
    store: Destination,
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
    started, mapping = time.monotonic(), mapping or SchemaMapping()
    reader, lane = StoreReader(store), Lane(target, ALL_MODALITIES, batch or BatchLimits(), mapping)
    summary = Summary(name, destinations={lane.name: lane.summary})
    job = _Job(reader, lane, deletes or DeleteGuard(), progress)
    try:
        await reader.prepare(mapping)
        ids = _collections_to_refill(collections, await reader.stored_collections(), reader.name)
        await lane.call(partial(target.prepare, mapping))
        raise_when_all_failed([lane])
        for number, collection in enumerate(ids, start=1):
            run = _CollectionRefill(replace(job, progress=numbered(progress, number, len(ids))), collection)
            summary.collections[safe_id(collection)] = run.summary
            async with locked([lane], collection, LOCK_WAIT):
                await run.run()
            summary.usage.bytes += run.bytes
            raise_when_all_failed([lane])
        await finish(lane, ids, wait_visible, mapping)
        raise_when_all_failed([lane])
    finally:
        await lane.close()
        reader.close()
    summary.seconds, summary.exit_code = time.monotonic() - started, exit_code(summary)
    return summary


def _collections_to_refill(collections: Sequence[str] | None, stored: Sequence[str], store: str) -> list[str]:
    if collections is None:
        return list(stored)
    if unknown := [collection for collection in collections if collection not in stored]:
        raise ConfigurationError(
            f"collection {unknown[0]}: not in {store}, which holds: {first_of(stored, NAMED) or 'none'}"
        )
    return list(dict.fromkeys(collections))


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
        self._listed_ids = SeenIds()
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
        await look_for_empty([self._lane], self._collection)
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
                self._listed_ids.add(page)
                self.summary.listed += len(page)
                await self._copy_lacking(await self._lacking(page))
                if not self._lane.alive:
                    return

    async def _copy_lacking(self, lacking: Mapping[str, Known]) -> None:
        self._to_read += len(lacking)
        self._report()
        async with closing(self._job.reader.read(self._collection, lacking)) as groups:
            async for group in groups:
                for mapped in group:
                    await self._take(mapped)
                # Reading is quicker than most writing: a target that waited for a full batch would only lose time.
                await self._lane.keep_busy()
                self._report()
                if not self._lane.alive:
                    return

    async def _take(self, mapped: MappedRecord | str) -> None:
        self.summary.pulled += 1
        if isinstance(mapped, str):
            self._damaged_count += 1
            self._damaged += [mapped][: NAMED - len(self._damaged)]
        else:
            self.bytes += mapped.bytes
            # Nothing can come with less than is stored where nothing is.
            await self._lane.put(mapped, None if self._lane.holds_nothing else Listing(mapped.asset_id, ""))

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
        recorded = await self._recorded(page)
        if recorded is None:
            return {}
        whole = {asset_id: entry for asset_id, entry in stored.items() if entry.modalities >= ALL_MODALITIES}
        self._note_partial([asset_id for asset_id in page if asset_id not in whole])
        decisions = [self._decide(asset_id, entry, recorded.get(asset_id)) for asset_id, entry in whole.items()]
        for decision in decisions:
            note_listing(self.summary, decision)
        self._lane.record(unchanged(decisions, self._lane.name, recorded, ALL_MODALITIES))
        return {one.listing.asset_id: whole[one.listing.asset_id] for one in decisions if one.action is Action.PULL}

    async def _recorded(self, page: Sequence[str]) -> Mapping[str, Known] | None:
        """The target's entries of the assets of a page; None once it has failed."""
        if self._lane.holds_nothing and self._lane.alive:
            return {}
        return await self._lane.call(partial(self._lane.destination.known, self._collection, page))

    def _decide(self, asset_id: str, stored: Known, recorded: Known | None) -> Decision:
        listing = Listing(asset_id, stored.fingerprint)
        if holds(recorded, stored.fingerprint, ALL_MODALITIES):
            return Decision(listing, Action.KEEP)
        return Decision(listing, Action.PULL, frozenset({self._lane.name}))

    def _note_partial(self, asset_ids: Sequence[str]) -> None:
        self._partial_count += len(asset_ids)
        self._partial += asset_ids[: NAMED - len(self._partial)]

    def _tell_partial(self) -> None:
        if self._damaged_count:
            damaged = first_of([*map(safe_id, self._damaged)], NAMED, self._damaged_count)
            self.summary.add_note(
                f"{self._damaged_count:,} assets lack rows in {self._job.reader.name} that its own ledger names, and "
                f"were left as they are here: {damaged}. `vectorferry verify --repair` reads them again."
            )
        if self._partial_count:
            partly = first_of([*map(safe_id, self._partial)], NAMED, self._partial_count)
            self.summary.add_note(
                f"{self._partial_count:,} of {self.summary.listed:,} assets are not whole in {self._job.reader.name} "
                f"(set aside, or synced for some modalities only) and were left as they are here: {partly}. "
                "`vectorferry sync` brings them."
            )

    async def _prune(self) -> None:
        """Remove what the store does not hold. A sync may have added to both since the store was listed, so the store
        is listed once more before anything goes."""
        reader, listed_ids = self._job.reader, self._listed_ids
        if self._job.guard.mode == "keep":
            self.summary.keep(await kept_assets([self._lane], self._collection, listed_ids), reader.name)
            return
        if not await anything_missing([self._lane], self._collection, listed_ids):
            return
        async with closing(reader.asset_ids(self._collection)) as listed:
            async for page in listed:
                listed_ids.add(page)
        try:
            await prune([self._lane], self._collection, listed_ids, self._job.guard.of(self._collection), reader.name)
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
            self._job.progress(self.summary.progress(self._collection, self._to_read, self._lane.written))


class StoreReader(Reader):
    """Reads what a destination keeps, for another one that is filled from it."""

    page = PAGE

    async def read(self, collection: str, entries: Mapping[str, Known]) -> AsyncIterator[list[MappedRecord | str]]:
        """These assets, a bounded number of features at a time; those that have gone meanwhile are left out. Only the
        id of one that has lost rows which the store's own books name."""
        for asset_ids in _groups(entries):
            yield await self.run(partial(self._read, collection, asset_ids))

    def _read(self, collection: str, asset_ids: Sequence[str]) -> list[MappedRecord | str]:
        store = self.destination
        contents = store.contents(collection, asset_ids) if self.can(Capability.CONTENTS) else {}
        return [
            weighed(asset)
            if losses(contents.get(asset.asset_id, {}), asset, ALL_MODALITIES) is None
            else asset.asset_id
            for asset in store.stored(collection, asset_ids)
        ]


def _groups(entries: Mapping[str, Known]) -> Iterator[list[str]]:
    """The assets in groups of as few features as possible, but for one that has more by itself."""
    group: list[str] = []
    gathered = 0
    for asset_id, known in entries.items():
        features = sum(known.features.values())
        if group and gathered + features > FEATURES_AT_ONCE:
            yield group
            group, gathered = [], 0
        group.append(asset_id)
        gathered += features
    if group:
        yield group
