"""Several workers on one collection: the tables are those of an undisturbed run, whatever becomes of the workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from vectorferry.connector._engine.sync._sharing import FIRST
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, SandboxSettings, Stall

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts
from ..waiting import PATIENCE
from .killing import finish, start, wait_for
from .mixpeek_media import MIXPEEK

Connection = psycopg.Connection[Any]

ASSETS = 300
CONCURRENCY = 4
MEDIA = GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=64, collections=("films",))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[httpx.Client]:
    """A sandbox that is slow enough for others to come and help."""
    serving = SandboxSettings(generate=MEDIA, latency_ms=20)
    control = {"X-Sandbox-Key": serving.control_key}
    with sandbox_process(serving) as url, httpx.Client(base_url=url, headers=control, timeout=PATIENCE) as client:
        yield client


def settings(sandbox: httpx.Client, database: str, schema: str) -> dict[str, Any]:
    """A sync of many small batches, with few requests at a time."""
    source = MIXPEEK.source(str(sandbox.base_url).rstrip("/"), SandboxSettings().api_key)
    return {
        "name": "media",
        "source": {**source, "concurrency": CONCURRENCY},
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "batch": {"rows": 20},
    }


@contextmanager
def held_up(sandbox: httpx.Client, first: int, times: int) -> Iterator[None]:
    """So many reads of an asset, from the first one on, are not answered until the block ends."""
    fault = Fault(route="assets.features", nth=first, times=times, do=Stall(seconds=PATIENCE))
    sandbox.delete("/_sandbox/faults").raise_for_status()
    sandbox.post("/_sandbox/faults", json=[fault.model_dump()]).raise_for_status()
    try:
        yield
    finally:
        sandbox.delete("/_sandbox/faults").raise_for_status()


def shards(connection: Connection, schema: str, condition: str) -> int:
    """How many shards there are of which this is true."""
    if connection.execute("SELECT to_regclass(%s)", [f"{schema}._sync_shards"]).fetchone() == (None,):
        return 0
    (count,) = connection.execute(f"SELECT count(*) FROM {schema}._sync_shards WHERE {condition}").fetchone() or (0,)
    return int(count)


def test_what_several_write_is_what_one_writes(
    tmp_path: Path, sandbox: httpx.Client, postgres_url: str, schema: str
) -> None:
    alone, shared = f"{schema}_alone", f"{schema}_shared"
    expected = finish(start(tmp_path, settings(sandbox, postgres_url, alone)))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with held_up(sandbox, FIRST + 1, CONCURRENCY):
            process = start(tmp_path, settings(sandbox, postgres_url, shared), "--workers", "2")
            wait_for(process, lambda: shards(connection, shared, "state = 'counted'") > 1)
        summary = finish(process)
        assert row_counts(connection, shared)["video"] == ASSETS
        assert differences(connection, alone, shared) == []
    collection, of_one = (each["collections"]["films"] for each in (summary, expected))
    assert len(collection["workers"]) == 1
    for name in ("listed", "pulled", "unchanged", "complete"):
        assert collection[name] == of_one[name], name
    for name in ("assets", "features", "vectors", "quarantined", "rejected"):
        assert summary["destinations"]["pgvector"][name] == expected["destinations"]["pgvector"][name]
