"""Processes that sync at the same time with one key: what they share of a service, and what becomes of a share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest
import yaml
from psycopg import sql

from vectorferry import SyncSettings, parse_settings, run_sync
from vectorferry.connector._engine import list_shards, run_join, run_plan, run_verify
from vectorferry.connector.plugin import Account, RetryableError, SchemaMapping
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox
from vectorferry.destinations import PgvectorDestination

from ..examples import family
from ..forking import Forked
from ..waiting import wait_until
from .killing import finish, kill

Connection = psycopg.Connection[Any]

RATE: Final = 50
"""Requests a second."""

CATALOGUE: Final = GeneratedCatalogue(assets=24, features_per_asset=1, dimension=8, collections=("ads", "films"))
ACCOUNT: Final = Account("https://api.example.com", "a1b2")

SYNC: Final = """
from vectorferry.connector.http import _allowance
_allowance.PATIENCE = 300  # on a machine that is busy, a process would else go on by itself
from vectorferry.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as running:
        yield running


@pytest.fixture
def settings(sandbox: Sandbox, postgres_url: str, schema: str) -> dict[str, Any]:
    source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key, "requests_per_minute": 60 * RATE}
    return {
        "name": "media",
        "source": source,
        "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
    }


@pytest.fixture
def begin(tmp_path: Path, settings: dict[str, Any]) -> Callable[[str], subprocess.Popen[str]]:
    (config := tmp_path / "vectorferry.yaml").write_text(yaml.safe_dump(settings))

    def begun(collection: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SYNC, "sync", "-c", str(config), "--json", "--collection", collection]
        return Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return begun


def seconds(connection: Connection, schema: str, expression: str) -> float:
    statement = sql.SQL("SELECT extract(epoch FROM {}) FROM {}").format(
        sql.SQL(expression),
        sql.Identifier(schema, "_sync_limits"),
    )
    row = connection.execute(statement).fetchone()
    return float(row[0]) if row else 0.0


def work_on_shards(settings: SyncSettings) -> None:
    """One worker's part, who has joined: all of them."""
    assert run_join(settings).assets == CATALOGUE.assets


def test_processes_send_no_more_together_than_one_may(
    begin: Callable[[str], subprocess.Popen[str]], connection: Connection, schema: str
) -> None:
    """Counted, and not timed: every request of both has moved the one row on."""
    (began,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone() or (0,)
    summaries = [finish(process) for process in [begin("ads"), begin("films")]]
    sent = sum(each["source"]["requests"] for each in summaries)
    assert sent >= CATALOGUE.assets * 2
    assert seconds(connection, schema, "next_at") - float(began) >= sent / RATE


@pytest.mark.long
def test_what_a_killed_process_has_borrowed_is_there_again_within_a_second(
    begin: Callable[[str], subprocess.Popen[str]], connection: Connection, schema: str, sandbox: Sandbox
) -> None:
    sandbox.requests.reset()
    process = begin("ads")
    wait_until(lambda: sandbox.requests.total > CATALOGUE.assets / 2)
    kill(process)
    assert seconds(connection, schema, "next_at - clock_timestamp()") <= 1
    process.communicate()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE {}",
        "ALTER TABLE {} DROP COLUMN reason",
        "ALTER TABLE {} RENAME TO others",
        "DROP SCHEMA {s} CASCADE",
    ],
)
async def test_a_lender_that_cannot_be_asked_says_so(
    postgres_url: str, connection: Connection, schema: str, statement: str
) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    allowance = destination.allowance()
    connection.execute(statement.format(f"{schema}._sync_limits", s=schema).encode())
    with pytest.raises(RetryableError, match="does not exist"):
        await allowance.borrow(ACCOUNT, "", 1, 1.0)
    with pytest.raises(RetryableError, match="does not exist"):
        await allowance.holds(ACCOUNT)
    destination.close()


@pytest.mark.long
def test_a_sync_goes_on_by_itself_where_nothing_can_be_borrowed(
    settings: dict[str, Any], connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent = PgvectorDestination.allowance

    def gone(destination: PgvectorDestination) -> Any:
        connection.execute(f"DROP TABLE {schema}._sync_limits".encode())
        return lent(destination)

    monkeypatch.setattr(PgvectorDestination, "allowance", gone)
    summary = run_sync(parse_settings(settings, "test"))
    assert summary.exit_code == 0
    (note,) = summary.destinations["pgvector"].notes
    assert f"the table {schema}._sync_limits could not be used" in note


async def test_a_reader_may_not_borrow_and_a_default_does_not_forbid_it(
    postgres_url: str, connection: Connection, schema: str
) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    destination.close()
    connection.execute(f"CREATE ROLE {schema}_reader; GRANT USAGE ON SCHEMA {schema} TO {schema}_reader".encode())
    try:
        mark = "&" if "?" in postgres_url else "?"
        reader = PgvectorDestination(schema, f"{postgres_url}{mark}options=-c%20role%3D{schema}_reader")
        with pytest.raises(RetryableError, match="permission denied for table _sync_limits"):
            await reader.allowance().borrow(ACCOUNT, "", 1, 1.0)
        writer = PgvectorDestination(schema, f"{postgres_url}{mark}options=-c%20default_transaction_read_only%3Don")
        assert (await writer.allowance().borrow(ACCOUNT, "", 1, 1.0)).wait == 0
    finally:
        connection.execute(f"DROP OWNED BY {schema}_reader; DROP ROLE {schema}_reader".encode())


async def test_a_clock_that_was_set_back_keeps_nobody_waiting(
    postgres_url: str, connection: Connection, schema: str
) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    allowance = destination.allowance()
    ahead = f"UPDATE {schema}._sync_limits SET next_at = next_at + {{0}}, told_at = told_at + {{0}}"
    for hold in (False, True):
        await allowance.borrow(ACCOUNT, "", 1, 60.0)
        connection.execute(ahead.format("interval '1 hour'").encode())
        if hold:  # which is written by the new clock, and must not make the old one's loan count again
            await allowance.hold(ACCOUNT, "", 0.001)
        assert (await allowance.borrow(ACCOUNT, "", 1, 60.0)).wait == 0
        assert 0 < (await allowance.borrow(ACCOUNT, "", 1, 60.0)).wait <= 60
    destination.close()


async def test_a_slow_limit_is_kept_however_many_wait(postgres_url: str, schema: str) -> None:
    """Four processes with eight requests each at one a minute, and the next ones: each gets a minute of its own."""
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    allowance, loans = destination.allowance(), []
    for together in (8, 8, 8, 8, 1):
        loans += await asyncio.gather(*(allowance.borrow(ACCOUNT, "", 1, 60.0) for _ in range(together)))
    assert sorted(round(loan.wait / 60) for loan in loans) == [*range(33)]
    destination.close()


async def test_only_the_servers_clock_counts(
    postgres_url: str, connection: Connection, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    allowance = destination.allowance()
    monkeypatch.setattr("time.time", lambda: 0.0)  # it is 1970 here
    await allowance.hold(ACCOUNT, "", 500)
    assert (await allowance.borrow(ACCOUNT, "", 5, 100.0)).wait == 0
    loan = await allowance.borrow(ACCOUNT, "", 1, 100.0)
    assert 400 < loan.wait <= 500
    assert 400 < loan.holds[""].seconds <= 500
    # Another server has taken over, whose clock is years behind: nobody waits until it is there.
    years = "next_at = next_at + interval '9 years', resume_at = resume_at + interval '9 years'"
    connection.execute(f"UPDATE {schema}._sync_limits SET {years}, told_at = told_at + interval '9 years'".encode())
    loan = await allowance.borrow(ACCOUNT, "", 1, 100.0)
    assert (loan.wait, loan.holds) == (0, {})
    await allowance.hold(ACCOUNT, "", 500)
    assert 400 < (await allowance.holds(ACCOUNT))[""].seconds <= 500
    destination.close()


@pytest.mark.parametrize("command", family([work_on_shards, run_plan, run_verify]))
@pytest.mark.long
def test_whatever_lists_or_reads_borrows(
    command: Callable[[SyncSettings], object],
    settings: dict[str, Any],
    connection: Connection,
    schema: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted as above. Red where `join`, `plan` or `verify` does not share what the source may be asked."""
    monkeypatch.setattr("vectorferry.connector.http._allowance.PATIENCE", 300)
    parsed = parse_settings(settings, "test")
    list_shards(parsed) if command is work_on_shards else run_sync(parsed)
    moved_back = f"UPDATE {schema}._sync_limits SET next_at = clock_timestamp() - interval '1 day'"
    connection.execute(moved_back.encode())
    sandbox.requests.reset()
    (began,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone() or (0,)
    command(parsed)
    assert sandbox.requests.total > 0
    assert seconds(connection, schema, "next_at") - float(began) >= sandbox.requests.total / RATE


@pytest.mark.parametrize(
    ("command", "option"),
    family(
        [
            (run_verify, "default_transaction_read_only=on"),
            (run_plan, "default_transaction_read_only=on"),
            (run_plan, "role={}_reader"),
        ]
    ),
)
@pytest.mark.long
def test_a_reader_who_may_not_borrow_goes_on_alone_without_a_word(
    command: Callable[[SyncSettings], object],
    option: str,
    settings: dict[str, Any],
    connection: Connection,
    schema: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody who may only select, and somebody who may write, but not by an operator's default."""
    run_sync(parse_settings(settings, "test"))
    reader, tables = f"{schema}_reader", f"ALL TABLES IN SCHEMA {schema}"
    connection.execute(f"TRUNCATE {schema}._sync_limits; CREATE ROLE {reader}".encode())
    connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}; GRANT SELECT ON {tables} TO {reader}".encode())
    try:
        (destination,) = settings["destinations"]
        options = quote(f"-c {option.format(schema)}")
        destination["url"] += f"{'&' if '?' in destination['url'] else '?'}options={options}"
        command(parse_settings(settings, "test"))
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []
        assert connection.execute(f"SELECT * FROM {schema}._sync_limits".encode()).fetchall() == []
    finally:
        connection.execute(f"DROP OWNED BY {schema}_reader; DROP ROLE {schema}_reader".encode())
