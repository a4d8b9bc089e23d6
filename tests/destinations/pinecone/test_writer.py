"""What is written arrives, in as few requests as take it, and never more at once than allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.builders import sparse
from tests.destinations.pinecone.writing import (
    FAST,
    INDEX,
    NAMESPACE,
    all_at_once,
    ids,
    record,
    records,
    small,
    written,
)
from tests.waiting import PATIENCE
from vectorferry.connector.plugin import ConfigurationError, DestinationError
from vectorferry.destinations.pinecone._bodies import EncodedRecord, encode_record
from vectorferry.destinations.pinecone._requests import WriterLimits
from vectorferry.destinations.pinecone._writer import IndexWriter, WriteResult, WriteUsage


def test_records_arrive_as_they_were_given() -> None:
    with written() as here:
        vector = np.array([0.1, -2.5, 1e-20, 3e20], dtype=np.float32)
        given = encode_record(
            "a#1", vector, sparse({3: 0.1, 9: 2.0}), {"title": "ä", "n": 5, "tags": ["x"], "ok": True}
        )
        assert here.writer.upsert(NAMESPACE, [given]) == WriteResult(lsn=1)
        recorded = here.recorded()["a#1"]
        assert recorded["values"].tobytes() == vector.tobytes()
        assert recorded["sparse"] == {3: pytest.approx(0.1), 9: 2.0}
        assert recorded["metadata"] == {"title": "ä", "n": 5.0, "tags": ["x"], "ok": True}


def test_as_many_records_go_into_a_request_as_fit() -> None:
    with written() as here:
        here.writer.upsert(NAMESPACE, records(2_500))
        assert here.requests() == 3
        assert len(here.recorded()) == 2_500
    with written(limits=small(request_bytes=10_000)) as here:
        given = records(1_000)
        here.writer.upsert(NAMESPACE, given)
        whole = sum(len(one.body) + 1 for one in given)
        assert whole / 10_000 <= here.requests() <= whole / 9_800 + 1


def test_an_update_changes_only_the_keys_it_names() -> None:
    with written() as here:
        here.writer.upsert(NAMESPACE, records(3, title="old"))
        sent = here.writer.update(NAMESPACE, [("r0", {"title": "new"}), ("r2", {"more": 1})])
        assert sent == WriteResult(lsn=3)
        assert here.recorded()["r0"]["metadata"] == {"n": 0.0, "title": "new"}
        assert here.recorded()["r1"]["metadata"] == {"n": 1.0, "title": "old"}
        assert here.recorded()["r2"]["metadata"] == {"n": 2.0, "title": "old", "more": 1.0}


def test_a_delete_takes_a_thousand_ids_in_a_request_and_minds_none_that_is_not_there() -> None:
    with written() as here:
        here.writer.upsert(NAMESPACE, records(10))
        assert here.writer.delete(NAMESPACE, (f"r{n}" for n in range(5, 2_005))) == WriteResult(lsn=3)
        assert here.requests("delete") == 2
        assert here.recorded().keys() == ids(records(5))


def test_nothing_is_missing_from_a_namespace_that_is_not_there() -> None:
    with written() as here:
        assert here.writer.delete("nowhere", ["a"]) == WriteResult()


def test_nothing_to_write_is_no_request() -> None:
    with written() as here:
        assert here.writer.upsert(NAMESPACE, []) == here.writer.delete(NAMESPACE, iter([])) == WriteResult()
        assert here.writer.update(NAMESPACE, []) == WriteResult()
        assert here.sandbox.requests.total == 0


def test_namespaces_are_written_at_the_same_time_over_one_pool() -> None:
    with written(limits=small(records=5)) as here, ThreadPoolExecutor(6) as callers:
        sent = callers.map(lambda n: here.writer.upsert(f"n{n}", records(50)), range(6))
        assert [one.lsn for one in sent] == [10] * 6
        assert here.sandbox.pinecone.namespaces(INDEX) == {f"n{n}": 50 for n in range(6)}


def test_a_caller_that_occupies_the_only_thread_of_the_pool_gets_on() -> None:
    with written(limits=small(records=5), threads=1) as here:
        callers = [here.pool.submit(here.writer.upsert, f"n{n}", records(50)) for n in range(4)]
        assert [one.result(timeout=PATIENCE).lsn for one in callers] == [10] * 4


def test_requests_in_flight_are_as_many_as_allowed_and_no_more() -> None:
    with written(limits=small(records=1, concurrency=4)) as here:
        with all_at_once(here.sandbox, 4):
            here.writer.upsert(NAMESPACE, records(30))
        assert here.sandbox.requests.peak == 4


def test_records_are_read_only_as_they_are_sent() -> None:
    read = 0
    most = 0

    with written(limits=small(records=10, concurrency=3)) as here:

        def lazily() -> Iterator[EncodedRecord]:
            nonlocal read, most
            for one in records(600):
                read += 1
                most = max(most, read - len(here.recorded()))
                yield one

        here.writer.upsert(NAMESPACE, lazily())
        assert read == len(here.recorded()) == 600
    assert most <= (3 + 1) * 10 + 10 + 1


def test_writes_at_the_same_time_hold_no_more_than_one() -> None:
    """Or a store that is slow would have each of them take as much memory."""
    begun, read, most = threading.Barrier(4), list[EncodedRecord](), list[int]()

    with written(limits=small(records=10, concurrency=8)) as here, ThreadPoolExecutor(4) as callers:

        def lazily(first: int) -> Iterator[EncodedRecord]:
            begun.wait(PATIENCE)
            for one in records(150, first):
                read.append(one)
                most.append(len(read) - len(here.recorded()))
                yield one

        with all_at_once(here.sandbox, 8):
            sent = [callers.submit(here.writer.upsert, NAMESPACE, lazily(1_000 * n)) for n in range(4)]
        assert all(each.result(PATIENCE).refused == {} for each in sent)
        assert len(read) == len(here.recorded()) == 600
    assert max(most) <= 4 * ((2 + 1) * 10 + 10 + 1)


def test_what_goes_wrong_while_records_are_made_ends_the_write_after_what_is_in_flight() -> None:
    def broken() -> Iterator[EncodedRecord]:
        yield from records(10)
        raise LookupError("the vectors are gone")

    with written(limits=small(records=1)) as here:
        with pytest.raises(LookupError):
            here.writer.upsert(NAMESPACE, broken())
        asked = here.sandbox.requests.total
        assert len(here.recorded()) <= asked <= 10
        here.writer.upsert(NAMESPACE, records(10))
        assert len(here.recorded()) == 10


def test_a_writer_tells_what_it_sent() -> None:
    with written(limits=small(records=10)) as here:
        here.writer.upsert(NAMESPACE, records(40))
        here.writer.delete(NAMESPACE, ["r1"])
        delivery = here.delivery()
        assert (delivery.requests, delivery.retries, delivery.write_units) == (5, 0, 25)
        assert delivery.bytes == sum(here.sandbox.requests.sizes().values())


def test_requests_say_who_they_are_from() -> None:
    seen: list[httpx.Headers] = []
    with written() as here:
        here.writer._requests._client.event_hooks = {"request": [lambda request: seen.append(request.headers)]}
        here.writer.upsert(NAMESPACE, [record("a")])
    assert seen[0]["User-Agent"].startswith("vectorferry/")
    assert seen[0]["X-Pinecone-Api-Version"] == "2026-07"
    assert seen[0]["Content-Type"] == "application/json"


def opened(host: str, key: str = "k" * 12) -> IndexWriter:
    with ThreadPoolExecutor(1) as pool:
        return IndexWriter(host, key, pool=pool, usage=WriteUsage(), limits=FAST)


@pytest.mark.parametrize("host", ["http://example.com", "ftp://127.0.0.1", "https://user:pw@example.com", ""])
def test_a_key_is_not_sent_where_it_should_not_go(host: str) -> None:
    with pytest.raises(DestinationError, match="The address of a Pinecone index"):
        opened(host)


@pytest.mark.parametrize("key", ["", "two\nlines", "clé"])
def test_a_key_that_cannot_be_one_is_a_configuration_error(key: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        opened("http://127.0.0.1:1", key)
    assert not key or key not in str(caught.value)


def test_a_host_without_a_scheme_is_asked_over_tls() -> None:
    writer = opened("clips-abc.svc.us-east-1.pinecone.io")
    assert str(writer._requests._client.base_url) == "https://clips-abc.svc.us-east-1.pinecone.io"
    writer.close()
    writer.close()


def test_a_proxy_of_the_environment_never_sees_a_key_that_is_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with written() as here:
        assert here.writer.upsert(NAMESPACE, [record("a")]).lsn == 1


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with written() as here:
        here.writer.upsert(NAMESPACE, records(100))
    assert threading.active_count() == before


def test_the_documented_limits_are_the_defaults() -> None:
    limits = WriterLimits()
    assert (limits.request_bytes, limits.records, limits.concurrency) == (2_000_000, 1_000, 16)
