from __future__ import annotations

from typing import NoReturn

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from vectorferry.connector.plugin import ConfigurationError, LimitReachedError


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> SensorExecutionData:
    """Evaluate the discovery sensor and do what the daemon would do with new partitions."""
    repository = defs.get_repository_def()
    with dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=cursor,
        repository_name=repository.name,
        repository_def=repository,
        resources=repository.get_top_level_resources(),
    ) as context:
        result = defs.resolve_sensor_def("media_discovery").evaluate_tick(context)
    for request in result.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return result


def requested(result: SensorExecutionData) -> list[str | None]:
    return [request.partition_key for request in result.run_requests or ()]


def test_new_collections_become_partitions_and_get_a_first_run(load: Load, stored: dg.DagsterInstance) -> None:
    assert requested(tick(load(), stored)) == ["ads", "lectures", "news"]
    assert stored.get_dynamic_partitions("media_collections") == ["ads", "lectures", "news"]


def test_nothing_is_asked_for_twice(load: Load, source: ShelfSource, stored: dg.DagsterInstance) -> None:
    defs = load()
    tick(defs, stored)
    skipped = tick(defs, stored)
    assert skipped.skip_message == "none of the 3 collections is new"
    source.assets["späti|2"] = {}
    assert requested(tick(defs, stored)) == ["sp%C3%A4ti%7C2"]


def test_a_tick_asks_for_a_few_runs_only(load: Load, source: ShelfSource, stored: dg.DagsterInstance) -> None:
    source.assets = {f"c{number:03}": {} for number in range(23)}
    defs = load()
    cursor: str | None = None
    seen: list[int] = []
    for _ in range(3):
        result = tick(defs, stored, cursor)
        cursor, seen = result.cursor, [*seen, len(requested(result))]
    assert seen == [10, 10, 3]
    assert tick(defs, stored, cursor).skip_message


@pytest.mark.long
def test_a_collection_that_went_and_came_back_gets_another_run(load: Load, stored: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]})
    first = tick(defs, stored)
    stored.delete_dynamic_partition("media_collections", "ads")
    again = tick(defs, stored, first.cursor)
    assert (first.run_requests or [])[0].run_key != (again.run_requests or [])[0].run_key


def test_a_collection_that_has_vanished_gets_one_run_that_settles_it(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load()
    first = tick(defs, stored)
    lectures = source.assets.pop("lectures")
    gone = tick(defs, stored, first.cursor)
    assert requested(gone) == ["lectures"]
    again = tick(defs, stored, gone.cursor)
    assert (requested(again), again.skip_message) == ([], "none of the 2 collections is new")
    source.assets["lectures"] = lectures
    back = tick(defs, stored, again.cursor)
    assert requested(back) == []
    del source.assets["lectures"]
    assert requested(tick(defs, stored, back.cursor)) == ["lectures"]


def test_a_collection_that_the_file_no_longer_names_is_left_alone(load: Load, stored: dg.DagsterInstance) -> None:
    stored.add_dynamic_partitions("media_collections", ["ads", "lectures"])
    assert requested(tick(load({"collections": ["ads"]}), stored)) == []


def test_a_limit_of_the_source_skips_the_tick_and_says_when_to_come_back(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed() -> NoReturn:
        raise LimitReachedError("closed until 2026-11-22 00:02:50 UTC")

    monkeypatch.setattr(source, "collections", closed)
    assert tick(load(), stored).skip_message == "closed until 2026-11-22 00:02:50 UTC"


def test_named_collections_need_neither_source_nor_key(load: Load, stored: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"], "api_key": "${NO_SUCH_KEY}", "shelf": "nowhere"})
    assert requested(tick(defs, stored)) == ["ads"]


def test_a_missing_key_fails_the_tick_with_the_variable_s_name(load: Load, stored: dg.DagsterInstance) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.api_key: environment variable NO_SUCH_KEY is not set"):
        tick(load({"api_key": "${NO_SUCH_KEY}"}), stored)


def test_it_runs_by_itself_where_the_file_says_what_to_read(load: Load) -> None:
    def status(defs: dg.Definitions) -> dg.DefaultSensorStatus:
        return defs.resolve_sensor_def("media_discovery").default_status

    assert status(load()) is dg.DefaultSensorStatus.STOPPED
    assert status(load({"collections": ["ads"]})) is dg.DefaultSensorStatus.RUNNING
    assert status(load(schedule="@daily")) is dg.DefaultSensorStatus.RUNNING
