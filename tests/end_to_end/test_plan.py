"""`vectorferry plan`, over HTTP, for pgvector and Pinecone: it changes nothing, and the sync after it does what it
announced."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Sandbox

from ..tables import NOT_OF_RUNS
from ..waiting import wait_until
from .command import Command
from .pinecone_store import CATALOGUE, writes

ROWS = (
    "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) AS rows FROM pg_stat_user_tables "
    f"WHERE schemaname = %s AND {NOT_OF_RUNS}"
)
CONNECTED = "SELECT count(*) AS count FROM pg_stat_activity WHERE application_name = 'vectorferry'"
ENTRIES = (
    "SELECT relname, c.xmin::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE nspname = %s ORDER BY 1"
)
READS = ("assets.get", "assets.features", "features")

Manifest = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def settings(settings: dict[str, Any], postgres_url: str, schema: str) -> dict[str, Any]:
    """Into both stores, with requests counted against a limit that is never reached."""
    pgvector = {"type": "pgvector", "url": postgres_url, "schema": schema}
    source = {**settings["source"], "requests_per_minute": 60_000}
    return {**settings, "source": source, "destinations": [pgvector, *settings["destinations"]]}


def written(manifest: Manifest, schema: str) -> object:
    """What Postgres counts, but for the record of runs, complete once the connections that wrote have ended; and every
    entry of its catalogue."""
    wait_until(lambda: manifest.execute(CONNECTED).fetchone() == {"count": 0})
    return manifest.execute(ROWS, [schema]).fetchone(), manifest.execute(ENTRIES, [schema]).fetchall()


def read(sandbox: Sandbox) -> int:
    """Requests since the last reset that read assets or features."""
    return sum(count for route, count in sandbox.requests.counts().items() if route.startswith(READS))


def same(plan: dict[str, Any], sync: dict[str, Any]) -> None:
    """Number for number."""
    for name, told in plan["collections"].items():
        done = sync["collections"][name]
        assert told["to_pull"] == done["pulled"]
        keys = ("listed", "unchanged", "pending", "failed", "complete", "refused", "error")
        assert {key: told[key] for key in keys} == {key: done[key] for key in keys}
    for name, told in plan["destinations"].items():
        assets = sync["destinations"][name]["assets"]
        assert (told["new"], told["deleted"]) == (assets["inserted"], assets["deleted"])
        assert told["changed"] + told["unchanged"] == assets["updated"] + assets["unchanged"]
    assert plan["exit_code"] == sync["exit_code"]


def test_before_the_first_sync_it_makes_nothing(
    sandbox: Sandbox, vectorferry: Command, manifest: Manifest, schema: str
) -> None:
    sandbox.requests.reset()
    plan = vectorferry.told("plan")
    assert (read(sandbox), writes(sandbox)) == (0, {})
    assert manifest.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchall() == []
    assert [each["new"] for each in plan["destinations"].values()] == [CATALOGUE.assets] * 2
    assert (plan["reads"]["features"], plan["reads"]["seconds"]) == (None, None)
    assert f"CREATE SCHEMA {schema}" in plan["destinations"]["pgvector"]["statements"]
    same(plan, vectorferry.told("sync"))


@pytest.mark.long
def test_it_announces_what_the_next_sync_does_and_changes_nothing(
    sandbox: Sandbox, vectorferry: Command, manifest: Manifest, schema: str
) -> None:
    vectorferry.told("sync")
    before = written(manifest, schema)
    sandbox.requests.reset()
    unchanged, much = vectorferry.told("plan"), vectorferry.told("plan", "--at", "1e6")
    assert (read(sandbox), writes(sandbox), written(manifest, schema)) == (0, {}, before)
    assert (unchanged["reads"]["reading"], unchanged["reads"]["features"]) == (0, 0)
    assert [(each["dimension"], each["rows"]) for each in much["vectors"]] == [(CATALOGUE.dimension, 10**6)]
    assert (much["measured"], much["assets"]) == (True, 10**6 // CATALOGUE.features_per_asset)
    assert [each["writes"] for each in unchanged["destinations"].values()] == [
        {"features": 0, "rows": 0, "bytes": 0}
    ] * 2
    same(unchanged, vectorferry.told("sync"))
    assert written(manifest, schema) == before

    sandbox.mixpeek.put_feature_field(sandbox.mixpeek.feature_ids()[0], "metadata", {"author": "ada"})
    plan = vectorferry.told("plan")
    assert written(manifest, schema) == before
    assert plan["reads"]["features"] == CATALOGUE.features_per_asset
    assert plan["destinations"]["pgvector"]["writes"]["rows"] == 2 * CATALOGUE.features_per_asset
    assert plan["destinations"]["pinecone"]["writes"]["rows"] == CATALOGUE.features_per_asset
    sandbox.requests.reset()
    sync = vectorferry.told("sync")
    same(plan, sync)
    assert read(sandbox) == plan["reads"]["reading"] == 1 + CATALOGUE.features_per_asset
    assert sync["source"]["requests"] == plan["reads"]["listing"] + plan["reads"]["reading"]
    assert plan["reads"]["seconds"] >= 0


@pytest.mark.long
def test_deletes_are_announced_with_what_the_guard_would_say(
    sandbox: Sandbox, vectorferry: Command, manifest: Manifest, schema: str
) -> None:
    vectorferry.told("sync")
    before = written(manifest, schema)
    sandbox.mixpeek.remove_asset(sandbox.mixpeek.asset_ids("ads")[0])
    refused = vectorferry.told("plan", exit_code=4)
    deletes = refused["collections"]["ads"]["deletes"]
    assert {name: (each["held"], each["missing"]) for name, each in deletes.items()} == {
        "pgvector": (4, 1),
        "pinecone": (4, 1),
    }
    shown = " ".join(vectorferry.run("plan").stdout.split())
    assert "a sync would delete nothing: pgvector: the source listed 3 assets, so 1 of 4 assets would go" in shown
    same(refused, vectorferry.told("sync", exit_code=4))
    allowed = vectorferry.told("plan", "--allow-deletes", "0.25")
    assert written(manifest, schema) == before
    assert [each["deleted"] for each in allowed["destinations"].values()] == [1, 1]
    same(allowed, vectorferry.told("sync", "--allow-deletes", "0.25"))


def test_one_collection_can_be_planned_and_a_mistyped_one_is_bad_usage(vectorferry: Command) -> None:
    assert vectorferry.told("plan", "--collection", "ads")["collections"].keys() == {"ads"}
    assert "ads" in vectorferry.complaint("plan", "--collection", "adds", exit_code=2)


@pytest.mark.long
def test_people_read_what_would_happen(vectorferry: Command, schema: str) -> None:
    shown = vectorferry.run("plan").stdout
    assert f"pgvector: {CATALOGUE.assets} new assets, 0 changed, 0 to delete; how much that is" in shown
    assert f"CREATE TABLE {schema}.video\n" in shown
    vectorferry.told("sync")
    shown = vectorferry.run("plan").stdout
    assert "nothing to read" in shown
    assert f"pgvector: no asset to write, {CATALOGUE.assets} assets unchanged" in shown
    assert "CREATE" not in shown
