"""A sync of Mixpeek's documents as Dagster's assets, against the sandbox, into both stores."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from tests.dagster_project.running import materialize, recorded
from tests.tables import row_counts
from vectorferry.connector.sandbox import GeneratedDocuments, Sandbox, SandboxSettings, running_sandbox
from vectorferry.dagster import VectorferrySync

DOCUMENTS = GeneratedDocuments(
    documents=24, documents_per_object=3, dimension=8, modality="video", collections=("films", "lectures")
)
TABLES = ["media/video", "media/image", "media/text", "media/audio"]
INDEX = "media/pinecone/text_extractor_v1_embedding"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate_documents=DOCUMENTS)) as sandbox:
        yield sandbox


@pytest.mark.long
def test_a_run_fills_tables_and_indexes_and_the_next_one_asks_the_feed(
    sandbox: Sandbox,
    instance: dg.DagsterInstance,
    postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIXPEEK_API_KEY", sandbox.api_key)
    monkeypatch.setenv("MIXPEEK_NAMESPACE", "generated")
    component = VectorferrySync(
        name="media",
        source={"type": "mixpeek-documents", "base_url": sandbox.documents_url, "collections": ["films", "lectures"]},
        destinations=[
            {"type": "pgvector", "url": postgres_url, "schema": schema},
            {
                "type": "pinecone",
                "host": sandbox.url,
                "api_key": "${MIXPEEK_API_KEY}",
                "vectors": [DOCUMENTS.vector_name],
            },
        ],
    )
    defs = dg.build_defs_for_component(component)
    assert materialize(defs, instance, "films", "lectures", select=[*TABLES, INDEX]).success
    said = recorded(instance, "media/video")
    assert {key: each["inserted"] for key, each in said.items()} == {"films": 12, "lectures": 12}
    assert recorded(instance, INDEX)["lectures"]["dagster/partition_row_count"] == 12
    with psycopg.connect(postgres_url) as connection:
        counts = row_counts(connection, schema)
    assert (counts["assets"], counts["video"], counts["video__text_extractor_v1_embedding"]) == (8, 24, 24)
    sandbox.requests.reset()
    assert materialize(defs, instance, "films", select=[*TABLES, INDEX]).success
    asked = {name: count for name, count in sandbox.requests.counts().items() if name.startswith("documents.")}
    # Of the two lists, one tells whether the partitions that the file names are ids, and one is the source's own.
    assert asked == {"documents.collections.list": 2, "documents.events": 1}
