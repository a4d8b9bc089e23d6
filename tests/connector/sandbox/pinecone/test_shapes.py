"""Answers have the fields and types that Pinecone's OpenAPI files say, and errors too, in every version."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import World, record

Shape = dict[str, Any]
SPARSE = {"indices": [1], "values": [0.5]}


def fits(value: Any, shape: Any) -> bool:
    """Whether a value has a shape: type, literal, list of one shape, or object; keys with ``?`` may be missing."""
    if isinstance(shape, dict):
        known = {name.rstrip("?") for name in shape}
        required = {name for name in shape if not name.endswith("?")}
        if not isinstance(value, dict) or not required <= value.keys() <= known:
            return False
        return all(fits(value[name.rstrip("?")], inner) for name, inner in shape.items() if name.rstrip("?") in value)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    return isinstance(value, shape) if isinstance(shape, type) else bool(value == shape)


VECTOR: Shape = {
    "id": str,
    "values": [float],
    "sparseValues?": {"indices": [int], "values": [float]},
    "metadata?": dict,
}
USAGE: Shape = {"readUnits": int}
PAGE: Shape = {"next": str}
NAMESPACE: Shape = {"name": str, "record_count": str, "size_bytes": str}
CAPACITY: Shape = {"mode": "OnDemand", "status": {"state": "Ready"}}
MODEL: Shape = {
    "name": "clips",
    "host": str,
    "status": {"ready": True, "state": "Ready"},
    "deletion_protection": "disabled",
    "tags": type(None),
}
BY_SPEC: Shape = {
    **MODEL,
    "dimension": 4,
    "metric": "dotproduct",
    "vector_type": "dense",
    "spec": {"serverless": {"cloud": "aws", "region": "us-east-1", "read_capacity": CAPACITY}},
}
BY_SCHEMA: Shape = {
    **MODEL,
    "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "dotproduct"}}},
    "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
    "read_capacity": CAPACITY,
}


@pytest.fixture
def filled(here: World) -> httpx.Client:
    plain = here.plain(metric="dotproduct")
    rows = [{**record("a", n=1), "sparseValues": SPARSE}, record("b", n=1), record("c")]
    plain.post("/vectors/upsert", json={"vectors": rows, "namespace": "t"})
    return plain


def test_upsert_update_and_delete(filled: httpx.Client) -> None:
    assert filled.post("/vectors/upsert", json={"vectors": [record("d")]}).json() == {"upsertedCount": 1}
    changes = {"namespace": "t", "setMetadata": {"x": 1}}
    assert filled.post("/vectors/update", json={**changes, "id": "a"}).json() == {}
    assert filled.post("/vectors/update", json={**changes, "filter": {"n": 1}}).json() == {"matchedRecords": 2}
    assert filled.post("/vectors/delete", json={"namespace": "t", "ids": ["a"]}).json() == {}


def test_fetch(filled: httpx.Client) -> None:
    answer = filled.get("/vectors/fetch?ids=a&ids=b&namespace=t").json()
    assert fits(answer, {"vectors": {"a": VECTOR, "b": VECTOR}, "namespace": "t", "usage": USAGE})
    assert answer["vectors"]["a"] == {
        "id": "a",
        "values": [1, 2, 3, 4],
        "sparseValues": SPARSE,
        "metadata": {"n": 1},
    }
    found = filled.post("/vectors/fetch_by_metadata", json={"filter": {"n": 1}, "namespace": "t", "limit": 1}).json()
    assert fits(found, {"vectors": {"a": VECTOR}, "namespace": "t", "usage": USAGE, "pagination": PAGE})


def test_list(filled: httpx.Client) -> None:
    shape = {"vectors": [{"id": str}], "namespace": "t", "usage": USAGE}
    assert fits(filled.get("/vectors/list?namespace=t").json(), shape)
    assert fits(filled.get("/vectors/list?namespace=t&limit=2").json(), {**shape, "pagination": PAGE})


def test_query(filled: httpx.Client) -> None:
    asked = {"topK": 3, "vector": [1, 2, 3, 4], "namespace": "t", "includeValues": True, "includeMetadata": True}
    answer = filled.post("/query", json=asked).json()
    assert fits(answer, {"matches": [{**VECTOR, "score": float}], "namespace": "t", "usage": USAGE})
    assert len(answer["matches"]) == 3


def test_describe_index_stats(filled: httpx.Client) -> None:
    assert filled.post("/describe_index_stats", json={}).json() == {
        "namespaces": {"t": {"vectorCount": 3}},
        "dimension": 4,
        "indexFullness": 0.0,
        "totalVectorCount": 3,
        "metric": "dotproduct",
        "vectorType": "dense",
    }


def test_namespaces(filled: httpx.Client) -> None:
    assert fits(filled.get("/namespaces").json(), {"namespaces": [NAMESPACE], "total_count": 1})


@pytest.mark.parametrize(
    ("version", "shape"), [("2025-04", BY_SPEC), ("2025-10", BY_SPEC), ("2026-04", BY_SPEC), ("2026-07", BY_SCHEMA)]
)
def test_indexes_in_every_version(here: World, version: str, shape: Shape) -> None:
    if version < "2026-07":
        place = {"spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}}}
        asked = {"dimension": 4, "metric": "dotproduct", "deletion_protection": "disabled", **place}
    else:
        asked = {name: shape[name] for name in ("schema", "deployment")}
    plain = here.http(version=version)
    made = plain.post("/indexes", json={"name": "clips", **asked})
    assert made.status_code == 201
    for model in (made.json(), plain.get("/indexes/clips").json(), *plain.get("/indexes").json()["indexes"]):
        assert fits(model, shape), model
    assert fits(plain.patch("/indexes/clips", json={"tags": {"a": "b"}}).json(), {**shape, "tags": {"a": "b"}})
    assert (plain.delete("/indexes/clips").status_code, plain.get("/indexes").json()) == (202, {"indexes": []})


def test_errors_have_the_shape_of_their_plane(here: World, filled: httpx.Client) -> None:
    control = here.http().get("/indexes/nothing").json()
    assert control == {"status": 404, "error": {"code": "NOT_FOUND", "message": "Index nothing not found."}}
    data = filled.post("/vectors/delete", json={"namespace": "nothing", "deleteAll": True}).json()
    assert data == {"code": 5, "message": "Namespace not found", "details": []}
    assert here.http(key="wrong").get("/indexes").json()["error"]["code"] == "UNAUTHENTICATED"
    assert filled.get("/nothing").json()["code"] == 5
