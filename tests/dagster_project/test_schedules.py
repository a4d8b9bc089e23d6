from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

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


def test_every_known_collection_gets_a_run_of_its_own(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", ["ads", "news"])
    wanted = requests(load(), stored)
    assert [(request.partition_key, request.run_key) for request in wanted] == [
        ("ads", "20261121T0300-ads"),
        ("news", "20261121T0300-news"),
    ]


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


@pytest.mark.parametrize("cron", ["often", "61 * * * *", "* * *", ""])
def test_a_schedule_that_is_none_is_said_so(load: Load, cron: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schedule: is no cron expression"):
        load(schedule=cron)


def test_the_job_fills_every_table(load: Load, box: MemoryDestination, instance: dg.DagsterInstance) -> None:
    job = load({"collections": ["ads"]}).resolve_job_def("media_sync")
    assert job.execute_in_process(partition_key="ads", instance=instance).success
    assert len(box.assets["ads"]) == 3
