"""Written is not visible: log sequence numbers, and reads that lag behind."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import SdkIndex, record, world

LONG_MS = 3_600_000


def lsn(answer: httpx.Response) -> int:
    assert answer.status_code == 200
    return int(answer.headers["x-pinecone-request-lsn"])


def seen_up_to(plain: httpx.Client, namespace: str) -> int:
    answer = plain.post("/query", json={"topK": 1, "vector": [1, 2, 3, 4], "namespace": namespace})
    return int(answer.headers["x-pinecone-max-indexed-lsn"])


def test_every_write_raises_the_lsn_of_its_namespace_alone(plain: httpx.Client) -> None:
    writes: list[tuple[str, dict[str, Any]]] = [
        ("/vectors/upsert", {"vectors": [record("a")]}),
        ("/vectors/update", {"id": "a", "setMetadata": {"n": 1}}),
        ("/vectors/update", {"filter": {"n": 1}, "setMetadata": {"n": 2}}),
        ("/vectors/delete", {"ids": ["a"]}),
        ("/vectors/delete", {"filter": {"n": 1}}),
        ("/vectors/delete", {"deleteAll": True}),
    ]
    lsns = [lsn(plain.post(path, json={**body, "namespace": "one"})) for path, body in writes]
    assert lsns == [1, 2, 3, 4, 5, 6]
    assert lsn(plain.post("/vectors/upsert", json={"vectors": [record("a")], "namespace": "two"})) == 1
    assert (seen_up_to(plain, "one"), seen_up_to(plain, "two"), seen_up_to(plain, "three")) == (6, 1, 0)


def test_the_lsn_goes_on_after_a_namespace_was_deleted() -> None:
    body = {"vectors": [record("a")], "namespace": "t"}
    with world(delete_all_removes_namespace=True) as here:
        plain = here.plain()
        assert [lsn(plain.post("/vectors/upsert", json=body)) for _ in range(2)] == [1, 2]
        assert lsn(plain.post("/vectors/delete", json={"deleteAll": True, "namespace": "t"})) == 3
        assert here.sandbox.pinecone.namespaces("clips") == {}
        assert lsn(plain.post("/vectors/upsert", json=body)) == 4


def test_the_sdk_reads_both_numbers(index: SdkIndex) -> None:
    written = index.upsert(vectors=[record("a")]).response_info
    seen = index.query(vector=[1, 2, 3, 4], top_k=1).response_info
    assert (written.lsn_committed, seen.lsn_reconciled) == (1, 1)
    assert seen.is_reconciled(written.lsn_committed)


def what_is_seen(index: SdkIndex) -> dict[str, object]:
    return {
        "query": [one.id for one in index.query(vector=[1, 2, 3, 4], top_k=9).matches],
        "fetch": list(index.fetch(ids=["a", "b"]).vectors),
        "fetch_by_metadata": list(index.fetch_by_metadata(filter={"n": 1}).vectors),
        "list": [one.id for page in index.list() for one in page],
        "stats": index.describe_index_stats().total_vector_count,
        "namespaces": sum(one.record_count for page in index.list_namespaces() for one in page.namespaces),
    }


def test_no_read_sees_a_write_before_its_time() -> None:
    with world(visible_after_ms=LONG_MS) as here:
        index = here.index()
        index.upsert(vectors=[record("a", n=1)])
        here.sandbox.pinecone.settle()
        old = what_is_seen(index)
        lists = ("query", "fetch", "fetch_by_metadata", "list")
        assert old == {**{name: ["a"] for name in lists}, "stats": 1, "namespaces": 1}
        index.upsert(vectors=[record("b", n=1)])
        index.update(id="a", set_metadata={"n": 2})
        index.delete(ids=["a"])
        assert what_is_seen(index) == old
        assert index.query(vector=[1, 2, 3, 4], top_k=1).response_info.lsn_reconciled == 1
        here.sandbox.pinecone.settle()
        assert what_is_seen(index) == {name: ["b"] if isinstance(seen, list) else 1 for name, seen in old.items()}
        assert index.query(vector=[1, 2, 3, 4], top_k=1).response_info.lsn_reconciled == 4


def test_writes_build_on_writes_that_nobody_sees_yet() -> None:
    with world(visible_after_ms=LONG_MS) as here:
        index = here.index()
        index.upsert(vectors=[record("a", kept=1)])
        index.update(id="a", set_metadata={"new": 2})
        assert index.update(filter={"new": 2}, set_metadata={"newer": 3}).matched_records == 1
        index.delete(ids=["nothing"])
        assert here.sandbox.pinecone.records("clips")["a"]["metadata"] == {"kept": 1, "new": 2, "newer": 3}


@pytest.mark.parametrize("lag_ms", [1, 30])
def test_a_write_is_seen_once_its_time_has_come(lag_ms: int) -> None:
    with world(visible_after_ms=lag_ms) as here:
        index = here.index()
        committed = index.upsert(vectors=[record("a")]).response_info.lsn_committed
        while not (seen := index.query(vector=[1, 2, 3, 4], top_k=1)).response_info.is_reconciled(committed):
            pass
        assert [one.id for one in seen.matches] == ["a"]


def test_the_lag_can_be_ended() -> None:
    with world(visible_after_ms=LONG_MS) as lagging:
        index = lagging.index()
        index.upsert(vectors=[record("a")])
        assert index.describe_index_stats().total_vector_count == 0
        lagging.sandbox.pinecone.settle()
        assert index.describe_index_stats().total_vector_count == 1
