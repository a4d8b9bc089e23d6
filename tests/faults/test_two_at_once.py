"""Two syncs of one collection: one waits for the other. A dead one holds nothing up, and other collections go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import LockedError
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, Stall, running_sandbox
from vectorferry.destinations import PgvectorDestination

from ..waiting import PATIENCE, wait_until
from .killing import finish, kill, start

Connection = psycopg.Connection[Any]

READ = 9
"""Four whole batches of two assets, and one that waits for another."""

LOSE_LOCK = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name LIKE %s"

CATALOGUE = GeneratedCatalogue(assets=48, features_per_asset=4, dimension=16, collections=("ads", "films"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as running:
        yield running


class Place:
    """One schema, and the syncs that want to write it."""

    def __init__(self, directory: Path, sandbox: Sandbox, database: str, schema: str) -> None:
        self._directory, self._sandbox, self._database, self.schema = directory, sandbox, database, schema
        self._begun: list[subprocess.Popen[str]] = []

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A sync of many small batches, in a process of its own."""
        directory = self._directory / str(len(self._begun))
        directory.mkdir()
        settings = {
            "name": "media",
            "source": {"type": "mixpeek", "base_url": self._sandbox.url, "api_key": self._sandbox.api_key},
            "destinations": [{"type": "pgvector", "url": self._database, "schema": self.schema}],
            "batch": {"rows": 8},
        }
        self._begun.append(start(directory, settings, *arguments))
        return self._begun[-1]

    def held_up(self, *arguments: str) -> subprocess.Popen[str]:
        """A sync that was stopped in the middle of the first of its collections, between two batches: what it holds is
        its lock alone."""
        self._sandbox.faults.add(Fault(route="assets.features", do=Stall(seconds=3_600), nth=READ + 1))
        process = self.begin(*arguments)
        ledger = f"{self.schema}._sync_ledger"
        with psycopg.connect(self._database, autocommit=True) as connection:
            wait_until(lambda: assets_in(connection, ledger) == READ - 1)
        process.send_signal(signal.SIGSTOP)
        self._sandbox.faults.clear()
        return process

    def end(self) -> None:
        """Leave nothing behind, not even after a failure."""
        for process in self._begun:
            if process.poll() is None:
                kill(process)
            process.communicate()

    def open(self) -> PgvectorDestination:
        return PgvectorDestination(self.schema, self._database)


@pytest.fixture
def place(tmp_path: Path, sandbox: Sandbox, postgres_url: str, schema: str) -> Iterator[Place]:
    made = Place(tmp_path, sandbox, postgres_url, schema)
    yield made
    made.end()


def assets_in(connection: Connection, ledger: str) -> int:
    if connection.execute("SELECT to_regclass(%s)", [ledger]).fetchone() == (None,):
        return 0
    (held,) = connection.execute(f"SELECT count(*) FROM {ledger}").fetchone() or (0,)
    return int(held)


def inserted(summary: dict[str, Any]) -> int:
    counts: dict[str, int] = summary["destinations"]["pgvector"]["assets"]
    return counts["inserted"] + counts["updated"]


def has_begun_to_wait(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.long
def test_the_second_waits_and_has_nothing_left_to_write(place: Place) -> None:
    first = place.held_up("--collection", "ads")
    second = place.begin("--collection", "ads")
    told = has_begun_to_wait(second)
    assert "pgvector: waiting up to 60 s" in told
    assert f"process {first.pid} on " in told
    first.send_signal(signal.SIGCONT)
    assert inserted(finish(first)) == 24
    summary = finish(second)
    assert (inserted(summary), summary["collections"]["ads"]["unchanged"]) == (0, 24)


def test_a_killed_one_holds_nobody_up(place: Place) -> None:
    first = place.held_up("--collection", "ads")
    second = place.begin("--collection", "ads")
    has_begun_to_wait(second)
    kill(first)
    summary = finish(second)
    assert summary["collections"]["ads"]["listed"] == 24
    assert inserted(summary) + summary["collections"]["ads"]["unchanged"] == 24


@pytest.mark.long
def test_who_does_not_wait_syncs_the_other_collections(place: Place) -> None:
    first = place.held_up("--collection", "ads")
    summary = finish(place.begin("--lock-wait", "0"), exit_code=1)
    told = summary["collections"]["ads"]["error"]
    assert f"process {first.pid} on " in told
    assert "--lock-wait" in told
    assert summary["collections"]["ads"]["listed"] == 0
    assert summary["collections"]["films"]["error"] is None
    assert inserted(summary) == 24
    first.send_signal(signal.SIGCONT)
    assert inserted(finish(first)) == 24


@pytest.mark.long
def test_two_in_opposite_order_never_wait_for_each_other(place: Place) -> None:
    one = place.begin("--collection", "ads", "--collection", "films")
    other = place.begin("--collection", "films", "--collection", "ads")
    summaries = [finish(one), finish(other)]
    assert sum(map(inserted, summaries)) == 48
    assert [summary["exit_code"] for summary in summaries] == [0, 0]


def test_one_that_has_lost_its_lock_writes_nothing_while_another_has_it(place: Place, postgres_url: str) -> None:
    first = place.held_up("--collection", "ads")
    with psycopg.connect(postgres_url, autocommit=True) as connection, closing(place.open()) as other:
        connection.execute(LOSE_LOCK, [f"vectorferry, process {first.pid} on %"])
        with other.lock("ads"):
            first.send_signal(signal.SIGCONT)
            assert first.stderr is not None
            told = next((line for line in first.stderr if "waiting up to" in line), "")
            assert assets_in(connection, f"{place.schema}._sync_ledger") == READ - 1
            assert f"process {os.getpid()} on " in told
    summary = finish(first)
    assert (inserted(summary), summary["collections"]["ads"]["error"]) == (24, None)
    scan = summary["collections"]["ads"]
    assert (scan["listed"], scan["pulled"] + scan["unchanged"]) == (24, 24)


def test_the_server_lets_go_of_one_whose_connection_is_gone(place: Place, postgres_url: str) -> None:
    holder, other = place.open(), place.open()
    with psycopg.connect(postgres_url, autocommit=True) as connection, holder.lock("ads"):
        with pytest.raises(LockedError) as told, other.lock("ads"):
            pass
        number = str(told.value).rpartition("process ")[2].partition(" ")[0]
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [int(number)])
        with other.lock("ads", PATIENCE):
            pass
    holder.close()
    other.close()
