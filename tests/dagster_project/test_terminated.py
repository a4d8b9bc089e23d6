"""Terminating a run ends it: by the UI's own request, through Dagster's own run launcher, in real processes."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from tests.waiting import wait_until
from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings, running_sandbox
from vectorferry.destinations import PgvectorDestination

CATALOGUE: Final = GeneratedCatalogue(assets=4, features_per_asset=3, dimension=8, collections=("ads",))
SECONDS_TO_START: Final = 60

IN_PROCESS: Final = "media_sync"
MULTIPROCESS: Final = "each_in_a_process"

DEFINITIONS: Final = f"""
import dagster as dg
import yaml
from pathlib import Path

from vectorferry.dagster import VectorferrySync

syncs = yaml.safe_load(Path(__file__).with_name("syncs.yaml").read_text())
defs = dg.Definitions.merge(
    *(dg.build_defs_for_component(VectorferrySync(**sync)) for sync in syncs),
    dg.Definitions(
        jobs=[
            dg.define_asset_job(
                "{MULTIPROCESS}",
                selection=dg.AssetSelection.groups("media"),
                executor_def=dg.multiprocess_executor,
            )
        ]
    ),
)
"""

LAUNCH: Final = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
TERMINATE: Final = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"

CONNECTED: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'vectorferry%'"
WAITING: Final = f"{CONNECTED} AND wait_event_type = 'Lock'"

Connection = psycopg.Connection[Any]


class Deployment:
    """A webserver's answers, a code server in a process of its own, and runs that it starts in further ones."""

    def __init__(self, context: WorkspaceProcessContext, url: str, schema: str) -> None:
        self.instance, self.url, self.schema = context.instance, url, schema
        self._context = context

    def launch(self, job: str, **tags: str) -> str:
        """The id of a new run."""
        tags = {"partition": "ads", **tags}
        params = {
            "selector": {"repositoryLocationName": "ours", "repositoryName": "__repository__", "jobName": job},
            "executionMetadata": {"tags": [{"key": f"dagster/{key}", "value": tags[key]} for key in tags]},
        }
        answer = self._ask(LAUNCH, {"params": params})["launchRun"]
        return str(answer["run"]["runId"])

    def terminate(self, run: str) -> None:
        """As the button in the UI does."""
        assert self._ask(TERMINATE, {"run": run})["terminateRun"]["__typename"] == "TerminateRunSuccess"

    def is_ended_by_monitoring(self, run: str) -> bool:
        """Whether the run has come to an end after one more round of the daemon that ends what takes too long."""
        assert list(execute_run_monitoring_iteration(self._context, logging.getLogger("monitoring"))) in ([None], [])
        return self.is_finished(run)

    def wait_for(self, run: str, status: dg.DagsterRunStatus) -> None:
        """Wait until the run has come to its end, which must be this one."""
        wait_until(lambda: self.is_finished(run), SECONDS_TO_START)
        assert self._found(run).status is status, self.log(run)

    def is_finished(self, run: str) -> bool:
        """Whether the run has come to an end."""
        return self._found(run).is_finished

    def log(self, run: str) -> str:
        """Everything that the run has said."""
        return "\n".join(entry.user_message or entry.message for entry in self.instance.all_logs(run))

    def _found(self, run: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run)
        assert found
        return found

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        from dagster_graphql.cli import execute_query  # as slow to import as all the rest

        answer = execute_query(self._context, query, variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Deployment]:
    """Two syncs: one into a schema in which there is something already, and one whose database refuses connections."""
    folder, schema = tmp_path_factory.mktemp("deployment"), "terminated"
    coordinator = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key, "collections": ["ads"]}
        nowhere = f"postgresql://postgres@127.0.0.1:{unused.getsockname()[1]}/postgres"
        syncs = [
            {"name": name, "source": source, "destinations": [{"type": "pgvector", "url": url, "schema": schema}]}
            for name, url in (("media", postgres_url), ("nowhere", nowhere))
        ]
        (folder / "syncs.yaml").write_text(yaml.safe_dump(syncs))
        (folder / "definitions.py").write_text(DEFINITIONS)
        (folder / "home").mkdir()
        target = PythonFileTarget(str(folder / "definitions.py"), None, str(folder), "ours")
        with (
            dg.DagsterInstance.local_temp(str(folder / "home"), {"run_coordinator": coordinator}) as instance,
            WorkspaceProcessContext(instance, target, version="", read_only=False) as context,
        ):
            made = Deployment(context, postgres_url, schema)
            made.wait_for(made.launch(IN_PROCESS), dg.DagsterRunStatus.SUCCESS)
            yield made


@pytest.fixture
def blocker(deployment: Deployment) -> Iterator[Connection]:
    """Somebody else's transaction, which holds up every sync."""
    with psycopg.connect(deployment.url) as connection:
        connection.execute(f"LOCK TABLE {deployment.schema}._sync_ledger IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


@pytest.fixture
def watcher(deployment: Deployment) -> Iterator[Connection]:
    with psycopg.connect(deployment.url, autocommit=True) as connection:
        yield connection


def count(connection: Connection, query: str) -> int:
    (found,) = connection.execute(query).fetchone() or (0,)
    return int(found)


def assert_free(deployment: Deployment, blocker: Connection, watcher: Connection) -> None:
    """While whoever held the sync up still does: nothing of it is left, and the next run does it all."""
    assert blocker.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    wait_until(lambda: not count(watcher, CONNECTED))
    with closing(PgvectorDestination(deployment.schema, deployment.url)) as other, other.lock("ads"):
        pass
    blocker.rollback()
    deployment.wait_for(deployment.launch(IN_PROCESS), dg.DagsterRunStatus.SUCCESS)


@pytest.mark.long
@pytest.mark.parametrize("job", [IN_PROCESS, MULTIPROCESS])
def test_a_run_that_waits_for_postgres_is_canceled(
    deployment: Deployment, blocker: Connection, watcher: Connection, job: str
) -> None:
    run = deployment.launch(job)
    wait_until(lambda: count(watcher, WAITING), SECONDS_TO_START)
    deployment.terminate(run)
    deployment.wait_for(run, dg.DagsterRunStatus.CANCELED)
    assert "STEP_UP_FOR_RETRY" not in {entry.dagster_event_type for entry in deployment.instance.all_logs(run)}
    assert_free(deployment, blocker, watcher)


@pytest.mark.long
@pytest.mark.parametrize("job", [IN_PROCESS, MULTIPROCESS])
def test_a_worker_that_gets_sigterm_ends(
    deployment: Deployment, blocker: Connection, watcher: Connection, job: str
) -> None:
    run = deployment.launch(job)
    wait_until(lambda: count(watcher, WAITING), SECONDS_TO_START)
    (pid,) = re.findall(r"Started process for run \(pid: (\d+)\)", deployment.log(run))
    os.kill(int(pid), signal.SIGTERM)
    deployment.wait_for(run, dg.DagsterRunStatus.FAILURE)
    assert "No user initiated termination request was found" in deployment.log(run)
    assert_free(deployment, blocker, watcher)


@pytest.mark.long
@pytest.mark.parametrize("job", [IN_PROCESS, MULTIPROCESS])
def test_a_run_that_takes_longer_than_it_may_ends(
    deployment: Deployment, blocker: Connection, watcher: Connection, job: str
) -> None:
    run = deployment.launch(job, max_runtime="1")
    wait_until(lambda: count(watcher, WAITING), SECONDS_TO_START)
    wait_until(lambda: deployment.is_ended_by_monitoring(run), SECONDS_TO_START)
    deployment.wait_for(run, dg.DagsterRunStatus.FAILURE)
    assert "Exceeded maximum runtime" in deployment.log(run)
    assert_free(deployment, blocker, watcher)


@pytest.mark.long
def test_a_run_that_waits_for_its_next_try_is_canceled(deployment: Deployment) -> None:
    run = deployment.launch("nowhere_sync")
    wait_until(lambda: "Trying again in" in deployment.log(run), SECONDS_TO_START)
    deployment.terminate(run)
    deployment.wait_for(run, dg.DagsterRunStatus.CANCELED)
    assert deployment.log(run).count("Trying again in") == 1
