from __future__ import annotations

import zlib
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import SnapshotsTable

from tests.dagster_project.conftest import Load
from vectorferry.connector.plugin import ConfigurationError
from vectorferry.connector.testing import MemoryDestination

THREE = datetime(2026, 11, 21, 3, tzinfo=UTC)


def requests(defs: dg.Definitions, instance: dg.DagsterInstance, at: datetime = THREE) -> list[dg.RunRequest]:
    schedule = defs.resolve_schedule_def("media_schedule")
    repository = defs.get_repository_def()
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=repository
    ) as context:
        return list(schedule.evaluate_tick(context).run_requests or ())


def spans(requests: list[dg.RunRequest]) -> list[str]:
    """Each run's partition, or the first and the last of several."""
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [each.partition_key or "...".join(each.tags[end] for end in ends) for each in requests]


def add_run(
    stored: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.NOT_STARTED, **tags: str
) -> None:
    """A run of the sync's job that has been asked for."""
    tags = {f"dagster/{name}": value for name, value in tags.items()}
    stored.add_run(dg.DagsterRun(job_name="media_sync", status=status, tags=tags))


COLLECTIONS = ["a", "b", "c", "d", "e"]


def test_every_known_collection_is_synced_in_one_run(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    (request,) = requests(load(), stored)
    assert spans([request]) == ["ads...news"]
    assert request.run_key == "20261121T0300-ads"


def test_collections_of_unfinished_runs_are_left_out(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", COLLECTIONS)
    add_run(stored, partition="c")
    add_run(stored, dg.DagsterRunStatus.SUCCESS, partition="a")
    add_run(stored, dg.DagsterRunStatus.FAILURE, partition="b")
    stored.add_run(dg.DagsterRun(job_name="somebody_else_s", status=dg.DagsterRunStatus.NOT_STARTED))
    assert spans(requests(load(), stored)) == ["a...b", "d...e"]
    add_run(
        stored,
        dg.DagsterRunStatus.STARTED,
        asset_partition_range_start="a",
        asset_partition_range_end="d",
    )
    assert spans(requests(load(), stored)) == ["e"]


def test_a_backfill_that_is_under_way_is_an_unfinished_run(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", COLLECTIONS)
    span = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "e"}
    tables = frozenset({dg.AssetKey(["media", "video"])})
    run = dg.DagsterRun(
        job_name="__ASSET_JOB", status=dg.DagsterRunStatus.NOT_STARTED, tags=span, asset_selection=tables
    )
    stored.add_run(run)
    defs = load()
    with dg.build_schedule_context(stored, THREE, repository_def=defs.get_repository_def()) as context:
        skipped = defs.resolve_schedule_def("media_schedule").evaluate_tick(context).skip_message
    assert skipped == "every collection is in a run that has not finished yet: a, b, c, d, e"


@pytest.mark.filterwarnings("ignore:.*varying BackfillPolicies")
@pytest.mark.parametrize(("workers", "selection"), [(None, None), (None, frozenset()), (2, None)])
def test_a_run_of_a_job_of_the_user_s_is_an_unfinished_run(
    load: Load, stored: dg.DagsterInstance, workers: int | None, selection: frozenset[dg.AssetKey] | None
) -> None:
    stored.add_dynamic_partitions("media_collections", COLLECTIONS)

    @dg.asset(
        partitions_def=dg.DynamicPartitionsDefinition(name="media_collections"),
    )
    def report() -> None: ...

    theirs = [
        dg.define_asset_job("nightly", selection=["media/video", "report"]),
        dg.define_asset_job("reports", selection=["report"]),
    ]
    defs = dg.Definitions.merge(load(workers=workers), dg.Definitions(assets=[report], jobs=theirs))
    for name in ("nightly", "reports"):  # as from the launchpad, schedules and scripts, which name no assets
        partition = {"nightly": "c", "reports": "d"}[name]
        stored.create_run_for_job(
            defs.resolve_job_def(name), tags={"dagster/partition": partition}, asset_selection=selection
        )
    assert spans(requests(defs, stored)) == ["a...b", "d...e"]


@pytest.mark.parametrize("body", [None, b"no plan", zlib.compress(b'{"__class__": "PlanOfALaterDagster"}')])
def test_a_run_whose_plan_is_gone_or_cannot_be_read_stops_no_schedule(
    load: Load, stored: dg.DagsterInstance, body: bytes | None
) -> None:
    """Somebody cleans the table up, or another code location has a later Dagster."""
    stored.add_dynamic_partitions("media_collections", COLLECTIONS)
    theirs = dg.define_asset_job("reports", selection=["media/video"])
    defs = dg.Definitions.merge(load(), dg.Definitions(jobs=[theirs]))
    run = stored.create_run_for_job(defs.resolve_job_def("reports"), tags={"dagster/partition": "d"})
    plan = SnapshotsTable.c.snapshot_id == run.execution_plan_snapshot_id
    change = SnapshotsTable.delete() if body is None else SnapshotsTable.update().values(snapshot_body=body)
    assert isinstance(stored.run_storage, SqlRunStorage)
    with stored.run_storage.connect() as connection:
        connection.execute(change.where(plan))
    assert spans(requests(defs, stored)) == ["a...e"]


def test_a_run_has_at_most_as_many_collections_as_the_file_says(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", COLLECTIONS)
    defs = load(schedule={"cron": "@daily", "timezone": "Europe/Berlin", "per_run": 2})
    assert spans(requests(defs, stored)) == ["a...b", "c...d", "e"]
    assert defs.resolve_schedule_def("media_schedule").execution_timezone == "Europe/Berlin"


def test_only_what_the_file_names_is_synced(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", ["ads", "old", "news"])
    assert spans(requests(load({"collections": ["news", "ads"]}), stored)) == ["ads", "news"]


def test_collections_of_the_file_are_known_from_the_start(load: Load, stored: dg.DagsterInstance) -> None:
    assert [request.partition_key for request in requests(load({"collections": ["ads"]}), stored)] == ["ads"]
    assert stored.get_dynamic_partitions("media_collections") == ["ads"]


def test_without_a_known_collection_it_says_what_to_do(load: Load, stored: dg.DagsterInstance) -> None:
    defs = load()
    with dg.build_schedule_context(stored, THREE, repository_def=defs.get_repository_def()) as context:
        skipped = defs.resolve_schedule_def("media_schedule").evaluate_tick(context).skip_message
    assert skipped == "no collection is known yet; switch on media_discovery, which adds them"


def test_it_runs_only_when_the_file_has_a_schedule(load: Load) -> None:
    def schedule(defs: dg.Definitions) -> dg.ScheduleDefinition:
        return defs.resolve_schedule_def("media_schedule")

    assert schedule(load()).default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule(load(schedule="*/15 * * * *")).default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule(load(schedule="*/15 * * * *")).cron_schedule == "*/15 * * * *"


@pytest.mark.parametrize("cron", ["often", "61 * * * *", "* * *", "", {"cron": "@daily", "timezone": "Middle/Earth"}])
def test_a_schedule_that_is_none_is_said_so(load: Load, cron: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schedule: is no cron expression"):
        load(schedule=cron)


def test_the_job_fills_every_table(load: Load, box: MemoryDestination, instance: dg.DagsterInstance) -> None:
    job = load({"collections": ["ads"]}).resolve_job_def("media_sync")
    assert job.execute_in_process(partition_key="ads", instance=instance).success
    assert len(box.assets["ads"]) == 3
