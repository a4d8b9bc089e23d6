"""Helping with a run that is going on, and cutting a collection into shards for those who will.

For an engine that has steps of its own, in processes that it places, retries and shows (Dagster):

* a list step: `list_shards(settings, options)` lists, writes the shards of each large collection, and does not wait,
* worker steps, as many as there are: `run_join(settings, JoinOptions(runs=ids, name="worker 3"))`, with the `run_id` of
  each that the list step has returned; each step ends when nothing is left to claim,
* a close step: `run_sync(settings, options)`, an ordinary sync of these collections. It lists again, finds unchanged
  what the workers have written, reads what is left, deletes, builds indexes and keeps the cursor. The shards go when it
  begins.

Every step may be killed and run again: only what is written counts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import environ as process_environ
from typing import Any, Final

from vectorferry.connector._config._settings import BatchLimits, DeleteGuard, SyncSettings
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine._opening import run_opened
from vectorferry.connector._engine.sync._claims import POLL, Board, Claims, boards_of, worker_name
from vectorferry.connector._engine.sync._collection import CollectionRun
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._engine.sync._options import DEFAULTS, SyncOptions
from vectorferry.connector._engine.sync._run import prepare_lanes, raise_when_all_failed, share_limits
from vectorferry.connector._engine.sync._sharing import SharedCollection, check_terms, options_of, terms_of
from vectorferry.connector._engine.sync._tally import Tallies, Tally
from vectorferry.connector._engine.sync._transfer import Job, Transfer
from vectorferry.connector._model._errors import CollectionError, DestinationError, TakenOverError, VectorferryError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._shards import RunOutlook, SharedRun
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._run_id import run_named
from vectorferry.connector._reports._summary import CollectionSummary

_log = logging.getLogger("vectorferry")
A_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """What a worker helps with.

    Attributes:
        collections: ids; None: whichever is shared.
        runs: the ids of the shared runs to help with (`SharedCollection.run_id`); None: any.
        wait: seconds to wait at most for a run to help with, and again after each.
        name: what the worker is called in the books; None: machine and process.
    """

    collections: Sequence[str] | None = None
    runs: Sequence[str] | None = None
    wait: float = 0
    name: str | None = None


@dataclass(slots=True)
class JoinSummary:
    """What a worker has done. `by_collection` counts the assets that it has brought to their end."""

    worker: str
    shards: int = 0
    assets: int = 0
    features: int = 0
    seconds: float = 0.0
    by_collection: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "worker": self.worker,
            "shards": self.shards,
            "assets": self.assets,
            "features": self.features,
            "seconds": round(self.seconds, 3),
            "collections": {safe_id(name): assets for name, assets in self.by_collection.items()},
        }


def run_join(
    settings: SyncSettings, options: JoinOptions | None = None, *, environ: Mapping[str, str] = process_environ
) -> JoinSummary:
    """Open a sync's source and destinations, `join`, and close whatever happens.

    Raises what `join` raises, and `ConfigurationError` for a variable that is not set.
    """

    async def work(resolved: SyncSettings, source: Source, destinations: Sequence[Destination]) -> JoinSummary:
        return await join(
            source,
            destinations,
            options or JoinOptions(),
            mapping=resolved.modalities,
            batch=resolved.batch,
            limits=resolved.limits,
        )

    return run_opened(settings, environ, work)


def list_shards(
    settings: SyncSettings,
    options: SyncOptions = DEFAULTS,
    *,
    seconds: float = A_DAY,
    environ: Mapping[str, str] = process_environ,
) -> Sequence[SharedCollection]:
    """List, and cut what is to be read into shards, for workers that join within so many seconds. Reads no asset.

    Raises what `run_sync` raises. What was cut before an error stays: workers may read it.
    """

    async def work(
        resolved: SyncSettings, source: Source, destinations: Sequence[Destination]
    ) -> Sequence[SharedCollection]:
        with run_named(options.run_id):
            return await _list(
                resolved, source, destinations, options.with_turns_of(resolved.source.reread_days), seconds
            )

    return run_opened(settings, environ, work)


async def _list(
    settings: SyncSettings,
    source: Source,
    destinations: Sequence[Destination],
    options: SyncOptions,
    seconds: float,
) -> Sequence[SharedCollection]:
    mapping, options = settings.modalities, replace(options, workers=options.workers or 1)
    lanes = [Lane(each, options.modalities, settings.batch, mapping) for each in destinations]
    mapper = Mapper(mapping, options.modalities, settings.limits)
    try:
        await prepare_lanes(source, lanes, mapping)
        job = Job(source, lanes, mapper, settings.deletes, options, settings.incremental.full_every)
        collections = options.collections if options.collections is not None else await source.collections()
        shared = []
        for collection in dict.fromkeys(collections):
            try:
                shared.append(await CollectionRun(job, collection).list_shards(seconds))
            except (CollectionError, DestinationError) as error:  # the others are none the worse for it
                shared.append(SharedCollection(collection, "", 0, 0, 0, str(error)))
            raise_when_all_failed(lanes)
        return shared
    finally:
        await asyncio.gather(*(lane.close() for lane in lanes))


async def join(
    source: Source,
    destinations: Sequence[Destination],
    options: JoinOptions,
    *,
    mapping: SchemaMapping | None = None,
    batch: BatchLimits | None = None,
    limits: SourceLimits | None = None,
) -> JoinSummary:
    """Help with the runs that are going on, one after the other, as long as there is one.

    Source and destinations have to be those of the run. Whatever this worker cannot do is left to the others: it raises
    what source or destination raise, and has given back its shards then. Raises `ConfigurationError` where the run has
    another configuration, and `NotSupportedError` for a destination that cannot be shared.
    """
    mapping = mapping or SchemaMapping()
    lanes = {each.name: Lane(each, DEFAULTS.modalities, batch or BatchLimits(), mapping) for each in destinations}
    boards: dict[str, Board] = {}
    started, summary = time.monotonic(), JoinSummary(worker_name(options.name))
    try:
        boards = {board.name: board for board in await boards_of([*lanes.values()])}
        deadline = time.monotonic() + options.wait
        done: set[str] = set()
        while True:
            run = await _going_on(boards, options, done)
            if run is not None:
                helper = _Helper(source, lanes, boards, run, mapping, batch or BatchLimits(), limits, summary)
                await helper.help()
                done.add(run.run_id)
                deadline = time.monotonic() + options.wait
            elif time.monotonic() >= deadline:
                break
            else:
                await asyncio.sleep(POLL)
    finally:
        await asyncio.gather(*(board.close() for board in boards.values()))
        await asyncio.gather(*(lane.close() for lane in lanes.values()))
    summary.seconds = time.monotonic() - started
    return summary


async def _going_on(boards: Mapping[str, Board], options: JoinOptions, done: set[str]) -> SharedRun | None:
    """The oldest run to help with, as the first destination says that can be asked."""
    error: VectorferryError | None = None
    for board in boards.values():
        try:
            runs = await board.ask(lambda book: book.runs())
        except VectorferryError as failure:
            error = error or failure
            continue
        for run in runs:
            of_these = options.collections is None or run.collection in options.collections
            if of_these and run.run_id not in done and (options.runs is None or run.run_id in options.runs):
                return run
    if error:
        raise error
    return None


class _ListerHeartbeat:
    """When a worker last heard of whoever lists: by its own clock, since the server's may have been set back."""

    def __init__(self) -> None:
        self._until = math.nan
        self._heard_at = 0.0

    def may_add(self, outlook: RunOutlook, lease: float) -> bool:
        """Whether another shard may come: not everything is listed, and whoever lists was heard of within its lease."""
        if outlook.until != self._until:
            self._until, self._heard_at = outlook.until, time.monotonic()
        return not outlook.listed and time.monotonic() - self._heard_at <= lease


class _Helper:
    """One worker's part in one run."""

    def __init__(
        self,
        source: Source,
        lanes: Mapping[str, Lane],
        boards: Mapping[str, Board],
        run: SharedRun,
        mapping: SchemaMapping,
        batch: BatchLimits,
        limits: SourceLimits | None,
        summary: JoinSummary,
    ) -> None:
        self._run = run
        self._place = (run.collection, run.run_id)
        self._options = options_of(run.terms)
        self._mapping = mapping
        self._summary = summary
        # Those of the run, in its order: the first one has the shards. The others of ours are left alone.
        self._lanes = [
            Lane(lanes[name].destination, self._options.modalities, batch, mapping)
            for name in run.terms["places"]
            if name in lanes
        ]
        self._boards = [boards[lane.name] for lane in self._lanes]
        self._job = Job(
            source, self._lanes, Mapper(mapping, self._options.modalities, limits), DeleteGuard(), self._options
        )
        self._of_collection = CollectionSummary()
        self._transfer = Transfer(self._job, run.collection, self._of_collection)
        self._tallies = Tallies(self._job, run.collection, self._of_collection)

    async def help(self) -> None:
        """Claim shards until the run has none left, or whoever lists is gone."""
        claims: Claims | None = None
        try:
            await share_limits(self._job.source, self._lanes)
            check_terms(self._run, await terms_of(self._job, self._run.collection))
            await call_each(self._lanes, lambda each: each.prepare(self._mapping))
            self._raise_failed()
            for lane in self._lanes:
                lane.begin(self._run.collection)
            _log.info("%s: helping run %s as %s", safe_id(self._run.collection), self._run.run_id, self._summary.worker)
            claims = Claims(
                self._job,
                self._transfer,
                self._boards,
                self._place,
                self._run.lease,
                self._summary.worker,
                self._result,
                strict=True,
            )
            await self._work(claims)
        finally:
            await asyncio.gather(*(lane.close() for lane in self._lanes))
            if claims is not None:
                self._summary.shards += claims.shards
                self._summary.assets += claims.assets
                assets = self._summary.by_collection.get(self._run.collection, 0)
                self._summary.by_collection[self._run.collection] = assets + claims.assets

    async def _work(self, claims: Claims) -> None:
        alive, heartbeat = asyncio.create_task(claims.keep_alive()), _ListerHeartbeat()
        try:
            while (outlook := await self._outlook()).alive and (
                outlook.open or outlook.claimed or heartbeat.may_add(outlook, self._run.lease)
            ):
                try:
                    worked = await self._attempt(claims)
                except TakenOverError as error:
                    _log.warning("%s: %s", safe_id(self._run.collection), error)
                    worked = True
                if not worked:
                    if not outlook.open:
                        await self._boards[0].ask(lambda book: book.ask_for_share(*self._place))
                    await asyncio.sleep(POLL)
        finally:
            alive.cancel()
            with suppress(asyncio.CancelledError):
                await alive
            await claims.release()

    async def _attempt(self, claims: Claims) -> bool:
        await self._job.catch_up()
        self._raise_failed()
        return await claims.work()

    async def _outlook(self) -> RunOutlook:
        return await self._boards[0].ask(lambda book: book.outlook(*self._place))

    def _raise_failed(self) -> None:
        if error := next((lane.error for lane in self._lanes if lane.error), None):
            raise error

    def _result(self, missed: Sequence[str]) -> Tally:
        for asset_id in missed:
            self._transfer.awaited.pop(asset_id, None)
        self._summary.features += sum(lane.written for lane in self._lanes)
        return self._tallies.take(missed)
