from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from tests.connector.worlds import asset
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import materialize, recorded
from vectorferry import Modality, SyncOptions, run_sync
from vectorferry.connector._model._errors import NoSuchCollectionError
from vectorferry.connector.plugin import AssetState, CollectionError, ConfigurationError, LimitReachedError, Listing
from vectorferry.dagster import VectorferrySync, _sensors


def tick(
    defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None, sensor: str = "discovery"
) -> SensorExecutionData:
    """Evaluate a sensor and do what the daemon would do with new partitions and events."""
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
        result = defs.resolve_sensor_def(f"media_{sensor}").evaluate_tick(context)
    for request in result.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
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


def test_a_vanished_collection_is_settled_when_no_run_has_it_any_more(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    """The run that settles it retires its partition, and whoever has it in a range would fail in the end."""
    defs = load()
    first = tick(defs, stored)
    del source.assets["lectures"]
    span = {"dagster/asset_partition_range_start": "ads", "dagster/asset_partition_range_end": "news"}
    run = dg.DagsterRun(job_name="media_sync", status=dg.DagsterRunStatus.STARTED, tags=span)
    stored.add_run(run)
    waiting = tick(defs, stored, first.cursor)
    assert requested(waiting) == []
    stored.delete_run(run.run_id)
    settled = tick(defs, stored, waiting.cursor)
    assert requested(settled) == ["lectures"]
    stored.add_run(run)
    again = tick(defs, stored, settled.cursor)
    stored.delete_run(run.run_id)
    assert requested(tick(defs, stored, again.cursor)) == []


def test_a_cursor_that_was_reset_leads_to_no_run_key_that_dagster_has_seen(
    load: Load, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tick(load(), stored)
    stored.delete_dynamic_partition("media_collections", "ads")
    monkeypatch.setattr("vectorferry.dagster._sensors._now", lambda: datetime(2026, 12, 31, tzinfo=UTC))
    again = tick(load(), stored)
    assert (first.run_requests or [])[0].run_key != (again.run_requests or [])[0].run_key


@pytest.mark.parametrize("sensor", ["discovery", "changes", "outside"])
@pytest.mark.parametrize("cursor", ["anything", "[]", '{"requested": "many"}', '{"0": {"since": "monday"}}'])
def test_a_cursor_that_somebody_has_edited_stops_no_sensor(
    load: Load, stored: dg.DagsterInstance, sensor: str, cursor: str
) -> None:
    defs = load()
    after = tick(defs, stored, cursor, sensor)
    assert after.cursor != cursor
    assert tick(defs, stored, after.cursor, sensor).skip_message


def test_a_cursor_of_a_later_version_is_read_as_far_as_it_is_known(load: Load, stored: dg.DagsterInstance) -> None:
    defs = load()
    tick(defs, stored)
    first = tick(defs, stored, sensor="changes").cursor
    assert first
    later = json.dumps({**json.loads(first), "of_a_later_version": 1})
    assert tick(defs, stored, later, "changes").skip_message == "nothing has changed in 3 of 3 collections"


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


@pytest.mark.parametrize("sensor", ["discovery", "changes"])
def test_a_missing_key_fails_the_tick_with_the_variable_s_name(
    load: Load, stored: dg.DagsterInstance, sensor: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.api_key: environment variable NO_SUCH_KEY is not set"):
        tick(load({"api_key": "${NO_SUCH_KEY}"}), stored, sensor=sensor)


def test_it_runs_by_itself_where_the_file_says_what_to_read(load: Load) -> None:
    def status(defs: dg.Definitions) -> dg.DefaultSensorStatus:
        return defs.resolve_sensor_def("media_discovery").default_status

    assert status(load()) is dg.DefaultSensorStatus.STOPPED
    assert status(load({"collections": ["ads"]})) is dg.DefaultSensorStatus.RUNNING
    assert status(load(schedule="@daily")) is dg.DefaultSensorStatus.RUNNING


def test_a_renamed_collection_is_one_that_has_come_and_one_that_is_settled(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    first = tick(load(), stored)
    source.assets["talks"] = source.assets.pop("lectures")
    assert requested(tick(load(), stored, first.cursor)) == ["talks", "lectures"]


# What changes at the source.


def ranges_of(result: SensorExecutionData) -> list[str]:
    """The first and the last partition of each run that is asked for."""
    tags = [request.tags for request in result.run_requests or ()]
    return [
        f"{tag['dagster/asset_partition_range_start']}-{tag['dagster/asset_partition_range_end']}"
        if "dagster/asset_partition_range_start" in tag
        else tag["dagster/partition"]
        for tag in tags
    ]


def test_only_collections_that_have_changed_are_synced(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load()
    tick(defs, stored)
    first = tick(defs, stored, sensor="changes")
    assert ranges_of(first) == ["ads-news"]
    quiet = tick(defs, stored, first.cursor, "changes")
    assert (ranges_of(quiet), quiet.skip_message) == ([], "nothing has changed in 3 of 3 collections")
    source.states["a0000"] = AssetState.PENDING  # a task of all three collections begins
    begun = tick(defs, stored, quiet.cursor, "changes")
    source.states = {}
    ended = tick(defs, stored, begun.cursor, "changes")
    assert (ranges_of(begun), ranges_of(ended)) == (["ads-news"], ["ads-news"])  # gone from the ready ones, and back
    source.assets["ads"]["new"] = asset("new")
    del source.assets["news"]["a0000"]
    changed = tick(defs, stored, ended.cursor, "changes")
    assert ranges_of(changed) == ["ads", "news"]
    keys = [request.run_key for each in (first, begun, ended, changed) for request in each.run_requests or ()]
    assert len(keys) == len(set(keys)) == 5
    assert not ranges_of(tick(defs, stored, changed.cursor, "changes"))


def test_a_new_task_that_is_not_done_asks_for_nothing(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads"]})
    first = tick(defs, stored, sensor="changes")
    source.assets["ads"]["uploaded"] = asset("uploaded")
    source.states["uploaded"] = AssetState.PENDING
    pending = tick(defs, stored, first.cursor, "changes")
    assert ranges_of(pending) == []
    source.states = {}
    assert ranges_of(tick(defs, stored, pending.cursor, "changes")) == ["ads"]


def test_what_an_unfinished_run_has_is_asked_for_when_that_has_ended(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads", "news"]})
    first = tick(defs, stored, sensor="changes")
    source.assets["ads"]["new"] = asset("new")
    job = defs.resolve_job_def("media_sync")
    run = stored.create_run_for_job(job, tags={"dagster/partition": "ads"}, status=dg.DagsterRunStatus.STARTED)
    busy = tick(defs, stored, first.cursor, "changes")
    assert ranges_of(busy) == []
    stored.report_run_canceled(run)
    assert ranges_of(tick(defs, stored, busy.cursor, "changes")) == ["ads"]


def test_what_a_run_has_failed_to_sync_is_asked_for_again_after_an_hour(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For it may not change any more."""
    defs = load({"collections": ["ads", "news"]})
    first = tick(defs, stored, sensor="changes")
    source.errors["news"] = CollectionError("503: not now")
    assert not materialize(defs, stored, "ads", "news").success
    source.errors.clear()
    second = tick(defs, stored, first.cursor, "changes")
    assert ranges_of(second) == []
    later = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    monkeypatch.setattr("vectorferry.dagster._sensors._now", lambda: later)
    third = tick(defs, stored, second.cursor, "changes")
    assert ranges_of(third) == ["news"]
    assert materialize(defs, stored, "news").success
    monkeypatch.setattr("vectorferry.dagster._sensors._now", lambda: later + timedelta(hours=2))
    assert ranges_of(tick(defs, stored, third.cursor, "changes")) == []


def test_a_changed_mapping_and_another_destination_concern_every_collection(
    load: Load, stored: dg.DagsterInstance
) -> None:
    """Also those that a run has just now, when that has ended."""
    first = tick(load({"collections": ["ads", "news"]}), stored, sensor="changes")
    changed = load({"collections": ["ads", "news"]}, modalities={"video": {"columns": {"a": {"path": "metadata.a"}}}})
    run = dg.DagsterRun(job_name="media_sync", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "ads"})
    stored.add_run(run)
    second = tick(changed, stored, first.cursor, "changes")
    assert ranges_of(second) == ["news"]
    stored.delete_run(run.run_id)
    third = tick(changed, stored, second.cursor, "changes")
    assert ranges_of(third) == ["ads"]
    assert ranges_of(tick(changed, stored, third.cursor, "changes")) == []


def test_one_that_cannot_be_listed_costs_the_others_nothing(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads", "news"]})
    first = tick(defs, stored, sensor="changes")
    for name in ("ads", "news"):
        source.assets[name]["new"] = asset("new")
    source.errors["ads"] = CollectionError("403: the key may not list it")
    second = tick(defs, stored, first.cursor, "changes")
    assert ranges_of(second) == ["news"]
    source.errors.clear()
    assert ranges_of(tick(defs, stored, second.cursor, "changes")) == ["ads"]


def test_one_that_the_file_misnames_costs_the_others_nothing(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tick had failed, and discovery had left the first runs of all of them to it."""
    without_typo(source, monkeypatch)
    assert ranges_of(tick(load({"collections": ["ads", "news", "typo"]}), stored, sensor="changes")) == ["ads-news"]


def without_typo(source: ShelfSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the source say of the collection `typo` what services do."""

    async def collections() -> list[str]:
        ids = [source.names.get(name, name) for name in source.wanted if name != "typo"]
        if not ids:
            raise NoSuchCollectionError("collections: typo is not there")
        return ids

    monkeypatch.setattr(source, "collections", collections)


def test_one_whose_list_has_no_end_costs_the_others_nothing(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster had ended every tick before it could say where the next one begins."""
    scan = source.scan

    async def endless(collection: str) -> AsyncIterator[Listing]:
        if collection == "ads":
            await asyncio.Event().wait()
        async for listing in scan(collection):
            yield listing

    monkeypatch.setattr(source, "scan", endless)
    monkeypatch.setattr(_sensors, "SECONDS_TO_LOOK", 0.5)
    defs = load()
    stored.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    first = tick(defs, stored, sensor="changes")
    assert ranges_of(first) == []
    assert ranges_of(tick(defs, stored, first.cursor, "changes")) == ["lectures-news"]


# What ran outside.


def test_a_sync_outside_dagster_becomes_materializations(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    defs = load()
    settings = VectorferrySync(name="media", source={"type": "shelf"}, destinations=[{"type": "box"}]).settings()
    run_sync(settings, SyncOptions(started_by="cli", run_id="from-the-shell"))
    first = tick(defs, stored, sensor="outside")
    said = recorded(stored, "media/video")
    assert said.keys() == {"ads", "lectures", "news"}
    assert (said["ads"]["run_id"], said["ads"]["started_by"], said["ads"]["inserted"]) == ("from-the-shell", "cli", 6)
    assert said["ads"]["assets_listed"] == 3
    assert recorded(stored, "media/audio").keys() == {"ads", "lectures", "news"}
    assert "news" in stored.get_dynamic_partitions("media_collections")
    again = tick(defs, stored, first.cursor, "outside")
    assert (list(again.asset_events), again.skip_message) == ([], "no sync has ended outside Dagster")
    source.errors["ads"] = CollectionError("403: the key may not list it")
    run_sync(settings, SyncOptions(modalities=frozenset({Modality.IMAGE}), collections=["ads", "news"]))
    third = tick(defs, stored, again.cursor, "outside")
    assert [(event.asset_key.path[-1], event.partition) for event in third.asset_events] == [("image", "news")]


@pytest.mark.long
def test_a_run_of_this_dagster_is_not_recorded_twice(load: Load, stored: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]})
    assert materialize(defs, stored, "ads").success
    assert not tick(defs, stored, sensor="outside").asset_events
    with dg.DagsterInstance.ephemeral() as elsewhere:
        assert materialize(defs, elsewhere, "ads").success
    assert {event.partition for event in tick(defs, stored, sensor="outside").asset_events} == {"ads"}


def test_what_the_file_calls_by_name_is_recorded_under_that_name(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    source.names = {"my ads": "ads"}
    defs = load({"collections": ["my ads"]})
    run_sync(
        VectorferrySync(
            name="media", source={"type": "shelf", "collections": ["my ads"]}, destinations=[{"type": "box"}]
        ).settings()
    )
    assert {event.partition for event in tick(defs, stored, sensor="outside").asset_events} == {"my%20ads"}


def test_one_that_the_file_misnames_costs_those_that_it_calls_by_name_nothing(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.names = {"my ads": "ads"}
    without_typo(source, monkeypatch)
    named = {"collections": ["typo", "my ads"]}
    defs = load(named)
    by_hand = VectorferrySync(name="media", source={"type": "shelf", **named}, destinations=[{"type": "box"}])
    run_sync(by_hand.settings())
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY is not set"):  # what all have in common
        tick(load({**named, "api_key": "${NO_SUCH_KEY}"}), stored, sensor="outside")
    assert {event.partition for event in tick(defs, stored, sensor="outside").asset_events} == {"my%20ads"}


def test_sensors_run_from_the_start_where_the_file_says_so(load: Load) -> None:
    def running(defs: dg.Definitions) -> list[str]:
        sensors = [defs.resolve_sensor_def(f"media_{name}") for name in ("discovery", "changes", "outside")]
        return [each.name for each in sensors if each.default_status is dg.DefaultSensorStatus.RUNNING]

    assert running(load()) == []
    assert running(load(sensors=["changes", "outside"])) == ["media_changes", "media_outside"]


def test_of_two_sensors_that_see_a_new_collection_one_asks_for_its_first_run(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    """Each did: the sensor of changes when the run that discovery had asked for was over."""
    defs = load()
    found = tick(defs, stored)
    changes = tick(defs, stored, sensor="changes")
    evaluated(stored, "here", "media_changes")
    source.assets["talks"] = source.assets["news"]
    found = tick(defs, stored, found.cursor)
    said = "new, with the first run left to the sensor of changes: talks"
    assert (requested(found), found.skip_message) == ([], said)
    assert ranges_of(tick(defs, stored, changes.cursor, "changes")) == ["talks"]
    assert materialize(defs, stored, "talks").success
    found = tick(defs, stored, found.cursor)
    stored.delete_dynamic_partition("media_collections", "talks")
    found = tick(defs, stored, found.cursor)
    assert requested(found) == ["talks"]  # back again, and the same as it was for the sensor of changes
    evaluated(stored, "here", "media_changes", status=InstigatorStatus.STOPPED)
    assert requested(tick(defs, stored, found.cursor)) == []


@pytest.mark.parametrize(("status", "seconds_ago"), [(InstigatorStatus.STOPPED, 0), (InstigatorStatus.RUNNING, 3_600)])
def test_a_first_run_that_was_left_to_a_sensor_which_looks_no_more_is_asked_for(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance, status: InstigatorStatus, seconds_ago: float
) -> None:
    defs = load()
    evaluated(stored, "here", "media_changes")
    found = tick(defs, stored)
    assert requested(found) == []
    found = tick(defs, stored, found.cursor)
    assert (requested(found), found.skip_message) == ([], "none of the 3 collections is new")
    source.assets["talks"] = source.assets["news"]
    del source.assets["ads"]
    evaluated(stored, "here", "media_changes", seconds_ago, status)
    found = tick(defs, stored, found.cursor)
    assert requested(found) == ["talks", "lectures", "news", "ads"]
    assert requested(tick(defs, stored, found.cursor)) == []


def test_a_first_run_that_was_left_to_a_sensor_which_never_asks_is_asked_for_once(
    load: Load, stored: dg.DagsterInstance
) -> None:
    """Of a sensor whose ticks all fail, or that cannot list a collection, Dagster says that it is evaluated."""
    defs = load()
    evaluated(stored, "here", "media_changes")
    found = tick(defs, stored)
    assert requested(found) == []
    found = tick(defs, stored, some_time_later(found.cursor))
    assert requested(found) == ["ads", "lectures", "news"]
    assert requested(tick(defs, stored, some_time_later(found.cursor))) == []


def test_what_the_sensor_of_changes_has_not_asked_for_is_new_for_discovery(
    load: Load, source: ShelfSource, stored: dg.DagsterInstance
) -> None:
    """It had stored every key that the file names before it looked, whereupon none was new any more."""
    source.errors["ads"] = CollectionError("403: the key may not list it")
    defs = load({"collections": ["ads", "lectures", "news"]})
    assert ranges_of(tick(defs, stored, sensor="changes")) == ["lectures-news"]
    assert requested(tick(defs, stored)) == ["ads"]
    assert stored.get_dynamic_partitions("media_collections") == ["lectures", "news", "ads"]


def some_time_later(cursor: str | None) -> str:
    """The cursor of a sensor of discovery as if that had been evaluated half an hour ago."""
    kept = json.loads(cursor or "")
    return json.dumps({**kept, "left": {key: since - 1_800 for key, since in kept["left"].items()}})


def evaluated(
    instance: dg.DagsterInstance,
    location: str,
    sensor: str,
    seconds_ago: float = 0,
    status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
) -> None:
    """Leave what the daemon leaves of a sensor's last tick."""
    at, place = time.time() - seconds_ago, ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(), location)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), sensor)
    data = SensorInstigatorData(at, last_tick_start_timestamp=at)
    state = InstigatorState(origin, InstigatorType.SENSOR, status, data)
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (instance.update_instigator_state if known else instance.add_instigator_state)(state)


def test_a_sync_of_the_same_name_in_another_code_location_is_named(load: Load, stored: dg.DagsterInstance) -> None:
    """Each had settled the other's collections, retired their partitions, and added its own again."""
    defs = load(schedule="@hourly", sensors=["changes", "outside"])
    evaluated(stored, "old", "media_discovery", seconds_ago=3_600)
    evaluated(stored, "here", "media_discovery")
    evaluated(stored, "there", "other_discovery")
    assert requested(tick(defs, stored)) == ["ads", "lectures", "news"]
    evaluated(stored, "there", "media_changes")
    named = "the code locations here and there each have a sync named media"
    for sensor in ("discovery", "changes", "outside"):
        with pytest.raises(ConfigurationError, match=named):
            tick(defs, stored, sensor=sensor)
    schedule = defs.resolve_schedule_def("media_schedule")
    with (
        pytest.raises(ConfigurationError, match=named),
        dg.build_schedule_context(stored, scheduled_execution_time=datetime(2026, 11, 29, tzinfo=UTC)) as context,
    ):
        schedule.evaluate_tick(context)
