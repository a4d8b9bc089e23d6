"""What looks by itself: for collections that come, go or change at the source, and for syncs that ran elsewhere."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from os import environ
from typing import Final, Literal, TypeVar

import dagster as dg
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from vectorferry import SyncSettings
from vectorferry.connector._engine import run_marks
from vectorferry.connector.plugin import (
    MODALITIES,
    Capability,
    ConfigurationError,
    DestinationError,
    LimitReachedError,
    RecordedRun,
    first_of,
    resolve_part,
)
from vectorferry.dagster._automation import SHOWN, AssetJob, ranges, request, unfinished
from vectorferry.dagster._namesakes import check_name, is_evaluated
from vectorferry.dagster._partitions import CollectionPartitions, Collections, named_collections, partition_key
from vectorferry.dagster._targets import ModalityTable, Target

SECONDS_BETWEEN_TICKS: Final = 60
RUNS_PER_TICK: Final = 10
SECONDS_TO_LEAVE: Final = 600
"""A first run to the sensor of changes, which may fail with every tick, or cannot list that collection."""
Kept = TypeVar("Kept")


def _memory(context: dg.SensorEvaluationContext, kind: TypeAdapter[Kept], anew: Kept) -> Kept:
    """What the tick before has kept in the cursor. Somebody may have edited that, or a later version written it; to
    begin anew costs some runs that find nothing to do, and a sensor that fails would have to be reset by hand."""
    if not context.cursor:
        return anew
    try:
        return kind.validate_json(context.cursor)
    except ValidationError:
        context.log.warning("the sensor's cursor is none that this version has written; it begins anew")
        return anew


def discovery_sensor(
    settings: SyncSettings,
    job: AssetJob,
    assets: Collection[dg.AssetKey],
    resource_key: str,
    *,
    running: bool = False,
) -> dg.SensorDefinition:
    """The sensor ``{sync}_discovery``: at most ten new collections per tick, the rest in the next ones; and those that
    have vanished, each once, when no unfinished run has it.

    It runs by itself when the sync's file names its collections or has a schedule: then somebody has said what to read.
    """
    partitions = CollectionPartitions.of(settings)
    asked_for = running or bool(settings.schedule or named_collections(settings))

    @dg.sensor(
        name=f"{settings.name}_discovery",
        job=job,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING if asked_for else dg.DefaultSensorStatus.STOPPED,
        required_resource_keys={resource_key},
        description="Adds a partition for every new collection of the source and asks for its first run; and for a run "
        "that settles a collection which the source no longer has, and retires its partition.",
    )
    def discover(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        check_name(context.instance, settings, _location(context))
        try:
            current = getattr(context.resources, resource_key).settings(settings)
            keys = Collections(current, environ).keys()
        except LimitReachedError as error:
            return dg.SkipReason(str(error))
        known = context.instance.get_dynamic_partitions(partitions.store_name)
        gone = set() if partitions.file_keys else set(known).difference(keys)
        before = _memory(context, CURSOR, _Cursor())
        new = sorted(set(keys).difference(known))[:RUNS_PER_TICK]
        waiting = sorted(set(before.left).intersection(known, keys))
        busy = unfinished(context.instance, job.name, assets, known) if gone or waiting else set()
        synced = _last_synced(context.instance, min(assets)).keys() if new or waiting else set()
        left = {key: before.left.get(key, _now().timestamp()) for key in {*waiting, *new} - busy - synced}
        first = [key for key in new if key not in left]  # which that one may have seen, before they went and came back
        if is_evaluated(context.instance, settings, "changes"):
            due = [key for key in waiting if key in left and left[key] <= _now().timestamp() - SECONDS_TO_LEAVE]
        else:
            due = sorted(left, key=lambda key: (key in waiting, key))
        first = [*first, *due][:RUNS_PER_TICK]
        left = {key: since for key, since in left.items() if key not in first}
        collections = _Collections(new, first, left, gone, busy, len(keys))
        return _asked_for(partitions, collections, before)

    return discover


@dataclass(frozen=True)
class _Cursor:
    """The number of runs requested so far, since when, is part of every run key: Dagster remembers run keys for good, a
    collection that went and came back has to be asked for again, and somebody may reset the cursor. `vanished` are the
    partitions that were asked for since their collection is gone: where the guard keeps it, asking again would only
    fail again. `left` are those whose first run is left to the sensor of changes, since when: it asks for whatever it
    has not seen before, as long as it is running and can see it."""

    requested: int = 0
    vanished: Sequence[str] = ()
    since: str = ""
    left: Mapping[str, float] = field(default_factory=dict)


CURSOR: Final = TypeAdapter(_Cursor)


@dataclass(frozen=True)
class _Collections:
    """What a tick has found: partitions that are `new`, those that are asked for the `first` time, those `left` to the
    sensor of changes, those whose collection is `gone`, those that are `busy`, and how many collections there are."""

    new: Sequence[str]
    first: Sequence[str]
    left: Mapping[str, float]
    gone: Set[str]
    busy: Set[str]
    total: int


def _asked_for(partitions: CollectionPartitions, collections: _Collections, before: _Cursor) -> dg.SensorResult:
    """A run that settles a collection retires its partition, which no run that is under way can do without: one that is
    `busy` is asked for when it no longer is."""
    settled = sorted(collections.gone - collections.busy - {*before.vanished})
    due = [*collections.first, *settled]
    since = before.since or f"{_now():%Y%m%dT%H%M%S}"
    vanished = sorted(collections.gone & {*before.vanished, *settled})
    after = _Cursor(before.requested + len(due), vanished, since, collections.left)
    return dg.SensorResult(
        dynamic_partitions_requests=[partitions.build_add_request(collections.new)] if collections.new else None,
        run_requests=[dg.RunRequest(run_key=f"{since}-{before.requested}-{key}", partition_key=key) for key in due]
        or None,
        skip_reason=None if due else _nothing_due(collections),
        cursor=json.dumps(asdict(after)),
    )


def _nothing_due(collections: _Collections) -> str:
    if collections.new:
        return f"new, with the first run left to the sensor of changes: {first_of(collections.new, SHOWN)}"
    return f"none of the {collections.total} collections is new"


def _location(context: dg.SensorEvaluationContext) -> str | None:
    return context.code_location_origin.location_name if context.code_location_origin else None


def _now() -> datetime:
    return datetime.now(UTC)


SensorName = Literal["discovery", "changes", "outside"]
SECONDS_TO_LOOK: Final = 40
"""Dagster gives a sensor a minute."""
SECONDS_TO_ASK_AGAIN: Final = 3_600
"""A run that failed is asked for again then, for its collection may not change any more."""


def changes_sensor(
    settings: SyncSettings, job: AssetJob, keys: Collection[dg.AssetKey], resource_key: str, *, running: bool
) -> dg.SensorDefinition:
    """The sensor ``{sync}_changes``: asks for a run of those collections in which something has been finished, changed
    or (where everything is listed) deleted at the source since it last did, and that no unfinished run has. One whose
    run came to nothing is asked for again after an hour; all are, once, when mapping or destinations have changed."""
    partitions = CollectionPartitions.of(settings)

    @dg.sensor(
        name=f"{settings.name}_changes",
        job=job,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        required_resource_keys={resource_key},
        description="Lists the source's collections, and syncs those in which tasks have finished or assets changed.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        check_name(context.instance, settings, _location(context))
        current = getattr(context.resources, resource_key).settings(settings)
        due = partitions.current(context.instance)
        order = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        busy = unfinished(context.instance, job.name, keys, order)
        try:
            seen = _look(context, current, [key for key in due if key not in busy])
        except LimitReachedError as error:
            return dg.SkipReason(str(error))
        before, shape, synced = seen.before, _shape(settings), _last_synced(context.instance, min(keys))
        is_reshaped = before.shape not in {"", shape}
        waiting = {key: ask for key, ask in before.asked.items() if key in due and synced.get(key) == ask.last}
        changed = sorted(
            key
            for key, mark in seen.found.items()
            if is_reshaped or before.marks.get(key) != mark or (key in waiting and waiting[key].is_overdue)
        )
        marks = {key: mark for key, mark in {**before.marks, **seen.found}.items() if key in due}
        if is_reshaped:  # those that are busy just now, or that there was no time for, are asked for later
            marks = dict(seen.found)
        spans = list(ranges(changed, order, len(order)))
        partitions.add(context.instance, [key for key in order if key in changed])  # the rest is new for discovery
        since = before.since or f"{_now():%Y%m%dT%H%M%S}"
        asked = {**waiting, **{key: _Ask(_now().timestamp(), synced.get(key)) for key in changed}}
        after = _Marks(marks, before.requested + len(spans), seen.next, since, shape, asked)
        return dg.SensorResult(
            run_requests=[
                request(first, last, run_key=f"{since}-{before.requested + number}-{first}")
                for number, (first, last) in enumerate(spans)
            ]
            or None,
            skip_reason=None if changed else f"nothing has changed in {len(seen.found)} of {len(due)} collections",
            cursor=json.dumps(asdict(after)),
        )

    return look


@dataclass(frozen=True)
class _Ask:
    """When a run of a partition was asked for, and the event that had recorded the last sync of it by then."""

    at: float
    last: int | None

    @property
    def is_overdue(self) -> bool:
        """Whether the run should have come to something long ago: it has failed, or was ended by somebody."""
        return _now().timestamp() - self.at >= SECONDS_TO_ASK_AGAIN


@dataclass(frozen=True)
class _Marks:
    """The mark of each partition as it was when it was last asked for; the partition that a tick begins with, where the
    one before had no time for all; and for run keys, which Dagster remembers for good, how many runs were asked for
    since when: somebody may reset the cursor. `shape` is that of the settings; `asked` are the partitions that were
    asked for and have not been synced since."""

    marks: Mapping[str, str] = field(default_factory=dict)
    requested: int = 0
    next: str = ""
    since: str = ""
    shape: str = ""
    asked: Mapping[str, _Ask] = field(default_factory=dict)


MARKS: Final = TypeAdapter(_Marks)


def _shape(settings: SyncSettings) -> str:
    """Changes when the same assets would be stored otherwise, or elsewhere. Secrets, a `url` among them, are masked."""
    text = settings.model_dump_json(include={"modalities", "destinations"})
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _last_synced(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Mapping[str, int]:
    """By partition, the event that recorded its last sync."""
    return instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION)


@dataclass(frozen=True)
class _Seen:
    before: _Marks
    found: Mapping[str, str]
    next: str


def _look(context: dg.SensorEvaluationContext, settings: SyncSettings, keys: Sequence[str]) -> _Seen:
    """The marks of these partitions, of as many as there is time for, beginning where the last tick ended."""
    began = time.monotonic()
    before = _memory(context, MARKS, _Marks())
    turned = [*(key for key in sorted(keys) if key >= before.next), *(key for key in sorted(keys) if key < before.next)]
    ids = _ids(context, settings, turned)
    known = {collection: before.marks[key] for collection, key in ids.items() if key in before.marks}
    marks = run_marks(settings, list(ids), known, seconds=SECONDS_TO_LOOK - (time.monotonic() - began))
    for collection, error in marks.errors.items():
        context.log.warning(f"{ids[collection]}: {error}")
    left = [key for collection, key in ids.items() if collection not in marks.found and collection not in marks.errors]
    return _Seen(before, {ids[each]: mark for each, mark in marks.found.items()}, left[0] if left else "")


def _ids(context: dg.SensorEvaluationContext, settings: SyncSettings, keys: Sequence[str]) -> Mapping[str, str]:
    """These partitions by the ids of their collections, without those that the source does not have. Raises
    `ConfigurationError` where none can be looked up."""
    resolve_part(settings.source, environ, settings.where, ("source",))
    ids, collections = dict[str, str](), Collections(settings, environ)
    for key in keys:
        try:
            collection = collections.id_of(key)
        except ConfigurationError as error:  # the file misnames this one
            context.log.warning(f"{key}: {error}")
            continue
        if collection is not None:
            ids[collection] = key
    return ids


RUNS_PER_LOOK: Final = 100
LOOKS_BACK: Final = timedelta(days=1)
OVERLAP: Final = timedelta(minutes=5)
"""Books say when a transaction began: one that was slow to end shows up behind others."""


def outside_sensor(
    settings: SyncSettings, targets: Mapping[dg.AssetKey, Target], resource_key: str, *, running: bool
) -> dg.SensorDefinition:
    """The sensor ``{sync}_outside``: records syncs that ran outside this Dagster (``vectorferry sync``, another
    instance) as materializations, from the books of each destination; on its first tick those of the last day."""
    partitions = CollectionPartitions.of(settings)

    @dg.sensor(
        name=f"{settings.name}_outside",
        asset_selection=dg.AssetSelection.assets(*targets),
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        required_resource_keys={resource_key},
        description="Records syncs that ran outside Dagster as materializations of what they filled.",
    )
    def record(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        check_name(context.instance, settings, _location(context))
        current = getattr(context.resources, resource_key).settings(settings)
        cursors = _memory(context, READ, {})
        events: list[dg.AssetMaterialization] = []
        key_of = _KeyOf(context, current)
        for place in sorted({min(target.places) for target in targets.values() if target.places}):
            before = cursors.get(str(place)) or _Read(_now() - LOOKS_BACK)
            try:
                runs, cursors[str(place)] = _new_runs(current, place, before)
            except DestinationError as error:
                context.log.warning(str(error))
                continue
            for run in runs:
                if _is_ours(context.instance, run) or (key := key_of(run.collection)) is None:
                    continue
                filled = {asset: each for asset, each in targets.items() if min(each.places) == place}
                events += [_materialization(asset, key, run, each) for asset, each in filled.items() if _has(run, each)]
        keys = {event.partition for event in events if event.partition}
        new = sorted(keys.difference(partitions.get_partition_keys(dynamic_partitions_store=context.instance)))
        return dg.SensorResult(
            asset_events=events,
            dynamic_partitions_requests=[partitions.build_add_request(new)] if new else None,
            skip_reason=None if events else "no sync has ended outside Dagster",
            cursor=READ.dump_json(cursors).decode(),
        )

    return record


@dataclass(frozen=True)
class _Read:
    """How far the books of a destination have been read: what was recorded since then, but for the runs that were."""

    since: AwareDatetime
    runs: Sequence[str] = ()


READ: Final = TypeAdapter(dict[str, _Read])


def _new_runs(settings: SyncSettings, place: int, before: _Read) -> tuple[list[RecordedRun], _Read]:
    resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
    with closing(resolved.open(settings.name)) as opened:
        if Capability.RUNS not in opened.capabilities:
            return [], before
        read = opened.runs(before.since, limit=RUNS_PER_LOOK + len(before.runs))
    new = [run for run in read if _name(run) not in before.runs]
    newest = max((run.recorded_at for run in read if run.recorded_at), default=None)
    since = max(before.since, newest - OVERLAP) if newest else before.since
    again = [_name(run) for run in read if run.recorded_at and run.recorded_at >= since]
    return new, _Read(since, again)


def _name(run: RecordedRun) -> str:
    return f"{run.run_id}/{run.collection}/{run.recorded_at}"


def _is_ours(instance: dg.DagsterInstance, run: RecordedRun) -> bool:
    """Whether a run of this instance did it, and has recorded it itself."""
    return run.started_by == "dagster" and instance.has_run(run.run_id)


def _has(run: RecordedRun, target: Target) -> bool:
    """Whether the run has brought all of a collection up to date in a table or index, or written some of it."""
    if run.state != "done":
        return False
    if not isinstance(target, ModalityTable):
        return True
    if run.counts.get("scan") == "some":
        return target.modality.value in run.counts.get("features", {})
    return target.modality.value in run.counts.get("modalities", [each.value for each in MODALITIES])


def _materialization(asset: dg.AssetKey, key: str, run: RecordedRun, target: Target) -> dg.AssetMaterialization:
    counts = run.counts.get("features", {}).get(target.modality.value, {}) if isinstance(target, ModalityTable) else {}
    vectors = run.counts.get("vectors_written", {})
    written = {} if isinstance(target, ModalityTable) else {"vectors_written": vectors.get(target.vector_name, 0)}
    numbers = {name: run.counts[name] for name in ("listed", "unchanged", "pulled") if name in run.counts}
    return dg.AssetMaterialization(
        asset,
        description=f"synced outside this Dagster, by {run.started_by}",
        partition=key,
        metadata={
            "collection": run.collection,
            "run_id": run.run_id,
            "started_by": run.started_by,
            "started": dg.MetadataValue.timestamp(run.started_at),
            "ended": dg.MetadataValue.timestamp(run.ended_at),
            "seconds": round((run.ended_at - run.started_at).total_seconds(), 3),
            "scan": str(run.counts.get("scan", "full")),
            **{f"assets_{name}": count for name, count in numbers.items()},
            **counts,
            **written,
        },
    )


class _KeyOf:
    """The partition of a collection; None where the file names others only. What the file calls by a name is looked up
    at the source."""

    def __init__(self, context: dg.SensorEvaluationContext, settings: SyncSettings) -> None:
        self._context = context
        self._settings = settings
        self._names = {partition_key(name) for name in named_collections(settings)}

    def __call__(self, collection: str) -> str | None:
        key = partition_key(collection)
        if not self._names or key in self._names:
            return key
        return self._by_id.get(collection)

    @cached_property
    def _by_id(self) -> Mapping[str, str]:
        return _ids(self._context, self._settings, sorted(self._names))
