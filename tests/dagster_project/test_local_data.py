"""An embedded Postgres belongs to one folder of one machine: a run that would fill a second one is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import attempts, failure_of, materialize, recorded
from tests.dagster_project.test_project import run
from vectorferry.dagster import VectorferrySync
from vectorferry.destinations import EmbeddedPostgres

EMBEDDED = {"type": "pgvector"}
DATA = Path(".vectorferry/postgres/data/PG_VERSION")

Sync = Callable[..., dg.ExecuteInProcessResult]


def definitions(*destinations: dict[str, Any]) -> dg.Definitions:
    """Of a sync of one collection."""
    source = {"type": "shelf", "collections": ["news"]}
    sync = VectorferrySync(name="media", source=source, destinations=list(destinations or (EMBEDDED,)))
    return dg.build_defs_for_component(sync)


@pytest.fixture
def folders(passable_path: Path) -> tuple[Path, Path]:
    """Two working directories."""
    one, other = passable_path / "one", passable_path / "other"
    one.mkdir()
    other.mkdir()
    return one, other


@pytest.fixture
def sync(source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Sync:  # noqa: ARG001
    """A run of a worker in this working directory."""

    def run_in(folder: Path, *destinations: dict[str, Any]) -> dg.ExecuteInProcessResult:
        monkeypatch.chdir(folder)
        return materialize(definitions(*destinations), instance, "news")

    return run_in


@pytest.mark.long
def test_a_worker_in_another_folder_does_not_fill_a_second_one(folders: tuple[Path, Path], sync: Sync) -> None:
    one, other = folders
    assert sync(one).success
    refused = sync(other)
    assert attempts(refused) == 1
    said = failure_of(refused)
    assert f"has been materialized before, into {one}/.vectorferry/postgres" in said
    assert f"works in {other}" in said
    for advice in ("`url`", "absolute `directory`", "dagster asset wipe"):
        assert advice in said
    assert not (other / ".vectorferry").exists()
    assert sync(one).success


@pytest.mark.long
def test_two_that_are_both_there_are_told_apart(
    folders: tuple[Path, Path], sync: Sync, instance: dg.DagsterInstance
) -> None:
    one, other = folders
    assert sync(one).success
    EmbeddedPostgres(other / ".vectorferry" / "postgres").close()
    assert f"would use another embedded Postgres, in {other}" in failure_of(sync(other))
    shutil.rmtree(one / ".vectorferry")
    assert sync(other).success, "there is only this one now"
    assert recorded(instance, "media/video")["news"]["vectorferry/data_directories"] == [
        str(other / ".vectorferry" / "postgres")
    ]


@pytest.mark.long
def test_one_that_is_lost_is_made_again_when_nothing_is_said_to_be_in_it(
    folders: tuple[Path, Path], sync: Sync, instance: dg.DagsterInstance
) -> None:
    here, _ = folders
    assert sync(here).success
    shutil.rmtree(here / ".vectorferry")
    assert "would make another embedded Postgres" in failure_of(sync(here))
    assert not (here / DATA).exists()
    instance.wipe_assets([dg.AssetKey(["media", table]) for table in ("video", "image", "text", "audio")])
    assert sync(here).success


@pytest.mark.long
def test_one_that_is_new_to_the_sync_is_made(
    folders: tuple[Path, Path], sync: Sync, postgres_url: str, schema: str
) -> None:
    here, _ = folders
    server = {"type": "pgvector", "name": "server", "url": postgres_url, "schema": schema}
    assert sync(here, server).success
    assert sync(here, server, EMBEDDED).success
    assert sync(here, server, EMBEDDED, {"type": "pgvector", "name": "third", "directory": "third"}).success


def test_materializations_that_do_not_say_where_are_not_made_twice(
    folders: tuple[Path, Path], sync: Sync, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(["media", "video"], partition="news"))
    assert "has been materialized before, but it works in" in failure_of(sync(folders[0]))


class LauncherElsewhere(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts runs on machines that nobody knows."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> LauncherElsewhere:  # noqa: ARG003
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        raise NotImplementedError

    def terminate(self, run_id: str) -> bool:
        raise NotImplementedError


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with that launcher."""
    launcher = {"module": __name__, "class": "LauncherElsewhere"}
    with dg.DagsterInstance.local_temp(str(tmp_path), {"run_launcher": launcher}) as instance:
        yield instance


@pytest.mark.long
def test_a_launcher_that_is_not_known_to_be_local_needs_a_server(
    folders: tuple[Path, Path], source: ShelfSource, elsewhere: dg.DagsterInstance, postgres_url: str, schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folders[0])
    refused = materialize(definitions(), elsewhere, "news")
    assert "the run launcher LauncherElsewhere may start each run on another machine" in failure_of(refused)
    assert source.scanned == []
    server = {"type": "pgvector", "url": postgres_url, "schema": schema}
    assert materialize(definitions(server), elsewhere, "news").success


@dg.executor(name="elsewhere")
def executor_elsewhere(context: dg.InitExecutorContext) -> InProcessExecutor:  # noqa: ARG001
    """Takes steps to machines that nobody knows."""
    return InProcessExecutor(retries=RetryMode.DISABLED)


def job_elsewhere() -> dg.JobDefinition:
    """The sync's job with that executor."""
    job = dg.define_asset_job("elsewhere", selection="*", executor_def=executor_elsewhere)
    return dg.Definitions.merge(definitions(), dg.Definitions(jobs=[job])).resolve_job_def("elsewhere")


@pytest.mark.long
def test_an_executor_that_is_not_known_to_be_local_needs_a_server(
    folders: tuple[Path, Path], source: ShelfSource, stored: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders[0])
    tags = {"dagster/partition": "news"}
    with dg.execute_job(dg.reconstructable(job_elsewhere), stored, tags=tags, raise_on_error=False) as result:
        (failed,) = (event for event in result.all_events if event.is_step_failure)
    assert "the executor 'elsewhere' may start each run" in str(failed.step_failure_data.error)
    assert source.scanned == []


@pytest.mark.long
def test_two_processes_of_one_instance_in_two_folders(folders: tuple[Path, Path]) -> None:
    one, other = folders
    home = one.parent / "home"
    home.mkdir()
    select = ["-m", "vectorferry.dagster.definitions", "--select", "media/video", "--partition", "quickstart"]
    first = run(one, "dagster", "asset", "materialize", *select, DAGSTER_HOME=str(home))
    assert first.returncode == 0, first.stderr[-3_000:]
    second = run(other, "dagster", "asset", "materialize", *select, DAGSTER_HOME=str(home))
    assert second.returncode != 0
    assert f"has been materialized before, into {one}/.vectorferry/postgres" in second.stderr + second.stdout
    assert not (other / ".vectorferry").exists()
