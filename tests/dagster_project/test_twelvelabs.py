"""A sync of TwelveLabs as Dagster's assets, against the sandbox: tables, an index per named vector, and entities."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from tests.dagster_project.running import failure_of, materialize, recorded
from tests.tables import row_counts
from vectorferry.connector.sandbox import Fault, GeneratedIndexes, Sandbox, SandboxSettings, Status, running_sandbox
from vectorferry.dagster import VectorferrySync

INDEXES = GeneratedIndexes(
    assets=4, segments_per_asset=3, options=("visual", "audio"), dimension=8, indexes=("films", "lectures")
)
TABLES = ["media/video", "media/image", "media/text", "media/audio"]
VISUAL = "media/pinecone/marengo3_0_visual"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate_twelvelabs=INDEXES)) as sandbox:
        people = sandbox.twelvelabs.put_entity_collection("people")
        sandbox.twelvelabs.put_entity(people, "Ada")
        yield sandbox


@pytest.fixture
def defs(sandbox: Sandbox, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """One sync of both indexes into both stores, which is not tried again."""
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    monkeypatch.setenv("TWELVELABS_API_KEY", sandbox.api_key)
    vectors = ["marengo3.0-visual", "marengo3.0-audio"]
    component = VectorferrySync(
        name="media",
        source={
            "type": "twelvelabs",
            "base_url": sandbox.twelvelabs_url,
            "api_key": "${TWELVELABS_API_KEY}",
            "collections": ["films", "lectures"],
        },
        destinations=[
            {"type": "pgvector", "url": postgres_url, "schema": schema},
            {"type": "pinecone", "host": sandbox.url, "api_key": "${TWELVELABS_API_KEY}", "vectors": vectors},
        ],
    )
    return dg.build_defs_for_component(component)


def test_its_vectors_are_index_assets_beside_the_tables(defs: dg.Definitions) -> None:
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert {*TABLES, VISUAL, "media/pinecone/marengo3_0_audio"} <= keys


@pytest.mark.long
def test_a_run_fills_tables_and_indexes_and_reads_entities_once(
    sandbox: Sandbox, defs: dg.Definitions, instance: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    assert materialize(defs, instance, "films", "lectures", select=[*TABLES, VISUAL]).success
    said = recorded(instance, "media/video")
    assert {key: each["inserted"] for key, each in said.items()} == {"films": 12, "lectures": 12}
    assert said["films"]["rows/marengo3.0-audio"] == 6
    assert (said["films"]["rows/entities"], "rows/entities" in said["lectures"]) == (1, False)
    assert recorded(instance, VISUAL)["lectures"]["dagster/partition_row_count"] == 6
    with psycopg.connect(postgres_url) as connection:
        counts = row_counts(connection, schema)
    assert (counts["video__marengo3_0_visual"], counts["entities"], counts["entity_collections"]) == (12, 1, 1)
    asked = sandbox.requests.counts()
    assert asked["twelvelabs.indexed_assets.get"] == 4
    assert asked["twelvelabs.entities.list"] == 1


@pytest.mark.long
def test_entities_that_cannot_be_read_are_named(
    sandbox: Sandbox, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    sandbox.faults.add(Fault(route="twelvelabs.entities.list", do=Status(status=403)))
    result = materialize(defs, instance, "films", select=TABLES)
    assert "entities: an entity collection went meanwhile, so nothing is deleted" in failure_of(result)
