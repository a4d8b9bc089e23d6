"""The server restarts in the middle of a sync, as in a failover: the sync goes on when it is back, all of its locks and
connections gone, and leaves what an undisturbed one would have left."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, Stall, running_sandbox
from vectorferry.destinations._embedded._programs import wheel_programs

from ..examples import family
from ..other_postgres import OwnPostgres
from ..tables import differences
from ..waiting import wait_until
from .killing import finish, kill, start

ASSETS = 300
UNDISTURBED = "t_undisturbed"
BUILDING = "SELECT count(*) FROM pg_stat_progress_create_index"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    catalogue = GeneratedCatalogue(assets=ASSETS, features_per_asset=3, dimension=8, collections=("ads",))
    with running_sandbox(SandboxSettings(generate=catalogue)) as running:
        yield running


@pytest.fixture
def server(passable_path: Path) -> Iterator[OwnPostgres]:
    with ExitStack() as undo:
        yield OwnPostgres(passable_path, wheel_programs(), undo)


class Restarted:
    """A server, and syncs into it."""

    def __init__(self, server: OwnPostgres, sandbox: Sandbox, directory: Path) -> None:
        self.server, self.sandbox, self._directory = server, sandbox, directory
        self._begun: list[subprocess.Popen[str]] = []

    def begin(self, schema: str, *arguments: str) -> subprocess.Popen[str]:
        """A sync in a process of its own."""
        directory = self._directory / str(len(self._begun))
        directory.mkdir()
        settings = {
            "name": "media",
            "source": {"type": "mixpeek", "base_url": self.sandbox.url, "api_key": self.sandbox.api_key},
            "destinations": [{"type": "pgvector", "url": self.server.url, "schema": schema}],
            "batch": {"rows": 30},
        }
        self._begun.append(start(directory, settings, *arguments))
        return self._begun[-1]

    def answer(self, query: str) -> int:
        """A number; 0 where there is no such table yet."""
        with suppress(psycopg.errors.UndefinedTable), psycopg.connect(self.server.url) as connection:
            (number,) = connection.execute(query.encode()).fetchone() or (0,)
            return int(number)
        return 0

    def healed(self, schema: str) -> dict[str, Any]:
        """The summary of another sync, after which everything is as an undisturbed one leaves it."""
        summary = finish(self.begin(schema))
        finish(self.begin(UNDISTURBED))
        with psycopg.connect(self.server.url) as connection:
            assert differences(connection, UNDISTURBED, schema) == []
        return summary

    def end(self) -> None:
        """Leave nothing behind, not even after a failure."""
        for process in self._begun:
            if process.poll() is None:
                kill(process)


@pytest.fixture
def restarted(server: OwnPostgres, sandbox: Sandbox, tmp_path: Path) -> Iterator[Restarted]:
    made = Restarted(server, sandbox, tmp_path)
    yield made
    made.end()


def assets(summary: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = summary["destinations"]["pgvector"]["assets"]
    return counts


@pytest.mark.long
@pytest.mark.parametrize("how", family([signal.SIGINT, signal.SIGQUIT]))
@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=["alone", "shared"])
def test_in_the_middle_of_a_first_load(restarted: Restarted, how: signal.Signals, arguments: tuple[str, ...]) -> None:
    restarted.sandbox.faults.add(Fault(route="assets.features", do=Stall(seconds=3_600), nth=150, times=None))
    process = restarted.begin("t_media", *arguments)
    wait_until(lambda: 0 < restarted.answer("SELECT count(*) FROM t_media._sync_ledger") < ASSETS)
    wait_until(lambda: sum(restarted.sandbox.faults.hits()) > 0)
    restarted.server.restart(how)
    restarted.sandbox.faults.clear()
    summary = finish(process)
    assert summary["collections"]["ads"]["error"] is None
    assert sum(assets(summary).values()) == ASSETS
    assert assets(restarted.healed("t_media"))["unchanged"] == ASSETS


@pytest.mark.long
def test_while_an_index_is_built(restarted: Restarted) -> None:
    process = restarted.begin("t_media")
    wait_until(lambda: restarted.answer("SELECT count(*) FROM t_media._sync_ledger") > 0)
    older = psycopg.connect(restarted.server.url)
    older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    older.execute("SELECT 1")  # for which the build has to wait
    wait_until(lambda: restarted.answer(BUILDING) > 0)
    restarted.server.restart()
    older.close()
    assert assets(finish(process))["inserted"] == ASSETS
    assert assets(restarted.healed("t_media"))["unchanged"] == ASSETS
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert restarted.answer(invalid) == 0
