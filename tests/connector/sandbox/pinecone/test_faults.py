"""What goes wrong between a client and Pinecone, on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pinecone._internal.bulk import get_registry
from pinecone._internal.http_client import get_budget_registry

from tests.connector.sandbox.pinecone.serving import record, world
from vectorferry.connector.sandbox import Fault, Reset, Stall, Status, Truncate

ROWS = {"vectors": [record("a")]}


@pytest.fixture(autouse=True)
def _fresh_budgets() -> Iterator[None]:
    """The SDK counts failures by host name, and every sandbox of the process has the same one."""
    yield
    get_budget_registry()._reset()
    get_registry()._reset()


def on_upsert(do: Any, **rule: Any) -> Fault:
    return Fault(route="pinecone.upsert", do=do, **rule)


@pytest.mark.parametrize(("status", "code"), [(429, 8), (500, 13), (502, 13), (503, 14), (504, 4), (403, 7)])
def test_errors_come_in_pinecones_words(status: int, code: int) -> None:
    with world(on_upsert(Status(status=status, retry_after=2))) as here:
        refused = here.plain().post("/vectors/upsert", json=ROWS)
        assert (refused.status_code, refused.headers["Retry-After"]) == (status, "2")
        assert refused.json() == {"code": code, "message": f"Fault rule: status {status}", "details": []}


def test_errors_of_the_control_plane_have_a_shape_of_their_own() -> None:
    with world(Fault(route="pinecone.indexes.list", do=Status(status=503))) as here:
        refused = here.http().get("/indexes")
        assert refused.json() == {"status": 503, "error": {"code": "UNAVAILABLE", "message": "Fault rule: status 503"}}


def test_a_429_may_be_plain_text() -> None:
    with world(on_upsert(Status(status=429, body="text"))) as here:
        refused = here.plain().post("/vectors/upsert", json=ROWS)
        assert (refused.status_code, refused.headers["Content-Type"]) == (429, "text/plain")
        assert "Retry-After" not in refused.headers


@pytest.mark.parametrize(
    ("do", "applied"),
    [
        (Reset(when="before"), False),
        (Reset(when="after"), True),
        (Reset(when="midway"), True),
        (Truncate(length="short"), True),
        (Status(status=503), False),
    ],
)
def test_a_broken_write_was_done_or_not_and_can_be_done_again(do: Any, applied: bool) -> None:
    with world(on_upsert(do, times=1)) as here:
        plain = here.plain()
        try:
            assert plain.post("/vectors/upsert", json=ROWS).status_code == 503
        except httpx.TransportError:
            assert not isinstance(do, Status)
        assert here.sandbox.pinecone.namespaces("clips") == ({"__default__": 1} if applied else {})
        assert plain.post("/vectors/upsert", json=ROWS).status_code == 200
        assert list(here.sandbox.pinecone.records("clips")) == ["a"]


def send(plain: httpx.Client, rows: list[dict[str, Any]]) -> int:
    """Upsert until it is acknowledged; how often it was sent."""
    for attempt in range(1, 100):
        try:
            if plain.post("/vectors/upsert", json={"vectors": rows}).status_code == 200:
                return attempt
        except httpx.TransportError:
            continue
    raise AssertionError("never acknowledged")


def test_whoever_sends_again_what_was_not_acknowledged_ends_where_nothing_ever_failed() -> None:
    troubles = (Status(status=429), Status(status=503), Reset(when="before"), Reset(when="after"))
    faults = [on_upsert(do, probability=0.2, seed=seed) for seed, do in enumerate(troubles)]
    batches = [[record(f"r{n}", n=n) for n in range(start, start + 10)] for start in range(0, 400, 10)]
    digests = []
    for rules in (faults, []):
        with world(*rules) as here:
            plain = here.plain()
            sent = sum(send(plain, rows) for rows in batches)
            digests.append(here.sandbox.pinecone.digest("clips"))
            assert (sent > len(batches)) == bool(rules)
            assert all(here.sandbox.faults.hits())
    assert digests[0] == digests[1]


def test_a_slow_answer_comes_after_the_write_was_done() -> None:
    with world(on_upsert(Stall(seconds=5, when="midway"), times=1)) as here:
        plain = here.plain()
        with pytest.raises(httpx.ReadTimeout):
            plain.post("/vectors/upsert", json=ROWS, timeout=0.1)
        assert list(here.sandbox.pinecone.records("clips")) == ["a"]


def test_the_sdk_retries_a_write_whose_answer_was_lost() -> None:
    with world(on_upsert(Reset(when="after"), times=1)) as here:
        index = here.index()
        assert index.upsert(vectors=[record("a")]).upserted_count == 1
        assert here.sandbox.requests.counts()["pinecone.upsert"] == 2
        assert index.describe_index_stats().total_vector_count == 1


def test_one_batch_among_many_fails_and_the_sdk_does_not_raise() -> None:
    with world(on_upsert(Status(status=400), nth=3, times=1)) as here:
        rows = [record(f"r{n}") for n in range(50)]
        done = here.index().upsert(vectors=rows, batch_size=10, max_concurrency=1, show_progress=False)
        assert (done.has_errors, len(done.failed_items)) == (True, 10)
        assert here.sandbox.pinecone.namespaces("clips") == {"__default__": 40}


def test_a_rule_can_be_about_one_record_however_often_it_is_sent() -> None:
    with world(on_upsert(Status(status=400), containing='"r7"')) as here:
        plain = here.plain()
        statuses = [
            plain.post("/vectors/upsert", json={"vectors": [record(f"r{n}")]}).status_code for n in (6, 7, 8, 7)
        ]
        assert statuses == [200, 400, 200, 400]
        assert here.sandbox.faults.hits() == [2]
