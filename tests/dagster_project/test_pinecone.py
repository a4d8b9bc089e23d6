"""The real Pinecone destination beside the real pgvector one, against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from tests.dagster_project.running import materialize, recorded
from tests.dagster_project.test_secrets import configured, everything_shown
from tests.tables import row_counts
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox
from vectorferry.dagster import VectorferrySync

CATALOGUE = GeneratedCatalogue(assets=6, features_per_asset=2, dimension=8, collections=("ads", "films"))
INDEX = "media/pinecone/multimodal_v1"
TABLES = ["media/video", "media/image", "media/text", "media/audio"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        yield sandbox


@pytest.fixture
def sync(sandbox: Sandbox, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> VectorferrySync:
    monkeypatch.setenv("SANDBOX_KEY", sandbox.api_key)
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    pinecone = {"type": "pinecone", "host": sandbox.url, "api_key": "${SANDBOX_KEY}", "vectors": ["multimodal-v1"]}
    return VectorferrySync(
        name="media",
        source={"type": "mixpeek", "base_url": sandbox.url, "api_key": "${SANDBOX_KEY}"},
        destinations=[{"type": "pgvector", "url": "${DATABASE_URL}", "schema": schema}, pinecone],
    )


@pytest.fixture
def defs(sync: VectorferrySync) -> dg.Definitions:
    return dg.build_defs_for_component(sync)


@pytest.fixture
def known(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance that has both partitions."""
    instance.add_dynamic_partitions("media_collections", list(CATALOGUE.collections))
    return instance


def held(sandbox: Sandbox) -> dict[str, dict[str, int]]:
    """Records in Pinecone, by index and namespace."""
    return {index: dict(sandbox.pinecone.namespaces(index)) for index in sandbox.pinecone.indexes()}


def test_one_run_fills_tables_and_indexes_with_one_read(
    sandbox: Sandbox, defs: dg.Definitions, known: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    assert materialize(defs, known, "ads", "films", select=[*TABLES, INDEX]).success
    assert held(sandbox) == {"media-multimodal-v1-8": {"ads": 6, "films": 6}}
    with psycopg.connect(postgres_url) as connection:
        assert row_counts(connection, schema)["video__multimodal_v1"] == 12
    assert sandbox.requests.counts()["features.get"] == 12


@pytest.mark.long
def test_an_index_tells_records_cost_namespace_and_how_far_it_was_written(
    sandbox: Sandbox, defs: dg.Definitions, known: dg.DagsterInstance
) -> None:
    assert materialize(defs, known, "films", select=[INDEX]).success
    assert materialize(defs, known, "ads", select=[INDEX]).success
    said = recorded(known, INDEX)
    assert {key: said[key]["dagster/partition_row_count"] for key in said} == {"ads": 6, "films": 6}
    assert {key: said[key]["namespace"] for key in said} == {"ads": "ads", "films": "films"}
    assert {key: said[key]["dagster/uri"] for key in said} == {
        "ads": "pinecone://media-multimodal-v1-8/ads",
        "films": "pinecone://media-multimodal-v1-8/films",
    }
    expected = {
        "index": "media-multimodal-v1-8",
        "metric": "cosine",
        "dimension": 8,
        "inserted": 6,
        "updated": 0,
        "deleted": 0,
        "quarantined": 0,
        "retries": 0,
        "dagster/row_count": 12,
    }
    assert {key: said["ads"].get(key) for key in expected} == expected
    for key in ("requests", "sent_bytes", "write_units", "written_lsn"):
        assert said["ads"][key] > 0
    assert sandbox.api_key not in everything_shown(defs, known)


@pytest.mark.long
def test_only_the_index_is_filled_when_only_it_is_selected(
    sandbox: Sandbox, defs: dg.Definitions, known: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    assert materialize(defs, known, "ads", select=[INDEX]).success
    assert held(sandbox) == {"media-multimodal-v1-8": {"ads": 6}}
    with psycopg.connect(postgres_url) as connection:
        assert row_counts(connection, schema).get("video", 0) == 0


@pytest.mark.long
def test_only_the_tables_are_filled_when_only_they_are_selected(
    sandbox: Sandbox, defs: dg.Definitions, known: dg.DagsterInstance
) -> None:
    assert materialize(defs, known, "ads", select=TABLES).success
    assert held(sandbox) == {}


@pytest.mark.long
def test_a_second_run_writes_nothing_and_still_counts(
    sandbox: Sandbox, defs: dg.Definitions, known: dg.DagsterInstance
) -> None:
    materialize(defs, known, "ads", select=[INDEX])
    before = sandbox.pinecone.digest("media-multimodal-v1-8", "ads")
    assert materialize(defs, known, "ads", select=[INDEX]).success
    said = recorded(known, INDEX)["ads"]
    assert (said["inserted"], said["sent_bytes"], said["assets_unchanged"]) == (0, 0, 3)
    assert said["dagster/partition_row_count"] == 6
    assert sandbox.pinecone.digest("media-multimodal-v1-8", "ads") == before


def test_a_named_vector_of_the_file_is_an_asset_and_one_that_turns_up_is_recorded(
    sync: VectorferrySync, known: dg.DagsterInstance
) -> None:
    pgvector, pinecone = sync.destinations
    named = VectorferrySync(
        name="media",
        source=sync.source,
        destinations=[pgvector, {**pinecone, "vectors": "all"}],
        modalities={"video": {"vectors": {"text-v1": {"metric": "cosine"}}}},
    )
    assert materialize(dg.build_defs_for_component(named), known, "ads", select=["media/pinecone/text_v1"]).success
    assert recorded(known, "media/pinecone/text_v1")["ads"]["inserted"] == 0
    assert recorded(known, INDEX)["ads"]["dagster/partition_row_count"] == 6


@pytest.mark.long
def test_an_address_written_into_the_file_is_masked_in_the_manifest_too_and_used(
    sandbox: Sandbox, sync: VectorferrySync, known: dg.DagsterInstance, postgres_url: str
) -> None:
    pgvector, pinecone = sync.destinations
    literal = VectorferrySync(
        name="media", source=sync.source, destinations=[{**pgvector, "url": postgres_url}, pinecone]
    )
    defs = dg.build_defs_for_component(literal)
    assert materialize(defs, known, "ads", select=[INDEX]).success
    assert held(sandbox) == {"media-multimodal-v1-8": {"ads": 6}}
    assert json.loads(configured(defs)["media_vectorferry"]["destinations"])[1]["manifest"]["url"] == "**********"
    assert postgres_url not in dg.serialize_value(RepositorySnap.from_def(defs.get_repository_def()))
