"""One collection of a run: scan, diff, pull, hand to the lanes that lack it, scan again, prune, keep a cursor."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import compress, islice
from typing import Final, TypeVar

from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine.sync._changes import Changes
from vectorferry.connector._engine.sync._claims import BookLostError, boards_of
from vectorferry.connector._engine.sync._diff import Action, Decision, diff
from vectorferry.connector._engine.sync._guard import read_differently
from vectorferry.connector._engine.sync._lane import Lane, locked, look_for_empty
from vectorferry.connector._engine.sync._origins import each_change, guard_for, origin_of, record_origin, since_recorded
from vectorferry.connector._engine.sync._prune import anything_missing, kept_assets, prune
from vectorferry.connector._engine.sync._sharing import SharedCollection, Sharing
from vectorferry.connector._engine.sync._tally import add_tally, finished_part, listed_again, overdrawn
from vectorferry.connector._engine.sync._transfer import Job, Transfer, name_asset
from vectorferry.connector._iterators import closing, pages
from vectorferry.connector._model._batch import Applied, Counts
from vectorferry.connector._model._errors import (
    GuardRefusedError,
    IncompleteScanError,
    LockLostError,
    VectorferryError,
)
from vectorferry.connector._model._records import AssetState, Listing, Modality, Reason, Rejected
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import id_problem, safe_id, unusable_ids
from vectorferry.connector._protocols._destination import Known
from vectorferry.connector._protocols._shards import ShardBook, ShardResult, SharedRun
from vectorferry.connector._protocols._source import Origin
from vectorferry.connector._reports._summary import CollectionSummary, first_of

T = TypeVar("T")
_log = logging.getLogger("vectorferry")
LOCKS: Final = 3
"""How often a run takes the lock on a collection: once more after a restart of the server or of a pool, and once more
still. Where something ends each of them, a further one would not help."""
UNREAD_NAMED: Final = 5
PAGE: Final = 500
MISSED_NAMED: Final = 5


class CollectionRun:
    """Syncs one collection; `summary` is filled as it goes."""

    def __init__(self, job: Job, collection: str) -> None:
        self.summary = CollectionSummary()
        self._job = job
        self._collection = collection
        self._listed_ids = SeenIds()
        self._decided_ids: SeenIds | None = None
        """Of what is listed again from the beginning; None where whatever was listed was decided."""
        self._transfer = Transfer(job, collection, self.summary)
        self._sharing = self._new_sharing()
        self._changes = Changes(
            job.source, collection, job.mapper, job.options.lists_everything, job.full_every, self.summary
        )
        self._scan_error: VectorferryError | None = None

    async def run(self) -> None:
        """Sync it. What was read is written, whatever the source does afterwards; then its errors are raised.

        Assets that could not be read stay as they are, and are an error that is told and not raised.

        An incomplete listing is not raised: what it held is synced, and the summary says that it was incomplete. Raises
        `DestinationError` when every destination is locked by somebody else, and `LockLostError` when a lock was lost
        again and again.
        """
        for lane in self._job.lanes:
            lane.begin(self._collection)
        try:
            try:
                await self._count_workers()  # the lock ends what was shared
            except BookLostError as error:
                self._lose(error)
            await self._run_locked(LOCKS)
        finally:
            tell_unread(self.summary)
            self._settle_counts()
            for lane in self._job.lanes:
                lane.rejoin()
            if self._sharing:
                await self._sharing.close()
        self._transfer.report()

    async def _run_locked(self, locks: int) -> None:
        """Sync, and from the beginning once a lock was lost: somebody else may have written since it was listed."""
        try:
            async with locked(self._job.alive, self._collection, self._job.options.lock_wait) as locked_out:
                self.summary.error = locked_out
                await self._sync()
        except LockLostError:
            if locks == 1:
                raise
            name = safe_id(self._collection)
            _log.warning("%s: the lock that keeps other syncs out was lost; takes it again, and lists all anew", name)
            await self._begin_anew()
            await self._run_locked(locks - 1)

    async def list_shards(self, seconds: float) -> SharedCollection:
        """Cut what is to be read into shards, and read nothing: whoever runs this later finds out what is left."""
        sharing = Sharing(self._job, self._collection, self._transfer, self.summary)
        for lane in self._job.lanes:
            lane.begin(self._collection)
        try:
            async with locked(self._job.alive, self._collection, self._job.options.lock_wait):
                await self._choose_scan()
                decisions = self._needed(_itself)
                async with closing(decisions):
                    run = await sharing.cut(decisions, seconds)
        finally:
            for lane in self._job.lanes:
                lane.rejoin()
            await sharing.close()
        error = str(self._scan_error) if self._scan_error else None
        to_pull = self._transfer.to_pull
        return SharedCollection(self._collection, run.run_id, self.summary.listed, to_pull, sharing.shards, error)

    def fail(self, error: VectorferryError) -> None:
        """Add an error to what the summary tells already."""
        self.summary.cause = error
        self.summary.fail(str(error))

    def _new_sharing(self) -> Sharing | None:
        workers = self._job.options.workers
        return Sharing(self._job, self._collection, self._transfer, self.summary) if workers else None

    async def _begin_anew(self) -> None:
        if self._sharing:
            await self._sharing.close()
        for lane in self._job.lanes:
            lane.begin(self._collection)
        forget_outcome(self.summary)
        self.summary.origin_changes = {}
        self._list_anew()
        self._listed_ids, self._decided_ids = SeenIds(), None  # what was gone by now is not to stay
        self._sharing = self._new_sharing()

    def _list_anew(self) -> None:
        """Have everything decided, and counted, as it is found when it is listed again from the beginning."""
        self._decided_ids = SeenIds()
        for lane in self._job.alive:
            lane.record(listed_again(lane.summary.by_collection[self._collection]))
            lane.forget_set_aside()
        written = (lane.summary.by_collection[self._collection].assets for lane in self._job.alive)
        forget_listings(self.summary, min((counts.inserted + counts.updated for counts in written), default=0))
        self._transfer = Transfer(self._job, self._collection, self.summary)

    def _settle_counts(self) -> None:
        """What was written, and was to be listed as unchanged, may have changed again by then, or was never listed."""
        self.summary.unchanged = max(0, self.summary.unchanged)
        for lane in self._job.lanes:
            lane.record(overdrawn(lane.summary.by_collection[self._collection]))

    async def _count_workers(self) -> None:
        """What others have done of the shards that were cut for this run."""
        if not self._job.options.closes:
            return
        boards = await boards_of(self._job.alive)
        try:
            for run in await boards[0].ask(lambda book: book.runs()):
                if run.collection != self._collection or not run.run_id.startswith(tuple(self._job.options.closes)):
                    continue
                for each in await boards[0].ask(partial(_results, run)):
                    self.summary.workers.add(each.owner)
                    part = finished_part(each.result)
                    add_tally(part, self._job.lanes, self._job.mapper, self._transfer, self.summary)
                    self.summary.unchanged -= part["pulled"]  # as which this run is about to list them
                    self._transfer.to_pull += part["pulled"]
        finally:
            await asyncio.gather(*(board.close() for board in boards))

    async def _choose_scan(self) -> Origin:
        """What is listed: everything, or what has changed. Who reads it."""
        origin = await origin_of(self._job.source, self._collection)
        changes = await since_recorded(self._job.alive, self._collection, origin)
        self.summary.origin_changes.update(changes)
        if self._job.options.only is not None:
            self._changes.begin_narrow()
        else:
            await self._changes.begin(self._job.alive, read_by_another=bool(changes))
        return origin

    async def _sync(self) -> None:
        origin = await self._choose_scan()
        narrow = self._job.options.only is not None
        # Whoever helps asks for its part itself.
        alone = not narrow and self._job.options.workers is None
        if alone and not self._changes.only_changed and await self._reads_all():
            self._job.source.expect_all(self._collection)
        try:
            await self._list()
            if not narrow and not self._changes.only_changed:
                await self._prune()
                await self._settle_origin(origin)
            if not narrow:
                await self._changes.end(self._job.alive, everything_arrived=self._everything_arrived())
        except IncompleteScanError as error:
            self._tell_incomplete(error)
        except GuardRefusedError as error:
            self.summary.refused = True
            self.summary.add_note(str(error))
        if self._missed and self._job.alive:
            self._tell_missed()

    async def _reads_all(self) -> bool:
        """Whether whatever is listed as ready will be read."""
        if self._job.options.reread.everything:
            return True
        await look_for_empty(self._job.alive, self._collection)
        return any(lane.holds_nothing for lane in self._job.alive)

    async def _list(self) -> None:
        """List the collection and sync what is listed for the first time. Raises `IncompleteScanError` when the
        listing was incomplete twice, or when the source can never tell."""
        try:
            await self._passes()
        except IncompleteScanError:
            await self._look_again()
            raise
        await self._look_again()

    async def _passes(self) -> None:
        try:
            await self._pass()
        except IncompleteScanError as error:
            if self._changes.only_changed:
                await self._changes.list_in_full(self._job.alive, str(error))
                await self._passes()
                return
            if error.unknowable:
                raise
            await self._pass()

    async def _prune(self) -> None:
        """Remove what two complete listings did not hold: one alone may have skipped an asset when rows moved."""
        if self._job.guard.mode == "keep":
            self.summary.keep(await kept_assets(self._job.alive, self._collection, self._listed_ids))
        elif await anything_missing(self._job.alive, self._collection, self._listed_ids):
            await self._list()
            changes = self.summary.origin_changes
            await prune(self._job.alive, self._collection, self._listed_ids, self._job.guard, changes=changes)

    async def _settle_origin(self, origin: Origin) -> None:
        """Whoever reads now has seen all that is held, or was allowed to delete the rest: that is remembered."""
        if self.summary.kept or self.summary.held_back:
            return
        if self.summary.origin_changes:
            self.summary.add_note(f"the source is {read_differently(each_change(self.summary.origin_changes))}")
        await record_origin(self._job.alive, self._collection, origin)

    async def _look_again(self) -> None:
        """Read a second time what came with less than is stored. What both answers lack goes, within the guard's share;
        beyond it the assets stay as they are, and the summary says so."""
        lanes = [lane for lane in self._job.alive if lane.held_back.listings]
        decisions = await self._held_back(lanes)
        if not decisions:
            return
        failure: VectorferryError | None = None
        try:
            again = self._ask_again(decisions)
            async with closing(again), closing(self._job.source.pull(self._collection, again)) as pulled:
                async for item in pulled:
                    await self._transfer.deliver(item)
        except VectorferryError as error:
            failure = error
        await asyncio.gather(*(lane.flush() for lane in self._job.lanes))
        for lane in lanes:
            await self._settle(lane)
        self._transfer.report()
        if failure:
            raise failure

    async def _held_back(self, lanes: Sequence[Lane]) -> list[Decision]:
        """The assets that these lanes have held back, each with the lanes that did."""
        listings, lacking = dict[str, Listing](), dict[str, set[str]]()
        for lane in lanes:
            for listing in await lane.begin_second_look(self._guard_of(lane).max_share):
                listings[listing.asset_id] = listing
                lacking.setdefault(listing.asset_id, set()).add(lane.name)
        self.summary.second_looks += len(listings)
        return [Decision(one, Action.PULL, frozenset(lacking[one.asset_id])) for one in listings.values()]

    async def _ask_again(self, decisions: Sequence[Decision]) -> AsyncIterator[Listing]:
        for decision in decisions:
            yield self._transfer.ask_for(decision)

    async def _settle(self, lane: Lane) -> None:
        """Say what a lane was not given after all."""
        held_back = lane.held_back
        await lane.end_second_look()
        if not held_back.ids:
            return
        self.summary.held_back[lane.name] = self.summary.held_back.get(lane.name, 0) + len(held_back.ids)
        refusal = held_back.refusal(self._guard_of(lane), "the source")
        self.summary.refused = self.summary.refused or refusal is not None
        self.summary.add_note(f"{lane.name}: {refusal or held_back.postponed('the source')}")

    def _guard_of(self, lane: Lane) -> DeleteGuard:
        """A stricter one for a destination that was last complete when somebody else read the source."""
        return guard_for(self._job.guard, self.summary.origin_changes.get(lane.name, ()))

    def _tell_incomplete(self, error: IncompleteScanError) -> None:
        if error.unknowable:
            self.summary.add_note(str(error))
        else:
            self.fail(error)

    @property
    def _missed(self) -> list[str]:
        """What was asked for and has not come, here or to another worker."""
        return [*self._transfer.awaited, *self._transfer.missed]

    def _tell_missed(self) -> None:
        count = len(self._missed)
        assets = "1 asset was" if count == 1 else f"{count:,} assets were"
        first = first_of([safe_id(asset_id) for asset_id in islice(self._missed, MISSED_NAMED)], MISSED_NAMED, count)
        self.summary.add_note(
            f"{assets} listed and could not be read, being gone or not ready by then; the next run looks again: {first}"
        )

    def _everything_arrived(self) -> bool:
        """Whether every asset that was listed as ready is in every destination that is left."""
        unread = self.summary.unread_count
        return not self._missed and not unread and not any(lane.left_out for lane in self._job.alive)

    async def _pass(self) -> None:
        nothing_decided_before = not len(self._listed_ids)
        failure: VectorferryError | None = None
        try:
            await self._pull()
        except VectorferryError as error:
            failure = error
        await asyncio.gather(*(lane.flush() for lane in self._job.lanes))
        self._transfer.report()
        if failure:
            raise failure
        if nothing_decided_before and self.summary.complete:
            await self._changes.reached()

    async def _pull(self) -> None:
        self.summary.complete = False
        self._scan_error = None
        if self._sharing:
            try:
                await self._pull_shared(self._sharing)
            except BookLostError as error:
                await self._leave_sharing(self._sharing, error)
                await self._pull()
                return
        else:
            await self._pull_alone(self._needed(self._transfer.ask_for))
        if not self._job.alive:
            return
        if self._scan_error:
            raise self._scan_error
        if not self.summary.complete:
            raise IncompleteScanError("the source did not read its own listing to the end, so nothing is deleted")

    async def _pull_shared(self, sharing: Sharing) -> None:
        decisions = self._needed(_itself)
        async with closing(decisions):
            await sharing.pull(decisions)

    async def _leave_sharing(self, sharing: Sharing, error: BookLostError) -> None:
        """Go on alone, without the destination whose shards are lost: nobody knows what others have not done, so that
        everything is listed again, and counted again as it is found then. Raises its error where no other is left."""
        self._lose(error)
        others = ", ".join(lane.name for lane in self._job.alive)
        if self.summary.held_back:
            forget_outcome(self.summary)  # of an earlier listing
        for lane in self._job.alive:
            lane.held_back.waiting()  # what is held back is about to be listed again, and held back anew
        self.summary.add_note(f"{error.name} failed, and with it what was shared: {others} got the rest from here")
        await sharing.close()
        self._sharing = None
        self._list_anew()

    def _lose(self, error: BookLostError) -> None:
        """Go on without the destination whose shards are lost. Raises its error where no other is left."""
        for lane in self._job.lanes:
            if lane.name == error.name:
                lane.fail(error)
        if not self._job.alive:
            raise error

    async def _pull_alone(self, listings: AsyncIterator[Listing]) -> None:
        async with closing(listings), closing(self._job.source.pull(self._collection, listings)) as pulled:
            async for item in pulled:
                await self._transfer.deliver(item)
                if not self._job.alive:
                    return

    async def _needed(self, ask: Callable[[Decision], T]) -> AsyncIterator[T]:
        """What to pull. A scan's error waits in `_scan_error`, so that the source never sees its own error come back
        through the iterable it reads from."""
        try:
            async with closing(pages(self._changes.scan(), PAGE)) as listed:
                async for page in listed:
                    for decision in await self._decide(page):
                        if decision.action is Action.PULL:
                            yield ask(decision)
                    self._transfer.report()
                    if not self._job.alive:
                        return
            self.summary.complete = True
        except VectorferryError as error:
            self._scan_error = error

    async def _decide(self, page: list[Listing]) -> list[Decision]:
        if (only := self._job.options.only) is not None:
            page = [listing for listing in page if listing.asset_id in only]
        ids = [listing.asset_id for listing in page]
        unusable = unusable_ids(ids)
        safe_ids = [*map(safe_id, ids)] if unusable else ids
        new = self._listed_ids.add(safe_ids)
        if self._decided_ids is not None:
            new = self._decided_ids.add(safe_ids)
        fresh = [*compress(page, new)]
        self.summary.listed += len(fresh)
        if self._job.unlisted:
            self._job.unlisted.difference_update(listing.asset_id for listing in fresh)
        usable = [listing for listing in fresh if listing.asset_id not in unusable] if unusable else fresh
        if len(usable) < len(fresh):
            await self._set_aside([listing for listing in fresh if listing.asset_id in unusable])
        known = await self._transfer.known(
            [listing.asset_id for listing in usable if listing.state is AssetState.READY]
        )
        mapper = self._job.mapper
        decisions = diff(usable, known, mapper.digest, mapper.modalities, self._job.options.reread)
        others = [decision for decision in decisions if decision.action is not Action.KEEP]
        self.summary.unchanged += len(decisions) - len(others)
        for decision in others:
            note_listing(self.summary, decision)
        for lane in self._job.alive:
            lane.record(unchanged(decisions, lane.name, known[lane.name], mapper.modalities))
        return decisions

    async def _set_aside(self, listings: list[Listing]) -> None:
        for listing in listings:
            detail = f"the asset id {id_problem(listing.asset_id)}"
            mapped = self._job.mapper.map(Rejected(listing.asset_id, Reason.BAD_ID, detail))
            for lane in self._job.lanes:
                await lane.put(mapped)


def _itself(decision: Decision) -> Decision:
    return decision


def note_listing(summary: CollectionSummary, decision: Decision) -> None:
    """Count a listed asset by what happens to it; name the first of those that the source has not ready."""
    match decision.action:
        case Action.KEEP:
            summary.unchanged += 1
        case Action.WAIT:
            summary.pending_count += 1
            name_asset(summary.pending, decision.listing.asset_id)
        case Action.SKIP:
            summary.failed_count += 1
            name_asset(summary.failed, decision.listing.asset_id)
        case Action.PULL:
            summary.reread += decision.reread == decision.lacking


def forget_listings(summary: CollectionSummary, written: int) -> None:
    """Undo what was counted of assets that are listed again from the beginning, but for those that were read and are
    `written` everywhere: these are about to be listed as unchanged."""
    summary.listed = summary.reread = summary.pending_count = summary.failed_count = summary.unread_count = 0
    summary.pulled, summary.unchanged = written, -written
    summary.pending, summary.failed, summary.unread, summary.why_unread = [], [], [], None


def forget_outcome(summary: CollectionSummary) -> None:
    """Undo what was told of how it ended, for a collection that is synced again from the beginning: what is still so is
    told then."""
    summary.note, summary.cause, summary.refused = None, None, False
    summary.second_looks, summary.held_back, summary.kept = 0, {}, {}


def tell_unread(summary: CollectionSummary) -> None:
    """Make them what they are: a failure of the collection."""
    if count := summary.unread_count:
        assets = "1 asset" if count == 1 else f"{count:,} assets"
        unread = first_of(summary.unread, UNREAD_NAMED, count)
        stay = "stays as it is" if count == 1 else "stay as they are"
        summary.fail(
            f"{assets} could not be read and {stay} until a run can: {unread}. "
            f"{'It' if count == 1 else 'The first'}: {summary.why_unread}"
        )


def unchanged(
    decisions: Iterable[Decision], name: str, known: Mapping[str, Known], modalities: frozenset[Modality]
) -> Applied:
    """What one destination already has as it should be, counted from its ledger."""
    counts = Applied()
    features = [
        known[decision.listing.asset_id].features
        for decision in decisions
        if decision.action in (Action.KEEP, Action.PULL) and name not in decision.lacking
    ]
    counts.assets.unchanged = len(features)
    # Entries that a destination has read together share what they say of their features.
    shared = {id(each): each for each in features}
    for identity, entries in Counter(map(id, features)).items():
        for modality, number in shared[identity].items():
            if modality in modalities:
                counts.features.setdefault(modality, Counts()).unchanged += entries * number
    return counts


def _results(run: SharedRun, book: ShardBook) -> Sequence[ShardResult]:
    return book.results(run.collection, run.run_id)
