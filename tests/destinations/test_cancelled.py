"""A destination's call that is cancelled ends while what it waits for is still there; the next one finds all well."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import psycopg
import pytest

from tests.examples import family
from vectorferry.connector.plugin import CallCancelledError, CancellableCall, LockedError, SchemaMapping
from vectorferry.connector.sandbox import Fault, SandboxSettings, Stall, Status, running_sandbox
from vectorferry.destinations import EmbeddedPostgres, PgvectorDestination
from vectorferry.destinations._embedded._server import FileLock

from ..builders import asset, batch, dense, feature
from ..pinecone import pinecone_destination
from ..waiting import wait_until

BATCH = batch(*(asset(f"a{number}", feature("f1", {"model-v1": dense(number)})) for number in range(40)))


def cancelled_when(state: Callable[[], Any], work: Callable[[], Any]) -> None:
    """Begin a call on a thread, cancel it in this state, and see it end."""
    call = CancellableCall(work)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call)
        try:
            wait_until(lambda: running.done() or state())
            assert not running.done(), running.exception()
        finally:
            call.cancel()
        with pytest.raises(CallCancelledError):
            running.result(60)


@pytest.mark.parametrize(
    ("route", "trouble"),
    family(
        [
            ("pinecone.upsert", Stall(seconds=3_600)),
            ("pinecone.upsert", Status(status=429, retry_after=5)),
            ("pinecone.upsert", Status(status=503)),
            ("pinecone.indexes.*", Stall(seconds=3_600)),
        ]
    ),
)
def test_a_write_to_a_pinecone_that_takes_its_time(postgres_url: str, schema: str, route: str, trouble: Any) -> None:
    with (
        running_sandbox(SandboxSettings()) as sandbox,
        closing(pinecone_destination(sandbox, postgres_url, schema)) as destination,
    ):
        destination.prepare(SchemaMapping())
        sandbox.faults.add(Fault(route=route, do=trouble))
        cancelled_when(lambda: sandbox.faults.hits() > [0], partial(destination.apply, BATCH))
        sandbox.faults.clear()
        assert destination.apply(BATCH).assets.inserted == 40


@pytest.mark.long
def test_an_embedded_postgres_that_is_being_made(passable_path: Path) -> None:
    def initdb() -> psutil.Process | None:
        with suppress(psutil.Error):
            return next((each for each in psutil.Process().children() if each.name() == "initdb"), None)
        return None

    stopped: list[psutil.Process] = []

    def is_stopped() -> bool:
        if process := initdb():
            process.suspend()
            stopped.append(process)
        return bool(stopped)

    cancelled_when(is_stopped, partial(EmbeddedPostgres, passable_path / "postgres"))
    assert not stopped[0].is_running()
    EmbeddedPostgres(passable_path / "postgres").close()


def test_a_write_to_a_table_that_is_locked(postgres_url: str, schema: str) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'"
    with (
        closing(PgvectorDestination(schema, postgres_url)) as destination,
        psycopg.connect(postgres_url) as blocker,
        psycopg.connect(postgres_url, autocommit=True) as watcher,
    ):
        destination.prepare(SchemaMapping())
        blocker.execute(f"LOCK TABLE {schema}.video IN SHARE MODE")
        cancelled_when(lambda: watcher.execute(waiting).fetchone(), partial(destination.apply, BATCH))
        assert watcher.execute(waiting).fetchone() is None
        blocker.rollback()
        assert destination.apply(BATCH).assets.inserted == 40


def test_waiting_for_another_sync(postgres_url: str, schema: str) -> None:
    with (
        closing(PgvectorDestination(schema, postgres_url)) as one,
        closing(PgvectorDestination(schema, postgres_url)) as other,
        psycopg.connect(postgres_url, autocommit=True) as watcher,
    ):
        asking = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ROLLBACK TO SAVEPOINT%%' AND pid <> ALL(%s)"
        before = [pid for (pid,) in watcher.execute("SELECT pid FROM pg_stat_activity")]

        def wait_for_it() -> None:
            with other.lock("ads", 3_600):
                pass

        with one.lock("ads"):
            mine = [pid for (pid,) in watcher.execute("SELECT pid FROM pg_stat_activity")]
            cancelled_when(lambda: watcher.execute(asking, [[*before, *mine]]).fetchone(), wait_for_it)
            with pytest.raises(LockedError), other.lock("ads"):
                pass
        with other.lock("ads"):
            pass


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a resolver that does not answer, which cannot be had here."""
    asked, answers = Event(), Event()

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        asked.set()
        answers.wait()
        raise OSError("nobody of that name")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    with closing(PgvectorDestination("media", "postgresql://postgres@database.invalid/postgres")) as destination:
        cancelled_when(asked.is_set, partial(destination.prepare, SchemaMapping()))
    answers.set()


@pytest.mark.long
def test_a_server_that_another_process_is_stopping(passable_path: Path) -> None:
    directory = passable_path / "postgres"
    EmbeddedPostgres(directory).close()
    alone = FileLock(directory / "users.lock")
    assert alone.try_alone()
    begun = Event()

    def start() -> None:
        begun.set()
        EmbeddedPostgres(directory)

    cancelled_when(begun.is_set, start)
    alone.release()
    EmbeddedPostgres(directory).close()
