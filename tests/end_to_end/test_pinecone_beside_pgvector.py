"""Pinecone and pgvector in one sync: the source is read once, each goes on when the other fails, and catches up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, Sandbox, Status

from .command import Command
from .pinecone_store import CATALOGUE, FEATURES, INDEX, stored, writes


@pytest.fixture
def settings(settings: dict[str, Any], postgres_url: str, schema: str) -> dict[str, Any]:
    """Into both; the manifest is in pgvector's schema."""
    (pinecone,) = settings["destinations"]
    beside = {key: value for key, value in pinecone.items() if key != "manifest"}
    return {**settings, "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}, beside]}


MORE = {"modality": "video", "vectors": {"multimodal-v1": [1.0] * CATALOGUE.dimension}}


def rows(manifest: psycopg.Connection[dict[str, Any]], schema: str) -> int:
    """Vectors in Postgres."""
    found = manifest.execute(f"SELECT count(*) AS rows FROM {schema}.video__multimodal_v1").fetchone()
    return int(found["rows"]) if found else 0


def with_pinecone(settings: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    """The settings with another Pinecone."""
    pgvector, pinecone = settings["destinations"]
    return {**settings, "destinations": [pgvector, {**pinecone, **changes}]}


def features_read(sandbox: Sandbox) -> int:
    """How many features the source was asked for since the last reset."""
    return sandbox.requests.counts().get("features.get", 0)


def test_both_are_filled_by_one_read(
    sandbox: Sandbox, vectorferry: Command, manifest: psycopg.Connection[dict[str, Any]], schema: str
) -> None:
    told = vectorferry.told("sync")
    assert features_read(sandbox) == FEATURES
    assert told["destinations"].keys() == {"pgvector", "pinecone"}
    assert len(stored(sandbox)) == rows(manifest, schema) == FEATURES
    in_postgres = {
        row["feature_id"]: [float(number) for number in row["embedding"][1:-1].split(",")]
        for row in manifest.execute(f"SELECT feature_id, embedding::text FROM {schema}.video__multimodal_v1")
    }
    for record in stored(sandbox).values():
        assert record["values"].tolist() == pytest.approx(in_postgres[record["metadata"]["feature_id"]], rel=1e-6)


@pytest.mark.long
def test_a_wrong_key_leaves_the_other_complete_and_the_next_run_brings_it_up(
    sandbox: Sandbox,
    vectorferry: Command,
    manifest: psycopg.Connection[dict[str, Any]],
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("PINECONE_API_KEY", "another")
        told = vectorferry.told("sync", exit_code=1)
    assert told["destinations"]["pgvector"]["error"] is None
    assert "Pinecone refused the key" in told["destinations"]["pinecone"]["error"]
    assert "destinations[].api_key" in told["destinations"]["pinecone"]["error"]
    assert rows(manifest, schema) == FEATURES

    told = vectorferry.told("sync")
    assert told["destinations"]["pgvector"]["assets"]["unchanged"] == CATALOGUE.assets
    assert told["destinations"]["pinecone"]["assets"]["inserted"] == CATALOGUE.assets
    assert len(stored(sandbox)) == FEATURES


@pytest.mark.long
def test_one_that_is_down_is_named_once(
    sandbox: Sandbox, vectorferry: Command, settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda _seconds: None)
    vectorferry.configure(with_pinecone(settings, host="http://127.0.0.1:9"))
    result = vectorferry.run("sync")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("pinecone")]
    assert line.startswith("pinecone: failed: ")
    assert "Connection refused" in line
    assert "check the network and destinations[].host" in line
    assert result.stderr == ""
    assert sandbox.pinecone.indexes() == []


@pytest.mark.long
def test_one_that_fails_half_way_is_sent_only_what_it_lacks(
    sandbox: Sandbox,
    vectorferry: Command,
    settings: Mapping[str, Any],
    manifest: psycopg.Connection[dict[str, Any]],
    schema: str,
) -> None:
    vectorferry.configure({**settings, "batch": {"rows": CATALOGUE.features_per_asset}})
    sandbox.faults.add(Fault(route="pinecone.upsert", nth=4, do=Status(status=403)))
    told = vectorferry.told("sync", exit_code=1)
    assert "403 Forbidden" in told["destinations"]["pinecone"]["error"]
    assert rows(manifest, schema) == FEATURES
    there = len(stored(sandbox))
    assert 0 < there < FEATURES

    sandbox.faults.clear()
    sandbox.requests.reset()
    told = vectorferry.told("sync")
    assert features_read(sandbox) == FEATURES - there
    assert told["destinations"]["pgvector"]["assets"]["unchanged"] == CATALOGUE.assets
    assert told["destinations"]["pinecone"]["assets"]["unchanged"] == there // CATALOGUE.features_per_asset
    assert len(stored(sandbox)) == FEATURES


@pytest.mark.long
def test_postgres_that_fails_does_not_hold_up_pinecone_whose_manifest_is_elsewhere(
    sandbox: Sandbox, vectorferry: Command, settings: Mapping[str, Any], postgres_url: str, schema: str
) -> None:
    apart = with_pinecone(settings, manifest={"url": postgres_url, "schema": schema})
    broken = {**apart["destinations"][0], "url": "postgresql://nobody@127.0.0.1:9/nothing"}
    vectorferry.configure({**apart, "destinations": [broken, apart["destinations"][1]]})
    told = vectorferry.told("sync", exit_code=1)
    assert "cannot connect to Postgres" in told["destinations"]["pgvector"]["error"]
    assert told["destinations"]["pinecone"]["error"] is None
    assert len(stored(sandbox)) == FEATURES


@pytest.mark.long
def test_an_index_that_refuses_every_record_is_a_failure_not_a_full_quarantine(
    sandbox: Sandbox, vectorferry: Command, manifest: psycopg.Connection[dict[str, Any]], schema: str
) -> None:
    for number in range(20):
        sandbox.mixpeek.put_feature(sandbox.mixpeek.asset_ids("ads")[0], {"feature_id": f"more-{number}", **MORE})
    sandbox.faults.add(Fault(route="pinecone.upsert", do=Status(status=400)))
    told = vectorferry.told("sync", exit_code=1)
    assert "Pinecone refuses every record" in told["destinations"]["pinecone"]["error"]
    assert rows(manifest, schema) == FEATURES + 20
    assert stored(sandbox) == {}
    assert manifest.execute(f"SELECT * FROM {schema}._sync_pinecone_quarantine").fetchall() == []

    sandbox.faults.clear()
    vectorferry.told("sync")
    assert len(stored(sandbox)) == FEATURES + 20
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert writes(sandbox) == {}
    assert sandbox.pinecone.indexes() == [INDEX]
