"""The quarantine worked off with the command, from an API over HTTP into tables: only what was meant is read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, SetField, running_sandbox

from ..pinecone import forget_budgets
from .command import KEY, Command

CATALOGUE = GeneratedCatalogue(assets=6, features_per_asset=2, dimension=8, collections=("ads",))
NOT_FINITE = b"[NaN, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]"
GOOD = [0.5] * 8
LONG = "".join(Random(7).choices("abcdefghijklmnopqrstuvwxyz", k=5_000))
"""Too long for a btree entry."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Six good assets with two features each, and an empty Pinecone."""
    forget_budgets()
    with running_sandbox(SandboxSettings(api_key=KEY, generate=CATALOGUE)) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, postgres_url: str, schema: str) -> dict[str, Any]:
    """A sync into both stores."""
    return {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": KEY},
        "destinations": [
            {"type": "pgvector", "url": postgres_url, "schema": schema},
            {
                "type": "pinecone",
                "vectors": "all",
                "api_key": KEY,
                "host": sandbox.url,
                "manifest": {"url": postgres_url, "schema": schema},
            },
        ],
    }


@pytest.fixture
def vectorferry(tmp_path: Path, settings: dict[str, Any]) -> Command:
    command = Command(tmp_path)
    command.configure(settings)
    return command


@pytest.fixture
def tables(postgres_url: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """To the sync's own schema."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{schema}", public')
        yield connection


def spoil(sandbox: Sandbox, count: int) -> list[str]:
    """Make one vector of so many assets unusable. The features' ids."""
    spoilt = [sandbox.mixpeek.feature_ids(asset_id)[0] for asset_id in sandbox.mixpeek.asset_ids("ads")[:count]]
    for feature_id in spoilt:
        sandbox.mixpeek.put_vector(feature_id, "multimodal-v1", NOT_FINITE)
    return spoilt


def requests(sandbox: Sandbox) -> tuple[int, int]:
    """How often the source was asked for an asset's features, and for one feature with its vectors."""
    counts = sandbox.requests.counts()
    return counts.get("assets.features", 0), counts.get("features.get", 0)


@pytest.mark.long
def test_a_replay_reads_just_the_assets_in_quarantine_once_for_all_destinations(
    vectorferry: Command, sandbox: Sandbox
) -> None:
    spoilt = spoil(sandbox, 3)
    vectorferry.told("sync", exit_code=3)
    listed = vectorferry.told("quarantine list")["destinations"]
    assert [(each["destination"], each["reasons"]) for each in listed] == [
        ("pgvector", {"not_finite": 3}),
        ("pinecone", {"not_finite": 3}),
    ]
    for feature_id in spoilt:  # nothing else says that they have changed
        sandbox.mixpeek.put_vector(feature_id, "multimodal-v1", GOOD, touch=False)
    sandbox.requests.reset()
    vectorferry.told("sync", exit_code=3)
    assert requests(sandbox) == (0, 0)
    summary = vectorferry.told("quarantine replay")
    assert requests(sandbox) == (3, 3 * CATALOGUE.features_per_asset)
    for name in ("pgvector", "pinecone"):
        assert summary["destinations"][name]["vectors"]["video"]["multimodal-v1"]["inserted"] == 3
        assert summary["destinations"][name]["quarantined"] == 0
    assert [each["records"] for each in vectorferry.told("quarantine list")["destinations"]] == [0, 0]
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert requests(sandbox) == (0, 0)


@pytest.mark.long
def test_a_sync_that_reads_a_good_version_empties_it_as_well(vectorferry: Command, sandbox: Sandbox) -> None:
    (spoilt,) = spoil(sandbox, 1)
    vectorferry.told("sync", exit_code=3)
    sandbox.mixpeek.put_vector(spoilt, "multimodal-v1", GOOD)
    vectorferry.told("sync")
    assert [each["records"] for each in vectorferry.told("quarantine list")["destinations"]] == [0, 0]


@pytest.mark.long
def test_what_was_dropped_is_not_read_again_before_it_changes(vectorferry: Command, sandbox: Sandbox) -> None:
    (spoilt,) = spoil(sandbox, 1)
    vectorferry.told("sync", exit_code=3)
    assert vectorferry.told("quarantine drop", "--all")["dropped"] == {"pgvector": 1, "pinecone": 1}
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert requests(sandbox) == (0, 0)
    sandbox.mixpeek.put_vector(spoilt, "multimodal-v1", GOOD)
    summary = vectorferry.told("sync")
    assert summary["destinations"]["pgvector"]["vectors"]["video"]["multimodal-v1"]["inserted"] == 1


@pytest.mark.long
def test_what_an_index_refused_is_replayed_when_the_index_is_gone(
    vectorferry: Command, sandbox: Sandbox, tables: psycopg.Connection[Any]
) -> None:
    vectorferry.told("sync")
    tables.execute("CREATE INDEX spoken ON video (transcription)")
    asset_id = sandbox.mixpeek.asset_ids("ads")[4]
    feature_id = sandbox.mixpeek.feature_ids(asset_id)[1]
    sandbox.mixpeek.put_feature_field(feature_id, "transcription", LONG)
    summary = vectorferry.told("sync", exit_code=3)
    (record,) = summary["destinations"]["pgvector"]["rejected"]
    assert (record["feature_id"], record["reason"]) == (feature_id, "refused")
    assert record["detail"].startswith("index row size")
    shown = vectorferry.run("quarantine show", asset_id)
    assert record["detail"] in " ".join(shown.stdout.split())
    tables.execute("DROP INDEX spoken")
    sandbox.requests.reset()
    vectorferry.told("quarantine replay", asset_id)
    assert requests(sandbox) == (1, CATALOGUE.features_per_asset)
    assert tables.execute(
        "SELECT transcription = %s FROM video WHERE feature_id = %s", [LONG, feature_id]
    ).fetchall() == [(True,)]


@pytest.mark.long
def test_an_asset_that_is_gone_when_it_is_replayed_leaves_nothing(
    vectorferry: Command, sandbox: Sandbox, tables: psycopg.Connection[Any]
) -> None:
    spoil(sandbox, 1)
    vectorferry.told("sync", exit_code=3)
    asset_id = sandbox.mixpeek.asset_ids("ads")[0]
    sandbox.mixpeek.remove_asset(asset_id)
    vectorferry.told("quarantine replay")
    for table in ("assets", "video", "video__multimodal_v1", "_sync_ledger", "_sync_quarantine"):
        left = tables.execute(f"SELECT count(*) FROM {table} WHERE asset_id = %s", [asset_id]).fetchone()
        assert left == (0,), table


@pytest.mark.long
def test_what_is_bad_is_set_aside_alone_and_what_was_good_stays(
    vectorferry: Command, sandbox: Sandbox, tables: psycopg.Connection[Any]
) -> None:
    asset_id = sandbox.mixpeek.asset_ids("ads")[0]
    spoilt, other = sandbox.mixpeek.feature_ids(asset_id)
    for feature_id in (spoilt, other):
        sandbox.mixpeek.put_vector(feature_id, "second", [0.25] * 8)
    vectorferry.told("sync")
    before = stored(tables, asset_id)
    sandbox.mixpeek.put_vector(spoilt, "multimodal-v1", NOT_FINITE)
    sandbox.mixpeek.put_vector(spoilt, "second", [0.75] * 8)
    sandbox.mixpeek.put_feature_field(spoilt, "transcription", "said since")
    sandbox.mixpeek.put_feature_field(spoilt, "start_time", "soon")
    sandbox.mixpeek.put_feature_field(other, "modality", "smell")

    summary = vectorferry.told("sync", exit_code=3)
    after = stored(tables, asset_id)
    assert after[other] == before[other]
    assert after[spoilt] == {**before[spoilt], "transcription": "said since", "second": as_text([0.75] * 8)}
    for name in ("pgvector", "pinecone"):
        told = summary["destinations"][name]["rejected"]
        assert {(one["feature_id"], one["vector_name"], one["column"], one["kept"]) for one in told} == {
            (spoilt, "multimodal-v1", "", True),
            (spoilt, "", "start_time", True),
            (other, "", "", True),
        }
    vectorferry.told("verify", "--everything")
    vectorferry.told("sync", exit_code=3)
    assert stored(tables, asset_id) == after
    shown = " ".join(vectorferry.run("quarantine show", asset_id).stdout.split())
    assert f"video feature {spoilt}, vector multimodal-v1 not_finite: " in shown
    assert f"video feature {spoilt}, column start_time bad_value: " in shown
    assert shown.count("an earlier version is still stored and shown") == 6

    sandbox.mixpeek.put_vector(spoilt, "multimodal-v1", GOOD)
    sandbox.mixpeek.put_feature_field(spoilt, "start_time", 1.5)
    sandbox.mixpeek.put_feature_field(other, "modality", "video")
    vectorferry.told("sync")
    healed = stored(tables, asset_id)[spoilt]
    assert (healed["start_time"], healed["multimodal-v1"]) == (1.5, as_text(GOOD))
    assert [each["records"] for each in vectorferry.told("quarantine list")["destinations"]] == [0, 0]
    vectorferry.told("verify", "--everything")


@pytest.mark.long
def test_a_row_that_is_no_feature_any_more_costs_none_that_is_stored(
    vectorferry: Command, sandbox: Sandbox, tables: psycopg.Connection[Any]
) -> None:
    vectorferry.told("sync")
    asset_id = sandbox.mixpeek.asset_ids("ads")[0]
    feature_id = sandbox.mixpeek.feature_ids(asset_id)[1]
    sandbox.mixpeek.put_feature_field(feature_id, "transcription", "said since")
    sandbox.faults.add(Fault(route="assets.features", do=SetField(field="feature_id", value=7)))
    before = tables.execute("SELECT feature_id FROM video_multimodal_v1 ORDER BY 1").fetchall()
    summary = vectorferry.told("sync", exit_code=3)
    assert [one["kept"] for one in summary["destinations"]["pgvector"]["rejected"]] == [True, True]
    assert tables.execute("SELECT feature_id FROM video_multimodal_v1 ORDER BY 1").fetchall() == before
    vectorferry.told("verify", "--everything")
    sandbox.faults.clear()
    vectorferry.told("quarantine replay")
    said = tables.execute("SELECT transcription FROM video WHERE feature_id = %s", [feature_id]).fetchall()
    assert said == [("said since",)]


def stored(tables: psycopg.Connection[Any], asset_id: str) -> dict[str, dict[str, Any]]:
    """By feature: what Postgres has of an asset."""
    rows = tables.execute(
        "SELECT f.feature_id, f.transcription, f.start_time, m.embedding::text, s.embedding::text FROM video f "
        "LEFT JOIN video__multimodal_v1 m USING (feature_id) LEFT JOIN video__second s USING (feature_id) "
        "WHERE f.asset_id = %s",
        [asset_id],
    )
    names = ("transcription", "start_time", "multimodal-v1", "second")
    return {feature_id: dict(zip(names, values, strict=True)) for feature_id, *values in rows}


def as_text(vector: list[float]) -> str:
    return str(vector).replace(" ", "")
