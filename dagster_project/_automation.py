"""The job and the schedule of a sync, and which of its partitions go together into a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import cache, partial, reduce
from operator import or_
from typing import Any, Final

import dagster as dg
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster_shared.serdes.errors import DeserializationError

from vectorferry import SyncSettings
from vectorferry.connector.plugin import ConfigurationError, Schedule, first_of
from vectorferry.dagster._namesakes import check_name
from vectorferry.dagster._partitions import CollectionPartitions

NIGHTLY: Final = "0 3 * * *"
SHOWN: Final = 5
AssetJob = Any  # Dagster does not export the type that `define_asset_job` returns


def sync_job(
    settings: SyncSettings,
    keys: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetChecksDefinition] = (),
    *,
    executor: dg.ExecutorDefinition | None = dg.in_process_executor,
) -> AssetJob:
    """The job ``{sync}_sync``: all of the sync's tables, in the run's own process unless another `executor` is given
    (None: the code location's), since it is a single step. Of its checks only those that block: the others look at
    everything, which is dear."""
    tables = dg.AssetSelection.assets(*keys)
    blocking = [dg.AssetSelection.checks(each) for each in checks if all(spec.blocking for spec in each.check_specs)]
    selection = reduce(or_, blocking, tables.without_checks())
    return dg.define_asset_job(
        f"{settings.name}_sync",
        selection=selection,
        executor_def=executor,
        description="Syncs collections into all tables and indexes, then makes the checks that block.",
    )


def sync_schedule(settings: SyncSettings, job: AssetJob, keys: Collection[dg.AssetKey]) -> dg.ScheduleDefinition:
    """All known collections in one run, or in as few as ``schedule:`` says; without it nightly, once somebody switches
    it on. A collection that is in an unfinished run waits for the next tick.

    Raises `ConfigurationError` when the cron expression or the time zone is none.
    """
    partitions, schedule = CollectionPartitions.of(settings), settings.schedule or Schedule(cron=NIGHTLY)

    def runs(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        check_name(context.instance, settings)
        partitions.add(context.instance, partitions.file_keys)
        current = partitions.current(context.instance)
        if not current:
            yield dg.SkipReason(f"no collection is known yet; switch on {settings.name}_discovery, which adds them")
            return
        order = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        busy = unfinished(context.instance, job.name, keys, order)
        due = [key for key in current if key not in busy]
        if not due:
            yield dg.SkipReason(f"every collection is in a run that has not finished yet: {first_of(current, SHOWN)}")
        elif busy:
            context.log.info(f"left out, being in runs that have not finished: {first_of(sorted(busy), SHOWN)}")
        longest = len(due) if schedule.per_run == "all" else schedule.per_run
        for first, last in ranges(due, order, longest):
            yield request(first, last, run_key=f"{context.scheduled_execution_time:%Y%m%dT%H%M}-{first}")

    status = "STOPPED" if settings.schedule is None else "RUNNING"
    try:
        return dg.ScheduleDefinition(
            name=f"{settings.name}_schedule",
            job=job,
            cron_schedule=schedule.cron,
            execution_timezone=schedule.timezone,
            execution_fn=runs,
            default_status=dg.DefaultScheduleStatus[status],
            description="Syncs every known collection that no unfinished run has.",
        )
    except dg.DagsterInvalidDefinitionError:
        raise ConfigurationError(
            f"{settings.where}: schedule: is no cron expression of five fields, such as '*/15 * * * *', or has a "
            "timezone that is none, such as Europe/Berlin"
        ) from None


def unfinished(
    instance: dg.DagsterInstance, job: str, assets: Collection[dg.AssetKey], order: Sequence[str], besides: str = ""
) -> set[str]:
    """The partitions that runs of these assets, besides the one of this id, are queued or under way for, however these
    were asked for."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
    plan_assets = cache(partial(_assets_of_plan, instance))  # runs of one job share their plan
    ours = (run for run in runs if run.job_name == job or not _assets(run, plan_assets).isdisjoint(assets))
    return {key for run in ours if run.run_id != besides for key in _partitions_of(run.tags, order)}


def assets_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Set[dg.AssetKey]:
    """What a run makes."""
    return _assets(run, partial(_assets_of_plan, instance))


def _assets(run: dg.DagsterRun, plan_assets: Callable[[str], Set[dg.AssetKey]]) -> Set[dg.AssetKey]:
    """What a run makes. One of a whole job, which may be the user's own, names no assets; its plan does. (What runs in
    somebody's process, by `dg.materialize`, has an empty selection for that.)"""
    if run.asset_selection or run.execution_plan_snapshot_id is None:
        return run.asset_selection or frozenset()
    return plan_assets(run.execution_plan_snapshot_id)


def _assets_of_plan(instance: dg.DagsterInstance, snapshot: str) -> Set[dg.AssetKey]:
    """None that are known of where somebody has deleted the plan, or another version of Dagster has made it, which an
    instance may have for other code locations."""
    plan: ExecutionPlanSnapshot | None = None
    with suppress(DeserializationError):
        plan = instance.get_execution_plan_snapshot(snapshot)
    return plan.asset_selection if plan else frozenset()


def _partitions_of(tags: Mapping[str, str], order: Sequence[str]) -> Sequence[str]:
    first, last = tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first in order and last in order:
        return order[order.index(first) : order.index(last) + 1]
    return [tags[PARTITION_NAME_TAG]] if PARTITION_NAME_TAG in tags else []


def ranges(due: Collection[str], order: Sequence[str], longest: int) -> Iterator[tuple[str, str]]:
    """The first and the last of neighbouring keys, at most so many together: Dagster knows no other way to say that
    one run has several partitions."""
    members, together = set(due), list[str]()
    for key in order:
        if together and (key not in members or len(together) == longest):
            yield together[0], together[-1]
            together = []
        if key in members:
            together.append(key)
    if together:
        yield together[0], together[-1]


def request(first: str, last: str, run_key: str) -> dg.RunRequest:
    if first == last:
        return dg.RunRequest(run_key=run_key, partition_key=first)
    span = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    return dg.RunRequest(run_key=run_key, tags=span)
