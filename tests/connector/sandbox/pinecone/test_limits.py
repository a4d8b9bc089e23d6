"""What Pinecone documents as not allowed is refused, whole, and in its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.connector.sandbox.pinecone.serving import World, record, world

GOOD = record("good")
SPARSE = {"indices": [1], "values": [0.5]}


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    """One sandbox for every test of this file."""
    with world() as opened:
        yield opened


@pytest.fixture(scope="module")
def clips(here: World) -> httpx.Client:
    return here.plain()


@pytest.fixture(scope="module")
def sparse_index(here: World) -> httpx.Client:
    return here.plain("words", vector_type="sparse", metric="dotproduct")


@pytest.fixture
def plain(clips: httpx.Client) -> httpx.Client:
    """The index, empty."""
    clips.post("/vectors/delete", json={"deleteAll": True})
    return clips


def upsert(plain: httpx.Client, *rows: Any) -> httpx.Response:
    return plain.post("/vectors/upsert", content=orjson.dumps({"vectors": rows}))


def refused(answer: httpx.Response, words: str) -> bool:
    body = answer.json()
    return (answer.status_code, body["code"], body["details"]) == (400, 3, []) and words in body["message"]


def of_size(size: int) -> dict[str, str]:
    """Metadata that is so many bytes of JSON."""
    return {"text": "x" * (size - len('{"text":""}'))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, "1 to 512 ASCII"),
        ({"id": "a" * 513}, "1 to 512 ASCII"),
        ({"id": "ä"}, "1 to 512 ASCII"),
        ({"id": "a\0b"}, "1 to 512 ASCII"),
        ({"id": 7}, "1 to 512 ASCII"),
        ({"id": None}, "1 to 512 ASCII"),
        ({"values": [1, 2]}, "Vector dimension 2 does not match the dimension of the index 4"),
        ({"values": []}, "Vector dimension 0 does not match"),
        ({"values": None}, "list of numbers"),
        ({"values": [0, 0, 0, 0]}, "at least one non-zero"),
        ({"values": [1e-60, 0, 0, 0]}, "at least one non-zero"),
        ({"values": [1, 2, 3, None]}, "must be numbers"),
        ({"values": [1, 2, 3, "4"]}, "must be numbers"),
        ({"values": ["1", "2", "3", "4"]}, "must be numbers"),
        ({"values": [1, 2, 3, [4]]}, "must be numbers"),
        ({"values": [True, True, True, True]}, "must be numbers"),
        ({"values": [1, 2, 3, 1e39]}, "finite"),
        ({"metadata": {"a": None}}, "got 'null' for field 'a'"),
        ({"metadata": {"a": {"b": 1}}}, "for field 'a'"),
        ({"metadata": {"a": [1, 2]}}, "for field 'a'"),
        ({"metadata": {"a": ["x", None]}}, "for field 'a'"),
        ({"metadata": {"$a": 1}}, "'$'"),
        ({"metadata": [1]}, "must be an object"),
        ({"metadata": of_size(40_961)}, "Metadata size is 40961 bytes, which exceeds the limit of 40960 bytes"),
        ({"sparseValues": SPARSE}, "does not support sparse values"),
        ({"sparse_values": SPARSE}, "Unknown key"),
    ],
)
def test_one_wrong_record_refuses_the_whole_batch(here: World, plain: httpx.Client, change: Any, words: str) -> None:
    assert refused(upsert(plain, GOOD, {**GOOD, **change}), words)
    assert here.sandbox.pinecone.namespaces("clips") == {}


@pytest.mark.parametrize("change", [{"id": "\x01~\x7f" * 170}, {"metadata": of_size(40_960)}, {"metadata": None}])
def test_what_is_just_allowed_is_taken(plain: httpx.Client, change: Any) -> None:
    assert upsert(plain, {**GOOD, **change}).status_code == 200


def test_a_thousand_records_are_taken_and_one_more_is_not(plain: httpx.Client) -> None:
    rows = [record(f"r{n}") for n in range(1_001)]
    assert refused(upsert(plain, *rows), "1 to 1000 records, got 1001")
    assert upsert(plain, *rows[:1_000]).json() == {"upsertedCount": 1_000}
    assert refused(upsert(plain), "1 to 1000 records, got 0")


@pytest.mark.parametrize(
    ("sparse", "words"),
    [
        ({"indices": [1], "values": []}, "same length"),
        ({"indices": [], "values": []}, "1 to 2048"),
        ({"indices": list(range(2_049)), "values": [1.0] * 2_049}, "1 to 2048"),
        ({"indices": [1, 1], "values": [1, 2]}, "unique"),
        ({"indices": [-1], "values": [1]}, "unsigned 32-bit"),
        ({"indices": [2**32], "values": [1]}, "unsigned 32-bit"),
        ({"indices": [1.5], "values": [1]}, "unsigned 32-bit"),
        ({"indices": [1], "values": ["1"]}, "must be numbers"),
        ({"indices": [1], "values": [1], "more": 1}, "nothing else"),
        (None, "required in a sparse index"),
    ],
)
def test_sparse_values_that_are_none(sparse_index: httpx.Client, sparse: Any, words: str) -> None:
    assert refused(upsert(sparse_index, {"id": "a", "sparseValues": sparse}), words)


def test_dense_values_have_no_place_in_a_sparse_index(sparse_index: httpx.Client) -> None:
    assert refused(upsert(sparse_index, {"id": "a", "values": [1.0], "sparseValues": SPARSE}), "sparse index")
    assert refused(sparse_index.post("/vectors/update", json={"id": "a", "values": [1.0]}), "sparse index")
    assert refused(sparse_index.post("/query", json={"topK": 1, "vector": [1.0]}), "sparseVector alone")


def dense(count: int) -> list[dict[str, Any]]:
    """Records of 768 dimensions whose id and metadata take 500 bytes together."""
    values = np.arange(1, 769).tolist()
    return [{"id": f"{n:04d}", "values": values, "metadata": of_size(496)} for n in range(count)]


def test_two_megabytes_are_counted_as_float32(here: World) -> None:
    plain = here.plain("wide", dimension=768)
    taken = 2_000_000 // (768 * 4 + 500)
    assert upsert(plain, *dense(taken)).status_code == 200
    too_large = upsert(plain, *dense(taken + 1))
    assert (too_large.status_code, too_large.content) == (413, b"")


def test_two_megabytes_may_be_those_of_the_body_and_be_refused_with_words() -> None:
    with world(size_rule="body", oversize_status=400, request_bytes=500) as here:
        plain = here.plain()
        assert upsert(plain, GOOD).status_code == 200
        too_large = upsert(plain, record("a", title="x" * 500))
        assert (too_large.status_code, too_large.json()["code"]) == (400, 11)
        assert "exceeds the maximum supported size" in too_large.json()["message"]


def many(name: str, count: int) -> list[tuple[str, str]]:
    return [(name, f"id{n}") for n in range(count)]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.get("/vectors/list", params={"limit": 101}), "1 to 100"),
        (lambda c: c.get("/vectors/list", params={"limit": 0}), "1 to 100"),
        (lambda c: c.get("/vectors/list", params={"limit": "x"}), "1 to 100"),
        (lambda c: c.get("/vectors/list", params={"paginationToken": "?"}), "pagination token"),
        (lambda c: c.get("/vectors/list", params={"namespace": "n" * 513}), "Namespace"),
        (lambda c: c.get("/vectors/fetch", params=many("ids", 1_001)), "1 to 1000 ids"),
        (lambda c: c.get("/vectors/fetch"), "1 to 1000 ids"),
        (lambda c: c.post("/vectors/delete", json={"ids": [f"{n}" for n in range(1_001)]}), "At most 1000 ids"),
        (lambda c: c.post("/vectors/delete", json={}), "one of ids"),
        (lambda c: c.post("/vectors/delete", json={"ids": ["a"], "deleteAll": True}), "one of ids"),
        (lambda c: c.post("/vectors/delete", json={"filter": {}}), "not empty"),
        (lambda c: c.post("/vectors/delete", json={"filter": {"a": {"$like": 1}}}), "$like"),
        (lambda c: c.post("/vectors/update", json={"setMetadata": {"a": 1}}), "id or filter"),
        (lambda c: c.post("/vectors/update", json={"id": "good", "setMetadata": {"a": None}}), "null"),
        (lambda c: c.post("/vectors/update", json={"id": "none", "setMetadata": {"a": None}}), "null"),
        (lambda c: c.post("/vectors/update", json={"id": "good", "setMetadata": of_size(40_960)}), "40960"),
        (lambda c: c.post("/vectors/update", json={"id": "good", "values": [1]}), "dimension 1"),
        (lambda c: c.post("/vectors/update", json={"filter": {"a": 1}, "values": [1, 2, 3, 4]}), "no values"),
        (lambda c: c.post("/vectors/update", json={"id": "good", "sparseValues": SPARSE}), "sparse values"),
        (lambda c: c.post("/query", json={"topK": 0, "vector": [1, 2, 3, 4]}), "topK"),
        (lambda c: c.post("/query", json={"topK": 10_001, "vector": [1, 2, 3, 4]}), "topK"),
        (lambda c: c.post("/query", json={"topK": 1}), "vector or an id"),
        (lambda c: c.post("/query", json={"topK": 1, "vector": [1]}), "dimension 1"),
        (lambda c: c.post("/query", json={"topK": 1, "vector": [1, 2, 3, 4], "id": "a"}), "either id or vector"),
        (lambda c: c.post("/query", json={"topK": 1, "vector": [1, 2, 3, 4], "sparseVector": SPARSE}), "sparse"),
        (lambda c: c.post("/query", json={"topK": 1, "top_k": 1, "vector": [1, 2, 3, 4]}), "top_k"),
        (lambda c: c.post("/vectors/fetch_by_metadata", json={}), "needs a filter"),
        (lambda c: c.post("/vectors/fetch_by_metadata", json={"filter": {"a": 1}, "limit": 10_001}), "limit"),
        (lambda c: c.post("/describe_index_stats", json={"filter": {"a": 1}}), "filtering"),
        (lambda c: c.post("/vectors/upsert", content=b"{"), "not JSON"),
        (lambda c: c.post("/vectors/upsert", content=b"[]"), "JSON object"),
        (lambda c: c.post("/vectors/upsert", json={"vectors": [GOOD], "namespace": "ä"}), "Namespace"),
        (lambda c: c.post("/vectors/upsert", json={"vectors": [GOOD], "namespace": 7}), "Namespace"),
    ],
)
def test_requests_that_are_refused(
    plain: httpx.Client, ask: Callable[[httpx.Client], httpx.Response], words: str
) -> None:
    upsert(plain, {**GOOD, "metadata": {"text": "", "b": 1}})
    assert refused(ask(plain), words)


@pytest.mark.parametrize(
    "given",
    [
        {"a": {"$gt": "x"}},
        {"a": {"$in": "x"}},
        {"a": {"$exists": 1}},
        {"a": {}},
        {"a": None},
        {"$or": []},
        {"$not": []},
    ],
)
def test_filters_that_are_none(plain: httpx.Client, given: dict[str, Any]) -> None:
    assert refused(plain.post("/query", json={"topK": 1, "vector": [1, 2, 3, 4], "filter": given}), "")


def test_ids_are_ignored_beside_a_filter(here: World, plain: httpx.Client) -> None:
    upsert(plain, record("a", n=1), record("b", n=2))
    assert plain.post("/vectors/delete", json={"ids": ["a"], "filter": {"n": 2}}).status_code == 200
    assert list(here.sandbox.pinecone.records("clips")) == ["a"]


def test_without_the_key_nothing_is_told(here: World) -> None:
    here.index("secret")
    answer = here.http("secret", key="wrong").post("/query", json={"topK": 1, "vector": [1, 2, 3, 4]})
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (401, "Unauthorized", "text/plain")
