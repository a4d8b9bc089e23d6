"""Reading what is asked for of a collection, and handing it to the lanes that lack it: what workers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine.sync._diff import Decision
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._engine.sync._options import DEFAULTS, SyncOptions
from vectorferry.connector._model._batch import Fence
from vectorferry.connector._model._records import Asset, Listing, Reason, Rejected
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._destination import Known
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._progress import ProgressCallback
from vectorferry.connector._reports._summary import CollectionCallback, CollectionSummary, ignore_collection

NAMED: Final = 20


class Helpers(Protocol):
    """Processes that are started when something is to be shared with them."""

    def start(self) -> None:
        """Start those that are not running."""

    def deaths(self) -> Sequence[str]:
        """A sentence for each that has failed since this was last asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every collection of a run shares."""

    source: Source
    lanes: Sequence[Lane]
    mapper: Mapper
    guard: DeleteGuard
    options: SyncOptions = DEFAULTS
    full_every: int = 24
    progress: ProgressCallback | None = None
    finished: CollectionCallback = ignore_collection
    helpers: Helpers | None = None
    unlisted: set[str] = field(default_factory=set)
    """Assets that are to be read again, and that no listing has named so far."""

    @property
    def alive(self) -> list[Lane]:
        """The lanes whose destination has not failed."""
        return [lane for lane in self.lanes if lane.alive]

    async def know_stored_vectors(self) -> None:
        """Count the places for vectors that the stores have towards what the source may make."""
        for stored in (await call_each(self.lanes, lambda each: each.vector_kinds())).values():
            self.mapper.budget.know(stored or ())

    async def catch_up(self) -> None:
        """Look again at what the stores have: another worker may have made places for vectors since."""
        await call_each(self.lanes, lambda each: each.catch_up())
        await self.know_stored_vectors()


class Request(NamedTuple):
    """An asset that was asked for, and under which fence it may be written."""

    decision: Decision
    fence: Fence | None = None


class Transfer:
    """One collection's assets on their way; `summary` is filled as they come, and `awaited` has those that have not."""

    def __init__(self, job: Job, collection: str, summary: CollectionSummary) -> None:
        self.awaited: dict[str, Request] = {}
        self.missed: list[str] = []
        """What another worker has asked for and not been given."""
        self.to_pull = summary.pulled  # what has come before
        self.fence: Fence | None = None
        """Under which is written what nobody has asked for, where this process may write nothing without one."""
        self._job = job
        self._collection = collection
        self._summary = summary

    async def known(self, asset_ids: Sequence[str]) -> dict[str, Mapping[str, Known]]:
        """By lane, what its ledger has of these assets."""
        lanes = self._job.alive
        # One that held nothing has none of them, for they are listed for the first time (`look_for_empty`).
        asked = [lane for lane in lanes if asset_ids and not lane.holds_nothing]
        answers = await call_each(asked, lambda each: each.known(self._collection, asset_ids))
        empty = {lane.name: dict[str, Known]() for lane in lanes if lane not in asked}
        return {**empty, **{lane.name: known for lane, known in answers.items() if known is not None}}

    def ask_for(self, decision: Decision, fence: Fence | None = None) -> Listing:
        """Remember what was decided of an asset until it comes."""
        self.to_pull += 1
        self.awaited[decision.listing.asset_id] = Request(decision, fence)
        return decision.listing

    async def deliver(self, item: Asset | Rejected) -> Request | None:
        """Map what has come and put it into the lanes that lack it. What was asked for, where it was.

        Raises `TakenOverError` when an earlier batch was somebody else's to write."""
        request = self.awaited.pop(item.asset_id, None)
        if isinstance(item, Rejected) and item.reason is Reason.UNREADABLE:
            note_unread(self._summary, item)
            return request
        listing: Listing | None = None
        if isinstance(item, Asset):
            asked = request.decision.listing if request else None
            listing = asked or Listing(item.asset_id, item.fingerprint, turn=item.turn)
            if (turn := self._job.options.reread.turn(item.asset_id, item.turn)) != item.turn:
                item = replace(item, turn=turn)
        mapped = self._job.mapper.map(item)
        self._summary.pulled += 1
        fence = request.fence if request else self.fence
        for lane in self._job.lanes:
            if request is None or lane.name in request.decision.lacking:
                # Nothing can come with less than is stored where nothing is; but for what comes twice.
                is_new = lane.holds_nothing and request is not None
                await lane.put(mapped, None if is_new else listing, fence)
        self.report()
        return request

    def report(self) -> None:
        """Tell whoever follows the run."""
        if self._job.progress:
            written = sum(lane.written for lane in self._job.lanes)
            self._job.progress(self._summary.progress(self._collection, self.to_pull, written))


def note_unread(summary: CollectionSummary, unread: Rejected) -> None:
    """Count an asset that no usable answer came for; name the first of them, and why the very first."""
    summary.unread_count += 1
    summary.why_unread = summary.why_unread or unread.detail
    name_asset(summary.unread, unread.asset_id)


def name_asset(names: list[str], asset_id: str) -> None:
    """Add it to the first ones."""
    if len(names) < NAMED:
        names.append(safe_id(asset_id))
