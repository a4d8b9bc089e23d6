"""Namespaces are apart from each other; the default one has three names."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import SdkIndex, World, record, world


def counts(index: SdkIndex) -> dict[str, int]:
    return {name: one.vector_count for name, one in index.describe_index_stats().namespaces.items()}


def test_a_namespace_comes_with_its_first_record(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a")], namespace="one")
    index.upsert(vectors=[record("a"), record("b")], namespace="two")
    assert counts(index) == {"one": 1, "two": 2}
    index.delete(ids=["a"], namespace="two")
    assert counts(index) == {"one": 1, "two": 1}
    assert list(index.fetch(ids=["a"], namespace="one").vectors) == ["a"]


@pytest.mark.parametrize("named", [{"namespace": ""}, {"namespace": "__default__"}, {}])
def test_the_default_namespace_has_three_names(plain: httpx.Client, named: dict[str, str]) -> None:
    plain.post("/vectors/upsert", json={"vectors": [record("a")]})
    assert plain.post("/vectors/upsert", json={"vectors": [record("b")], **named}).json() == {"upsertedCount": 1}
    assert [one["id"] for one in plain.get("/vectors/list", params=named).json()["vectors"]] == ["a", "b"]
    assert len(plain.get("/vectors/fetch", params={"ids": ["a", "b"], **named}).json()["vectors"]) == 2
    assert plain.post("/vectors/delete", json={"deleteAll": True, **named}).status_code == 200
    assert plain.post("/describe_index_stats", json={}).json()["namespaces"] == {"__default__": {"vectorCount": 0}}


def test_reading_a_namespace_that_is_not_there_finds_nothing(index: SdkIndex) -> None:
    assert index.fetch(ids=["a"], namespace="nothing").vectors == {}
    assert [len(page.vectors) for page in index.list(namespace="nothing")] in ([], [0])
    assert index.fetch_by_metadata(filter={"a": 1}, namespace="nothing").vectors == {}
    assert counts(index) == {}


@pytest.mark.parametrize("removed", [True, False])
def test_deleting_all_may_take_the_namespace_with_it(removed: bool) -> None:
    with world(delete_all_removes_namespace=removed) as here:
        index = here.index()
        index.upsert(vectors=[record("a")], namespace="t")
        index.delete(delete_all=True, namespace="t")
        again = here.http("clips").post("/vectors/delete", json={"deleteAll": True, "namespace": "t"})
        assert again.status_code == (404 if removed else 200)


def test_namespaces_are_listed_page_by_page(here: World, index: SdkIndex) -> None:
    for number in range(5):
        index.upsert(vectors=[record("a"), record("b")], namespace=f"n{number}")
    index.upsert(vectors=[record("a")], namespace="other")
    plain = here.http("clips")
    first: Any = plain.get("/namespaces", params={"limit": 3, "prefix": "n"}).json()
    following = {"limit": 3, "prefix": "n", "paginationToken": first["pagination"]["next"]}
    rest = plain.get("/namespaces", params=following).json()
    rows = first["namespaces"] + rest["namespaces"]
    assert [(one["name"], one["record_count"]) for one in rows] == [(f"n{n}", "2") for n in range(5)]
    assert (first["total_count"], "pagination" in rest) == (5, False)
