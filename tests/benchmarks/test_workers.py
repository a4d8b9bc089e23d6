"""How much faster several workers are than one, where the service's latency is what takes the time.

Run with ``pytest -m benchmark tests/benchmarks/test_workers.py -s``. The service is a sandbox in a process of its own
that waits 200 ms before every answer, and each worker has 8 requests in flight: 40 a second. Workers are processes that
wait for the run to begin, as pods do, so that what is measured is sharing, and not how long Python takes to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, SandboxSettings, Stall

from ..faults.killing import finish, kill, start
from ..sandbox_process import sandbox_process
from ..tables import differences
from ..waiting import PATIENCE, wait_until

ASSETS = 1_600
CONCURRENCY = 8
SECONDS = 0.2
MEDIA = GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=64, collections=("films",))
SERVING = SandboxSettings(generate=MEDIA, latency_ms=SECONDS * 1_000)
IDEAL = ASSETS * 2 * SECONDS / CONCURRENCY
"""Seconds that one worker needs at least: two requests for each asset."""

HEAVY = 25
"""Assets that take ten times as long as others: about one shard."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[httpx.Client]:
    control = {"X-Sandbox-Key": SERVING.control_key}
    with sandbox_process(SERVING) as url, httpx.Client(base_url=url, headers=control, timeout=PATIENCE) as client:
        yield client


def seconds(directory: Path, sandbox: httpx.Client, database: str, schema: str, workers: int) -> float:
    """What the collection took, from the first request to the last."""
    key = SandboxSettings().api_key
    source = {"type": "mixpeek", "base_url": str(sandbox.base_url), "api_key": key, "concurrency": CONCURRENCY}
    of_sync: dict[str, Any] = {
        "name": "media",
        "source": {**source, "page_size": 500},
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
    }
    with ExitStack() as stack, psycopg.connect(database, autocommit=True) as connection:
        for number in range(1, workers):
            of_worker = start(directory, of_sync, "--join", "--lock-wait", str(PATIENCE))
            stack.callback(kill, of_worker)
            wait_until(lambda: sessions(connection) >= number)  # noqa: B023 - it is waited for here
        more = ("--workers", "1") if workers > 1 else ()
        summary = finish(start(directory, of_sync, *more))
    films = summary["collections"]["films"]
    assert films["pulled"] == ASSETS
    assert len(films["workers"]) == workers - 1
    print(f"\n{workers} workers: {films['seconds']:.1f} s, ideal {IDEAL / workers:.1f} s", end="")
    return float(films["seconds"])


def sessions(connection: psycopg.Connection[Any]) -> int:
    """How many workers look whether a run has begun."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vectorferry' AND datname IS NOT NULL"
    return int((connection.execute(waiting).fetchone() or (0,))[0])


@pytest.mark.benchmark
def test_two_are_nearly_twice_as_fast_and_four_nearly_four_times(
    tmp_path: Path, sandbox: httpx.Client, postgres_url: str, schema: str
) -> None:
    taken = {number: seconds(tmp_path, sandbox, postgres_url, f"{schema}_{number}", number) for number in (1, 2, 4)}
    print(f"\nof one: 2 workers {taken[1] / taken[2]:.2f} times, 4 workers {taken[1] / taken[4]:.2f} times as fast")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert differences(connection, f"{schema}_1", f"{schema}_2") == []
        assert differences(connection, f"{schema}_1", f"{schema}_4") == []
    assert taken[1] / taken[2] >= 1.9
    assert taken[1] / taken[4] >= 3.6


@pytest.mark.benchmark
def test_a_shard_that_takes_ten_times_as_long_keeps_nobody_waiting(
    tmp_path: Path, sandbox: httpx.Client, postgres_url: str, schema: str
) -> None:
    wait = 9 * 2 * SECONDS
    fault = Fault(route="assets.features", nth=ASSETS // 2, times=HEAVY, do=Stall(seconds=wait))
    sandbox.post("/_sandbox/faults", json=[fault.model_dump()]).raise_for_status()
    taken = seconds(tmp_path, sandbox, postgres_url, schema, 4)
    sandbox.delete("/_sandbox/faults").raise_for_status()
    ideal = (IDEAL + HEAVY * wait / CONCURRENCY) / 4
    print(f"\nmakespan {taken:.1f} s, {taken / ideal:.2f} of the ideal")
    assert taken <= 1.15 * ideal
