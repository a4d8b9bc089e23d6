"""The job of a sync and the schedule that runs it for every collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import dagster as dg

from vectorferry.connector import ConfigurationError, SyncSettings
from vectorferry.dagster._partitions import CollectionPartitions

__all__ = ["sync_job", "sync_schedule"]

NIGHTLY: Final = "0 3 * * *"

AssetJob = Any  # Dagster does not export the type that `define_asset_job` returns


def sync_job(settings: SyncSettings, keys: Sequence[dg.AssetKey]) -> AssetJob:
    """The job ``{sync}_sync``: all of the sync's tables, in the run's own process since it is a single step."""
    return dg.define_asset_job(
        f"{settings.name}_sync", selection=dg.AssetSelection.assets(*keys), executor_def=dg.in_process_executor
    )


def sync_schedule(settings: SyncSettings, job: AssetJob) -> dg.ScheduleDefinition:
    """One run per collection, as ``schedule:`` says; without it nightly, once somebody switches it on.

    Raises `ConfigurationError` when the cron expression is none.
    """
    partitions = CollectionPartitions.of(settings)

    def runs(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        partitions.add(context.instance, partitions.named)
        keys = context.instance.get_dynamic_partitions(partitions.store_name)
        if not keys:
            yield dg.SkipReason(f"no collection is known yet; switch on {settings.name}_discovery, which adds them")
        for key in keys:
            yield dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y%m%dT%H%M}-{key}", partition_key=key)

    status = "STOPPED" if settings.schedule is None else "RUNNING"
    try:
        return dg.ScheduleDefinition(
            name=f"{settings.name}_schedule",
            job=job,
            cron_schedule=NIGHTLY if settings.schedule is None else settings.schedule,
            execution_fn=runs,
            default_status=dg.DefaultScheduleStatus[status],
            description="Syncs every known collection, each in a run of its own.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"{settings.where}: schedule: is no cron expression of five fields, such as '*/15 * * * *'"
        ) from None
