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

from connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts
from .killing import finish, kill, start, wait_for

Connection = psycopg.Connection[Any]

MOMENTS = 10
CATALOGUE = GeneratedCatalogue(assets=90, features_per_asset=8, dimension=256, collections=("ads", "films"))


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A sandbox slow enough for a sync to be hit in every phase."""
    with sandbox_process(SandboxSettings(generate=CATALOGUE, latency_ms=10)) as url:
        yield url


def settings(sandbox_url: str, database: str, schema: str) -> dict[str, Any]:
    """A sync of many small batches."""
    return {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox_url, "api_key": "sk_sandbox", "concurrency": 16},
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


def test_killed_at_random_moments_and_run_again(
    tmp_path: Path, sandbox_url: str, postgres_url: str, schema: str
) -> None:
    undisturbed = f"{schema}_undisturbed"
    moments = random.Random(2026)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        finish(start(tmp_path, settings(sandbox_url, postgres_url, undisturbed)))
        expected = row_counts(connection, undisturbed)
        assert expected["video"] == expected["video__multimodal_v1"] == CATALOGUE.assets * CATALOGUE.features_per_asset
        for number in range(MOMENTS):
            killed = f"{schema}_{number}"
            again = settings(sandbox_url, postgres_url, killed)
            process = start(tmp_path, again)
            wait_for(process, partial(has_assets, connection, killed, moments.randrange(CATALOGUE.assets - 20)))
            time.sleep(moments.uniform(0, 0.05))
            kill(process)
            finish(start(tmp_path, again))
            assert differences(connection, undisturbed, killed) == []
            connection.execute(f"DROP SCHEMA {killed} CASCADE")
