"""Pinecone's own SDK writes records and reads them back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pinecone import NotFoundError

from tests.connector.sandbox.pinecone.serving import SdkIndex, World, record


def ids_of(index: SdkIndex, **asked: Any) -> list[str]:
    return [one.id for page in index.list(**asked) for one in page]


def test_what_is_written_is_read_back(index: SdkIndex) -> None:
    metadata = {"title": "A dog", "start": 1.5, "count": 3, "ok": True, "tags": ["a", "b"], "none": []}
    written = index.upsert(vectors=[record("a#0", [0.1, 0.2, 0.3, 0.4], **metadata), record("a#1")], namespace="t")
    assert written.upserted_count == 2
    found = index.fetch(ids=["a#0", "nothing", "a#1"], namespace="t")
    assert set(found.vectors) == {"a#0", "a#1"}
    assert found.vectors["a#0"].metadata == metadata
    assert found.vectors["a#1"].metadata is None
    assert found.namespace == "t"


def test_values_are_kept_as_float32(index: SdkIndex) -> None:
    values = np.random.default_rng(7).normal(size=4)
    index.upsert(vectors=[record("a", values.tolist())])
    read = np.array(index.fetch(ids=["a"]).vectors["a"].values)
    assert not np.array_equal(read, values)
    assert np.array_equal(read.astype(np.float32), values.astype(np.float32))


def test_numbers_in_metadata_are_float64(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a", size=2**53 + 1, share=0.1)])
    assert index.fetch(ids=["a"]).vectors["a"].metadata == {"size": float(2**53), "share": 0.1}


def test_an_upsert_replaces_the_whole_record(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a", old=1, kept=1)])
    index.upsert(vectors=[record("a", [4, 3, 2, 1], kept=2)])
    found = index.fetch(ids=["a"]).vectors["a"]
    assert (found.values, found.metadata) == ([4, 3, 2, 1], {"kept": 2})


def test_the_last_of_two_records_with_one_id_wins_and_both_count(index: SdkIndex) -> None:
    assert index.upsert(vectors=[record("a", n=1), record("a", n=2)]).upserted_count == 2
    assert index.fetch(ids=["a"]).vectors["a"].metadata == {"n": 2}
    assert index.describe_index_stats().total_vector_count == 1


def test_an_update_merges_metadata_and_replaces_values(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a", kept=1, changed=1)])
    index.update(id="a", set_metadata={"changed": 2, "new": "x"})
    index.update(id="a", values=[9, 8, 7, 6])
    found = index.fetch(ids=["a"]).vectors["a"]
    assert (found.values, found.metadata) == ([9, 8, 7, 6], {"kept": 1, "changed": 2, "new": "x"})


def test_an_update_of_nothing_makes_nothing(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a")])
    index.update(id="b", set_metadata={"x": 1})
    assert ids_of(index) == ["a"]


def test_an_update_by_filter_says_how_many_it_found(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a", asset="1"), record("b", asset="1"), record("c", asset="2")])
    asked: dict[str, Any] = {"filter": {"asset": "1"}, "set_metadata": {"seen": True}}
    assert index.fetch(ids=["a"]).vectors["a"].metadata == {"asset": "1"}
    assert index.update(**asked).matched_records == 2
    seen = {one: found.metadata.get("seen") for one, found in index.fetch(ids=["a", "b", "c"]).vectors.items()}
    assert seen == {"a": True, "b": True, "c": None}


def test_records_are_listed_by_prefix_page_by_page_in_the_order_of_their_bytes(index: SdkIndex) -> None:
    names = [f"a#{n}" for n in range(250)] + ["a", "a!", "a%0", "b#1", "A#1"]
    for start in range(0, len(names), 100):
        index.upsert(vectors=[record(name) for name in names[start : start + 100]])
    pages = list(index.list(prefix="a#"))
    assert [len(page.vectors) for page in pages] == [100, 100, 50]
    assert [one.id for page in pages for one in page] == sorted(f"a#{n}" for n in range(250))
    assert pages[-1].pagination is None
    assert ids_of(index, limit=7) == sorted(names)
    assert ids_of(index, prefix="a%") == ["a%0"]


def test_a_page_that_is_just_full_is_the_last(index: SdkIndex) -> None:
    index.upsert(vectors=[record(name) for name in "abcd"])
    assert [len(page.vectors) for page in index.list(limit=2)] == [2, 2]


def test_deleting_by_id_leaves_the_rest_and_minds_no_unknown_id(index: SdkIndex) -> None:
    index.upsert(vectors=[record(name) for name in "abc"])
    index.delete(ids=["a", "nothing", "c"])
    assert ids_of(index) == ["b"]


def test_deleting_by_filter_and_all(index: SdkIndex) -> None:
    index.upsert(vectors=[record(name, asset=name) for name in "abc"])
    index.delete(filter={"asset": {"$in": ["a", "b"]}})
    assert ids_of(index) == ["c"]
    index.delete(delete_all=True)
    assert ids_of(index) == []


def test_records_are_fetched_by_metadata_page_by_page(index: SdkIndex) -> None:
    index.upsert(vectors=[record(f"a#{n}", part=n, asset="a") for n in range(5)] + [record("b#0", asset="b")])
    first = index.fetch_by_metadata(filter={"asset": "a"}, limit=3)
    assert first.pagination is not None
    rest = index.fetch_by_metadata(filter={"asset": "a"}, limit=3, pagination_token=first.pagination.next)
    assert [*first.vectors, *rest.vectors] == [f"a#{n}" for n in range(5)]
    assert rest.pagination is None


def test_a_thousand_ids_are_fetched_and_deleted_at_once(index: SdkIndex) -> None:
    names = [f"asset-{n:04d}#segment" for n in range(1_000)]
    index.upsert(vectors=[record(name) for name in names])
    assert len(index.fetch(ids=names).vectors) == 1_000
    index.delete(ids=names)
    assert index.describe_index_stats().total_vector_count == 0


def test_sparse_records_in_a_sparse_index(here: World) -> None:
    index = here.index("words", vector_type="sparse", metric="dotproduct")
    sparse = {"indices": [7, 2**32 - 1, 3], "values": [0.5, 0.25, 1.5]}
    index.upsert(vectors=[{"id": "a", "sparse_values": sparse, "metadata": {"n": 1}}])
    found = index.fetch(ids=["a"]).vectors["a"]
    assert found.values == []
    assert (found.sparse_values.indices, found.sparse_values.values) == ([7, 2**32 - 1, 3], [0.5, 0.25, 1.5])


def test_dense_and_sparse_values_in_one_record(here: World) -> None:
    index = here.index(metric="dotproduct")
    index.upsert(vectors=[{**record("a"), "sparse_values": {"indices": [1], "values": [2.0]}}, record("b")])
    found = index.fetch(ids=["a", "b"]).vectors
    assert (found["a"].values, found["a"].sparse_values.values) == ([1, 2, 3, 4], [2.0])
    assert found["b"].sparse_values is None
    index.update(id="b", sparse_values={"indices": [9], "values": [1.0]})
    assert index.fetch(ids=["b"]).vectors["b"].sparse_values.indices == [9]


def test_batches_in_parallel_all_arrive(index: SdkIndex) -> None:
    rows = [record(f"r{n}", n=n) for n in range(2_000)]
    done = index.upsert(vectors=rows, batch_size=100, max_concurrency=8, show_progress=False)
    assert not done.has_errors
    assert len(ids_of(index)) == 2_000


def test_deleting_from_a_namespace_that_is_not_there_is_refused(index: SdkIndex) -> None:
    for asked in ({"ids": ["a"]}, {"delete_all": True}, {"filter": {"a": 1}}):
        with pytest.raises(NotFoundError, match="Namespace not found"):
            index.delete(namespace="nothing", **asked)
