"""Whoever has lost the lock on a collection, with the connection that kept it, writes nothing there any more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from vectorferry.connector.plugin import (
    Capability,
    Cursor,
    Destination,
    LockedError,
    LockLostError,
    SchemaMapping,
    SharedRun,
)

from ..builders import asset, batch, dense, feature
from ..examples import family
from ..waiting import wait_until
from .conftest import NewPlace, Open

Connection = psycopg.Connection[Any]

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = ANY(%s::regclass[])"
TABLES = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE starts_with(schemaname, 't_')"


@pytest.fixture(params=family(["pgvector", "pinecone"]))
def opened(request: pytest.FixtureRequest, new_place: NewPlace) -> Open:
    """Opens the same place again and again, as several processes do."""
    return new_place(request.param)


@pytest.fixture
def destination(opened: Open) -> Destination:
    """What a sync writes into that loses its lock. It holds one asset."""
    return prepared(opened)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def prepared(opened: Open) -> Destination:
    made: Destination = opened()
    made.prepare(SchemaMapping())
    made.apply(batch(asset("a", feature("f"))))
    return made


def lose_locks(admin: Connection) -> None:
    """As a restart does, a pool, or whoever ends what has been idle for long."""
    ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name LIKE %s"
    assert admin.execute(ended, [f"vectorferry, process {os.getpid()} on %"]).fetchall() == [(True,)]


def writes(destination: Destination) -> Iterator[Callable[[], object]]:
    """Each way to change what is stored of a collection, or what the books say of it."""
    able = destination.capabilities
    yield lambda: destination.apply(batch(asset("a", feature("f"), fingerprint="2")))
    yield lambda: destination.apply(batch(asset("b", feature("f", vectors={"new": dense(1)}))))
    yield lambda: destination.remove("ads", ["a"])
    yield lambda: destination.record_cursor("ads", Cursor("1", "", frozenset()))
    yield lambda: destination.record_origin("ads", {"key": "another"})
    if Capability.TOMBSTONES in able:
        yield lambda: destination.tombstone("ads", ["a"])

    def share() -> None:
        with closing(destination.shard_book()) as book:
            book.begin(SharedRun("ads", "run", "lister", {}, 60), 60)

    yield share


@pytest.mark.parametrize("has_pipelines", family([True, False]))
def test_nothing_is_written_any_more(
    opened: Open, destination: Destination, admin: Connection, monkeypatch: pytest.MonkeyPatch, has_pipelines: bool
) -> None:
    """Nor by a libpq that has to send one message after the other."""
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: has_pipelines)
    with destination.lock("ads"):
        destination.apply(batch(asset("a", feature("f"), fingerprint="1")))
        lose_locks(admin)
        for write in writes(destination):
            with pytest.raises(LockLostError, match=r"^ads: the lock .* is gone: .* run again"):
                write()
        assert destination.known("ads", ["a", "b"]).keys() == {"a"}
        assert destination.known("ads", ["a"])["a"].fingerprint == "1"
        assert (destination.cursor("ads"), destination.origin("ads")) == (None, None)
        other = opened()
        other.prepare(SchemaMapping())
        with other.lock("ads"):
            assert other.vector_kinds() == destination.vector_kinds()
            other.apply(batch(asset("a", feature("f"), fingerprint="3")))
    with destination.lock("ads"):
        assert destination.known("ads", ["a"])["a"].fingerprint == "3"
        for write in writes(destination):
            write()


def test_whoever_has_it_next_waits_for_what_was_begun_under_it(
    opened: Open, destination: Destination, admin: Connection, postgres_url: str
) -> None:
    """Between the look at the lock and the commit nobody gets it."""
    other = opened()
    with destination.lock("ads"), ThreadPoolExecutor(1) as thread:
        with psycopg.connect(postgres_url) as blocker:
            tables = [name for (name,) in admin.execute(TABLES)]
            blocker.execute(sql.SQL("LOCK TABLE {}").format(sql.SQL(", ".join(tables))))
            applying = thread.submit(destination.apply, batch(asset("b", feature("f"))))
            wait_until(lambda: admin.execute(WAITING, [tables]).fetchone() != (0,))
            lose_locks(admin)
            with pytest.raises(LockedError, match="another sync is writing ads"), other.lock("ads"):
                pass
        written = {"b"}
        try:
            applying.result()
        except LockLostError:  # where a batch is more than one transaction, and none but the first has begun
            written = set()
        with other.lock("ads"):
            other.prepare(SchemaMapping())
            assert other.known("ads", ["b"]).keys() == written
