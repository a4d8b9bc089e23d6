"""One step: all collections it was given in one run of the engine, so that a bad one costs the others nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import islice
from os import environ
from typing import Any, Final

import dagster as dg

from vectorferry import Progress, Reread, Summary, SyncOptions, SyncSettings, embedding_maps, run_sync
from vectorferry.connector._engine import EmbeddingMap, Fleet, fleets_of
from vectorferry.connector.plugin import (
    MODALITIES,
    Capability,
    ConfigurationError,
    Destination,
    DestinationError,
    DestinationSummary,
    Modality,
    Status,
    TableStatus,
    VectorferryError,
    resolve_part,
)
from vectorferry.dagster._assets import VectorferryTranslator
from vectorferry.dagster._automation import assets_of, unfinished
from vectorferry.dagster._failures import (
    destination_errors,
    fail,
    hopeless,
    raise_for_collection,
    raise_for_run,
    tries_again,
)
from vectorferry.dagster._local_data import local_data_metadata
from vectorferry.dagster._metadata import (
    fleet_metadata,
    index_changes,
    index_metadata,
    index_rows,
    indexes_of,
    is_written,
    map_metadata,
    markdown_table,
    partition_metadata,
    related_metadata,
    scan_metadata,
    table_metadata,
)
from vectorferry.dagster._partitions import CollectionPartitions, Collections, collection_of, partition_key, remembered
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex, destination_name, further_indexes
from vectorferry.destinations import PgvectorDestination

SECONDS_BETWEEN_LINES: Final = 10.0
FRUITLESS_RUNS: Final = 2
POINTS: Final = 300
"""Of a map, whose picture takes 60 KB of the event log then."""
SAMPLED: Final = 20
"""Partitions at most of which a run shows rows."""
WORKERS_INPUT: Final = "workers"
"""Of the step that closes what others have worked on; a step that does everything has no such input."""
SCAN_TAG: Final = "vectorferry/scan"

Rows = Sequence[Mapping[str, str]]
Finished = Mapping[str, tuple[str, Summary]]
"""The collection and the summary behind each partition key."""


def sync_partitions(
    context: dg.AssetExecutionContext, selection: Selection, translator: VectorferryTranslator
) -> Iterator[dg.MaterializeResult[Any]]:
    """Sync the step's partitions and yield a result per selected asset.

    When a collection fails, the others are synced and recorded all the same, and then the step fails. A named vector
    that nobody knew of is recorded under the key that the `translator` gives it. A partition whose collection the
    source has lost is retired once the guard has let go of what is stored.
    """
    with remembered():
        step = _Step(context, selection, translator)
        try:
            step.sync_all()
        except BaseException as error:
            step.record_finished(counted=isinstance(error, Exception))  # who terminates a run does not want to wait
            raise
        if step.failed:
            step.record_finished()
            if not tries_again(context, step.failed.values()):  # another try needs the partitions of this one
                step.retire_gone()
            fail(context, step.failed, len(context.partition_keys), len(step.remaining))
        yield from step.results()
        step.retire_gone()


@dataclass(frozen=True)
class _Stored:
    """By partition key, the collections that destinations hold something of; and why one of them could not be asked."""

    collections: Mapping[str, str]
    error: DestinationError | None


@dataclass
class _Step:
    context: dg.AssetExecutionContext
    selection: Selection
    translator: VectorferryTranslator
    finished: dict[str, tuple[str, Summary]] = field(default_factory=dict)
    failed: dict[str, VectorferryError] = field(default_factory=dict)
    remaining: dict[str, str] = field(default_factory=dict)
    """The collection behind each partition key that has neither finished nor failed."""
    gone: set[str] = field(default_factory=set)
    """Keys whose collection the source does not list any more."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Why destinations have failed in the current run of the engine, as far as its collections have told."""
    fleets: Mapping[str, Fleet] = field(default_factory=dict)
    """By collection, who has worked on it, where this step closes that."""
    related_read: bool = False
    """Whether the tables of metadata have been read: once per step is enough."""

    def sync_all(self) -> None:
        """Sync what can be synced. A run of the engine ends early where a destination or the whole source fails; the
        rest is tried in another one, until two in a row have come to nothing."""
        CollectionPartitions.of(self.selection.settings).add(self.context.instance, self.context.partition_keys)
        self._look_up()
        if self._shared_runs:
            self._look_at_workers()
        self.context.log.info(f"{len(self.remaining)} collections to sync")
        fruitless = 0
        while self.remaining and fruitless < FRUITLESS_RUNS:
            before = len(self.finished)
            try:
                self._run()
            except VectorferryError as error:
                if not self._has_been_told(error):
                    self._fail(next(iter(self.remaining), self.selection.settings.name), error)
                if isinstance(error, ConfigurationError) or hopeless(error):
                    break
            fruitless = 0 if len(self.finished) > before else fruitless + 1

    def _has_been_told(self, error: VectorferryError) -> bool:
        """Whether it ended a run of the engine after a collection has been blamed for it: that is raised again when no
        collection, or no destination, is left."""
        of_destination = str(error) in self.broken.values() or (self.broken and isinstance(error, DestinationError))
        return bool(of_destination) or any(error is each for each in self.failed.values())

    def _look_up(self) -> None:
        collections = Collections(self.selection.settings, environ)
        for key in self.context.partition_keys:
            try:
                collection = collections.id_of(key)
                if collection is None:
                    self.gone.add(key)
                    collection = self._lost(key)
                self.remaining[key] = collection
            except VectorferryError as error:
                self._fail(key, error)
                if hopeless(error) or not isinstance(error, ConfigurationError | DestinationError):
                    self.remaining.clear()
                    return

    def _lost(self, key: str) -> str:
        """The id of a collection that has been synced and is not listed any more. Raises `ConfigurationError` for one
        that never has been: somebody has mistyped it."""
        collection = collection_of(key)
        if collection is not None and key in self._synced_before:
            return collection
        if (stored := self._stored.collections.get(key)) is not None:
            return stored
        if self._stored.error is not None:
            raise self._stored.error
        raise ConfigurationError(
            f"partition {key}: the source has no such collection, and none was ever synced under this name; "
            "delete the partition"
        )

    @cached_property
    def _stored(self) -> _Stored:
        """What the destinations hold, each asked once. Dagster forgets what it has synced when assets are wiped or get
        other keys, and has never known what was synced elsewhere."""
        collections, error = set[str](), None
        for place in sorted(self.selection.places):
            try:
                with _opened(self.selection.settings, place) as opened:
                    if Capability.STORED_COLLECTIONS in opened.capabilities:
                        collections.update(opened.stored_collections())
            except DestinationError as first:
                error = error or first
        return _Stored({partition_key(each): each for each in collections}, error)

    @cached_property
    def _synced_before(self) -> set[str]:
        instance = self.context.instance
        return {key for asset in self.selection.targets for key in instance.get_materialized_partitions(asset)}

    @cached_property
    def _shared_runs(self) -> Sequence[str]:
        """Whose list step may have cut collections into shards: this run's, or that of the run that it tries again."""
        if WORKERS_INPUT not in self.context.op_execution_context.op_def.input_dict:
            return ()
        run = self.context.run
        return [each for each in (run.run_id, run.parent_run_id, run.root_run_id) if each]

    def _look_at_workers(self) -> None:
        """Before the shards go: who has had which. A sync does not fail for it."""
        try:
            with _opened(self.selection.narrowed, 0) as opened:
                ids = tuple(self._shared_runs)
                self.fleets = {each.collection: each for each in fleets_of(opened) if each.run_id.startswith(ids)}
        except VectorferryError as error:
            self.context.log.warning(f"the shards could not be looked at: {error}")

    def _run(self) -> None:
        """One run of the engine for all that remains."""
        config = self.context.op_execution_context.op_config
        self.broken = {}

        def finish(collection: str, summary: Summary) -> None:
            errors = destination_errors(summary)
            failed = errors.keys() - self.broken.keys()
            self._finish(collection, summary, missed=bool(self.broken), failed=failed)
            self.broken = errors

        summary = run_sync(
            self.selection.narrowed,
            SyncOptions(
                collections=[each for key, each in self.remaining.items() if key not in self.gone],
                gone=[each for key, each in self.remaining.items() if key in self.gone],
                modalities=self.selection.modalities,
                full=config["full"],
                reread=Reread(everything=config["reread"]),
                related=not self.related_read,
                run_id=self.context.run.run_id,
                closes=self._shared_runs,
                started_by="dagster",
            ),
            environ=environ,
            progress=ProgressLog(self.context.log.info),
            finished=finish,
        )
        self.related_read = True
        self._tag(summary)
        self._warn(summary)
        if not self.broken or summary.limit:
            raise_for_run(summary)
        if not self.broken:
            for key in self.gone & self.remaining.keys():  # nothing of it was stored
                self.finished[key] = (self.remaining.pop(key), summary)

    def _tag(self, summary: Summary) -> None:
        """Have the run found by the kind of scan it made."""
        kinds = {scan.scan for scan in summary.collections.values()}
        if kinds:
            tags = {SCAN_TAG: kinds.pop() if len(kinds) == 1 else "mixed"}
            self.context.instance.add_run_tags(self.context.run.run_id, tags)

    def _finish(self, collection: str, summary: Summary, *, missed: bool, failed: Collection[str]) -> None:
        """Record what became of one collection. One that a destination has missed, which had failed before, remains."""
        for key in [key for key, each in self.remaining.items() if each == collection]:  # it may have several names
            self._finish_partition(key, collection, summary, missed=missed, failed=failed)

    def _finish_partition(
        self, key: str, collection: str, summary: Summary, *, missed: bool, failed: Collection[str]
    ) -> None:
        metadata = scan_metadata(summary, collection)
        source = self.translator.get_source_spec(self.selection.settings).key
        self.context.log_event(dg.AssetObservation(source, partition=key, metadata=metadata))
        try:
            raise_for_collection(summary, collection)
            if failed:
                errors = destination_errors(summary)
                raise DestinationError("\n".join(f"{name}: {errors[name]}" for name in sorted(failed)))
        except VectorferryError as error:
            self._fail(key, error)
            return
        if not missed:
            self.finished[key] = (self.remaining.pop(key), summary)
            if note := summary.of(collection).note:
                self.context.log.warning(f"{key}: {note}")

    def _fail(self, key: str, error: VectorferryError) -> None:
        self.remaining.pop(key, None)
        self.failed[key] = error
        self.context.log.error(f"{key}: {error}")

    def _warn(self, summary: Summary) -> None:
        for advice in summary.advice:
            self.context.log.warning(advice)
        for name, destination in summary.destinations.items():
            for note in destination.notes:
                self.context.log.warning(f"{name}: {note}")
            if destination.quarantined:
                self.context.log.warning(
                    f"{destination.quarantined} records are in the quarantine of {name}; "
                    "its table _sync_…quarantine says which, and why"
                )

    def retire_gone(self) -> None:
        """Take the partitions of collections away that the source has lost and that were settled; but for those that
        another run has, which would end at once, or further assets of this one: Dagster takes no range from or to a
        partition that is not there."""
        partitions, instance = CollectionPartitions.of(self.selection.settings), self.context.instance
        if not (settled := self.gone & self.finished.keys()):
            return
        if others := assets_of(instance, self.context.run) - self.context.assets_def.keys:
            names = ", ".join(sorted(each.to_user_string() for each in others))
            self.context.log.warning(f"not retired yet, for this run also makes {names}: {', '.join(sorted(settled))}")
            return
        order = partitions.get_partition_keys(dynamic_partitions_store=instance)
        job, assets = self.context.job_name, self.context.assets_def.keys
        busy = unfinished(instance, job, assets, order, besides=self.context.run.run_id)
        if keys := sorted(settled - busy):
            partitions.retire(instance, keys)
            self.context.log.warning(f"retired, for the source no longer has them: {', '.join(keys)}")
        if keys := sorted(settled & busy):
            self.context.log.warning(
                f"not retired yet, for another run that has not finished has them: {', '.join(keys)}"
            )

    def results(self) -> Iterator[dg.MaterializeResult[Any]]:
        report = self._report()
        for asset, target in self.selection.targets.items():
            for key in self.finished:
                self.context.add_asset_metadata(report.partition(target, key), asset, partition_key=key)
            yield dg.MaterializeResult(asset_key=asset, metadata=report.whole(target))
        self._record_further(report)

    def record_finished(self, *, counted: bool = True) -> None:
        """What a step that fails has to say itself: Dagster would count all of its partitions as failed."""
        report = self._report(counted=counted)
        for asset, target in self.selection.targets.items():
            for key in self.finished:
                self._record(asset, report, target, key)
        self._record_further(report)

    def _record_further(self, report: Report) -> None:
        for index, key in report.further():
            self._record(self.translator.get_asset_spec(index).key, report, index, key)

    def _record(self, asset: dg.AssetKey, report: Report, target: Target, key: str) -> None:
        metadata = {**report.partition(target, key), **report.whole(target)}
        self.context.log_event(dg.AssetMaterialization(asset, partition=key, metadata=metadata))

    def _report(self, *, counted: bool = True) -> Report:
        report = Report(self.selection, self.finished, fleets=self.fleets)
        if self.finished and counted:
            self._look(report)
            if self.translator.embedding_map:
                self._draw(report)
        return report

    def _draw(self, report: Report) -> None:
        """A map of each table in which something was written; as with rows, a sync does not fail for it."""
        for table in self.selection.tables:
            if not (written := list(self._written(table))):
                continue
            place = min(table.places)
            try:
                report.maps[table.modality, written[-1]] = embedding_maps(
                    self.selection.settings,
                    modalities=[table.modality],
                    sample=POINTS,
                    destination_name=destination_name(self.selection.settings.destinations[place]),
                    environ=environ,
                )
            except VectorferryError as error:
                self.context.log.warning(f"{table.name} could not be drawn: {error}")

    def _look(self, report: Report) -> None:
        """At what the destinations hold now. The sync has succeeded: not being able to count is no reason to fail."""
        try:
            for place in self.selection.places:
                with _opened(self.selection.settings, place) as opened:
                    report.statuses[place] = opened.status()
                    if isinstance(opened, PgvectorDestination) and not report.samples:
                        report.samples.update(self._samples(opened))
        except VectorferryError as error:
            report.statuses.clear()
            self.context.log.warning(f"rows could not be counted: {error}")

    def _samples(self, opened: PgvectorDestination) -> Iterator[tuple[tuple[Modality, str], Rows]]:
        """The first rows of each table in the first partitions in which something was written."""
        limit = self.translator.sample_rows
        written = [(target.modality, each) for target in self.selection.tables for each in self._written(target)]
        for modality, collection in written if limit > 0 else ():
            if rows := opened.sample_rows(modality, collection, limit):
                yield (modality, collection), rows

    def _written(self, table: ModalityTable) -> Iterator[str]:
        return islice(
            (
                collection
                for collection, summary in self.finished.values()
                if any(is_written(each, table.modality, collection) for each in summary.destinations.values())
            ),
            SAMPLED,
        )


@dataclass(frozen=True)
class Selection:
    """The selected assets, and the settings as the run's resources say them, ``${NAME}`` unresolved."""

    settings: SyncSettings
    targets: Mapping[dg.AssetKey, Target]

    @property
    def places(self) -> list[int]:
        """The destinations that are synced, by their position in the file."""
        return sorted(frozenset[int]().union(*(target.places for target in self.targets.values())))

    @property
    def modalities(self) -> frozenset[Modality]:
        """Those of the selected tables; all, where only indexes are selected: an index is of all of them."""
        return frozenset([table.modality for table in self.tables] or MODALITIES)

    @property
    def tables(self) -> list[ModalityTable]:
        """The selected tables."""
        return [target for target in self.targets.values() if isinstance(target, ModalityTable)]

    @property
    def narrowed(self) -> SyncSettings:
        """The settings with only the destinations that are synced."""
        return self.settings.model_copy(
            update={"destinations": tuple(self.settings.destinations[place] for place in self.places)}
        )


@dataclass(frozen=True)
class Report:
    """`statuses` are of the synced destinations, by their position in the file; none where they cannot be read.
    `samples` are the first rows of a modality in a collection."""

    selection: Selection
    finished: Finished
    statuses: dict[int, Status] = field(default_factory=dict)
    samples: dict[tuple[Modality, str], Rows] = field(default_factory=dict)
    maps: dict[tuple[Modality, str], Sequence[EmbeddingMap]] = field(default_factory=dict)
    """Of a whole table, which the last of its collections shows."""
    fleets: Mapping[str, Fleet] = field(default_factory=dict)
    """By collection, who has worked on it before this step."""

    def whole(self, target: Target) -> dict[str, Any]:
        """What the table or index holds now, all collections together."""
        return {**self._whole(target), **local_data_metadata(self.selection.narrowed)}

    def partition(self, target: Target, key: str) -> dict[str, Any]:
        """What the run did to one collection in the table or index."""
        collection, summary = self.finished[key]
        related = related_metadata(summary) if key == next(iter(self.finished)) else {}
        if fleet := self.fleets.get(collection):
            related |= fleet_metadata(fleet)
        if isinstance(target, VectorIndex):
            return self._index_partition(target, collection, summary)
        statuses = list(self.statuses.values())
        rows = self.samples.get((target.modality, collection), ())
        return {
            **partition_metadata(summary, statuses, target.modality, collection),
            **related,
            **self._console(collection),
            **({"sample": markdown_table(rows)} if rows else {}),
            **map_metadata(self.maps.get((target.modality, collection), ())),
        }

    def _console(self, collection: str) -> dict[str, Any]:
        """The link to the collection in the service's own web pages, where the source can tell."""
        link = self.selection.settings.source.console(collection)
        return {"source_console": dg.MetadataValue.url(link)} if link else {}

    def further(self) -> Iterator[tuple[VectorIndex, str]]:
        """Indexes that have no asset because nobody knew of them before the run, with each finished partition
        that has records there."""
        for place, status in self.statuses.items():
            for index in further_indexes(self.selection.settings, place, indexes_of(status)):
                for key, (collection, _) in self.finished.items():
                    if index_rows(self._indexes(index), collection)["dagster/partition_row_count"]:
                        yield index, key

    def _whole(self, target: Target) -> dict[str, Any]:
        if isinstance(target, VectorIndex):
            return index_metadata(self._indexes(target)) if target.place in self.statuses else {}
        return table_metadata(self.selection.settings.modalities, target.modality, list(self.statuses.values()))

    def _index_partition(self, index: VectorIndex, collection: str, summary: Summary) -> dict[str, Any]:
        indexes = self._indexes(index)
        return {
            "collection": collection,
            "modalities": ", ".join(sorted(self.selection.modalities)),
            **index_changes(self._destination(index, summary), indexes, index.vector_name, collection),
            **(index_rows(indexes, collection) if index.place in self.statuses else {}),
            **scan_metadata(summary, collection),
            **self._console(collection),
            "seconds": round(summary.of(collection).seconds, 3),
        }

    def _indexes(self, index: VectorIndex) -> Sequence[TableStatus]:
        status = self.statuses.get(index.place)
        return indexes_of(status).get(index.vector_name, []) if status else []

    def _destination(self, index: VectorIndex, summary: Summary) -> DestinationSummary:
        """A summary names destinations in the order in which the run was given them."""
        return list(summary.destinations.values())[self.selection.places.index(index.place)]


class ProgressLog:
    """Writes the first moment that comes and then one every ten seconds at most, with the rate and, once the whole list
    is known, the time that is left."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next = 0.0
        self._collection = ""
        self._began = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take a moment of the sync, and perhaps write it."""
        now = self._clock()
        if progress.collection != self._collection:
            self._collection, self._began = progress.collection, now
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            self._write(
                f"{progress.collection}: {progress.listed} assets listed, {progress.pulled} of {progress.to_pull} "
                f"changed ones pulled, {progress.written} features written{self._pace(progress, now)}"
            )

    def _pace(self, progress: Progress, now: float) -> str:
        rate = progress.pulled / (now - self._began) if now > self._began else 0.0
        if not rate:
            return ""
        left = timedelta(seconds=round((progress.to_pull - progress.pulled) / rate))
        return f"; {rate:.1f} assets/s" + (f", {left} left" if progress.total is not None and left else "")


@contextmanager
def _opened(settings: SyncSettings, place: int) -> Iterator[Destination]:
    resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
    with closing(resolved.open(settings.name)) as opened:
        opened.prepare(settings.modalities)
        yield opened
