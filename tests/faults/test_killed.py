"""Kill -9 a sync anywhere, run it again: the tables are those of an undisturbed run, bit by bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts

MOMENTS = 10
CATALOGUE = GeneratedCatalogue(assets=150, features_per_asset=8, dimension=256, collections=("ads", "films"))
EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A sandbox slow enough for a sync to be hit in every phase."""
    with sandbox_process(SandboxSettings(generate=CATALOGUE, latency_ms=10)) as url:
        yield url


def start(directory: Path, sandbox_url: str, database: str, schema: str) -> subprocess.Popen[str]:
    """One `vectorferry sync` with many small batches."""
    config = directory / "vectorferry.yaml"
    config.write_text(
        f"""
name: media
source: {{type: mixpeek, base_url: "{sandbox_url}", api_key: sk_sandbox, concurrency: 16}}
destinations: [{{type: pgvector, url: "{database}", schema: {schema}}}]
batch: {{rows: 40}}
"""
    )
    command = [EXECUTABLE, "sync", "-c", str(config), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    """Wait for a sync that must succeed; its summary."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary: dict[str, object] = json.loads(out)
    return summary


def first_rows_arrived(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> bool:
    found = connection.execute("SELECT to_regclass(%s)", [f"{schema}._sync_ledger"]).fetchone()
    if found is None or found[0] is None:
        return False
    return connection.execute(f"SELECT 1 FROM {schema}._sync_ledger LIMIT 1").fetchone() is not None


def test_killed_at_random_moments_and_run_again(
    tmp_path: Path, sandbox_url: str, postgres_url: str, schema: str
) -> None:
    undisturbed = f"{schema}_undisturbed"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        begun = time.monotonic()
        process = start(tmp_path, sandbox_url, postgres_url, undisturbed)
        while not first_rows_arrived(connection, undisturbed):
            assert process.poll() is None
        first_rows = time.monotonic() - begun
        finish(process)
        whole = time.monotonic() - begun
        expected = row_counts(connection, undisturbed)
        assert expected["video"] == expected["video__multimodal_v1"] == CATALOGUE.assets * CATALOGUE.features_per_asset

        cut_short = 0
        moments = random.Random(2026)
        for number in range(MOMENTS):
            killed = f"{schema}_{number}"
            process = start(tmp_path, sandbox_url, postgres_url, killed)
            # From shortly before the first row is written until shortly before the end.
            time.sleep(moments.uniform(0.9 * first_rows, 0.97 * whole))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            cut_short += process.returncode == -signal.SIGKILL
            finish(start(tmp_path, sandbox_url, postgres_url, killed))
            assert differences(connection, undisturbed, killed) == []
            connection.execute(f"DROP SCHEMA {killed} CASCADE")
    assert cut_short >= MOMENTS // 2, "most runs were over before they could be killed"
