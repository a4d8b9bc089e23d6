"""Kill -9 a sync anywhere, run it again: the tables are those of an undisturbed run, bit by bit."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts
from .killing import finish, kill, start, wait_for
from .media import Service
from .mixpeek_media import MIXPEEK
from .twelvelabs_media import TWELVELABS

Connection = psycopg.Connection[Any]

MOMENTS = 2
MOMENTS_IN_THE_LONG_RUN = 30
ASSETS = 90
FEATURES = 8


@pytest.fixture(scope="module", params=[MIXPEEK, TWELVELABS], ids=str)
def service(request: pytest.FixtureRequest) -> Service:
    """Each of them."""
    found: Service = request.param
    return found


@pytest.fixture(scope="module")
def source(service: Service) -> Iterator[dict[str, Any]]:
    """A sandbox slow enough for a sync to be hit in every phase, as a source of a sync."""
    serving = service.generated(ASSETS, FEATURES).model_copy(update={"latency_ms": 10})
    with sandbox_process(serving) as url:
        yield {**service.source(url, serving.api_key), "concurrency": 16}


def settings(source: dict[str, Any], database: str, schema: str) -> dict[str, Any]:
    """A sync of many small batches."""
    return {
        "name": "media",
        "source": source,
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "batch": {"rows": 40},
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
    tmp_path: Path, source: dict[str, Any], postgres_url: str, schema: str, kills: int
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
            process = start(tmp_path, again)
            wait_for(process, partial(has_assets, connection, killed, moments.randrange(ASSETS - 20)))
            time.sleep(moments.uniform(0, 0.05))
            kill(process)
            finish(start(tmp_path, again))
            assert differences(connection, undisturbed, killed) == []
            connection.execute(f"DROP SCHEMA {killed} CASCADE")
