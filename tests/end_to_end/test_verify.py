"""`vectorferry verify` names exactly what was tampered with, and `--repair` writes exactly that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, SetField, running_sandbox

from ..tables import NOT_OF_RUNS
from ..waiting import wait_until
from .command import KEY, Command

CATALOGUE = GeneratedCatalogue(assets=8, features_per_asset=5, dimension=8)
VIDEO_VECTORS = "video__multimodal_v1"
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vectorferry'"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Forty features."""
    with running_sandbox(SandboxSettings(api_key=KEY, generate=CATALOGUE)) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, postgres_url: str, schema: str) -> dict[str, Any]:
    """A sync into pgvector alone."""
    return {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": KEY},
        "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
    }


@pytest.fixture
def synced(vectorferry: Command) -> Command:
    """The command, after a sync."""
    vectorferry.told("sync")
    return vectorferry


@pytest.fixture
def store(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """To the destination's Postgres."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def tampered(url: str, schema: str, statement: str) -> set[tuple[str, str]]:
    """Run a statement on the video vectors; asset and feature of the rows it was about. Under the name by which
    `writes` waits for the end of connections, so that these rows are in what it counts."""
    sql = statement.format(table=f"{schema}.{VIDEO_VECTORS}")
    with psycopg.connect(url, application_name="vectorferry") as connection:
        return set(connection.execute(sql.encode()).fetchall())


def ten_deleted(url: str, schema: str) -> set[tuple[str, str]]:
    chosen = "SELECT ctid FROM {table} ORDER BY md5(feature_id) LIMIT 10"
    return tampered(
        url, schema, f"DELETE FROM {{table}} WHERE ctid = ANY(ARRAY({chosen})) RETURNING asset_id, feature_id"
    )


def ten_corrupted(url: str, schema: str) -> set[tuple[str, str]]:
    chosen = "SELECT ctid FROM {table} ORDER BY md5(feature_id) LIMIT 10"
    changed = "UPDATE {table} SET embedding = embedding + embedding"
    return tampered(url, schema, f"{changed} WHERE ctid = ANY(ARRAY({chosen})) RETURNING asset_id, feature_id")


def writes(store: psycopg.Connection[Any], schema: str) -> Mapping[str, int]:
    """Rows written per table, as Postgres counts them; complete once the connections that wrote have ended.

    Without the record of runs.
    """
    wait_until(lambda: store.execute(CONNECTED).fetchone() == (0,))
    counted = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE schemaname = %s"
    counted += f" AND {NOT_OF_RUNS}"
    return Counter(dict(store.execute(counted, [schema]).fetchall()))


def named(told: Mapping[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """Asset and feature of every finding, by kind."""
    found: dict[str, set[tuple[str, str]]] = {}
    for collection in told["collections"].values():
        for one in collection["findings"]:
            found.setdefault(one["kind"], set()).add((one["asset_id"], one["feature_id"]))
    return found


def counts(told: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    return {
        (one["against"], one["kind"]): one["records"]
        for collection in told["collections"].values()
        for one in collection["counts"]
    }


@pytest.mark.long
def test_what_a_sync_has_written_is_in_step(synced: Command, sandbox: Sandbox) -> None:
    sandbox.requests.reset()
    told = synced.told("verify", "--everything")
    assert counts(told) == {}
    assert [collection["assets"] for collection in told["collections"].values()] == [CATALOGUE.assets]
    assert "no difference" in synced.run("verify").stdout
    assert {
        route for route in sandbox.requests.counts() if not route.startswith(("collections", "assets.list"))
    } == set()


@pytest.mark.long
def test_twenty_vectors_are_named_and_mended_with_twenty_writes(
    synced: Command, store: psycopg.Connection[Any], postgres_url: str, schema: str
) -> None:
    deleted = ten_deleted(postgres_url, schema)
    corrupted = ten_corrupted(postgres_url, schema)
    assert (len(deleted), len(corrupted)) == (10, 10)
    told = synced.told("verify", "--everything", exit_code=1)
    assert counts(told) == {("ledger", "missing"): 10, ("ledger", "different"): 10}
    assert named(told) == {"missing": deleted, "different": corrupted}
    before = writes(store, schema)
    mended = synced.told("verify", "--everything", "--repair")
    after = writes(store, schema)
    assert {table: after[table] - before[table] for table in after if after[table] != before[table]} == {
        VIDEO_VECTORS: 20
    }
    concerned = {asset_id for asset_id, _ in deleted | corrupted}
    assert [one["pulled"] for one in mended["repair"]["collections"].values()] == [len(concerned)]
    assert counts(synced.told("verify", "--everything")) == {}


def test_people_are_told_what_differs_and_what_to_do(synced: Command, postgres_url: str, schema: str) -> None:
    deleted = ten_deleted(postgres_url, schema)
    result = synced.run("verify")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.endswith(": 8 assets at the source, 10 differences") for line in lines)
    for asset_id, feature_id in deleted:
        told = f"  missing   pgvector against ledger: {asset_id} / video / {feature_id}, vector multimodal-v1"
        assert told in lines
    assert lines[-1].startswith(
        "`vectorferry verify --repair` reads these assets again, writes what is wrong and removes"
    )
    repaired = synced.run("verify", "--repair")
    assert repaired.exit_code == 0
    assert "repaired by a sync of the assets with a difference:" in repaired.stdout


@pytest.mark.long
def test_what_came_in_with_wrong_answers_is_found_at_the_source_and_mended(
    vectorferry: Command, sandbox: Sandbox, store: psycopg.Connection[Any], schema: str
) -> None:
    sandbox.faults.add(
        Fault(route="features.get", do=SetField(field="multimodal-v1", value=[9.0] * 8), times=3),
        Fault(route="assets.features", do=SetField(field="metadata", value={"wrong": True}), nth=5, times=1),
    )
    vectorferry.told("sync")
    sandbox.faults.clear()
    assert vectorferry.told("verify", "--everything")["exit_code"] == 0
    (found,) = vectorferry.told("verify", "--source", "8", exit_code=1)["collections"].values()
    assert {(one["against"], one["kind"]) for one in found["counts"]} == {("source", "different")}
    assert sum(one["vector_name"] == "multimodal-v1" for one in found["findings"]) == 3
    told = vectorferry.told("verify", "--source", "8", "--repair")
    assert told["repair"]["destinations"]["pgvector"]["vectors"]["video"]["multimodal-v1"]["updated"] == 3
    assert vectorferry.told("verify", "--source", "8")["exit_code"] == 0
    wrong = f"SELECT count(*) FROM {schema}.{VIDEO_VECTORS} WHERE embedding = '[9,9,9,9,9,9,9,9]'"
    assert store.execute(wrong.encode()).fetchone() == (0,)


@pytest.mark.long
def test_what_came_in_with_wrong_answers_goes_when_it_is_read_again(
    synced: Command, sandbox: Sandbox, store: psycopg.Connection[Any], schema: str
) -> None:
    rows = f"SELECT asset_id, feature_id, embedding::text FROM {schema}.{VIDEO_VECTORS} ORDER BY 1, 2".encode()
    right = store.execute(rows).fetchall()
    sandbox.faults.add(Fault(route="features.get", do=SetField(field="multimodal-v1", value=[9.0] * 8), times=7))
    asset_id = right[0][0]
    (read,) = synced.told("sync", "--reread", asset_id)["collections"].values()
    assert (read["pulled"], read["reread"]) == (1, 1)
    sandbox.faults.clear()
    assert store.execute(rows).fetchall() != right
    synced.told("sync", "--full")
    assert store.execute(rows).fetchall() != right
    synced.told("sync", "--reread")
    assert store.execute(rows).fetchall() == right
