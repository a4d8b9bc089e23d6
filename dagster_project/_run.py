"""One step: every collection it was given, one after the other, so that one bad collection costs only itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from os import environ
from typing import Any

import dagster as dg

from connector import Modality, Status, Summary, SyncSettings, VectorferryError, resolve_part, run_sync
from dagster_project._discovery import Collections
from dagster_project._failures import failure, hopeless, raise_for_exit_code
from dagster_project._metadata import partition_metadata, scan_metadata, table_metadata
from dagster_project._partitions import CollectionPartitions
from dagster_project._progress import ProgressLog
from dagster_project._translator import source_key

__all__ = ["sync_partitions"]


def sync_partitions(
    context: dg.AssetExecutionContext, settings: SyncSettings, tables: Mapping[dg.AssetKey, Modality]
) -> Iterator[dg.MaterializeResult[Any]]:
    """Sync the step's partitions and yield a result per selected table.

    `settings` still hold ``${NAME}``; `tables` are the selected assets. When a collection fails, the others are synced
    and recorded all the same, and then the step fails.
    """
    step = _Step(context, settings, tables)
    try:
        step.sync_all()
    finally:
        if len(step.finished) < len(context.partition_keys):
            step.record_finished()
    if step.failed:
        raise failure(step.failed, len(context.partition_keys)) from None
    yield from step.results()


@dataclass
class _Step:
    context: dg.AssetExecutionContext
    settings: SyncSettings
    tables: Mapping[dg.AssetKey, Modality]
    finished: dict[str, tuple[str, Summary]] = field(default_factory=dict)
    failed: dict[str, VectorferryError] = field(default_factory=dict)

    def sync_all(self) -> None:
        keys, collections = self.context.partition_keys, Collections(self.settings, environ)
        CollectionPartitions.of(self.settings).add(self.context.instance, keys)
        for key in keys:
            try:
                self.finished[key] = self._sync(key, collections.id_of(key))
            except VectorferryError as error:
                self.failed[key] = error
                self.context.log.error(f"{key}: {error}")
                if hopeless(error):
                    break

    def _sync(self, key: str, collection: str) -> tuple[str, Summary]:
        summary = run_sync(
            self.settings,
            collections=[collection],
            modalities=frozenset(self.tables.values()),
            environ=environ,
            progress=ProgressLog(self.context.log.info),
        )
        seen = scan_metadata(summary, collection)
        self.context.log_event(dg.AssetObservation(source_key(self.settings), partition=key, metadata=seen))
        raise_for_exit_code(summary)
        self.context.log.info(f"{key}: {seen['assets_pulled']} of {seen['assets_listed']} assets read and written")
        self._warn(key, summary)
        return collection, summary

    def _warn(self, key: str, summary: Summary) -> None:
        for scan in summary.collections.values():
            if scan.note:
                self.context.log.warning(f"{key}: {scan.note}")
        for name, destination in summary.destinations.items():
            if destination.quarantined:
                self.context.log.warning(
                    f"{key}: {destination.quarantined} records are in the quarantine of {name}; "
                    "its table _sync_quarantine says which, and why"
                )

    def results(self) -> Iterator[dg.MaterializeResult[Any]]:
        statuses = self._statuses()
        for asset, modality in self.tables.items():
            for key in self.finished:
                self.context.add_asset_metadata(self._partition(statuses, key, modality), asset, partition_key=key)
            yield dg.MaterializeResult(
                asset_key=asset, metadata=table_metadata(self.settings.modalities, modality, statuses)
            )

    def record_finished(self) -> None:
        """What a step that fails has to say itself: Dagster would count all of its partitions as failed."""
        statuses = self._statuses() if self.finished else []
        for asset, modality in self.tables.items():
            table = table_metadata(self.settings.modalities, modality, statuses)
            for key in self.finished:
                metadata = {**self._partition(statuses, key, modality), **table}
                self.context.log_event(dg.AssetMaterialization(asset, partition=key, metadata=metadata))

    def _partition(self, statuses: Sequence[Status], key: str, modality: Modality) -> dict[str, Any]:
        collection, summary = self.finished[key]
        return partition_metadata(summary, statuses, modality, collection)

    def _statuses(self) -> list[Status]:
        """What the destinations hold now. The sync has succeeded: not being able to count is no reason to fail."""
        try:
            return _read_statuses(self.settings)
        except VectorferryError as error:
            self.context.log.warning(f"rows could not be counted: {error}")
            return []


def _read_statuses(settings: SyncSettings) -> list[Status]:
    statuses = []
    for number, destination in enumerate(settings.destinations):
        resolved = resolve_part(destination, environ, settings.where, ("destinations", number))
        with closing(resolved.open(settings.name)) as opened:
            opened.prepare(settings.modalities)
            statuses.append(opened.status())
    return statuses
