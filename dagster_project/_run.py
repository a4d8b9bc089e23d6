"""One step: every collection it was given, one after the other, so that one bad collection costs the others nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from os import environ
from typing import Any, Final

import dagster as dg

from vectorferry import Progress, Reread, Summary, SyncOptions, SyncSettings, run_sync
from vectorferry.connector.plugin import (
    MODALITIES,
    DestinationSummary,
    Modality,
    Status,
    TableStatus,
    VectorferryError,
    resolve_part,
)
from vectorferry.dagster._assets import source_key
from vectorferry.dagster._failures import fail, hopeless, raise_for_exit_code
from vectorferry.dagster._local_data import local_data_metadata
from vectorferry.dagster._metadata import (
    index_changes,
    index_metadata,
    index_rows,
    indexes_of,
    partition_metadata,
    scan_metadata,
    table_metadata,
)
from vectorferry.dagster._partitions import CollectionPartitions, Collections
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex, further_indexes

SECONDS_BETWEEN_LINES: Final = 10.0

Finished = Mapping[str, tuple[str, Summary]]
"""The collection and the summary behind each partition key."""


def sync_partitions(
    context: dg.AssetExecutionContext, selection: Selection, spec_of: Callable[[Target], dg.AssetSpec]
) -> Iterator[dg.MaterializeResult[Any]]:
    """Sync the step's partitions and yield a result per selected asset.

    When a collection fails, the others are synced and recorded all the same, and then the step fails. A named vector
    that nobody knew of is recorded under the key that `spec_of` would give it.
    """
    step = _Step(context, selection, spec_of)
    try:
        step.sync_all()
    except BaseException as error:
        step.record_finished(counted=isinstance(error, Exception))  # who terminates a run does not want to wait
        raise
    if step.failed:
        step.record_finished()
        fail(context, step.failed, len(context.partition_keys))
    yield from step.results()


@dataclass
class _Step:
    context: dg.AssetExecutionContext
    selection: Selection
    spec_of: Callable[[Target], dg.AssetSpec]
    finished: dict[str, tuple[str, Summary]] = field(default_factory=dict)
    failed: dict[str, VectorferryError] = field(default_factory=dict)

    def sync_all(self) -> None:
        settings = self.selection.settings
        keys, collections = self.context.partition_keys, Collections(settings, environ)
        CollectionPartitions.of(settings).add(self.context.instance, keys)
        for key in keys:
            try:
                self.finished[key] = self._sync(key, collections.id_of(key))
            except VectorferryError as error:
                self.failed[key] = error
                self.context.log.error(f"{key}: {error}")
                if hopeless(error):
                    break

    def _sync(self, key: str, collection: str) -> tuple[str, Summary]:
        config = self.context.op_execution_context.op_config
        summary = run_sync(
            self.selection.narrowed,
            SyncOptions(
                collections=[collection],
                modalities=self.selection.modalities,
                full=config["full"],
                reread=Reread(everything=config["reread"]),
                related=not self.finished,  # once per step, with the first collection
            ),
            environ=environ,
            progress=ProgressLog(self.context.log.info),
        )
        metadata = scan_metadata(summary, collection)
        source = source_key(self.selection.settings)
        self.context.log_event(dg.AssetObservation(source, partition=key, metadata=metadata))
        raise_for_exit_code(summary)
        self.context.log.info(
            f"{key}: {metadata['assets_pulled']} of {metadata['assets_listed']} assets read and written"
        )
        self._warn(key, summary)
        return collection, summary

    def _warn(self, key: str, summary: Summary) -> None:
        for scan in summary.collections.values():
            if scan.note:
                self.context.log.warning(f"{key}: {scan.note}")
        for advice in summary.advice:
            self.context.log.warning(f"{key}: {advice}")
        for name, destination in summary.destinations.items():
            for note in destination.notes:
                self.context.log.warning(f"{key}: {name}: {note}")
            if destination.quarantined:
                self.context.log.warning(
                    f"{key}: {destination.quarantined} records are in the quarantine of {name}; "
                    "its table _sync_…quarantine says which, and why"
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
            self._record(self.spec_of(index).key, report, index, key)

    def _record(self, asset: dg.AssetKey, report: Report, target: Target, key: str) -> None:
        metadata = {**report.partition(target, key), **report.whole(target)}
        self.context.log_event(dg.AssetMaterialization(asset, partition=key, metadata=metadata))

    def _report(self, *, counted: bool = True) -> Report:
        return Report(self.selection, self.finished, self._statuses() if self.finished and counted else {})

    def _statuses(self) -> Mapping[int, Status]:
        """What the destinations hold now. The sync has succeeded: not being able to count is no reason to fail."""
        try:
            return {place: _read_status(self.selection.settings, place) for place in self.selection.places}
        except VectorferryError as error:
            self.context.log.warning(f"rows could not be counted: {error}")
            return {}


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
        tables = [target.modality for target in self.targets.values() if isinstance(target, ModalityTable)]
        return frozenset(tables or MODALITIES)

    @property
    def narrowed(self) -> SyncSettings:
        """The settings with only the destinations that are synced."""
        return self.settings.model_copy(
            update={"destinations": tuple(self.settings.destinations[place] for place in self.places)}
        )


@dataclass(frozen=True)
class Report:
    """`statuses` are of the synced destinations, by their position in the file; none where they cannot be read."""

    selection: Selection
    finished: Finished
    statuses: Mapping[int, Status]

    def whole(self, target: Target) -> dict[str, Any]:
        """What the table or index holds now, all collections together."""
        return {**self._whole(target), **local_data_metadata(self.selection.narrowed)}

    def partition(self, target: Target, key: str) -> dict[str, Any]:
        """What the run did to one collection in the table or index."""
        collection, summary = self.finished[key]
        if isinstance(target, VectorIndex):
            return self._index_partition(target, collection, summary)
        return partition_metadata(summary, list(self.statuses.values()), target.modality, collection)

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
            "seconds": round(summary.seconds, 3),
        }

    def _indexes(self, index: VectorIndex) -> Sequence[TableStatus]:
        status = self.statuses.get(index.place)
        return indexes_of(status).get(index.vector_name, []) if status else []

    def _destination(self, index: VectorIndex, summary: Summary) -> DestinationSummary:
        """A summary names destinations in the order in which the run was given them."""
        return list(summary.destinations.values())[self.selection.places.index(index.place)]


class ProgressLog:
    """Writes the first moment that comes and then one every ten seconds at most."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take a moment of the sync, and perhaps write it."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            self._write(
                f"{progress.collection}: {progress.listed} assets listed, {progress.pulled} of {progress.to_pull} "
                f"changed ones pulled, {progress.written} features written"
            )


def _read_status(settings: SyncSettings, place: int) -> Status:
    resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
    with closing(resolved.open(settings.name)) as opened:
        opened.prepare(settings.modalities)
        return opened.status()
