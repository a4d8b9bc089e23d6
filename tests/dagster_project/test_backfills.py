"""A large backfill as the daemon makes it, and what of it is made again after some collections have failed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.cli import execute_query

from tests.connector.worlds import assets
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import recorded
from vectorferry.connector.plugin import CollectionError
from vectorferry.connector.testing import MemoryDestination

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Dagster's own databases

DEFINITIONS = """
import dagster as dg
from vectorferry.dagster import VectorferrySync

sync = VectorferrySync(name="media", source={"type": "shelf"}, destinations=[{"type": "box"}])
defs = dg.Definitions.merge(
    dg.build_defs_for_component(sync), dg.Definitions(executor=dg.in_process_executor)
)
"""
TABLES = [{"path": ["media", table]} for table in ("video", "image", "text", "audio")]
LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
AGAIN = """mutation($p: ReexecutionParams) { reexecutePartitionBackfill(reexecutionParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


class InThisProcess(WorkspaceLoadTarget):
    """A code location of one file, in the process of the test, whose plug-ins it then uses."""

    def __init__(self, file: Path) -> None:
        self._origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=str(file)), location_name="media")

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        return [self._origin]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkspaceProcessContext]:
    """Definitions of a sync, on an instance that makes each run at once."""
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "home").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "home")  # the first place is left out while definitions are loaded
    launcher = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
    at_once = {
        "run_launcher": launcher,
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    }
    with (
        dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=at_once) as instance,
        WorkspaceProcessContext(instance, InThisProcess(tmp_path / "definitions.py")) as context,
    ):
        yield context


def finish(workspace: WorkspaceProcessContext, mutation: str, params: dict[str, Any]) -> str:
    """Ask for a backfill as the UI does, and do the daemon's work until it has ended; how it did."""
    answer = execute_query(workspace, mutation, {"p": params})
    (said,) = answer["data"].values()
    assert said["__typename"] == "LaunchBackfillSuccess", said
    backfill = None
    for _ in range(20):
        list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
        backfill = workspace.instance.get_backfill(said["backfillId"])
        assert backfill is not None
        if backfill.status.value != "REQUESTED":
            break
    assert backfill is not None
    return f"{said['backfillId']} {backfill.status.value}"


@pytest.mark.usefixtures("box")
@pytest.mark.long
@pytest.mark.parametrize("count", [8, 200])
def test_of_a_backfill_only_what_failed_is_made_again(
    workspace: WorkspaceProcessContext, source: ShelfSource, box: MemoryDestination, count: int
) -> None:
    names = [f"c{number:03}" for number in range(count)]
    source.assets = {name: {each.asset_id: each for each in assets(1)} for name in names}
    bad = [names[1], names[count // 2], names[-1]]
    source.errors = {name: CollectionError("403: the key may not list these") for name in bad}
    instance = workspace.instance
    instance.add_dynamic_partitions("media_collections", names)

    launched = finish(workspace, LAUNCH, {"assetSelection": TABLES, "partitionNames": names})
    assert launched.endswith("FAILED")
    assert set(recorded(instance, "media/video", limit=count)) == {*names} - {*bad}
    assert len(instance.get_runs()) == 1
    source.errors.clear()
    source.scanned.clear()

    again = finish(workspace, AGAIN, {"parentRunId": launched.split()[0], "strategy": "FROM_FAILURE"})
    assert again.endswith("SUCCESS")
    assert sorted(set(source.scanned)) == sorted(bad)
    assert {name for name in box.assets if box.assets[name]} == {*names}
