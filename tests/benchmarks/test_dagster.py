"""One scheduled run of many collections in which nothing has changed: what it costs, and what a tick asks for.

.venv/bin/pytest -m benchmark tests/benchmarks/test_dagster.py -s
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import pytest

from tests.sandbox_process import sandbox_process
from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings
from vectorferry.dagster import VectorferrySync

COLLECTIONS: Final = 200
NAMES: Final = tuple(f"col{number:03}" for number in range(COLLECTIONS))
SANDBOX: Final = SandboxSettings(
    generate=GeneratedCatalogue(assets=COLLECTIONS, features_per_asset=2, dimension=32, collections=NAMES)
)
GOAL: Final = 90.0
"""Seconds of wall time on two cores that issue 15 asks for."""


@pytest.fixture
def defs(postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.Definitions]:
    """A sync from a sandbox in a process of its own, over HTTP, into a real Postgres."""
    with sandbox_process(SANDBOX) as url:
        monkeypatch.setenv("MIXPEEK_API_KEY", SANDBOX.api_key)
        monkeypatch.setenv("DATABASE_URL", postgres_url)
        component = VectorferrySync(
            name="media",
            source={"type": "mixpeek", "base_url": url},
            destinations=[{"type": "pgvector", "url": "${DATABASE_URL}", "schema": schema}],
            schedule="*/15 * * * *",
        )
        yield dg.build_defs_for_component(component)


@pytest.mark.benchmark
def test_a_scheduled_run_of_many_unchanged_collections(defs: dg.Definitions, tmp_path: Path) -> None:
    """The run that the schedule asks for, in this process; its CPU is this process's, without server and sandbox."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("media_collections", list(NAMES))
        job, schedule = defs.resolve_job_def("media_sync"), defs.resolve_schedule_def("media_schedule")
        for turn in ("first", "unchanged"):
            with dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC)) as context:
                (request,) = schedule.evaluate_tick(context).run_requests or ()
            wall, cpu = time.perf_counter(), time.process_time()
            assert job.execute_in_process(instance=instance, tags=dict(request.tags)).success
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(
                f"\n{turn}: {COLLECTIONS} collections in one run: {wall:.1f} s wall, {cpu:.1f} s CPU; "
                f"{cpu / COLLECTIONS:.2f} s CPU for each (goal: 0.3), {GOAL:.0f} s wall allowed"
            )
