"""Deletes are counted for a whole index: processes that write different collections share what it allows."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import Account, Loan, RetryableError
from vectorferry.connector.sandbox import Sandbox, Status
from vectorferry.connector.testing import MemoryAllowance
from vectorferry.destinations.pinecone._deletes import DELETE, SharedDeletes

from ...builders import asset, batch, feature
from .conftest import Open
from .writing import on

ACCOUNT = Account("https://clips.svc.pinecone.io", "a1b2")
RECORDS = 1_000
"""That may be deleted in a second."""


def shared(allowance: MemoryAllowance) -> SharedDeletes:
    return SharedDeletes(allowance, lambda: ACCOUNT, RECORDS, longest_hold=60.0)


def test_what_one_deletes_is_behind_what_another_one_does() -> None:
    allowance = MemoryAllowance(lambda: 100.0)
    waits = [shared(allowance).wait(records) for records in (500, 1_000, 200)]
    assert waits == pytest.approx([0, 0.5, 1.5])


def test_few_are_not_worth_asking_for() -> None:
    allowance = MemoryAllowance(lambda: 100.0)
    assert [shared(allowance).wait(99) for _ in range(3)] == [0, 0, 0]
    assert shared(allowance).wait(1_000) == 0


def test_many_are_borrowed_a_second_at_a_time() -> None:
    ids = [str(number) for number in range(2_500)]
    parts = [*shared(MemoryAllowance()).parts(ids)]
    assert [len(part) for part in parts] == [1_000, 1_000, 500]
    assert [*chain(*parts)] == ids


def test_what_one_is_told_holds_all_of_them_but_not_for_longer_than_a_store_may_ask() -> None:
    allowance = MemoryAllowance(lambda: 100.0)
    shared(allowance).tell(0)
    assert asyncio.run(allowance.holds(ACCOUNT)) == {}
    shared(allowance).tell(30)
    assert shared(allowance).wait(500) == pytest.approx(30)
    shared(allowance).tell(7_200)
    assert shared(allowance).wait(500) == pytest.approx(60)


class Failing(MemoryAllowance):
    """Raises, or says nothing for so long."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked = 0

    async def borrow(self, *_: object) -> Loan:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        raise RetryableError("the server is away")


@pytest.mark.parametrize("seconds", [0.0, 1_000.0])
def test_nobody_waits_for_an_allowance_that_cannot_be_asked(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorferry.destinations.pinecone._deletes.PATIENCE", 0.01)
    allowance = Failing(seconds)
    deletes = shared(allowance)
    assert [deletes.wait(RECORDS) for _ in range(3)] == [0, 0, 0]
    assert allowance.asked == 1


def limits(connection: psycopg.Connection[Any], schema: str) -> list[Any]:
    columns = "service, kind, next_at > clock_timestamp(), resume_at > clock_timestamp()"
    return connection.execute(f"SELECT {columns} FROM {schema}._sync_limits".encode()).fetchall()


def test_a_large_delete_is_borrowed_in_the_manifests_postgres(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, schema: str
) -> None:
    """Red without sharing. A batch that only writes asks for nothing."""
    destination = open_pinecone(rates={"deleted_records": 20})
    destination.apply(batch(asset("a", *(feature(f"f{number}") for number in range(30)))))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert limits(connection, schema) == []
        sandbox.faults.add(on("delete", Status(status=429, retry_after=1), times=1))
        destination.remove("ads", ["a"])
        ((service, kind, _, _),) = limits(connection, schema)
    assert (service.startswith("http://"), kind) == (True, DELETE)
    assert destination.delivered().retries == 1
    assert destination.status().assets == {}
