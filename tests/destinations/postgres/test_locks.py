"""A lock is one's own: of several who want it at once one gets it, and who waits is told whom for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Lock

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from vectorferry.connector.plugin import LockedError
from vectorferry.destinations._postgres import (
    Database,
    _locks,
    collection_lock,
    lock,
    locked_transaction,
    parse_url,
    run,
    try_lock,
)

from ...waiting import PATIENCE

CONTENDERS = 6
ROUNDS = 15


def test_of_several_at_once_exactly_one_gets_it(postgres_url: str, schema: str) -> None:
    start = Barrier(CONTENDERS, timeout=PATIENCE)

    def contend(_: int) -> list[bool]:
        with closing(Database(parse_url(postgres_url))) as database:
            results = []
            for number in range(ROUNDS):
                with database.plain_transaction() as connection:
                    start.wait()
                    results.append(try_lock(connection, schema, str(number)))
                    start.wait()  # it is kept until everybody has tried
            return results

    with ThreadPoolExecutor(CONTENDERS) as pool:
        tried = list(pool.map(contend, range(CONTENDERS)))
    assert [sum(column) for column in zip(*tried, strict=True)] == [1] * ROUNDS


def test_who_waits_is_never_inside_with_another(postgres_url: str, schema: str) -> None:
    inside = Lock()

    def take(_: int) -> None:
        with closing(Database(parse_url(postgres_url))) as database:
            for _round in range(3):
                with database.plain_transaction() as connection:
                    lock(connection, schema)
                    assert inside.acquire(blocking=False)
                    inside.release()

    with ThreadPoolExecutor(CONTENDERS) as pool:
        list(pool.map(take, range(CONTENDERS)))


def test_who_waits_sees_those_who_came_later(postgres_url: str, schema: str) -> None:
    """A new process, which takes the lock from the one that was waited for."""
    with closing(Database(parse_url(postgres_url))) as waiting, waiting.plain_transaction() as waiter:
        for _ in range(2):
            with closing(Database(parse_url(postgres_url))) as database, database.plain_transaction() as holder:
                assert try_lock(holder, schema)
                assert not try_lock(waiter, schema)
        assert try_lock(waiter, schema)


def test_every_wait_ends_and_names_who_was_waited_for(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_locks, "_PATIENCE", 0.2)
    with (
        closing(Database(parse_url(postgres_url))) as database,
        database.plain_transaction() as holder,
        database.plain_transaction() as connection,
    ):
        lock(holder, "ddl", schema)
        pid = holder.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(LockedError, match=f"role .+, process {pid} of the server"):
            lock(connection, "ddl", schema)


def test_who_came_later_is_named_too(postgres_url: str, schema: str) -> None:
    with (
        closing(Database(parse_url(postgres_url))) as database,
        psycopg.connect(postgres_url, autocommit=True) as admin,
        database.plain_transaction() as other,
        database.plain_transaction() as connection,
    ):
        admin.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.locked ()".encode())
        lock(other, schema)
        assert not try_lock(connection, schema)
        with psycopg.connect(postgres_url) as holder:
            holder.execute(f"LOCK TABLE {schema}.locked".encode())
            with pytest.raises(LockedError, match=f"process {holder.info.backend_pid} of the server"):
                run(connection, [f"DROP TABLE {schema}.locked"], patience=0)


def test_a_lock_gives_its_transaction_no_number(postgres_url: str, schema: str) -> None:
    """One would hold up vacuum in all of the database for as long as the lock lasts."""
    with closing(Database(parse_url(postgres_url))) as database, database.plain_transaction() as connection:
        lock(connection, schema)
        assert connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()").scalar_one() is None


def test_nothing_is_written_by_who_cannot_say_so(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody occupies every key under which a transaction could say that it shares the place."""
    monkeypatch.setattr(_locks, "_RANDOM_BITS", 2)
    place = ("pgvector", schema, "ads")
    occupied = "SELECT pg_try_advisory_lock(CAST(%s AS bigint) | (number << 2)) FROM generate_series(0, 3) AS number"
    with (
        closing(Database(parse_url(postgres_url))) as database,
        psycopg.connect(postgres_url, autocommit=True) as stranger,
        collection_lock(database, place, wait=0) as held,
    ):
        stranger.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.written ()".encode())
        for each in (place, place[:-1]):
            stranger.execute(occupied, [_locks._place_number(each) << _locks._LOW_BITS | _locks._State.SHARES])
            with (
                pytest.raises(DBAPIError, match="read-only transaction"),
                locked_transaction(database.plain_transaction, held, "here") as connection,
            ):
                connection.exec_driver_sql(f"INSERT INTO {schema}.written DEFAULT VALUES")
            stranger.execute("SELECT pg_advisory_unlock_all()")
        with locked_transaction(database.plain_transaction, held, "here") as connection:
            connection.exec_driver_sql(f"INSERT INTO {schema}.written DEFAULT VALUES")
