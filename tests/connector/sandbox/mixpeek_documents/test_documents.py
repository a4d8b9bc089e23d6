"""Mixpeek's documents API as the sandbox serves it: what it refuses, hides, and leaves out; and brought vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from vectorferry.connector.sandbox import MixpeekDocumentsDialect, Sandbox, SandboxSettings, running_sandbox

LIST = "/v1/collections/quickstart/documents/list"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


def client_of(sandbox: Sandbox, namespace: str | None = "media") -> httpx.Client:
    headers = {"Authorization": f"Bearer {sandbox.api_key}", **({"X-Namespace": namespace} if namespace else {})}
    return httpx.Client(base_url=sandbox.documents_url, headers=headers)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with client_of(sandbox) as client:
        yield client


def posted(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (LIST, {"return_url": True}, "return_url"),
        (LIST, {"partition": {"index": 0, "count": 2, "of": 3}}, "of"),
        ("/v1/documents/batch-get", {"document_ids": ["a"], "return_vectors": True}, "return_vectors"),
        ("/v1/collections/list", {"include_total": True}, "include_total"),
        ("/v1/collections/list", {"cursor": "x"}, "cursor"),
    ],
)
def test_a_key_that_is_not_declared_is_refused_by_name(
    client: httpx.Client, path: str, body: dict[str, Any], key: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    (problem,) = error["details"]["validation_errors"]
    assert (error["type"], problem["type"], problem["location"][-1]) == ("ValidationError", "extra_forbidden", key)
    assert "accepted keys: " in problem["message"]


@pytest.mark.parametrize("body", [{"limit": 1_001}, {"offset": 10_001}, {"partition": {"index": 2, "count": 2}}])
def test_what_is_too_much_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post(LIST, json=body).status_code == 422


def test_a_wrong_namespace_is_an_empty_list_with_a_warning(sandbox: Sandbox) -> None:
    for namespace in ("nope", None):
        with client_of(sandbox, namespace) as client:
            answer = client.post("/v1/collections/list", json={})
            assert answer.headers["X-Namespace-Unresolved"] == "true"
            assert answer.json()["results"] == []
            assert answer.json()["warnings"][0]["reason"] == "unresolved"
            assert posted(client, LIST)["results"] == []


def test_totals_and_vectors_come_when_they_are_asked_for(client: httpx.Client) -> None:
    plain = posted(client, LIST, limit=1)
    assert (plain["pagination"]["total"], plain["total_documents"]) == (None, None)
    assert "vector_hydration_incomplete" not in plain["results"][0]
    assert not [name for name in plain["results"][0] if name.endswith("_embedding")]
    counted = posted(client, LIST, limit=1, include_total=True)
    assert counted["pagination"]["total"] == counted["total_documents"] > 100


def test_a_cursor_remembers_its_partition_and_may_be_used_again(client: httpx.Client) -> None:
    seen: set[str] = set()
    for index in range(3):
        page = posted(client, LIST, limit=30, partition={"index": index, "count": 3})
        while cursor := page["pagination"]["next_cursor"]:
            seen |= {row["document_id"] for row in page["results"]}
            page = posted(client, LIST, limit=30, cursor=cursor)
            with_vectors = posted(client, LIST, limit=30, cursor=cursor, return_vectors=True)
            assert [row["document_id"] for row in with_vectors["results"]] == [
                row["document_id"] for row in page["results"]
            ]
        seen |= {row["document_id"] for row in page["results"]}
    total = posted(client, LIST, limit=1, include_total=True)["pagination"]["total"]
    assert len(seen) == total


def test_documents_that_were_brought_are_in_a_collection_that_lists_hide(sandbox: Sandbox) -> None:
    with client_of(sandbox, "my-vectors") as client:
        assert posted(client, "/v1/collections/list")["results"] == []
        (row,) = posted(client, "/v1/collections/list", include_system=True)["results"]
        assert row["collection_id"] == "_direct_upsert"
        assert {index["index"]["type"] for index in row["vector_indexes"]} == {"dense", "sparse", "multi_dense"}


def test_a_sorted_list_looks_at_the_first_documents_only() -> None:
    dialect = MixpeekDocumentsDialect(sorted_scan=10)
    with running_sandbox(SandboxSettings(documents=dialect)) as sandbox, client_of(sandbox) as client:
        page = posted(client, LIST, limit=1_000, sort={"field": "start_time", "direction": "desc"})
        assert (len(page["results"]), page["pagination"]["next_cursor"]) == (10, None)
        assert "the list ends there" in page["warnings"][0]


def test_brought_vectors_are_checked_kept_and_searched(sandbox: Sandbox) -> None:
    with client_of(sandbox, "mine") as client:
        made = {"namespace_id": "mine", "vector_configs": [{"name": "v", "dimension": 2, "metric": "dot_product"}]}
        posted(client, "/v1/namespaces/standalone", **made)
        assert client.post("/v1/namespaces/standalone", json=made).status_code == 409
        path = "/v1/namespaces/mine/documents/upsert"
        for vectors in ({"w": [1, 2]}, {"v": [1, 2, 3]}):
            refused = client.post(path, json={"documents": [{"document_id": "a", "vectors": vectors}]})
            assert refused.status_code == 422
        documents = [
            {"document_id": name, "vectors": {"v": vector}, "payload": {"n": name, "_internal": 1}}
            for name, vector in (("a", [1, 0]), ("b", [0, 1]))
        ]
        written = posted(client, path, documents=documents, options={"write_token": True})
        assert written["dropped_payload_fields"] == {"a": ["_internal"], "b": ["_internal"]}
        search = {"feature_uri": "v", "query": {"input_mode": "vector", "value": "{{INPUT.q}}"}, "top_k": 2}
        stage = {"stage_name": "s", "config": {"stage_id": "feature_search", "parameters": {"searches": [search]}}}
        retriever = posted(client, "/v1/retrievers", retriever_name="r", stages=[stage])["retriever_id"]
        execute = f"/v1/retrievers/{retriever}/execute"
        found = posted(client, execute, inputs={"q": [0, 1]}, write_token=written["write_token"])
        assert [row["document_id"] for row in found["documents"]] == ["b", "a"]
        assert client.post(execute, json={"inputs": {"q": [0, 1]}, "write_token": "wt_no"}).status_code == 400
        search["query"]["input_mode"] = "text"  # type: ignore[index]
        words = posted(client, "/v1/retrievers", retriever_name="t", stages=[stage])["retriever_id"]
        assert (
            "promote the namespace" in client.post(f"/v1/retrievers/{words}/execute", json={"inputs": {"q": "x"}}).text
        )
        mapping = [{"existing_index": "v", "inference_service": "intfloat/multilingual-e5-large-instruct"}]
        assert posted(client, "/v1/namespaces/mine/promote", vector_mappings=mapping)["mode"] == "managed"
        assert len(posted(client, f"/v1/retrievers/{words}/execute", inputs={"q": "x"})["documents"]) == 2
        listed = posted(client, "/v1/documents/list", collection_ids=["_direct_upsert", "nope"], return_vectors=True)
        assert [row["v"] for row in listed["results"]] == [[1, 0], [0, 1]]
        assert listed["unknown_collection_ids"] == ["nope"]
        (index,) = client.get("/v1/collections/_direct_upsert").json()["vector_indexes"]
        assert (index["index"]["dimensions"], index["index"]["distance"]) == (2, "dot")


def test_edits_move_the_time_and_are_told_in_the_feed(sandbox: Sandbox, client: httpx.Client) -> None:
    name = sandbox.documents.document_ids()[0]
    before = client.get(f"/v1/documents/{name}").json()["_internal"]["updated_at"]
    last = client.get("/v1/events", params={"limit": 1_000}).json()["next_cursor"]
    sandbox.documents.edit_metadata(sandbox.documents.asset_ids("quickstart")[0], {"a": 1})
    sandbox.documents.put_field(name, "text", "other")
    told = client.get("/v1/events", params={"cursor": last}).json()
    assert {each["event_type"] for each in told["results"]} == {"document.updated"}
    assert told["results"][-1]["payload"] == {"document_id": name}
    after = client.get(f"/v1/documents/{name}").json()
    assert (after["text"], after["_internal"]["updated_at"] > before) == ("other", True)
