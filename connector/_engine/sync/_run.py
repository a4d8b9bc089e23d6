"""One run: every collection, every destination, one summary and its exit code."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from os import environ as process_environ
from typing import Any, Final, ParamSpec

from vectorferry.connector._config._settings import BatchLimits, DeleteGuard, IncrementalScans, SyncSettings
from vectorferry.connector._engine._calls import LONGEST_CALL
from vectorferry.connector._engine._mapper import Mapper, MappingUse
from vectorferry.connector._engine._opening import run_opened
from vectorferry.connector._engine.sync._changes import followed_cursors
from vectorferry.connector._engine.sync._collection import CollectionRun
from vectorferry.connector._engine.sync._dimensions import dimension_notes
from vectorferry.connector._engine.sync._gone import settle_gone
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._engine.sync._options import DEFAULTS, SyncOptions
from vectorferry.connector._engine.sync._related import check_related_names, sync_related
from vectorferry.connector._engine.sync._runs import record_runs
from vectorferry.connector._engine.sync._tally import total, used
from vectorferry.connector._engine.sync._transfer import Helpers, Job
from vectorferry.connector._model._errors import (
    CollectionError,
    ConfigurationError,
    CredentialsError,
    DestinationError,
    LimitReachedError,
    SourceError,
    VectorferryError,
)
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import MODALITIES
from vectorferry.connector._model._storable import id_problem, safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Delivery, Destination, Visibility
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._progress import ProgressCallback, numbered
from vectorferry.connector._reports._run_id import current_run_id, run_named
from vectorferry.connector._reports._summary import (
    CollectionCallback,
    CollectionSummary,
    RelatedSummary,
    Summary,
    first_of,
    ignore_collection,
)
from vectorferry.connector._telemetry import record_applied, record_quarantine, span

PAUSE: Final = 0.05
P = ParamSpec("P")
_log = logging.getLogger("vectorferry")
PLACES_NAMED: Final = 5
LISTS_MISSED_WHEN_DOWN: Final = 3
UNLISTED_NAMED: Final = 5


def run_sync(
    settings: SyncSettings,
    options: SyncOptions = DEFAULTS,
    *,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
    finished: CollectionCallback = ignore_collection,
    helpers: Helpers | None = None,
) -> Summary:
    """Run a sync as its settings describe it: resolve ``${NAME}``, open, `sync`, and close whatever happens.

    `progress` is told how each collection comes along, and `finished` of each that is done or has failed. `helpers` are
    processes that are started once there is a collection to share with them.

    Raises what `sync` raises, and `ConfigurationError` for a variable that is not set.
    """

    async def work(resolved: SyncSettings, source: Source, destinations: Sequence[Destination]) -> Summary:
        return await sync(
            source,
            destinations,
            options.with_turns_of(resolved.source.reread_days),
            name=resolved.name,
            mapping=resolved.modalities,
            batch=resolved.batch,
            limits=resolved.limits,
            deletes=resolved.deletes,
            incremental=resolved.incremental,
            progress=progress,
            finished=finished,
            helpers=helpers,
        )

    return run_opened(settings, environ, work)


def traced_run(run: Callable[P, Coroutine[Any, Any, Summary]]) -> Callable[P, Coroutine[Any, Any, Summary]]:
    """The run with a span around it, which says how it ended."""

    @wraps(run)
    async def traced(*arguments: P.args, **options: P.kwargs) -> Summary:
        with span("vectorferry.sync", {"vectorferry.sync": str(options["name"])}) as attributes:
            summary = await run(*arguments, **options)
            attributes["vectorferry.run_id"] = summary.run_id
            attributes["vectorferry.exit_code"] = summary.exit_code
            attributes["vectorferry.requests"] = summary.usage.requests
        for label, destination in summary.destinations.items():
            record_quarantine(label, destination.quarantined)
        return summary

    return traced


@traced_run
async def sync(  # noqa: PLR0913 - one parameter per part of the settings
    source: Source,
    destinations: Sequence[Destination],
    options: SyncOptions = DEFAULTS,
    *,
    name: str,
    mapping: SchemaMapping | None = None,
    batch: BatchLimits | None = None,
    limits: SourceLimits | None = None,
    deletes: DeleteGuard | None = None,
    incremental: IncrementalScans | None = None,
    progress: ProgressCallback | None = None,
    finished: CollectionCallback = ignore_collection,
    helpers: Helpers | None = None,
) -> Summary:
    """Make every destination hold what the source holds of the collections.

    What the source may make is bounded by `limits`: named vectors and their dimensions, with those counted that the
    destinations have, and what is in one asset.

    Only changed assets are read, once for all destinations, and each destination gets those it lacks. A destination
    that fails is left out from then on and named in the summary, and so is a collection that cannot be read. Source
    and destinations stay open; each destination is used from one thread, which has ended when this returns.

    From a source that can list its changes, a run asks for these only, where the last run has left a cursor, and lists
    everything every so many runs, which is what finds deletes. The summary says which.

    In a run of all collections, one that destinations hold and that the source no longer has is taken for an empty one.

    An asset that comes with less than a destination holds of it is read a second time, later in the run, before
    anything goes there. What both answers lack goes within the share of `deletes`, which counts features and vectors as
    it counts assets; beyond it the asset stays as it is, and the summary says so.

    While a collection is synced, other syncs are kept out of it where the destination can be locked; a destination
    that somebody else holds for longer than the options wait is left out of this collection, which its summary says.

    Tables of metadata that the source has beside its assets are read after the collections. Where that fails, its part
    of the summary says so.

    When the source's quota is used up, no further collection is tried, and the summary has the time to come back. An
    asset that no usable answer came for stays as it is; its collection has failed, and the summary says why. So has one
    that the source's settings name and that is not there.

    Raises `SourceError` when no collection can be read, `CredentialsError` when the source refuses the key, the
    destination's own error when all of them failed (`DestinationError` for several), and `ConfigurationError` when
    two share a name.
    """
    mapping = mapping or SchemaMapping()
    if clash := _repeated([destination.name for destination in destinations]):
        raise ConfigurationError(f"two destinations are named {clash!r}: give one of them another name")
    check_related_names(source, mapping)
    for destination in destinations if options.workers else ():
        Capability.SHARDS.check(destination.capabilities, destination.name)
    job = Job(
        source=source,
        lanes=[Lane(each, options.modalities, batch or BatchLimits(), mapping) for each in destinations],
        mapper=Mapper(mapping, options.modalities, limits),
        guard=deletes or DeleteGuard(),
        options=options,
        full_every=(incremental or IncrementalScans()).full_every,
        progress=progress,
        finished=finished,
        helpers=helpers,
        unlisted={*options.reread.asset_ids, *(options.only or ())},
    )
    with run_named(options.run_id) as run_id:
        summary = Summary(name, destinations={lane.name: lane.summary for lane in job.lanes}, run_id=run_id)
        return await _run(job, mapping, summary)


async def _run(job: Job, mapping: SchemaMapping, summary: Summary) -> Summary:
    started, before = time.monotonic(), replace(job.source.usage)
    source, lanes, mapper, options = job.source, job.lanes, job.mapper, job.options
    all_collections = options.collections is None
    into = ", ".join(lane.name for lane in lanes)
    _log.info("%s: begins, into %s, as run %s", summary.sync, into, current_run_id())
    try:
        await prepare_lanes(source, lanes, mapping)
        await job.know_stored_vectors()
        try:
            await _run_collections(job, summary)
        except VectorferryError as error:
            _blame_last(summary, error)
            await record_runs(lanes, summary, options, mapper.digest)
            raise
        _tell_unlisted(job, summary)
        if all_collections or options.gone:
            await settle_gone(job, summary, None if all_collections else options.gone)
        if all_collections if options.related is None else options.related:
            await sync_related(source, lanes, job.guard, summary)
        finishing = partial(finish, wait_visible=options.wait_visible, mapping=mapping)
        await asyncio.gather(*(finishing(lane, list(summary.collections)) for lane in lanes))
        for lane, advice in (await call_each(lanes, lambda each: each.advice())).items():
            lane.summary.notes.extend(advice or ())
        await record_runs(lanes, summary, options, mapper.digest)
        raise_when_all_failed(lanes)
        if options.only is None:
            summary.advice.extend(metric_advice(source.vector_metrics(), mapping))
            summary.advice.extend(unmatched(mapper.use, summary.collections.values()))
    finally:
        await asyncio.gather(*(lane.close() for lane in lanes))
    summary.usage, summary.seconds, summary.exit_code = (
        total(used(source.usage, before), *(each.usage_of_workers for each in summary.collections.values())),
        time.monotonic() - started,
        exit_code(summary),
    )
    _log.info("%s: ended with exit code %d after %.1f s", summary.sync, summary.exit_code, summary.seconds)
    return summary


def _blame_last(summary: Summary, error: VectorferryError) -> None:
    """Have the collection that a run ended with say so, for the books: what is raised has no summary."""
    for collection in list(summary.collections.values())[-1:]:
        if not collection.error:
            collection.fail(str(error))


async def prepare_lanes(source: Source, lanes: Sequence[Lane], mapping: SchemaMapping) -> None:
    """Bring every destination to the mapping, and have the source share its limits with whoever else uses them.

    Raises `ConfigurationError` when two are one place, and what `raise_when_all_failed` raises."""
    await call_each(lanes, lambda each: each.prepare(mapping))
    raise_when_all_failed(lanes)
    if len(lanes) > 1:
        await check_apart(lanes)
    await share_limits(source, lanes)


async def check_apart(lanes: Sequence[Lane]) -> None:
    """Raise `ConfigurationError` when two destinations are one place: each would take the other's rows for its own."""
    first: dict[str, str] = {}
    for lane, place in (await call_each(lanes, lambda each: each.place())).items():
        if place is not None and (other := first.setdefault(place, lane.name)) != lane.name:
            raise ConfigurationError(
                f"the destinations {other} and {lane.name} are one place ({place}), however they are spelled: "
                "give one of them another `schema`, or leave it out"
            )


async def share_limits(source: Source, lanes: Sequence[Lane]) -> None:
    """Have the source keep to its service's limits together with every process that shares one of the stores."""
    for lane in lanes:
        if lane.can(Capability.ALLOWANCE) and (allowance := await lane.call(lane.destination.allowance)):
            source.share(allowance)
            return


async def _run_collections(job: Job, summary: Summary) -> None:
    """One after the other. One that fails is named in the summary and the others go on; when all do, the first
    error is raised. One about the key or the configuration would come back, and is raised at once; so is that of a
    source that is down: when three collections in a row could not even be listed. Where the source's quota is used up
    the run ends, and its summary says so."""
    collections = job.options.collections
    if collections is None:
        if not job.options.lists_everything:
            job.source.expect(await followed_cursors(job.source, job.alive, job.mapper, job.full_every))
        collections = await _all_collections(job.source, summary)
    ids = list(dict.fromkeys(collections))
    errors: list[VectorferryError] = []
    unlisted = 0
    for number, collection in enumerate(ids, start=1):
        progress = numbered(job.progress, number, len(ids))
        run = CollectionRun(replace(job, guard=job.guard.of(collection), progress=progress), collection)
        summary.collections[safe_id(collection)] = run.summary
        _log.info("%s (%d of %d): listing", safe_id(collection), number, len(ids))
        try:
            _check_collection(collection)
            with _measured(job.source, run.summary), _traced(collection, run.summary, summary):
                await run.run()
        except (ConfigurationError, CredentialsError):
            raise
        except LimitReachedError as error:
            summary.limit = error
            break
        except VectorferryError as error:
            run.fail(error)
            job.finished(collection, summary)
            errors.append(error)
            unlisted = unlisted + 1 if run.summary.listed == 0 and not is_of_one_collection(error) else 0
            if unlisted == LISTS_MISSED_WHEN_DOWN:
                raise errors[-unlisted] from error
        else:
            job.finished(collection, summary)
            unlisted = 0
        _log.info("%s: %s", safe_id(collection), _outcome(run.summary))
        raise_when_all_failed(job.lanes)
    if errors and len(errors) == len(ids):
        raise errors[0]


def _outcome(summary: CollectionSummary) -> str:
    counts = f"{summary.listed:,} listed, {summary.unchanged:,} unchanged, {summary.pulled:,} read"
    return f"{counts}; {summary.error}" if summary.error else counts


@contextmanager
def _traced(collection: str, collection_summary: CollectionSummary, summary: Summary) -> Iterator[None]:
    """A span around a collection, and its counts when it is done or has failed."""
    name = safe_id(collection)
    try:
        with span("vectorferry.collection", {"vectorferry.collection": name}) as attributes:
            yield
            attributes["vectorferry.listed"] = collection_summary.listed
            attributes["vectorferry.unchanged"] = collection_summary.unchanged
            attributes["vectorferry.read"] = collection_summary.pulled
    finally:
        for label, destination in summary.destinations.items():
            if applied := destination.by_collection.get(collection):
                record_applied(name, label, applied)


@contextmanager
def _measured(source: Source, summary: CollectionSummary) -> Iterator[None]:
    """Say in the summary what a block took, also where it fails."""
    started, before, summary.started_at = time.monotonic(), replace(source.usage), datetime.now(UTC)
    try:
        yield
    finally:
        summary.usage = total(used(source.usage, before), summary.usage_of_workers)
        summary.seconds = time.monotonic() - started
        summary.ended_at = summary.started_at + timedelta(seconds=summary.seconds)


async def _all_collections(source: Source, summary: Summary) -> Sequence[str]:
    """Those of the source. The summary tells of named ones that are not there, and of a quota that is used up."""
    try:
        collections = await source.collections()
    except LimitReachedError as error:
        summary.limit = error
        return ()
    for name, why in source.not_found.items():
        summary.collections[safe_id(name)] = CollectionSummary(error=why)
    return collections


def _check_collection(collection: str) -> None:
    if problem := id_problem(collection):
        raise SourceError(f"the collection id {collection[:80]!r} {problem}: it cannot be synced")


def is_of_one_collection(error: VectorferryError) -> bool:
    """One that is locked everywhere, or that the source refuses to list, says nothing of the others."""
    return isinstance(error, DestinationError | CollectionError)


def _tell_unlisted(job: Job, summary: Summary) -> None:
    """Say which assets could not be read, being nowhere: with the first collection, since it is any one's."""
    unlisted = first_of(sorted(map(safe_id, job.unlisted)), UNLISTED_NAMED)
    again = " again" if job.options.only is None else ""
    for collection in list(summary.collections.values())[:1] if unlisted else ():
        collection.add_note(f"not listed anywhere, so not read{again}: {unlisted}")


async def finish(lane: Lane, collections: Sequence[str], wait_visible: float, mapping: SchemaMapping) -> None:
    """Build the indexes that are due, name odd dimensions, count the quarantine, and wait until queries see what was
    written."""
    if built := await lane.call(lane.destination.build_indexes):
        lane.summary.indexes.extend(built)
        for index in built:
            _log.info(
                "%s: index %s built over %s rows in %.1f s", lane.name, index.index, f"{index.rows:,}", index.seconds
            )
    if lane.dimensions:
        names = {name for _, name, _ in lane.dimensions}
        counts = await lane.call(partial(lane.destination.vector_counts, names))
        lane.summary.notes.extend(dimension_notes(counts or (), mapping, lane.dimensions))
    for collection in collections:
        lane.summary.quarantined += await lane.call(partial(lane.destination.quarantined, collection)) or 0
    await _deliver(lane, wait_visible)


async def _deliver(lane: Lane, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        remaining = max(0.0, deadline - time.monotonic())
        delivery = await lane.call(partial(lane.destination.delivered, min(remaining, LONGEST_CALL)))
        if delivery is None:
            return
        lane.summary.delivery = delivery
        hidden = [place for place in delivery.places if not place.is_visible]
        if not hidden or not remaining:
            break
        await asyncio.sleep(PAUSE)
    if hidden and wait:
        lane.summary.error = _not_visible(hidden, delivery, wait)


def _not_visible(hidden: Sequence[Visibility], delivery: Delivery, wait: float) -> str:
    places = first_of([_place(each) for each in hidden], PLACES_NAMED)
    return (
        f"everything is written, but after {wait:g} s queries do not see all of it yet in {len(hidden):,} of "
        f"{len(delivery.places):,} places: {places}. Nothing is lost; they will, or wait longer next time."
    )


def _place(place: Visibility) -> str:
    visible = "unknown" if place.visible is None else place.visible
    return f"{place.place} (written {place.written}, visible {visible})"


def unmatched(use: MappingUse, collections: Iterable[CollectionSummary]) -> Iterator[str]:
    """What of the mapping has met nothing, where every asset was read: a few of them may well lack it."""
    if all(each.complete and not each.unchanged and not each.error for each in collections):
        yield from use.unmatched()


def metric_advice(metrics: Mapping[str, str], mapping: SchemaMapping) -> Iterator[str]:
    """A sentence for each named vector that the source compares by another metric than the mapping says: then what is
    near here is not what is near there. Where only some modalities are mapped, nobody asked about the others."""
    for name, metric in sorted(metrics.items()):
        mapped = [modality for modality in MODALITIES if name in mapping.modality(modality).vectors]
        others = [each for each in mapped or MODALITIES if mapping.vector(each, name).metric != metric]
        if others:
            where = ", ".join(f"modalities.{each}.vectors.{name}.metric" for each in mapped and others)
            yield (
                f"the source compares {name} by {metric}, and the mapping by {mapping.vector(others[0], name).metric}: "
                f"searches find others than the source's own; set {where or 'its metric'} to {metric}"
            )


def raise_when_all_failed(lanes: Sequence[Lane]) -> None:
    """Raise the error of the only destination, or a `DestinationError` that tells all of them."""
    errors = {lane.name: lane.error for lane in lanes if lane.error}
    if not lanes or len(errors) < len(lanes):
        return
    first = next(iter(errors.values()))
    if len(errors) == 1:
        raise first
    lines = "\n".join(f"{name}: {error}" for name, error in errors.items())
    raise DestinationError(f"every destination failed\n{lines}") from first


def exit_code(summary: Summary) -> int:
    """What the summary amounts to: 0 done, 1 failed, 3 records in quarantine, 4 a guard refused, 5 a limit reached."""
    read: list[CollectionSummary | RelatedSummary] = [*summary.collections.values(), *summary.related.values()]
    if any(each.error for each in summary.destinations.values()) or any(each.error for each in read):
        return 1
    if summary.limit:
        return summary.limit.exit_code
    if any(each.refused for each in read):
        return 4
    return 3 if any(each.quarantined for each in summary.destinations.values()) else 0


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
