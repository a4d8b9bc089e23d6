"""What bad input gets, from an API over HTTP to the tables: set aside with its reason, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from vectorferry import Summary, parse_settings, run_sync
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..examples import family

CATALOGUE = GeneratedCatalogue(assets=6, features_per_asset=2, dimension=8, collections=("ads",))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Six good assets with two features each."""
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        yield sandbox


def sync(sandbox: Sandbox, database: str, schema: str, **more: Any) -> Summary:
    tree = {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key},
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        **more,
    }
    return run_sync(parse_settings(tree, "test"))


def bad(value: str, good: int = 7) -> bytes:
    return f"[{value}, {', '.join(['0.5'] * good)}]".encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    family(
        [
            (bad("NaN"), "not_finite"),
            (b"[]", "malformed"),
            (bad("0.5", good=16_000), "dimension"),
            (bad("Infinity"), "not_finite"),
            (bad("1e39"), "not_finite"),
            (bad("null"), "malformed"),
            (bad('"0.5"'), "malformed"),
            (b"7", "malformed"),
        ]
    ),
)
def test_a_bad_vector_is_set_aside_and_its_earlier_version_stays(
    sandbox: Sandbox, postgres_url: str, schema: str, raw: bytes, reason: str
) -> None:
    sync(sandbox, postgres_url, schema)  # fixes the dimension
    asset_id = sandbox.mixpeek.asset_ids("ads")[0]
    feature_id = sandbox.mixpeek.feature_ids(asset_id)[0]
    sandbox.mixpeek.put_vector(feature_id, "multimodal-v1", raw)
    summary = sync(sandbox, postgres_url, schema)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            f"SELECT asset_id, feature_id, vector_name, reason, kept FROM {schema}._sync_quarantine"
        ).fetchall()
        shown = connection.execute(f"SELECT count(*) FROM {schema}.video_multimodal_v1").fetchone()
    assert summary.exit_code == 3
    assert rows == [(asset_id, feature_id, "multimodal-v1", reason, True)]
    assert shown == (CATALOGUE.assets * CATALOGUE.features_per_asset,)
    assert sync(sandbox, postgres_url, schema).exit_code == 3, "a record is still in quarantine"


def test_text_with_nul_is_replaced_and_counted(sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    feature_id = sandbox.mixpeek.feature_ids(sandbox.mixpeek.asset_ids("ads")[0])[0]
    sandbox.mixpeek.put_feature_field(feature_id, "transcription", "before\0after")
    sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"ke\0y": ["\0", {"deep": "\ud800"}]})
    summary = sync(sandbox, postgres_url, schema)
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            f"SELECT transcription, metadata FROM {schema}.video WHERE feature_id = %s", [feature_id]
        ).fetchone()
    assert summary.exit_code == 0
    assert summary.destinations["pgvector"].replaced_nul == 4
    assert row == ("before\ufffdafter", {"ke\ufffdy": ["\ufffd", {"deep": "\ufffd"}]})


@pytest.mark.long
def test_a_value_that_does_not_fit_its_column_names_it(sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    feature_id = sandbox.mixpeek.feature_ids(sandbox.mixpeek.asset_ids("ads")[0])[0]
    sandbox.mixpeek.put_feature_field(feature_id, "start_time", "soon")
    summary = sync(sandbox, postgres_url, schema)
    with psycopg.connect(postgres_url) as connection:
        (row,) = connection.execute(f"SELECT reason, column_name, detail FROM {schema}._sync_quarantine").fetchall()
        loaded = connection.execute(
            f"SELECT start_time, end_time IS NOT NULL FROM {schema}.video WHERE feature_id = %s", [feature_id]
        ).fetchall()
    assert summary.exit_code == 3
    assert row[:2] == ("bad_value", "start_time")
    assert "start_time" in row[2]
    assert loaded == [(None, True)]


def test_names_from_the_api_never_reach_sql_unquoted(sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    hostile = 'v"; DROP SCHEMA public CASCADE; --'
    feature_id = sandbox.mixpeek.feature_ids(sandbox.mixpeek.asset_ids("ads")[0])[0]
    sandbox.mixpeek.put_vector(feature_id, hostile, [1.0, 2.0])
    sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"'); DROP TABLE video; --": 1})
    summary = sync(sandbox, postgres_url, schema)
    with psycopg.connect(postgres_url) as connection:
        (named,) = connection.execute(
            f"SELECT identifier FROM {schema}._sync_vectors WHERE vector_name = %s", [hostile]
        ).fetchall()
        held = connection.execute(f"SELECT embedding::text FROM {schema}.video__{named[0]}").fetchall()
    assert summary.exit_code == 0
    assert held == [("[1,2]",)]


@pytest.mark.long
def test_a_mapped_column_fills_rows_that_were_already_there(sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    sync(sandbox, postgres_url, schema)
    columns = {"writer": {"path": "metadata.author", "type": "text"}}
    summary = sync(sandbox, postgres_url, schema, modalities={"video": {"columns": columns}})
    with psycopg.connect(postgres_url) as connection:
        empty = connection.execute(f"SELECT count(*) FROM {schema}.video WHERE writer IS NULL").fetchone()
    assert empty == (0,)
    assert json.dumps(summary.to_dict())
