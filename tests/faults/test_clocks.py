"""Clocks that go backwards, on the machine of the sync and on Postgres': no time of day decides what is written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry import parse_settings, run_sync
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, Status, running_sandbox

from ..tables import differences, tables_of
from ..waiting import PATIENCE
from .killing import finish, start
from .media import ASSETS
from .mixpeek_media import COLLECTION, MIXPEEK, serve

Connection = psycopg.Connection[Any]

BEFORE = dict.fromkeys(range(ASSETS), 0)
AFTER = {number: number % 3 for number in range(2, ASSETS + 2)}

BACKWARDS = """
import atexit, datetime, time

real, asked = time.time, 0


def backwards():
    global asked
    asked += 1
    return real() - 3600 * asked


class Backwards(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(backwards(), tz)


time.time = backwards
time.time_ns = lambda: int(backwards() * 1e9)
datetime.datetime = Backwards
atexit.register(lambda: open({told!r}, "w").write(str(asked)))
"""
"""Each look at the time of day shows an hour earlier than the one before. Python runs it before anything else."""

TIMES = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s "
    "AND column_name IN ('synced_at', 'seen_at', 'recorded_at', 'deleted_at')"
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    nothing = GeneratedCatalogue(assets=0, collections=(COLLECTION,))
    with running_sandbox(SandboxSettings(generate=nothing)) as running:
        yield running


def settings(sandbox: Sandbox, database: str, schema: str, mode: str = "prune") -> dict[str, Any]:
    """A sync of several batches, at a rate that makes it wait now and then."""
    source = {"requests_per_minute": 6_000, "concurrency": 4, "page_size": 5}
    return {
        "name": "media",
        "source": {**MIXPEEK.source(sandbox.url, sandbox.api_key), **source},
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "batch": {"rows": 15, "seconds": 1},
        "deletes": {"mode": mode, "max_share": 1.0},
    }


def sync(settings: dict[str, Any]) -> None:
    """To its end, in this process."""
    assert run_sync(parse_settings(settings, "test")).exit_code == 0


def under_a_clock_that_goes_backwards(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the processes that are started from now on have one; the file that tells how often it was asked."""
    told = directory / "asked"
    (directory / "sitecustomize.py").write_text(BACKWARDS.replace("{told!r}", repr(str(told))))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]))
    return told


@pytest.mark.long
def test_a_clock_that_goes_backwards_changes_nothing(
    tmp_path: Path,
    sandbox: Sandbox,
    connection: Connection,
    postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = f"{schema}_undisturbed"
    serve(sandbox, AFTER)
    sync(settings(sandbox, postgres_url, undisturbed))
    serve(sandbox, BEFORE)
    told = under_a_clock_that_goes_backwards(tmp_path, monkeypatch)
    finish(start(tmp_path, settings(sandbox, postgres_url, schema), how=subprocess.Popen))
    serve(sandbox, AFTER)
    sandbox.faults.add(
        Fault(route="features.get", nth=2, times=1, do=Status(status=429, retry_after=1)),
        Fault(route="assets.list", nth=1, times=1, do=Status(status=503)),
    )
    summary = finish(start(tmp_path, settings(sandbox, postgres_url, schema), how=subprocess.Popen))
    assert sandbox.faults.hits() == [1, 1]
    assert differences(connection, undisturbed, schema) == []
    assert int(told.read_text()) > 10
    assert 0 <= summary["seconds"] < PATIENCE


@pytest.mark.long
@pytest.mark.parametrize("when", ["now() + interval '10 years'", "now() - interval '10 years'"])
def test_what_postgres_took_for_the_time_decides_nothing(
    sandbox: Sandbox, connection: Connection, postgres_url: str, schema: str, when: str
) -> None:
    undisturbed = f"{schema}_undisturbed"
    for name in (undisturbed, schema):
        serve(sandbox, BEFORE)
        sync(settings(sandbox, postgres_url, name, "tombstone"))
        if name == schema:
            for table, column in connection.execute(TIMES, [schema]).fetchall():
                where = "WHERE deleted_at IS NOT NULL" if column == "deleted_at" else ""
                connection.execute(f"UPDATE {schema}.{table} SET {column} = {when} {where}")
        serve(sandbox, AFTER)
        sync(settings(sandbox, postgres_url, name, "tombstone"))
    assert "_sync_ledger" in tables_of(connection, schema)
    assert differences(connection, undisturbed, schema, ["deleted_at", "recorded_at"]) == []
