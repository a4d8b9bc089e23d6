"""A transaction has the settings that it relies on, whatever the defaults are, and leaves none behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from vectorferry.destinations._postgres import Database, driver_of, parse_url
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
