"""`vectorferry indexes`: what is listed, how far a build is, and that building anew heals what is broken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.builders import asset, batch, feature
from tests.connector.cli.conftest import Invoke
from tests.waiting import wait_until
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

Sql = psycopg.Connection[Any]
INDEX = "video__model_v1_hnsw"
ROWS = 2_500


@pytest.fixture
def stored(postgres_url: str, schema: str) -> Iterator[Sql]:
    """One named vector with its index, the file that says where it is, and a connection to look there."""
    Path("vectorferry.yaml").write_text(
        'name: media\nsource: {type: shelf, api_key: "${NO_SUCH_KEY}"}\n'
        f'destinations: [{{type: pgvector, url: "{postgres_url}", schema: {schema}}}]\n'
    )
    vectors = np.random.default_rng(1).standard_normal((ROWS, 16)).astype(np.float32)
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(
            batch(asset("a", *(feature(f"f{number}", {"model-v1": each}) for number, each in enumerate(vectors))))
        )
        destination.build_indexes()
    with psycopg.connect(postgres_url, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        yield sql


def listed(vectorferry: Invoke) -> dict[str, dict[str, Any]]:
    (told,) = json.loads(vectorferry("indexes", "list", "--json").stdout)["destinations"]
    return {index["name"]: index for index in told["indexes"]}


@pytest.mark.usefixtures("stored")
def test_the_list_shows_an_index_as_it_is(vectorferry: Invoke) -> None:
    result = vectorferry("indexes", "list")
    assert result.exit_code == 0, result.output
    assert f"UTC over {ROWS:,} rows" in result.stdout
    index = listed(vectorferry)[INDEX]
    assert (index["state"], index["kind"], index["rows"], index["built_rows"]) == ("valid", "hnsw", ROWS, ROWS)
    assert index["bytes"] > ROWS * 16 * 4
    assert (index["progress"], index["advice"]) == (None, [])


@pytest.mark.long
def test_rebuilding_puts_a_whole_one_in_its_place(vectorferry: Invoke, stored: Sql) -> None:
    def node() -> object:
        return stored.execute("SELECT relfilenode, oid FROM pg_class WHERE relname = %s", [INDEX]).fetchone()

    before = node()
    result = vectorferry("indexes", "rebuild")
    assert result.exit_code == 0, result.output
    assert f"pgvector: {INDEX} ({ROWS:,} rows" in result.stdout
    assert node() != before
    assert listed(vectorferry)[INDEX]["state"] == "valid"


def test_rebuilding_heals_what_is_broken_and_drops_what_was_left(vectorferry: Invoke, stored: Sql) -> None:
    leftover = f"{INDEX}_ccnew"
    stored.execute(f"CREATE INDEX {leftover} ON video__model_v1 USING hnsw (embedding vector_cosine_ops)")
    stored.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY(%s::regclass[])", [[leftover, INDEX]])
    before = listed(vectorferry)
    assert {name: index["state"] for name, index in before.items()} == {INDEX: "invalid", leftover: "leftover"}
    assert f"searches compare all {ROWS:,} vectors" in before[INDEX]["advice"][0]
    told = json.loads(vectorferry("indexes", "rebuild", "model-v1", "--json").stdout)
    assert [build["index"] for build in told["built"]["pgvector"]] == [INDEX]
    assert {name: index["state"] for name, index in listed(vectorferry).items()} == {INDEX: "valid"}


@pytest.mark.long
def test_a_missing_one_is_listed_and_built(vectorferry: Invoke, stored: Sql) -> None:
    stored.execute(f"DROP INDEX {INDEX}")
    assert listed(vectorferry)[INDEX]["state"] == "missing"
    assert vectorferry("indexes", "rebuild", INDEX).exit_code == 0
    assert listed(vectorferry)[INDEX]["state"] == "valid"


@pytest.mark.long
def test_one_that_somebody_has_replaced_is_listed_and_built(vectorferry: Invoke, stored: Sql) -> None:
    other = f"CREATE INDEX {INDEX} ON video__model_v1 USING hnsw (embedding vector_l2_ops)"
    stored.execute(f"DROP INDEX {INDEX}; {other}")
    index = listed(vectorferry)[INDEX]
    assert index["state"] == "replaced"
    assert f"searches compare all {ROWS:,} vectors" in index["advice"][0]
    assert vectorferry("indexes", "rebuild", INDEX).exit_code == 0
    assert listed(vectorferry)[INDEX]["state"] == "valid"


@pytest.mark.usefixtures("stored")
@pytest.mark.long
def test_a_build_tells_how_far_it_is(vectorferry: Invoke, postgres_url: str, schema: str) -> None:
    """It waits for a transaction that has begun before, which is its first phase."""
    with psycopg.connect(postgres_url) as other:
        other.execute(f"LOCK TABLE {schema}.video__model_v1 IN ROW EXCLUSIVE MODE")
        with closing(PgvectorDestination(schema, postgres_url)) as destination:
            rebuilding = threading.Thread(target=lambda: list(destination.rebuild_indexes([])))
            rebuilding.start()
            wait_until(lambda: listed(vectorferry)[INDEX]["progress"] is not None)
            index = listed(vectorferry)[INDEX]
            assert "waiting" in index["progress"]["phase"]
            assert index["state"] == "valid", "the old one answers meanwhile"
            refused = vectorferry("indexes", "rebuild")
            other.rollback()
            rebuilding.join()
    assert refused.exit_code == 1
    assert f"{schema}.{INDEX} is being built by another process" in refused.stderr
    assert {name: index["progress"] for name, index in listed(vectorferry).items()} == {INDEX: None}


@pytest.mark.long
def test_a_rebuild_that_was_ended_leaves_nothing_that_the_next_one_does_not_heal(
    vectorferry: Invoke, stored: Sql, postgres_url: str, schema: str
) -> None:
    """By a real leftover: the server's process is ended while it builds the copy."""
    building = (
        "SELECT pg_terminate_backend(p.pid) FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid "
        "WHERE c.relnamespace = %s::regnamespace AND p.phase LIKE 'waiting%%'"
    )
    with psycopg.connect(postgres_url) as other:
        other.execute(f"LOCK TABLE {schema}.video__model_v1 IN ROW EXCLUSIVE MODE")
        with closing(PgvectorDestination(schema, postgres_url)) as destination, ThreadPoolExecutor(1) as threads:
            rebuilding = threads.submit(lambda: list(destination.rebuild_indexes([])))
            wait_until(lambda: stored.execute(building, [schema]).fetchone() is not None)
            assert "terminating connection" in str(rebuilding.exception())
    states = {name: index["state"] for name, index in listed(vectorferry).items()}
    assert states == {INDEX: "valid", f"{INDEX}_ccnew": "leftover"}
    assert f"vectorferry indexes rebuild {INDEX} drops it" in vectorferry("indexes", "list").stdout
    assert vectorferry("indexes", "rebuild").exit_code == 0
    assert {name: index["state"] for name, index in listed(vectorferry).items()} == {INDEX: "valid"}


@pytest.mark.long
def test_large_rewrites_are_followed_by_advice_with_figures(vectorferry: Invoke, stored: Sql) -> None:
    stored.execute("ALTER TABLE video__model_v1 SET (autovacuum_enabled = off)")
    stored.execute("UPDATE video__model_v1 SET vector_hash = vector_hash || '1'")
    stored.execute("SELECT pg_stat_force_next_flush()")
    wait_until(lambda: listed(vectorferry)[INDEX]["dead_rows"] >= ROWS)
    (advice,) = listed(vectorferry)[INDEX]["advice"]
    assert advice.startswith(f"50% of the rows ({ROWS:,}) are dead")
    assert f"vectorferry indexes rebuild {INDEX}" in advice
    assert "VACUUM (ANALYZE)" in advice
    assert "50%" in vectorferry("indexes", "list").stdout


@pytest.mark.usefixtures("stored")
@pytest.mark.long
def test_a_name_that_is_none_is_refused_with_those_that_are(vectorferry: Invoke) -> None:
    refused = vectorferry("indexes", "rebuild", "video__model_v2_hnsw")
    assert refused.exit_code == 2
    assert f"no vector index video__model_v2_hnsw; it has: {INDEX}" in refused.stderr
