"""A pool between us and Postgres: where it is large enough everything works, and where it is too small we say so."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import text

from vectorferry import Summary, SyncSettings, parse_settings, run_sync
from vectorferry.connector._engine import list_shards, run_join
from vectorferry.connector.plugin import DestinationError, SchemaMapping, VectorferryError
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import Database, answers, driver_of, parse_url
from vectorferry.destinations._postgres import _connection as _pooler
from vectorferry.destinations._postgres._errors import translated

from ..examples import family
from ..pgbouncer import PoolMode, pgbouncer
from ..pinecone import forget_budgets
from ..tables import differences
from ..waiting import wait_until

PINECONES: Final = ["visible", "lsn"]
OWN: Final = "SELECT pg_backend_pid()"
CATALOGUE: Final = GeneratedCatalogue(assets=6, features_per_asset=3, dimension=8, collections=("ads", "films"))
BORROWED: Final = {"requests_per_minute": 60_000}
"""A limit that processes share: what is borrowed from Postgres goes through the pool as well, and takes no place in it
for long."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    forget_budgets()
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        yield sandbox


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pooler, "_TOLD_AFTER", 0.2)
    monkeypatch.setattr(_pooler, "_PATIENCE", 2.0)


def described(sandbox: Sandbox, schema: str, url: str, *kinds: str) -> SyncSettings:
    pinecone = {"type": "pinecone", "host": sandbox.url, "api_key": sandbox.api_key, "vectors": "all"}
    manifest = {"manifest": {"url": url, "schema": schema}}
    known = {"pgvector": {"type": "pgvector", "url": url, "schema": schema}, "pinecone": {**pinecone, **manifest}}
    settings = {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key, **BORROWED},
        "destinations": [known[kind] for kind in kinds],
    }
    return parse_settings(settings, "test")


def sync(sandbox: Sandbox, schema: str, url: str, *kinds: str) -> Summary:
    return run_sync(described(sandbox, schema, url, *kinds))


@pytest.mark.parametrize("mode", family(["transaction", "session"]))
@pytest.mark.parametrize(
    ("kinds", "size"), family([(["pgvector", "pinecone"], 5), (["pgvector"], 2), (["pinecone"], 3)])
)
@pytest.mark.long
def test_a_pool_that_is_just_large_enough(
    postgres_url: str,
    passable_path: Path,
    sandbox: Sandbox,
    schema: str,
    mode: PoolMode,
    kinds: Sequence[str],
    size: int,
) -> None:
    with pgbouncer(postgres_url, passable_path, size, mode) as url:
        first, second = (sync(sandbox, schema, url, *kinds) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert {sum(each.applied.assets.unchanged for each in second.destinations.values())} == {
        len(kinds) * CATALOGUE.assets
    }
    forget_budgets()
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as beside, psycopg.connect(postgres_url) as connection:
        assert sync(beside, f"{schema}_direct", postgres_url, *kinds).exit_code == 0
        assert differences(connection, f"{schema}_direct", schema, ignoring=["host", "parts", *PINECONES]) == []


@pytest.mark.long
@pytest.mark.parametrize(("kind", "size"), [("pgvector", 3), ("pinecone", 4)])
def test_workers_share_a_pool(
    postgres_url: str, passable_path: Path, sandbox: Sandbox, schema: str, kind: str, size: int
) -> None:
    with pgbouncer(postgres_url, passable_path, size, "transaction") as url:
        settings = described(sandbox, schema, url, kind)
        assert [each.to_pull for each in list_shards(settings)] == [3, 3]
        assert run_join(settings).assets == CATALOGUE.assets
        (store,) = sync(sandbox, schema, url, kind).destinations.values()
        assert store.applied.assets.unchanged == CATALOGUE.assets


@pytest.mark.parametrize("mode", family(["transaction", "session"]))
@pytest.mark.parametrize(("kind", "size"), family([("pgvector", 1), ("pinecone", 2), ("pinecone", 1)]))
@pytest.mark.usefixtures("impatient")
def test_a_pool_that_is_too_small_says_so(
    postgres_url: str,
    passable_path: Path,
    sandbox: Sandbox,
    schema: str,
    mode: PoolMode,
    kind: str,
    size: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pgbouncer(postgres_url, passable_path, size, mode) as url, caplog.at_level(logging.WARNING):
        with pytest.raises(DestinationError) as caught:
            sync(sandbox, schema, url, kind)
        assert f"while this process keeps {size}: the pool in between is too small.\nA sync needs 2" in str(
            caught.value
        )
        assert f"no connection to give beside the {size} that this process keeps" in caplog.text
    assert sync(sandbox, schema, postgres_url, kind).exit_code == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.long
def test_a_pool_that_others_have_is_waited_for(
    postgres_url: str, passable_path: Path, sandbox: Sandbox, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an end, since it may get one: what it keeps itself is not what it waits for."""
    with pgbouncer(postgres_url, passable_path, 2) as url:
        others = [psycopg.connect(url), psycopg.connect(url)]
        for other in others:
            other.execute("SELECT 1")

        def give_back(record: logging.LogRecord) -> bool:
            if "has no connection to give, or the server is overloaded" in record.getMessage():
                while others:
                    others.pop().close()
            return True

        with caplog.filtering(give_back), caplog.at_level(logging.WARNING):  # type: ignore[arg-type]
            assert sync(sandbox, schema, url, "pgvector").exit_code == 0
        assert others == []


@pytest.mark.usefixtures("impatient")
def test_what_a_pool_says_as_it_gives_up_is_not_lost(postgres_url: str, passable_path: Path) -> None:
    """It ends the connection, and what it says of that comes in the middle of a pipeline."""
    with (
        pgbouncer(postgres_url, passable_path, 1, query_wait_timeout=1) as url,
        closing(Database(parse_url(url))) as database,
    ):
        with database.plain_transaction() as connection:
            connection.execute(text("SELECT 1"))
        with psycopg.connect(url) as other:
            other.execute("SELECT 1")
            for is_whole in (False, True):
                with (
                    pytest.raises(VectorferryError, match="The pool in between had no connection to give in time"),
                    translated("here"),
                    database.plain_transaction(is_whole=is_whole) as connection,
                ):
                    answers(connection, text("SELECT 1"))


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_server_that_has_ended_behind_a_pool_is_no_news_to_a_rollback(
    postgres_url: str, passable_path: Path, mode: PoolMode, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool says so at once, in an answer to nothing. What was held is free, and nobody wants to read of that."""
    with (
        pgbouncer(postgres_url, passable_path, 2, mode) as url,
        closing(Database(parse_url(url))) as database,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        for _ in range(2):
            with database.lone_transaction() as connection:
                driver = driver_of(connection)
                admin.execute("SELECT pg_terminate_backend(%s, 60000)", driver.execute(OWN).fetchone())
                wait_until(driver.has_ended)  # type: ignore[attr-defined]
    assert caplog.messages == []


@pytest.mark.long
def test_a_pool_that_hands_out_statements_is_told_apart(postgres_url: str, passable_path: Path, schema: str) -> None:
    with (
        pgbouncer(postgres_url, passable_path, 2, "statement") as url,
        closing(PgvectorDestination(schema, url)) as destination,
        pytest.raises(VectorferryError, match="PgBouncer: pool_mode = transaction, or session"),
    ):
        destination.prepare(SchemaMapping())
