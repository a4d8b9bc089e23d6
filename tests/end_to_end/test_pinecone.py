"""From an API over HTTP into Pinecone, with nothing but the command: what a user is promised, and what it costs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, PineconeDialect, Sandbox, Status

from ..waiting import PATIENCE, wait_until
from .command import KEY, Command
from .pinecone_store import FEATURES, INDEX, digests, record_id, stored, writes


def test_what_is_at_the_source_is_in_pinecone(sandbox: Sandbox, vectorferry: Command) -> None:
    told = vectorferry.told("sync")
    assert told["destinations"]["pinecone"]["vectors"]["video"]["multimodal-v1"]["inserted"] == FEATURES
    assert stored(sandbox).keys() == {record_id(sandbox, feature_id) for feature_id in sandbox.mixpeek.feature_ids()}
    assert sandbox.pinecone.namespaces(INDEX) == {"ads": FEATURES // 2, "films": FEATURES // 2}
    for record in stored(sandbox).values():
        source = httpx.get(
            f"{sandbox.url}/features/{record['metadata']['feature_id']}",
            headers={"Authorization": f"Bearer {KEY}"},
            params={"include_vectors": True},
        ).json()
        wanted = np.array(source["vectors"]["multimodal-v1"], dtype=np.float32)
        assert record["values"].tobytes() == wanted.tobytes()
        assert record["metadata"]["metadata.author"] == source["metadata"]["author"]


@pytest.mark.long
def test_nothing_changed_means_no_write_and_no_vector_read(sandbox: Sandbox, vectorferry: Command) -> None:
    vectorferry.told("sync")
    before = digests(sandbox)
    sandbox.requests.reset()
    told = vectorferry.told("sync")
    routes = sandbox.requests.counts()
    assert writes(sandbox) == {}
    assert {route for route in routes if route.startswith(("features", "assets.get", "assets.features"))} == set()
    assert told["destinations"]["pinecone"]["delivery"]["requests"] == 0
    assert told["destinations"]["pinecone"]["features"]["video"]["unchanged"] == FEATURES
    assert digests(sandbox) == before
    assert "nothing was written, everything is up to date" in vectorferry.run("sync").stdout


@pytest.mark.long
def test_changed_metadata_is_sent_without_any_vector(sandbox: Sandbox, vectorferry: Command) -> None:
    feature_id = sandbox.mixpeek.feature_ids()[0]
    sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"author": "ada", "tag": "blue"})
    vectorferry.told("sync")
    before = stored(sandbox)

    sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"author": "grace", "tag": "blue"})
    sandbox.requests.reset()
    told = vectorferry.told("sync")
    assert writes(sandbox) == {"pinecone.update": 1}
    after = stored(sandbox)
    changed = record_id(sandbox, feature_id)
    assert after[changed]["metadata"] == {**before[changed]["metadata"], "metadata.author": "grace"}
    assert {name for name in after if str(after[name]) != str(before[name])} == {changed}
    assert told["destinations"]["pinecone"]["vectors"]["video"]["multimodal-v1"]["updated"] == 0
    assert told["destinations"]["pinecone"]["features"]["video"]["updated"] == 1

    sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"author": "grace"})
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert writes(sandbox) == {"pinecone.upsert": 1}
    assert "metadata.tag" not in stored(sandbox)[changed]["metadata"]
    assert len(stored(sandbox)) == FEATURES


class TestVisible:
    """With a Pinecone whose queries see nothing of what is written until they are told to."""

    @pytest.fixture
    def dialect(self) -> PineconeDialect:
        return PineconeDialect(visible_after_ms=600_000)

    def test_a_sync_that_waits_ends_when_queries_see_everything(self, sandbox: Sandbox, vectorferry: Command) -> None:
        with ThreadPoolExecutor(1) as pool:
            syncing = pool.submit(vectorferry.run, "sync", "--wait-visible")
            wait_until(lambda: sandbox.requests.counts().get("pinecone.query", 0) > 2)
            assert not syncing.done()
            sandbox.pinecone.settle()
            result = syncing.result(timeout=PATIENCE)
        assert result.exit_code == 0, result.output
        assert "visible to queries" in result.stdout
        assert "not yet visible" not in result.stdout

    @pytest.mark.long
    def test_it_says_what_queries_do_not_see_when_the_time_is_over(
        self, sandbox: Sandbox, vectorferry: Command
    ) -> None:
        result = vectorferry.run("sync", "--wait-visible", "--visible-timeout", "0.2")
        assert result.exit_code == 1
        assert "everything is written, but after 0.2 s queries do not see all of it yet in 2 of 2 places" in " ".join(
            result.stdout.split()
        )
        assert f"{INDEX}/ads (written " in result.stdout

        told = vectorferry.told("sync")
        places = told["destinations"]["pinecone"]["delivery"]["places"]
        assert [place["place"] for place in places] == [f"{INDEX}/ads", f"{INDEX}/films"]
        sandbox.pinecone.settle()
        told = vectorferry.told("sync", "--wait-visible")
        places = told["destinations"]["pinecone"]["delivery"]["places"]
        assert all(place["visible"] >= place["written"] for place in places)


@pytest.mark.long
def test_a_lost_manifest_is_made_again_from_what_is_in_pinecone(
    sandbox: Sandbox, vectorferry: Command, manifest: psycopg.Connection[Any], schema: str
) -> None:
    vectorferry.told("sync")
    manifest.execute(f"DROP SCHEMA {schema} CASCADE")
    gone, edited = sandbox.mixpeek.asset_ids("ads")[:2]
    sandbox.mixpeek.remove_asset(gone)
    sandbox.mixpeek.put_vector(sandbox.mixpeek.feature_ids(edited)[0], "multimodal-v1", [1.0] * 8)
    sandbox.requests.reset()

    refused = vectorferry.told("sync", exit_code=4)
    assert "1 of 4 assets would go" in refused["notes"][0]
    assert writes(sandbox) == {"pinecone.upsert": 1}
    assert refused["destinations"]["pinecone"]["vectors"]["video"]["multimodal-v1"]["unchanged"] == FEATURES - 4
    assert len(stored(sandbox)) == FEATURES

    vectorferry.told("sync", "--allow-deletes", "0.25")
    assert writes(sandbox) == {"pinecone.upsert": 1, "pinecone.delete": 1}
    assert stored(sandbox).keys() == {record_id(sandbox, feature_id) for feature_id in sandbox.mixpeek.feature_ids()}
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert writes(sandbox) == {}
    assert not [route for route in sandbox.requests.counts() if route.startswith("features")]


@pytest.mark.long
def test_an_index_that_somebody_deleted_is_made_and_filled_again(sandbox: Sandbox, vectorferry: Command) -> None:
    vectorferry.told("sync")
    before = digests(sandbox)
    httpx.delete(f"{sandbox.url}/indexes/{INDEX}", headers={"Api-Key": KEY}).raise_for_status()
    assert sandbox.pinecone.indexes() == []
    result = vectorferry.run("sync")
    assert result.exit_code == 0, result.output
    assert digests(sandbox) == before
    sandbox.requests.reset()
    vectorferry.told("sync")
    assert writes(sandbox) == {}


@pytest.mark.long
def test_what_the_store_refuses_is_set_aside_in_its_words(
    sandbox: Sandbox, vectorferry: Command, manifest: psycopg.Connection[dict[str, Any]], schema: str
) -> None:
    refused, zero, huge = (sandbox.mixpeek.feature_ids(asset)[0] for asset in sandbox.mixpeek.asset_ids()[:3])
    sandbox.faults.add(Fault(route="pinecone.upsert", containing=refused, do=Status(status=400)))
    sandbox.mixpeek.put_vector(zero, "multimodal-v1", [0.0] * 8)
    sandbox.mixpeek.put_feature_field(huge, "metadata", {"notes": "x" * 60_000})
    result = vectorferry.run("sync")
    assert result.exit_code == 3
    assert "3 records in quarantine, each with its reason" in result.stdout
    good = {record_id(sandbox, one) for one in sandbox.mixpeek.feature_ids() if one not in (refused, zero, huge)}
    assert stored(sandbox).keys() == good

    rows = manifest.execute(f"SELECT feature_id, reason, detail FROM {schema}._sync_pinecone_quarantine").fetchall()
    reasons = {row["feature_id"]: (row["reason"], row["detail"]) for row in rows}
    assert {name: reason for name, (reason, _) in reasons.items()} == {
        refused: "refused",
        zero: "zero_vector",
        huge: "too_large",
    }
    assert "Fault rule: status 400" in reasons[refused][1]
    assert "multimodal-v1" in reasons[zero][1]
    assert "metadata.notes" in reasons[huge][1]
    assert vectorferry.run("sync").exit_code == 3, "they are still in quarantine"
    assert "3 records in quarantine" in vectorferry.run("status").stdout

    sandbox.faults.clear()
    sandbox.mixpeek.put_vector(zero, "multimodal-v1", [1.0] * 8)
    for feature_id in (refused, huge):
        sandbox.mixpeek.put_feature_field(feature_id, "metadata", {"notes": "x"})
    assert vectorferry.run("sync").exit_code == 0
    assert len(stored(sandbox)) == FEATURES
    assert manifest.execute(f"SELECT * FROM {schema}._sync_pinecone_quarantine").fetchall() == []


@pytest.mark.long
def test_nothing_that_was_written_is_nothing_to_wait_for(sandbox: Sandbox, vectorferry: Command) -> None:
    for asset_id in sandbox.mixpeek.asset_ids()[1:]:
        sandbox.mixpeek.remove_asset(asset_id)
    sandbox.faults.add(Fault(route="pinecone.upsert", do=Status(status=400)))
    told = vectorferry.told("sync", "--wait-visible", "--visible-timeout", "0.3", exit_code=3)
    assert told["destinations"]["pinecone"]["quarantined"] == 3
    assert stored(sandbox) == {}


def test_a_search_by_vector_and_by_likeness_with_filters(
    sandbox: Sandbox, vectorferry: Command, tmp_path: Path
) -> None:
    vectorferry.told("sync")
    name, record = next(iter(stored(sandbox).items()))
    feature_id = record["metadata"]["feature_id"]
    np.save(tmp_path / "query.npy", record["values"])
    search = ("search", "--destination", "pinecone", "--vector-name", "multimodal-v1")

    near = vectorferry.told(*search, "--vector", str(tmp_path / "query.npy"), "--limit", "3")
    assert near["rows"][0]["feature_id"] == feature_id
    assert near["rows"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert len(near["rows"]) == 3
    assert INDEX in near["statement"]

    alike = vectorferry.told(*search, "--like", feature_id, "--limit", "100")
    assert len(alike["rows"]) == FEATURES - 1
    assert feature_id not in {row["feature_id"] for row in alike["rows"]}
    scores = [row["score"] for row in alike["rows"]]
    assert scores == sorted(scores, reverse=True)

    first = vectorferry.told(*search, "--like", feature_id, "--filter", 'start_time={"lt": 10}', "--limit", "100")
    assert {row["start_time"] for row in first["rows"]} == {0.0}
    films = vectorferry.told(*search, "--like", feature_id, "--filter", "collection=films", "--limit", "100")
    assert {row["collection"] for row in films["rows"]} == {"films"}
    by_author = vectorferry.told(
        *search, "--like", feature_id, "--filter", 'metadata={"author": "author 3"}', "--limit", "100"
    )
    assert {row["metadata"]["author"] for row in by_author["rows"]} == {"author 3"}
    assert vectorferry.complaint("search", "--like", "nobody", exit_code=2).startswith("vectorferry: no video")
    unknown = vectorferry.complaint("search", "--like", feature_id, "--vector-name", "other", exit_code=2)
    assert "there is no index for other: choose one of multimodal-v1 with --vector-name" in unknown
    assert name.endswith(feature_id)


@pytest.mark.long
def test_vectors_that_got_another_dimension_move_to_an_index_of_their_own(
    sandbox: Sandbox, vectorferry: Command, tmp_path: Path
) -> None:
    vectorferry.told("sync")
    first, *others = sandbox.mixpeek.feature_ids()
    for number, feature_id in enumerate(others):
        sandbox.mixpeek.put_vector(feature_id, "multimodal-v1", [float(number), 1.0])
    vectorferry.told("sync")
    assert sandbox.pinecone.indexes() == [INDEX, "media-multimodal-v1-2"]
    assert stored(sandbox).keys() == {record_id(sandbox, first)}
    said = vectorferry.complaint("search", "--like", first, exit_code=2)
    assert "there are 2 indexes for multimodal-v1" in said
    (tmp_path / "query.json").write_text("[1, 1]")
    assert len(vectorferry.told("search", "--vector", str(tmp_path / "query.json"))["rows"]) == 10

    sandbox.mixpeek.put_vector(first, "multimodal-v1", [1.0, 1.0])
    vectorferry.told("sync")
    assert stored(sandbox) == {}
    assert vectorferry.told("search", "--like", first, "--limit", "1")["rows"][0]["feature_id"] == others[1]


@pytest.mark.long
def test_status_tells_what_is_there(vectorferry: Command) -> None:
    assert "nothing has been synced into Pinecone yet" in vectorferry.complaint("status")
    vectorferry.told("sync")
    (told,) = vectorferry.told("status")["destinations"]
    assert told["assets"] == {"ads": 4, "films": 4}
    assert [(table["name"], table["rows"]) for table in told["tables"]] == [(INDEX, FEATURES)]
    shown = vectorferry.run("status").stdout
    assert INDEX in shown
    assert "postgres" in shown
