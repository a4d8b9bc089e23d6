"""Whatever the store or the network does, the records end up where they would have been without it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from pinecone import Pinecone

from tests.destinations.pinecone.writing import (
    INDEX,
    NAMESPACE,
    Written,
    all_at_once,
    ids,
    on,
    record,
    records,
    small,
    written,
)
from tests.examples import family
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.plugin import CredentialsError, DestinationError, RetryableError, VectorferryError
from vectorferry.connector.sandbox import (
    Garbage,
    Html,
    Oversized,
    PineconeRates,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncate,
)
from vectorferry.destinations.pinecone._bodies import EncodedRecord

FEW = small(records=10)


def named(trouble: Any) -> str:
    """What a test is called in which this goes wrong."""
    return "-".join(map(str, [trouble.kind, *trouble.model_dump(exclude_defaults=True).values()]))


PASSING: list[Any] = [
    Status(status=429),
    Status(status=429, retry_after=1),
    Status(status=429, retry_after=1, retry_after_form="date"),
    Status(status=429, body="text"),
    Status(status=408),
    Status(status=500),
    Status(status=502, body="html"),
    Status(status=503),
    Status(status=504, body="empty"),
    Reset(when="before"),
    Reset(when="after"),
    Reset(when="midway"),
    Truncate(length="short"),
    Truncate(length="honest"),
    Html(),
    Garbage(),
]


@pytest.mark.parametrize("trouble", family(PASSING, always=(0, 6, 10, 12)), ids=named)
@pytest.mark.parametrize("kind", family(["upsert", "update", "delete"]))
def test_passing_trouble_leaves_no_trace(kind: str, trouble: Any) -> None:
    with written(on(kind, trouble, nth=2, times=2), limits=FEW) as here:
        here.writer.upsert(NAMESPACE, records(50))
        here.writer.update(NAMESPACE, [(f"r{n}", {"title": "new"}) for n in range(5)])
        here.writer.delete(NAMESPACE, [f"r{n}" for n in range(5, 35)])
        assert here.recorded().keys() == ids(records(5)) | ids(records(15, 35))
        assert [here.recorded()[f"r{n}"]["metadata"].get("title") for n in (0, 4, 40)] == ["new", "new", None]
        assert here.delivery().retries == 2
        assert here.delivery().requests == here.sandbox.requests.total == 5 + 5 + 3 + 2


def test_any_mixture_of_trouble_ends_where_nothing_ever_failed() -> None:
    mixture = [Status(status=429), Status(status=503), Reset(when="before"), Reset(when="after")]
    rules = [on("upsert", trouble, probability=0.1, seed=seed) for seed, trouble in enumerate(mixture)]
    digests = []
    for faults in (rules, []):
        with written(*faults, limits=small(records=10, attempts=30)) as here:
            sent = here.writer.upsert(NAMESPACE, records(1_000))
            digests.append(here.sandbox.pinecone.digest(INDEX, NAMESPACE))
            assert sent.refused == {}
            assert all(here.sandbox.faults.hits())
    assert digests[0] == digests[1]


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    with written(on("upsert", Stall(seconds=PATIENCE), times=1), limits=small(timeout=0.5, attempts=100)) as here:
        assert here.writer.upsert(NAMESPACE, records(3)).lsn >= 1
        assert len(here.recorded()) == 3
        assert here.delivery().retries >= 1


def failing(here: Written, kind: type[VectorferryError]) -> VectorferryError:
    """The error of a write of 100 records."""
    with pytest.raises(kind) as caught:
        here.writer.upsert(NAMESPACE, records(100))
    assert type(caught.value) is kind
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert len(str(caught.value)) < 500
    assert NAMESPACE in str(caught.value)
    return caught.value


@pytest.mark.parametrize("trouble", [Status(status=503), Reset(when="after"), Html()], ids=named)
def test_trouble_that_does_not_pass_is_ours_to_retry_later(trouble: Any) -> None:
    with written(on("upsert", trouble, containing='"r55"'), limits=FEW) as here:
        assert "tried 6 times" in str(failing(here, RetryableError))


def test_the_wait_that_was_asked_for_is_handed_on() -> None:
    with written(on("upsert", Status(status=429, retry_after=7)), limits=small(attempts=2)) as here:
        error = failing(here, RetryableError)
        assert isinstance(error, RetryableError)
        assert error.after == 7


def test_a_key_that_may_not_write_stops_at_once() -> None:
    with written(on("upsert", Status(status=403))) as here:
        failing(here, CredentialsError)
        assert here.requests() == 1


def test_a_wrong_key_stops_at_once_and_names_the_setting() -> None:
    with written(key="wrong-key-0123456789", limits=small(records=1, concurrency=1)) as here:
        error = failing(here, CredentialsError)
        assert "destinations[].api_key" in str(error)
        assert "wrong-key" not in str(error)
        assert here.requests() <= 2


def test_an_index_that_is_gone_stops_at_once() -> None:
    with written(limits=small(attempts=2)) as here:
        here.writer.upsert(NAMESPACE, records(3))
        with Pinecone(api_key=here.sandbox.api_key, host=here.sandbox.url) as pinecone:
            pinecone.delete_index(INDEX)
        failing(here, RetryableError)
    with written(on("upsert", Status(status=404))) as here:
        assert "Was the index deleted?" in str(failing(here, DestinationError))
        assert here.requests() == 1
    with written(on("delete", Status(status=404))) as here, pytest.raises(DestinationError):
        here.writer.delete(NAMESPACE, ["a"])


def test_a_redirect_is_not_followed() -> None:
    with written(on("upsert", Redirect(location="http://127.0.0.1:9/", status=307))) as here:
        assert "Redirects are not followed" in str(failing(here, DestinationError))


def test_an_answer_without_end_is_cut_off() -> None:
    with written(on("upsert", Oversized())) as here:
        assert "64,000 bytes" in str(failing(here, DestinationError))


def test_a_failure_stops_the_rest_and_waits_for_what_is_in_flight() -> None:
    with written(on("upsert", Status(status=403), nth=5), limits=small(records=1, concurrency=3)) as here:
        failing(here, CredentialsError)
        asked = here.requests()
        assert asked <= 5 + 3
        assert len(here.recorded()) == 4
        assert here.delivery().requests == asked


@pytest.mark.parametrize("trouble", [Status(status=429, retry_after=60), Status(status=503)], ids=named)
def test_a_failure_ends_waiting_for_a_turn_and_between_attempts(trouble: Any) -> None:
    patient = small(records=1, first_wait=60, longest_wait=60, longest_retry_after=60)
    with written(on("upsert", trouble), limits=patient) as here:

        def broken() -> Iterator[EncodedRecord]:
            yield from records(2)
            wait_until(lambda: here.requests() == 1)
            raise LookupError("the vectors are gone")

        with pytest.raises(LookupError):
            here.writer.upsert(NAMESPACE, broken())
        assert here.requests() == 1


@pytest.mark.parametrize("oversize_status", family([413, 400]))
@pytest.mark.parametrize("size_rule", family(["float32", "body"]))
def test_a_smaller_limit_than_documented_is_found_and_remembered(size_rule: str, oversize_status: int) -> None:
    how: dict[str, Any] = {"size_rule": size_rule, "oversize_status": oversize_status, "request_bytes": 4_000}
    with written(limits=small(concurrency=1), **how) as here:
        here.writer.upsert(NAMESPACE, records(1_000))
        assert len(here.recorded()) == 1_000
        first, sizes = here.requests(), here.sandbox.requests.sizes()["pinecone.upsert"]
        here.sandbox.requests.reset()
        assert here.writer.upsert(NAMESPACE, records(1_000, 1_000)).refused == {}
        assert len(here.recorded()) == 2_000
        again = here.sandbox.requests.sizes()["pinecone.upsert"]
        assert again < 1.02 * sum(len(one.body) + 1 for one in records(1_000, 1_000)) + 60 * here.requests() < sizes
        assert here.requests() < first
    assert here.delivery().retries == 0


def test_a_record_too_large_by_itself_is_refused_and_makes_no_request_smaller() -> None:
    with written(limits=small(concurrency=1), request_bytes=20_000) as here:
        given = [*records(100), record("huge", text="x" * 30_000), *records(100, 100)]
        sent = here.writer.upsert(NAMESPACE, given)
        assert sent.refused.keys() == {"huge"}
        assert sent.refused["huge"].startswith("413 ")
        assert len(here.recorded()) == 200
        here.sandbox.requests.reset()
        here.writer.upsert(NAMESPACE, records(200))
        assert here.requests() <= 2


@pytest.mark.parametrize("place", family([0, 437, 999], (1,)))
def test_one_bad_record_among_a_thousand_is_found(place: int) -> None:
    with written(limits=small(concurrency=1)) as here:
        given = records(1_000)
        given[place] = record("bad", dimension=4, **{"$key": 1})
        sent = here.writer.upsert(NAMESPACE, given)
        assert sent.refused == {"bad": "Metadata key must not start with '$', got '$key'"}
        assert here.recorded().keys() == ids(given) - {"bad"}
        assert here.requests() <= 1 + 2 * math.ceil(math.log2(1_000))
        assert here.delivery().retries == 0


def test_several_bad_records_are_found_each_with_its_own_reason() -> None:
    with written(limits=small(records=100)) as here:
        given = records(300)
        given[7] = record("x" * 513)
        given[8] = record("null", a=None)
        given[250] = record("big", text="x" * 41_000)
        sent = here.writer.upsert(NAMESPACE, given)
        assert sent.refused.keys() == {"x" * 513, "null", "big"}
        assert "null" in sent.refused["null"]
        assert "exceeds the limit" in sent.refused["big"]
        assert len(here.recorded()) == 297


def test_an_update_that_is_refused_is_refused_by_itself() -> None:
    with written() as here:
        here.writer.upsert(NAMESPACE, records(3))
        changes: list[tuple[str, dict[str, Any]]] = [("r0", {"a": None}), ("r1", {"a": 1})]
        assert here.writer.update(NAMESPACE, changes).refused.keys() == {"r0"}
        assert here.recorded()["r1"]["metadata"] == {"n": 1.0, "a": 1.0}


def test_what_is_wrong_with_the_whole_index_is_not_looked_for_in_its_records() -> None:
    with written(dimension=5) as here:
        assert "does not match the dimension" in str(failing(here, DestinationError))
        assert here.requests() == 1


def test_an_index_that_refuses_everything_alike_is_given_up() -> None:
    with written(on("upsert", Status(status=400)), limits=small(concurrency=1)) as here:
        assert "refuses every record" in str(failing(here, DestinationError))
        assert here.requests() < 60


def test_an_index_that_has_taken_records_may_refuse_many_alike() -> None:
    with written(limits=small(concurrency=1)) as here:
        here.writer.upsert(NAMESPACE, records(1))
        bad = [record(f"bad{n}", a=None) for n in range(40)]
        assert len(here.writer.upsert(NAMESPACE, bad).refused) == 40


def test_concurrency_falls_under_pressure_and_recovers() -> None:
    limits = small(records=1, concurrency=8, attempts=50)
    with written(limits=limits) as here:
        throttle = here.writer._throttle(NAMESPACE)
        here.sandbox.faults.add(on("upsert", Status(status=429), until=24))
        here.writer.upsert(NAMESPACE, records(10))
        assert throttle.limit < 8
        here.sandbox.faults.clear()
        here.sandbox.faults.add(on("upsert", Stall(seconds=0.05)))
        here.sandbox.requests.reset()
        throttled = throttle.limit
        here.writer.upsert(NAMESPACE, records(throttled))
        assert here.sandbox.requests.peak <= throttled
        here.sandbox.faults.clear()
        here.writer.upsert(NAMESPACE, records(60))
        assert throttle.limit == 8
        with all_at_once(here.sandbox, 8):
            here.writer.upsert(NAMESPACE, records(16))
        assert here.sandbox.requests.peak == 8


def test_one_namespace_that_is_held_back_holds_back_no_other() -> None:
    rule = on("upsert", Status(status=429, retry_after=60), containing='"slow"')
    with written(rule, limits=small(records=1, longest_retry_after=60)) as here, ThreadPoolExecutor(1) as callers:
        done = Event()

        def broken() -> Iterator[EncodedRecord]:
            yield from records(2)
            done.wait()
            raise LookupError("enough")

        slow = callers.submit(here.writer.upsert, "slow", broken())
        try:
            wait_until(lambda: here.requests() == 1)
            assert here.writer.upsert("quick", records(20)).lsn == 20
        finally:
            done.set()
        assert isinstance(slow.exception(), LookupError)


def test_the_documented_rates_are_kept_to_by_backing_off() -> None:
    rates = PineconeRates(requests=4, retry_after=True)
    with written(limits=small(records=1, attempts=100, longest_retry_after=1), rates=rates) as here:
        with all_at_once(here.sandbox, 8):
            here.writer.upsert(NAMESPACE, records(10))
        assert len(here.recorded()) == 10
        assert here.delivery().retries > 0
