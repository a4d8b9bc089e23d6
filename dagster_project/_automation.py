"""What runs by itself: the job and schedule of a sync, and the sensor that turns new collections into partitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import environ
from typing import Any, Final

import dagster as dg

from vectorferry import SyncSettings
from vectorferry.connector.plugin import ConfigurationError, LimitReachedError
from vectorferry.dagster._partitions import CollectionPartitions, Collections, named_collections
from vectorferry.dagster._resources import resource_keys, settings_from

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
        partitions.add(context.instance, partitions.file_keys)
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


SECONDS_BETWEEN_TICKS: Final = 60
RUNS_PER_TICK: Final = 10


def discovery_sensor(settings: SyncSettings, job: Any) -> dg.SensorDefinition:
    """The sensor ``{sync}_discovery``: at most ten new collections per tick, the rest in the next ones.

    It runs by itself when the sync's file names its collections or has a schedule: then somebody has said what to read.
    """
    partitions = CollectionPartitions.of(settings)
    asked_for = bool(settings.schedule or named_collections(settings))

    @dg.sensor(
        name=f"{settings.name}_discovery",
        job=job,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING if asked_for else dg.DefaultSensorStatus.STOPPED,
        required_resource_keys=set(resource_keys(settings)),
        description="Adds a partition for every new collection of the source, and asks for its first run.",
    )
    def discover(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            keys = Collections(settings_from(context.resources, settings), environ).keys()
        except LimitReachedError as error:
            return dg.SkipReason(str(error))
        known = set(context.instance.get_dynamic_partitions(partitions.store_name))
        new = [key for key in keys if key not in known][:RUNS_PER_TICK]
        if not new:
            return dg.SkipReason(f"none of the {len(keys)} collections is new")
        return _first_runs(partitions, new, _requested(context.cursor))

    return discover


def _first_runs(partitions: CollectionPartitions, new: list[str], requested: int) -> dg.SensorResult:
    """The number of runs requested so far is the cursor and part of every run key: Dagster remembers run keys for
    good, and a collection that went and came back has to be asked for again."""
    return dg.SensorResult(
        dynamic_partitions_requests=[partitions.build_add_request(new)],
        run_requests=[dg.RunRequest(run_key=f"{requested}-{key}", partition_key=key) for key in new],
        cursor=json.dumps({"requested": requested + len(new)}),
    )


def _requested(cursor: str | None) -> int:
    return int(json.loads(cursor)["requested"]) if cursor else 0
