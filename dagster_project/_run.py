"""One step: every collection it was given, one after the other, so that one bad collection costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from os import environ
from typing import Any

import dagster as dg

from vectorferry.connector import Reread, Status, Summary, SyncSettings, VectorferryError, resolve_part, run_sync
from vectorferry.dagster._discovery import Collections
from vectorferry.dagster._failures import fail, hopeless, raise_for_exit_code
from vectorferry.dagster._metadata import scan_metadata
from vectorferry.dagster._partitions import CollectionPartitions
from vectorferry.dagster._progress import ProgressLog
from vectorferry.dagster._report import Report
from vectorferry.dagster._selection import Selection
from vectorferry.dagster._targets import Target
from vectorferry.dagster._translator import source_key

__all__ = ["sync_partitions"]


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
            collections=[collection],
            modalities=self.selection.modalities,
            environ=environ,
            progress=ProgressLog(self.context.log.info),
            full=config["full"],
            reread=Reread(everything=config["reread"]),
            related=not self.finished,  # once per step, with the first collection
        )
        seen = scan_metadata(summary, collection)
        source = source_key(self.selection.settings)
        self.context.log_event(dg.AssetObservation(source, partition=key, metadata=seen))
        raise_for_exit_code(summary)
        self.context.log.info(f"{key}: {seen['assets_pulled']} of {seen['assets_listed']} assets read and written")
        self._warn(key, summary)
        return collection, summary

    def _warn(self, key: str, summary: Summary) -> None:
        for scan in summary.collections.values():
            if scan.note:
                self.context.log.warning(f"{key}: {scan.note}")
        for told in summary.advice:
            self.context.log.warning(f"{key}: {told}")
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


def _read_status(settings: SyncSettings, place: int) -> Status:
    resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
    with closing(resolved.open(settings.name)) as opened:
        opened.prepare(settings.modalities)
        return opened.status()
