"""Kill -9 a sync anywhere, run it again: the tables are those of an undisturbed run, bit by bit."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, SandboxSettings, Stall

from ..examples import family
from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts
from ..waiting import PATIENCE
from .killing import finish, kill, start, wait_for
from .media import Service
from .mixpeek_documents_media import MIXPEEK_DOCUMENTS
from .mixpeek_media import MIXPEEK
from .twelvelabs_media import TWELVELABS

Connection = psycopg.Connection[Any]

MOMENTS = 1
MOMENTS_IN_THE_LONG_RUN = 30
ASSETS = 60
FEATURES = 4


@pytest.fixture(scope="module", params=family([MIXPEEK, TWELVELABS, MIXPEEK_DOCUMENTS]), ids=str)
def service(request: pytest.FixtureRequest) -> Service:
    """Each of them."""
    found: Service = request.param
    return found


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[httpx.Client]:
    """A sandbox slow enough for a sync to be hit in every phase."""
    serving = service.generated(ASSETS, FEATURES).model_copy(update={"latency_ms": 10})
    control = {"X-Sandbox-Key": serving.control_key}
    with sandbox_process(serving) as url, httpx.Client(base_url=url, headers=control, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def source(service: Service, sandbox: httpx.Client) -> dict[str, Any]:
    """The same as a source of a sync."""
    made = {**service.source(str(sandbox.base_url).rstrip("/"), SandboxSettings().api_key), "concurrency": 16}
    # How many runs have followed a feed is kept as well, and two have where one was killed (test_killed_incremental).
    return {**made, "follow_events": False} if service is MIXPEEK_DOCUMENTS else made


@contextmanager
def never_ending(sandbox: httpx.Client, service: Service) -> Iterator[None]:
    """The last asset is not read, so that no sync is done before it is killed, however late that is."""
    last = Fault(route=service.reading[0], nth=ASSETS, do=Stall(seconds=PATIENCE))
    sandbox.post("/_sandbox/faults", json=[last.model_dump()]).raise_for_status()
    yield
    sandbox.delete("/_sandbox/faults").raise_for_status()


def settings(source: dict[str, Any], database: str, schema: str) -> dict[str, Any]:
    """A sync of many small batches."""
    return {
        "name": "media",
        "source": source,
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "batch": {"rows": 20},
    }


def has_assets(connection: Connection, schema: str, wanted: int) -> bool:
    """Whether the ledger has that many assets, or (for 0) whether there is a ledger."""
    ledger = f"{schema}._sync_ledger"
    if connection.execute("SELECT to_regclass(%s)", [ledger]).fetchone() == (None,):
        return False
    (held,) = connection.execute(f"SELECT count(*) FROM {ledger}").fetchone() or (0,)
    return bool(held >= wanted)


@pytest.mark.parametrize(
    "kills",
    [MOMENTS, pytest.param(MOMENTS_IN_THE_LONG_RUN, marks=pytest.mark.long)],
)
def test_killed_at_random_moments_and_run_again(
    tmp_path: Path,
    service: Service,
    sandbox: httpx.Client,
    source: dict[str, Any],
    postgres_url: str,
    schema: str,
    kills: int,
) -> None:
    undisturbed = f"{schema}_undisturbed"
    moments = random.Random(kills)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        finish(start(tmp_path, settings(source, postgres_url, undisturbed)))
        expected = row_counts(connection, undisturbed)
        vectors = sum(count for table, count in expected.items() if table.startswith("video__"))
        assert expected["video"] == vectors == ASSETS * FEATURES
        for number in range(kills):
            killed = f"{schema}_{number}"
            again = settings(source, postgres_url, killed)
            with never_ending(sandbox, service):
                process = start(tmp_path, again)
                wait_for(process, partial(has_assets, connection, killed, moments.randrange(ASSETS - 20)))
                time.sleep(moments.uniform(0, 0.05))
                kill(process)
            finish(start(tmp_path, again))
            assert differences(connection, undisturbed, killed) == []
            connection.execute(f"DROP SCHEMA {killed} CASCADE")
