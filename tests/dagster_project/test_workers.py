"""A sync with `workers`: one step lists, workers share what is to be read, and one closes."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from types import SimpleNamespace
from typing import Any, Final

import dagster as dg
import psycopg
import pytest

from tests.dagster_project.running import materialize, recorded
from tests.faults.mixpeek_media import MIXPEEK
from tests.tables import differences, row_counts
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, Stall, running_sandbox
from vectorferry.dagster import VectorferrySync, _termination

ASSETS: Final = 65
COLLECTIONS: Final = ("ads", "films")
CATALOGUE: Final = GeneratedCatalogue(assets=ASSETS * 2, features_per_asset=1, dimension=8, collections=COLLECTIONS)
WORKERS: Final = 2
STEPS: Final = [
    "media.media_close",
    "media.media_list",
    *(f"media.media_worker[worker_{number + 1}]" for number in range(WORKERS)),
]
RANGE: Final = {"dagster/asset_partition_range_start": "ads", "dagster/asset_partition_range_end": "films"}
WORKER_KEYS: Final = ["workers", "workers/assets_left", "workers/assets_per_second"]
DIFFERENT: Final = {"seconds", "requests", "received_bytes", "dagster/table_name", "dagster/uri", *WORKER_KEYS}
"""What the same work costs, and where it is."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        yield sandbox


def sync(sandbox: Sandbox, url: str, schema: str, **attributes: Any) -> VectorferrySync:
    return VectorferrySync(**sync_attributes(sandbox, url, schema, **attributes))


def sync_attributes(sandbox: Sandbox, url: str, schema: str, **attributes: Any) -> dict[str, Any]:
    source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key, "collections": list(COLLECTIONS)}
    destination = {"type": "pgvector", "url": url, "schema": schema}
    return {"name": "media", "source": source, "destinations": [destination], **attributes}


def defs_of(component: VectorferrySync) -> dg.Definitions:
    return dg.build_defs_for_component(component)


def failures(result: dg.JobExecutionResult) -> list[str]:
    return [str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure]


def steps(result: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> list[str]:
    return sorted(event.step_key for event in result.all_events if event.is_step_success and event.step_key)


def test_the_assets_are_the_same(sandbox: Sandbox, postgres_url: str) -> None:
    alone, shared = (
        defs_of(sync(sandbox, postgres_url, "never", **attributes)) for attributes in ({}, {"workers": WORKERS})
    )
    one, other = (
        next(each for each in defs.assets or [] if isinstance(each, dg.AssetsDefinition)) for defs in (alone, shared)
    )
    assert other.keys == one.keys
    assert [spec.kinds for spec in other.specs] == [spec.kinds for spec in one.specs]
    assert (other.partitions_def, other.backfill_policy, other.can_subset) == (
        one.partitions_def,
        one.backfill_policy,
        one.can_subset,
    )
    assert {each.name for each in shared.jobs or []} == {each.name for each in alone.jobs or []}


def shared_job() -> dg.JobDefinition:
    """What each process of a run makes anew, of the variable SYNC."""
    defs = defs_of(VectorferrySync(**json.loads(os.environ["SYNC"])))
    return dg.Definitions.merge(defs, dg.Definitions(executor=dg.multiprocess_executor)).resolve_job_def("media_sync")


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, postgres_url: str, schema: str) -> str:
    """The schema into which the job writes."""
    into = f"{schema}_several"
    attributes = sync_attributes(sandbox, postgres_url, into, workers=WORKERS)
    monkeypatch.setenv("SYNC", json.dumps(attributes))
    return into


def execute(instance: dg.DagsterInstance, failed: str | None = None) -> dg.JobExecutionResult:
    """A run of the job in processes, or one that goes on where another has failed."""
    instance.add_dynamic_partitions("media_collections", COLLECTIONS)
    again = dg.ReexecutionOptions.from_failure(failed, instance) if failed else None
    job = dg.reconstructable(shared_job)
    with dg.execute_job(job, instance, tags=RANGE, raise_on_error=False, reexecution_options=again) as result:
        return result


@pytest.mark.long
def test_what_processes_write_together_is_what_one_writes(
    sandbox: Sandbox, postgres_url: str, schema: str, several: str, stored: dg.DagsterInstance
) -> None:
    alone = f"{schema}_alone"
    assert materialize(defs_of(sync(sandbox, postgres_url, alone)), stored, "ads", "films").success
    by_one = recorded(stored, "media/video", limit=2)
    result = execute(stored)
    assert result.success, failures(result)
    assert steps(result) == STEPS
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert row_counts(connection, several)["video"] == len(COLLECTIONS) * ASSETS
        assert differences(connection, alone, several) == []
    by_several = recorded(stored, "media/video", limit=2)
    for key in COLLECTIONS:
        rows = [record.data for record in by_several[key]["workers"].records]
        assert (sum(row["assets"] for row in rows), by_several[key]["workers/assets_left"]) == (ASSETS, 0)
        assert {name: by_several[key][name] for name in by_several[key].keys() - DIFFERENT} == {
            name: by_one[key][name] for name in by_one[key].keys() - DIFFERENT
        }


@pytest.mark.long
def test_a_worker_that_is_killed_joins_again_from_the_failure(
    sandbox: Sandbox, postgres_url: str, schema: str, several: str, stored: dg.DagsterInstance
) -> None:
    alone = f"{schema}_alone"
    assert materialize(defs_of(sync(sandbox, postgres_url, alone)), stored, "ads", "films").success
    sandbox.faults.add(Fault(route=MIXPEEK.reading[0], nth=ASSETS, do=Stall(seconds=PATIENCE)))
    killer = Thread(target=kill_a_worker, args=(stored, postgres_url, several, sandbox))
    killer.start()
    failed = execute(stored)
    killer.join()
    assert not failed.success
    assert "media.media_close" not in steps(failed), "nothing is closed that was not done"
    result = execute(stored, failed.run_id)
    assert result.success, failures(result)
    assert "media.media_list" not in steps(result)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert differences(connection, alone, several) == []


def kill_a_worker(instance: dg.DagsterInstance, url: str, schema: str, sandbox: Sandbox) -> None:
    """The one whose request is held up, or another one that has a shard."""
    claimed = f"SELECT owner FROM {schema}._sync_shards WHERE state = 'claimed' ORDER BY claimed_at LIMIT 1"
    with psycopg.connect(url, autocommit=True) as connection:

        def owner() -> str | None:
            exists = connection.execute("SELECT to_regclass(%s)", [f"{schema}._sync_shards"]).fetchone()
            found = connection.execute(claimed).fetchone() if exists != (None,) else None
            return str(found[0]) if found else None

        wait_until(owner)
        step = re.search(r"worker_\d+", str(owner()))
        assert step
    (run,) = instance.get_runs(dg.RunsFilter(job_name="media_sync"))
    started = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
    (pid,) = (
        event.dagster_event.engine_event_data.metadata["pid"].value
        for event in started
        if event.dagster_event and event.step_key == f"media.media_worker[{step[0]}]"
    )
    os.kill(int(str(pid)), signal.SIGKILL)
    sandbox.faults.clear()


def test_a_run_in_which_little_has_changed_has_no_workers(
    sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    defs = defs_of(sync(sandbox, postgres_url, schema, workers=WORKERS))
    few = materialize(defs, instance, "ads")
    assert steps(few) == ["media.media_close", "media.media_list"]
    reread = materialize(defs, instance, "ads", reread=True)
    assert reread.success
    assert steps(reread) == ["media.media_close", "media.media_list"]
    assert recorded(instance, "media/video", limit=1)["ads"]["assets_pulled"] == ASSETS


@pytest.mark.long
def test_a_collection_that_is_none_costs_the_others_nothing(
    sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("media_collections", [*COLLECTIONS, "none"])
    component = sync(sandbox, postgres_url, schema, workers=WORKERS)
    result = materialize(defs_of(component), instance, "ads", "none")
    assert not result.success
    assert steps(result) == [each for each in STEPS if each != "media.media_close"]
    assert recorded(instance, "media/video").keys() == set(COLLECTIONS)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Hypothesis listens to the collector, and an interruption that meets it there is dropped, and told of."""
    gc.disable()
    yield
    gc.enable()


def context_elsewhere(instance: dg.DagsterInstance) -> Any:
    """Of a step of a run that has begun, in a process that nobody sends a signal."""
    run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job(), status=dg.DagsterRunStatus.STARTED)
    elsewhere = SimpleNamespace(executor_def=SimpleNamespace(name="celery"))
    return SimpleNamespace(job_def=elsewhere, instance=instance, run=run)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.FAILURE])
def test_a_step_elsewhere_ends_with_its_run(
    status: dg.DagsterRunStatus, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends in the block: nothing would take an interruption before."""
    monkeypatch.setattr(_termination, "SECONDS_BETWEEN_LOOKS", 0.01)
    context = context_elsewhere(instance)

    def end_and_go_on() -> None:
        is_canceling = status is dg.DagsterRunStatus.CANCELING
        (instance.report_run_canceling if is_canceling else instance.report_run_failed)(context.run)
        wait_until(lambda: False)

    with pytest.raises(dg.Failure, match="has been ended"), _termination.ended_with_run(context):
        end_and_go_on()


@pytest.mark.usefixtures("no_collector")
def test_an_interruption_that_is_lost_is_sent_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_termination, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(_termination, "SECONDS_TO_END", 0.1)
    context = context_elsewhere(instance)

    def end_and_go_on() -> None:
        with suppress(KeyboardInterrupt):  # as Python does in a destructor
            instance.report_run_canceling(context.run)
            wait_until(lambda: False)
        wait_until(lambda: False)

    with pytest.raises(dg.Failure, match="has been ended"), _termination.ended_with_run(context):
        end_and_go_on()


@pytest.mark.long
def test_some_of_the_tables(sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance) -> None:
    defs = defs_of(sync(sandbox, postgres_url, schema, workers=WORKERS))
    result = materialize(defs, instance, "ads", select=["media/video"])
    assert result.success
    made = {event.asset_key for event in result.all_events if event.is_step_materialization}
    assert made == {dg.AssetKey(["media", "video"])}
