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
from typing import Any

import psycopg
import pytest

from connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts

Connection = psycopg.Connection[Any]

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


def wait_for_assets(process: subprocess.Popen[str], connection: Connection, schema: str, wanted: int) -> None:
    """Return as soon as the ledger has that many assets, or (for 0) as soon as there is a ledger."""
    ledger = f"{schema}._sync_ledger"
    while connection.execute("SELECT to_regclass(%s)", [ledger]).fetchone() == (None,):
        assert process.poll() is None, "the sync ended before it could be killed"
    while (connection.execute(f"SELECT count(*) FROM {ledger}").fetchone() or (0,))[0] < wanted:
        assert process.poll() is None, "the sync ended before it could be killed"


def test_killed_at_random_moments_and_run_again(
    tmp_path: Path, sandbox_url: str, postgres_url: str, schema: str
) -> None:
    undisturbed = f"{schema}_undisturbed"
    moments = random.Random(2026)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        finish(start(tmp_path, sandbox_url, postgres_url, undisturbed))
        expected = row_counts(connection, undisturbed)
        assert expected["video"] == expected["video__multimodal_v1"] == CATALOGUE.assets * CATALOGUE.features_per_asset
        for number in range(MOMENTS):
            killed = f"{schema}_{number}"
            process = start(tmp_path, sandbox_url, postgres_url, killed)
            wait_for_assets(process, connection, killed, moments.randrange(CATALOGUE.assets - 20))
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            finish(start(tmp_path, sandbox_url, postgres_url, killed))
            assert differences(connection, undisturbed, killed) == []
            connection.execute(f"DROP SCHEMA {killed} CASCADE")
