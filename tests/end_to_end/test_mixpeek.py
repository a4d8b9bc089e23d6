"""Mixpeek's quickstart guide from its first to its last step, as docs/mixpeek.md has it: every command and every query
of the page, run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from vectorferry.connector.sandbox import (
    GeneratedCatalogue,
    MixpeekDialect,
    Sandbox,
    SandboxSettings,
    running_sandbox,
)
from vectorferry.connector.sources.mixpeek_documents import _source
from vectorferry.connector.sources.mixpeek_documents._submit import Submitter

from .command import KEY, Command

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "mixpeek.md").read_text(encoding="utf-8")
(SETTINGS,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
SUBMIT, SEARCH, SYNC = (
    shlex.split(line) for line in re.findall(r"^```sh\nvectorferry (.*)\n```", PAGE, flags=re.MULTILINE)
)
SEGMENTS, NEAREST = re.findall(r"^```sql\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

OF_THE_GUIDE = MixpeekDialect(release="2024-11", prefixes="none", features_reply="video_segments")
NEW_ACCOUNT = GeneratedCatalogue(assets=0, collections=("something-else",))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account that has nothing yet, with the API of the guide, whose answers come in pages of ten segments."""
    with running_sandbox(SandboxSettings(api_key=KEY, mixpeek=OF_THE_GUIDE, generate=NEW_ACCOUNT)) as running:
        yield running


@pytest.fixture
def run(sandbox: Sandbox, fresh_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    settings = yaml.safe_load(SETTINGS)
    settings["source"]["base_url"] = sandbox.url
    monkeypatch.setenv("MIXPEEK_API_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", fresh_postgres_url)
    shutil.copytree(DOCS / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    command = Command(tmp_path)
    command.configure(settings)
    return command


def test_the_quickstart_is_done_as_the_page_says(run: Command, sandbox: Sandbox, fresh_postgres_url: str) -> None:
    done = run.told(SUBMIT[0], *SUBMIT[1:])
    (video,) = done["submitted"]
    assert (video["state"], video["status"], video["error"]) == ("ready", "DONE", None)
    assert done["collection"] == "quickstart"
    assert done["sync"]["destinations"]["pgvector"]["features"]["video"]["inserted"] == 12
    assert sandbox.requests.counts()["assets.features"] == 2  # pages
    shown = run.run(SUBMIT[0], *SUBMIT[1:])
    assert shown.exit_code == 0
    assert f"skipped (SKIPPED); asset {video['asset_id']}; the same file is there already; it stays" in shown.stdout

    hits = run.told(SEARCH[0], *SEARCH[1:])["hits"]
    assert len(hits) == 10
    assert hits[0]["asset_id"] == video["asset_id"]
    assert hits[0]["asset"]["metadata"] == {"hello": "world"}
    (row,) = hits[0]["rows"]
    assert (row["feature_id"], row["start_time"]) == (hits[0]["feature_id"], hits[0]["start"])
    assert "dog" in row["description"]
    assert run.told(SEARCH[0], *SEARCH[1:-1], "metadata.hello=you")["hits"] == []

    with psycopg.connect(fresh_postgres_url) as connection:
        segments = connection.execute(SEGMENTS).fetchall()
        assert [(start, end) for start, end, *_ in segments] == [(10 * n, 10 * n + 10) for n in range(12)]
        assert all(
            description and transcription and emotions for _, _, description, transcription, _, emotions in segments
        )
        nearest = connection.execute(NEAREST).fetchall()
        assert (nearest[0][0], round(nearest[0][2], 5)) == (50, 0)
        assert len(nearest) == 5

    synced = run.told(SYNC[0], *SYNC[1:])
    assert counts(synced) == (1, 1, 0)


def counts(summary: dict[str, Any]) -> tuple[int, int, int]:
    """Listed, unchanged, read."""
    seen = summary["collections"]["quickstart"]
    return seen["listed"], seen["unchanged"], seen["pulled"]


@pytest.mark.long
def test_a_collection_that_submit_makes_is_synced_by_the_id_that_it_gets(
    tmp_path: Path, postgres_url: str, schema: str
) -> None:
    dialect = MixpeekDialect(release="2025-01", prefixes="v1")
    with running_sandbox(SandboxSettings(api_key=KEY, mixpeek=dialect, generate=NEW_ACCOUNT)) as service:
        run = Command(tmp_path)
        source = {"type": "mixpeek", "base_url": service.url, "api_key": KEY}
        stores = [{"type": "pgvector", "url": postgres_url, "schema": schema}]
        run.configure({"name": "media", "source": source, "destinations": stores})
        done = run.told("submit", "https://media.example/sea.mp4", "--collection", "holidays", "--wait")
        assert done["collection"].startswith("col_")
        assert done["sync"]["collections"][done["collection"]]["pulled"] == 1


def test_only_submit_may_make_a_collection(run: Command) -> None:
    complaint = run.complaint("search", "--text", "dog", "--collection", "quick", exit_code=2)
    assert "--collection quick: there is no collection quick; there are: something-else" in complaint


def test_the_pages_name_every_example() -> None:
    documents = (DOCS / "mixpeek-documents.md").read_text(encoding="utf-8")
    assert set(re.findall(r"examples/(mixpeek-\w+\.yaml)", PAGE + documents)) == {
        path.name for path in (DOCS / "examples").glob("mixpeek-*.yaml")
    }


@pytest.fixture
def lectures(postgres_url: str, schema: str, tmp_path: Path) -> Iterator[Command]:
    """A sync of some described media, done once."""
    with running_sandbox(SandboxSettings(api_key=KEY)) as service:
        command = Command(tmp_path)
        source = {"type": "mixpeek", "base_url": service.url, "api_key": KEY, "collections": ["lectures"]}
        stores = [{"type": "pgvector", "url": postgres_url, "schema": schema}]
        by_product = {"text": {"vectors": {"splade-v3": {"metric": "inner_product"}}}}
        command.configure({"name": "media", "source": source, "destinations": stores, "modalities": by_product})
        command.told("sync")
        yield command


@pytest.mark.long
def test_the_service_s_neighbours_are_those_in_postgres_until_a_vector_differs(
    lectures: Command, postgres_url: str, schema: str
) -> None:
    compared = lectures.told("compare", "--sample", "4", "-k", "5")
    assert compared["destination"] == "pgvector"
    assert len({(each["modality"], each["vector_name"]) for each in compared["vectors"]}) == 7
    for each in compared["vectors"]:
        assert each["exact"]
        assert each["error"] is None
        assert each["compared"] == 4
        assert (each["overlap"], each["differences"]) == (1.0, []), json.dumps(each)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"SET search_path = {schema}, public")
        connection.execute(
            "UPDATE image__multimodal_v1 SET embedding = "
            "(SELECT array_agg(sin(i * hashtext(feature_id)::float8)) FROM generate_series(1, 1408) i)::vector"
        )
    shown = lectures.run("compare", "--sample", "4", "-k", "5")
    assert shown.exit_code == 0
    assert re.search(r"multimodal-v1\s+image\s+4\s+\d+\.\d%\s+4", shown.stdout), shown.stdout
    assert re.search(r"multimodal-v1\s+video\s+4\s+100\.0%\s+0", shown.stdout)
    assert "only at the source: " in shown.stdout


@pytest.fixture
def documents(postgres_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """A sync of the described documents, not done yet."""
    monkeypatch.setattr(_source, "Submitter", partial(Submitter, first_wait=0.01, longest_wait=0.01))
    with running_sandbox(SandboxSettings(api_key=KEY)) as service:
        command = Command(tmp_path)
        source = {"type": "mixpeek-documents", "base_url": service.documents_url, "api_key": KEY, "namespace": "media"}
        stores = [{"type": "pgvector", "url": postgres_url, "schema": schema}]
        command.configure({"name": "media", "source": source, "destinations": stores})
        yield command


@pytest.mark.long
def test_an_object_is_submitted_synced_and_found_by_words_and_a_retriever(
    documents: Command, postgres_url: str, schema: str, tmp_path: Path
) -> None:
    poster = DOCS / "examples" / "mixpeek-documents.yaml"
    picture, film = "https://media.example/lighthouse.jpg", "https://media.example/red-lighthouse-at-dawn.mp4"
    documents.told("submit", picture, "--collection", "lectures", "--settings", str(poster), "--wait")
    done = documents.told("submit", film, "--collection", "lectures", "--metadata", "hello=sea", "--wait")
    (one,) = done["submitted"]
    assert (one["state"], one["status"]) == ("ready", "COMPLETED")
    assert done["sync"]["destinations"]["pgvector"]["features"]["video"]["inserted"] == 3
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(f"SELECT count(*) FROM {schema}.assets").fetchone() == (2,)
    words = ("search", "--text", "red lighthouse", "--collection", "lectures", "--limit", "3")
    vector = "multimodal_extractor_v1_multimodal_embedding"
    hits = documents.told(*words, "--option", vector, "--filter", "metadata.hello=sea")["hits"]
    assert {hit["asset_id"] for hit in hits} == {one["asset_id"]}
    assert [hit["rows"][0]["feature_id"] for hit in hits] == [hit["feature_id"] for hit in hits]
    search = {"feature_uri": vector, "query": {"input_mode": "text", "value": "{{INPUT.query}}"}, "top_k": 3}
    parameters = {"final_top_k": 3, "searches": [search]}
    stage = {"stage_name": "near", "config": {"stage_id": "feature_search", "parameters": parameters}}
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump([stage]))
    stages = ("--stages", str(tmp_path / "stages.yaml"), "--inputs", "query=red lighthouse")
    found = documents.told("search", *stages, "--collection", "lectures", "--limit", "3")["hits"]
    same = documents.told(*words, "--option", vector)["hits"]
    assert [hit["feature_id"] for hit in found] == [hit["feature_id"] for hit in same]


@pytest.mark.long
def test_the_service_s_neighbours_are_those_in_pinecone(lectures: Command, postgres_url: str, schema: str) -> None:
    with running_sandbox(SandboxSettings(api_key=KEY)) as pinecone:
        settings = yaml.safe_load(lectures.text)
        manifest = {"url": postgres_url, "schema": f"{schema}_manifest"}
        described = {"api_key": KEY, "host": pinecone.url, "manifest": manifest, "index_prefix": "near"}
        settings["destinations"].append({"type": "pinecone", "vectors": "all", **described})
        lectures.configure(settings)
        lectures.told("sync")
        compared = lectures.told("compare", "--destination", "pinecone", "--sample", "3", "-k", "4")
        assert compared["destination"] == "pinecone"
        dense = [each for each in compared["vectors"] if each["vector_name"] != "splade-v3"]
        assert all((each["overlap"], each["exact"], each["error"]) == (1.0, False, None) for each in dense), compared


@pytest.mark.long
def test_documents_are_near_to_each_other_in_postgres_as_they_are_there(documents: Command) -> None:
    documents.told("sync", "--collection", "lectures")
    compared = documents.told("compare", "--collection", "lectures", "--sample", "3", "-k", "4")
    dense = [each for each in compared["vectors"] if each["compared"]]
    assert len(dense) >= 4
    assert all((each["overlap"], each["differences"]) == (1.0, []) for each in dense), json.dumps(dense)
