"""Stopping means seconds, whatever a command is waiting for: nobody has to let it go on before it can end.

What holds a command up in these tests is still there when its process is gone.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from vectorferry.connector.sandbox import (
    Fault,
    GeneratedCatalogue,
    Sandbox,
    SandboxSettings,
    Stall,
    Status,
    running_sandbox,
)
from vectorferry.destinations import PgvectorDestination

from ..forking import Forked
from ..waiting import PATIENCE, wait_until

Connection = psycopg.Connection[Any]
Process = subprocess.Popen[str]

EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))
CATALOGUE = GeneratedCatalogue(assets=8, features_per_asset=3, dimension=8, collections=("ads", "films"))
TOLD = "vectorferry: interrupted; what was committed stays, run again to go on"

VECTORS = "video__multimodal_v1"

OURS = "application_name LIKE 'vectorferry%%' AND query LIKE '%%' || %s || '%%' AND pid <> pg_backend_pid()"
WAITING = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"
BUSY = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND state <> 'idle'"


class Place:
    """One schema of a real Postgres, a sandbox to fill it from, and commands in processes of their own."""

    def __init__(self, directory: Path, sandbox: Sandbox, url: str, schema: str) -> None:
        self.sandbox, self.url, self.schema, self.directory = sandbox, url, schema, directory
        self.source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key}
        self.destinations: list[dict[str, Any]] = [{"type": "pgvector", "url": url, "schema": schema}]
        self.processes = ExitStack()

    def begin(self, *arguments: str) -> Process:
        """A command, with the settings as they are now."""
        settings = {"name": "media", "source": self.source, "destinations": self.destinations}
        config = self.directory / "vectorferry.yaml"
        config.write_text(yaml.safe_dump(settings))
        command, *options = arguments
        words = [EXECUTABLE, *command.split(), "-c", str(config), *options]
        process = Forked(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.callback(end, process)
        return process

    def sync(self, *arguments: str) -> dict[str, Any]:
        """A sync that nobody disturbs; its summary."""
        process = self.begin("sync", "--json", *arguments)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        summary: dict[str, Any] = json.loads(out)
        return summary


def end(process: Process) -> None:
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, sandbox: Sandbox, postgres_url: str, schema: str) -> Iterator[Place]:
    made = Place(tmp_path, sandbox, postgres_url, schema)
    with made.processes:
        yield made
    sandbox.faults.clear()


@pytest.fixture
def blocker(postgres_url: str, schema: str) -> Iterator[Connection]:
    """Somebody else's transaction."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f'SET search_path = "{schema}"')
        connection.commit()
        yield connection
        connection.rollback()


@pytest.fixture
def watcher(postgres_url: str) -> Iterator[Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def count(connection: Connection, query: str, *values: str) -> int:
    (found,) = connection.execute(query, values).fetchone() or (0,)
    return int(found)


def wait_for(process: Process, state: Callable[[], Any]) -> None:
    """Wait for a state of a process that is still running."""

    def reached() -> bool:
        assert process.poll() is None, process.communicate()
        return bool(state())

    wait_until(reached)


def assert_stops(process: Process, number: signal.Signals) -> str:
    """One signal, and it says so and is gone. What it had on stdout."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1:] == [TOLD], err
    assert "Traceback" not in err
    return out


LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("number", "mode", "statement"),
    [
        (signal.SIGINT, "SHARE", "COPY"),
        pytest.param(signal.SIGTERM, "ACCESS EXCLUSIVE", "SELECT", marks=LONG),
    ],
)
def test_a_sync_that_waits_for_a_table_that_somebody_else_has_locked(
    place: Place, blocker: Connection, watcher: Connection, number: signal.Signals, mode: str, statement: str
) -> None:
    place.sync("--collection", "ads")
    blocker.execute(f"LOCK TABLE {VECTORS} IN {mode} MODE")
    process = place.begin("sync", "--json")
    wait_for(process, lambda: count(watcher, WAITING, statement))
    out = assert_stops(process, number)
    assert json.loads(out) == {"error": TOLD.removeprefix("vectorferry: "), "exit_code": 128 + number}
    assert not count(watcher, BUSY, place.schema), "the statement would go on when the lock is free"
    assert blocker.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    blocker.rollback()
    assert place.sync()["collections"]["ads"]["unchanged"] == 4


@pytest.mark.long
def test_an_index_build_that_waits_for_somebody_else_s_transaction(
    place: Place, blocker: Connection, watcher: Connection
) -> None:
    place.sync()
    indexes = f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{place.schema}' AND indexdef LIKE '%%hnsw%%'"
    (name,) = watcher.execute(indexes.replace("count(*)", "indexname")).fetchone() or ("",)
    watcher.execute(f'DROP INDEX "{place.schema}"."{name}"')
    blocker.execute(f"LOCK TABLE {VECTORS} IN ROW EXCLUSIVE MODE")
    process = place.begin("sync")
    wait_for(process, lambda: count(watcher, WAITING, "CREATE INDEX CONCURRENTLY"))
    assert_stops(process, signal.SIGTERM)
    assert not count(watcher, BUSY, "CREATE INDEX")
    blocker.rollback()
    assert len(place.sync()["destinations"]["pgvector"]["indexes"]) == 1


@LONG
def test_a_sync_that_waits_for_another_one(place: Place, watcher: Connection) -> None:
    place.sync()
    other = PgvectorDestination(place.schema, place.url)
    with closing(other), other.lock("ads"):
        process = place.begin("sync")
        assert process.stderr is not None
        while "waiting up to 60 s" not in process.stderr.readline():
            pass
        assert_stops(process, signal.SIGINT)
    wait_until(lambda: not count(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}", place.schema))


@pytest.mark.parametrize(
    "command",
    [
        "plan",
        *(
            pytest.param(command, marks=LONG)
            for command in (
                "status",
                "search --like none",
                "verify",
                "quarantine list",
                "quarantine replay",
                "vectors list",
            )
        ),
    ],
)
@pytest.mark.long
def test_a_command_that_waits_for_a_table(place: Place, blocker: Connection, watcher: Connection, command: str) -> None:
    place.sync()
    tables = "SELECT string_agg(format('%%I.%%I', schemaname, tablename), ', ') FROM pg_tables WHERE schemaname = %s"
    (names,) = watcher.execute(tables, [place.schema]).fetchone() or ("",)
    blocker.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
    process = place.begin(command)
    wait_for(process, lambda: count(watcher, WAITING, place.schema))
    assert_stops(process, signal.SIGTERM)
    assert not count(watcher, BUSY, place.schema)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes no connection and refuses none: whoever connects waits."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0.5)
            try:
                caller.connect(listening.getsockname())
            except TimeoutError:
                break
        yield listening.getsockname()[1]


def is_connecting(process: Process, port: int) -> bool:
    connections = psutil.Process(process.pid).net_connections()
    return any(each.status == psutil.CONN_SYN_SENT and each.raddr.port == port for each in connections)


@pytest.mark.parametrize(
    ("command", "number"), [("sync", signal.SIGINT), pytest.param("status", signal.SIGTERM, marks=LONG)]
)
def test_a_server_that_is_not_there(place: Place, command: str, number: signal.Signals) -> None:
    with black_hole() as port:
        place.destinations = [{"type": "pgvector", "url": f"postgresql://postgres@127.0.0.1:{port}/postgres"}]
        process = place.begin(command)
        wait_for(process, lambda: is_connecting(process, port))
        assert_stops(process, number)


@LONG
def test_a_service_that_is_not_there(place: Place) -> None:
    with black_hole() as port:
        place.source["base_url"] = f"http://127.0.0.1:{port}"
        process = place.begin("sync")
        wait_for(process, lambda: is_connecting(process, port))
        assert_stops(process, signal.SIGINT)


@LONG
def test_a_service_that_asks_for_patience(place: Place) -> None:
    place.sandbox.faults.add(Fault(route="assets.features", do=Status(status=429, headers={"Retry-After": "100"})))
    process = place.begin("sync")
    wait_for(process, lambda: place.sandbox.faults.hits() > [0])
    assert_stops(process, signal.SIGTERM)


@LONG
def test_a_pinecone_that_takes_its_time(place: Place) -> None:
    manifest = {"url": place.url, "schema": place.schema}
    account = {"api_key": place.sandbox.api_key, "host": place.sandbox.url}
    place.destinations = [{"type": "pinecone", **account, "vectors": "all", "manifest": manifest}]
    place.sandbox.faults.add(Fault(route="pinecone.upsert", do=Stall(seconds=3_600)))
    process = place.begin("sync")
    wait_for(process, lambda: place.sandbox.faults.hits() > [0])
    assert_stops(process, signal.SIGTERM)
    place.sandbox.faults.clear()
    assert place.sync()["destinations"]["pinecone"]["assets"]["inserted"] == CATALOGUE.assets


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """A process that does nothing until the block ends."""
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def program(directory: Path, words: str) -> psutil.Process | None:
    """The process of this directory's Postgres whose command line has these words."""
    with suppress(psutil.Error, OSError, ValueError, IndexError):  # its file is there before anything stands in it
        postmaster = psutil.Process(int((directory / "data" / "postmaster.pid").read_text().split()[0]))
        return next((each for each in postmaster.children() if words in " ".join(each.cmdline())), None)
    return None


def child(process: Process, name: str) -> psutil.Process | None:
    with suppress(psutil.Error):
        return next((each for each in psutil.Process(process.pid).children() if each.name() == name), None)
    return None


@pytest.mark.long
def test_an_embedded_postgres_that_is_being_made(place: Place, passable_path: Path) -> None:
    place.destinations = [{"type": "pgvector", "directory": str(passable_path / "postgres")}]
    process = place.begin("sync")
    wait_for(process, lambda: child(process, "initdb"))
    making = child(process, "initdb")
    assert making
    with frozen(making):
        assert_stops(process, signal.SIGTERM)
    assert not making.is_running()
    place.sync()


@LONG
def test_an_embedded_postgres_that_does_not_end(place: Place, passable_path: Path) -> None:
    directory = passable_path / "postgres"
    place.destinations = [{"type": "pgvector", "directory": str(directory)}]
    process = place.begin("sync")
    wait_for(process, lambda: program(directory, "checkpointer"))
    checkpointer = program(directory, "checkpointer")
    assert checkpointer
    with frozen(checkpointer):
        wait_for(process, lambda: "received fast shutdown request" in (directory / "log").read_text())
        assert_stops(process, signal.SIGINT)
    wait_until(lambda: not checkpointer.is_running())
    place.sync()
