"""TwelveLabs' sample media as people find them in Postgres: every query of docs/twelvelabs.md, run as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.examples import family
from vectorferry import parse_settings, run_sync
from vectorferry.connector._engine import run_plan
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.sources.twelvelabs import _settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "twelvelabs.md"
QUERIES = re.findall(r"^```sql\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def stored(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that finds what one sync of all samples has left, with one entity more: known by a film."""
    with running_sandbox() as sandbox:
        account = sandbox.twelvelabs
        film = account.asset(account.asset_ids(account.index_id("films"), status="ready")[0])
        account.put_entity(min(account.entity_ids()), "Ada", asset_ids=(film["asset_id"],))
        source = {"type": "twelvelabs", "base_url": sandbox.twelvelabs_url, "api_key": sandbox.api_key}
        stores = [{"type": "pgvector", "url": postgres_url}]
        settings = {"name": "samples_of_twelvelabs", "source": source, "destinations": stores}
        assert run_sync(parse_settings(settings, "test")).exit_code == 0
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET search_path = samples_of_twelvelabs, public")
        yield connection


def test_the_document_has_queries() -> None:
    assert len(QUERIES) == 4


@pytest.mark.parametrize("query", family(QUERIES, always=(3,)))
def test_every_query_of_the_document_finds_something(stored: psycopg.Connection[Any], query: str) -> None:
    assert stored.execute(query).fetchall()


def test_entities_are_joined_with_the_assets_that_they_are_known_by(stored: psycopg.Connection[Any]) -> None:
    joined = {(name, asset_id) for _, name, _, asset_id in stored.execute(QUERIES[-1])}
    told = stored.execute(
        "SELECT e.name, a.asset_id FROM entities e, jsonb_array_elements_text(e.asset_ids) file "
        "JOIN assets a ON a.extra ->> 'uploaded_asset_id' = file"
    )
    assert joined == set(told.fetchall())
    assert {name for name, _ in joined} == {"Ada"}


def test_the_documented_tables_hold_what_the_document_says(stored: psycopg.Connection[Any]) -> None:
    columns = stored.execute(
        "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_schema = 'samples_of_twelvelabs' "
        "AND table_name IN ('entities', 'entity_collections', 'indexes') GROUP BY 1"
    )
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    for table, names in columns:
        told = ", ".join(f"`{name}`" for name in names if name not in ("extra", "row_hash", "synced_at"))
        assert f"`{table}` has {told}" in text


def test_features_are_told_apart_by_file_index_and_how_a_vector_was_made(stored: psycopg.Connection[Any]) -> None:
    for named in (
        "video WHERE index_name = 'films' AND embedding_scope = 'clip'",
        "video WHERE filename LIKE '%.mp4' AND embedding_option = 'visual' AND model_name = 'marengo3.0'",
        "text WHERE filename IS NOT NULL AND user_metadata <> '{}'",
    ):
        found = stored.execute(f"SELECT count(*) FROM {named}".encode()).fetchone()
        assert found is not None, named
        assert found[0] > 0, named
    of_films = "SELECT min(feature_id) FROM video_marengo3_0_visual WHERE index_name = 'films'"
    asked = "SELECT count(*) FROM search_video_marengo3_0_visual(like_feature => (" + of_films + "), filter => %s)"
    assert stored.execute(asked.encode(), ['{"index_name": "films"}']).fetchone() == (10,)


def any_record(sandbox: Sandbox) -> dict[str, Any]:
    """The metadata of one of Pinecone's records."""
    index = sandbox.pinecone.indexes()[0]
    records = sandbox.pinecone.records(index, *sandbox.pinecone.namespaces(index))
    return next(dict(record["metadata"]) for record in records.values())


@pytest.mark.long
def test_a_store_of_before_gets_these_columns_in_one_sync_and_no_vector_is_written(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And Pinecone's records the keys."""
    with running_sandbox() as sandbox:
        source = {"type": "twelvelabs", "base_url": sandbox.twelvelabs_url, "api_key": sandbox.api_key}
        stores = [
            {"type": "pgvector", "url": postgres_url, "schema": schema},
            {"type": "pinecone", "vectors": "all", "api_key": sandbox.api_key, "host": sandbox.url},
        ]
        configuration = {"name": "media", "source": {**source, "collections": ["lectures"]}, "destinations": stores}
        with monkeypatch.context() as patches:
            patches.setattr(_settings, "DEFAULT_COLUMNS", {})
            assert run_sync(parse_settings(configuration, "test")).exit_code == 0
        assert "index_name" not in any_record(sandbox)
        settings = parse_settings(configuration, "test")
        planned = run_plan(settings)
        announced = "\n".join(planned.destinations["pgvector"].statements)
        (seen,) = planned.collections.values()
        first, second = run_sync(settings), run_sync(settings)
        after = any_record(sandbox)
    for column in ("filename", "index_name", "user_metadata", "embedding_option", "embedding_scope", "model_name"):
        assert f'ADD COLUMN "{column}" ' in announced
    assert (seen.changed, seen.new) == (seen.listed, 0)
    for summary, updates in ((first, True), (second, False)):
        assert summary.exit_code == 0
        for store in ("pgvector", "pinecone"):
            applied = summary.destinations[store].applied
            assert any(counts.updated for counts in applied.features.values()) == updates
            assert (
                not any(counts.inserted or counts.updated for counts in applied.vectors.values()) or store == "pinecone"
            )
    assert (after["index_name"], after["embedding_scope"]) == ("lectures", "clip")
    assert "filename" in after
    assert any(key.startswith("user_metadata.") for key in after)
