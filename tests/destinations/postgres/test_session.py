"""A transaction has the settings that it relies on, whatever the defaults are, and leaves none behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from vectorferry.destinations._postgres import Database, answers, driver_of, parse_url
from vectorferry.destinations._postgres._session import overridden

from ...urls import as_user

DEFAULTS = {
    "default_transaction_isolation": "'repeatable read'",
    "default_transaction_read_only": "on",
    "statement_timeout": "'9s'",
    "lock_timeout": "'9s'",
    "idle_in_transaction_session_timeout": "'9s'",
    "idle_session_timeout": "'9s'",
    "synchronous_commit": "off",
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "DateStyle": "'SQL, MDY'",
    "TimeZone": "'Asia/Kathmandu'",
    "row_security": "off",
}
RELIED_ON = {
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "600000",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "synchronous_commit": "on",
    "search_path": "pg_catalog, pg_temp",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "row_security": "on",
}


@pytest.fixture
def url(postgres_url: str, schema: str) -> Iterator[str]:
    """Of a role with defaults of its own."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {schema} LOGIN")
        for name, value in DEFAULTS.items():
            admin.execute(f"ALTER ROLE {schema} SET {name} = {value}".encode())
        yield as_user(postgres_url, schema)
        admin.execute(f"DROP ROLE {schema}")


def settings(driver: psycopg.Connection[tuple[object, ...]], names: object) -> dict[str, str]:
    """As they are now."""
    rows = driver.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [[*names]])  # type: ignore[misc]
    return {str(name): str(value) for name, value in rows}


def test_the_first_statement_of_a_transaction_reads_times_as_they_are_written(url: str) -> None:
    """Before the server has told how it writes them."""
    times = datetime(2026, 11, 29, 4, 55, 1), datetime(2026, 11, 29, 4, 55, 1, tzinfo=UTC), date(2026, 11, 29)
    question = text("SELECT CAST(:a AS timestamp), CAST(:b AS timestamptz), CAST(:c AS date)")
    with closing(Database(parse_url(url))) as database:
        for is_whole in (False, True):
            with database.plain_transaction(is_whole=is_whole) as connection:
                assert answers(connection, question.bindparams(**dict(zip("abc", times, strict=True)))) == [[times]]


def test_every_kind_of_transaction_has_what_it_relies_on(url: str) -> None:
    with closing(Database(parse_url(url))) as database:
        for transaction in (database.plain_transaction, database.lone_transaction):
            for _ in range(2):  # the second time on a connection that has been used
                with transaction() as connection:
                    assert settings(driver_of(connection), RELIED_ON) == RELIED_ON
        with database.autocommit({"maintenance_work_mem": "65MB"}) as connection:
            assert settings(driver_of(connection), RELIED_ON) == RELIED_ON
            assert settings(driver_of(connection), ["maintenance_work_mem"]) == {"maintenance_work_mem": "66560"}


def test_nothing_is_left_to_the_next_user_of_a_connection(url: str) -> None:
    with closing(Database(parse_url(url))) as database:
        with database.autocommit({"maintenance_work_mem": "65MB"}):
            pass
        with database.plain_transaction() as connection:
            driver = driver_of(connection)
            driver.rollback()
            changed = driver.execute("SELECT name FROM pg_settings WHERE source = 'session'").fetchall()
    assert changed == [("idle_session_timeout",)]


def test_the_choices_of_an_address_stand(url: str) -> None:
    options = "-c statement_timeout=7s --lock-timeout=8s -csynchronous_commit=off -c TimeZone=Asia/Tokyo"
    given = (
        f"{url}&application_name=nightly&connect_timeout=7&options={options.replace(' ', '%20').replace('=', '%3D')}"
    )
    with closing(Database(parse_url(given))) as database, database.plain_transaction() as connection:
        held = settings(driver_of(connection), [*RELIED_ON, "application_name"])
    chosen = {"statement_timeout": "7000", "lock_timeout": "8000", "synchronous_commit": "off"}
    assert held == {**RELIED_ON, **chosen, "application_name": "nightly"}
    assert overridden(options) == ["timezone"]


def test_a_connection_that_ended_meanwhile_is_replaced(postgres_url: str) -> None:
    """As after `idle_session_timeout`, or a server that was restarted."""
    with closing(Database(parse_url(postgres_url))) as database, psycopg.connect(postgres_url) as admin:
        with database.plain_transaction() as connection:
            process = driver_of(connection).info.backend_pid
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        with database.plain_transaction() as connection:
            assert driver_of(connection).info.backend_pid != process


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_libpq_without_pipelines_sends_one_message_after_the_other(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: False)
    with closing(Database(parse_url(postgres_url))) as database:
        for _ in range(2):
            with database.plain_transaction(is_whole=is_whole) as connection:
                assert answers(connection, text("SELECT 1"), text("SELECT 2")) == [[(1,)], [(2,)]]


@pytest.mark.parametrize(
    "work",
    [
        lambda connection: answers(connection, text("SELECT 2")),
        lambda connection: connection.execute(text("SELECT 2")),
        lambda connection: driver_of(connection).execute("SELECT 2"),
    ],
    ids=["together", "statement", "driver"],
)
def test_what_a_server_says_as_it_ends_a_connection_is_told(
    postgres_url: str, work: Callable[[Connection], object], caplog: pytest.LogCaptureFixture
) -> None:
    """And not that the transaction cannot be rolled back, which is lost with its connection."""
    with closing(Database(parse_url(postgres_url))) as database, psycopg.connect(postgres_url) as admin:
        end = partial(admin.execute, "SELECT pg_terminate_backend(%s, 5000)")

        def ended(connection: Connection) -> None:
            end([driver_of(connection).info.backend_pid])
            work(connection)

        for begin in (database.plain_transaction, partial(database.autocommit, {})):
            with pytest.raises((psycopg.Error, DBAPIError), match="terminating connection"), begin() as connection:
                ended(connection)
        with database.lone_transaction() as connection:
            driver_of(connection).execute("SELECT 1")
            end([driver_of(connection).info.backend_pid])
        with database.plain_transaction() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    assert caplog.text == ""
