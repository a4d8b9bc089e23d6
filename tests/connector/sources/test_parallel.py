"""Concurrent work that stays a bounded way ahead and ends cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from vectorferry.connector.plugin import LimitReachedError
from vectorferry.connector.sources._reading import results_of


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def collect(results: AsyncIterator[int], into: list[int]) -> None:
    async for result in results:
        into.append(result)  # noqa: PERF401 - what came before a failure has to be kept


async def test_every_item_is_worked_on_once() -> None:
    results = [result async for result in results_of(numbers(100), double, 7)]
    assert sorted(results) == [2 * number for number in range(100)]


async def test_no_items_no_results() -> None:
    assert [result async for result in results_of(numbers(0), double, 3)] == []


async def test_work_goes_on_side_by_side() -> None:
    together = asyncio.Barrier(5)

    async def work(number: int) -> int:
        await together.wait()
        return number

    assert len([result async for result in results_of(numbers(10), work, 5)]) == 10


async def test_it_stays_a_bounded_way_ahead_of_a_slow_consumer() -> None:
    taken = 0

    async def counted() -> AsyncIterator[int]:
        nonlocal taken
        for number in range(1_000):
            taken += 1
            yield number

    async with aclosing(results_of(counted(), double, 4)) as results:
        for consumed in range(1, 51):
            await anext(results)
            for _ in range(100):
                await asyncio.sleep(0)
            assert taken <= consumed + 2 * 4


async def test_closing_early_leaves_no_task() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> int:
        if number == 0:
            return number
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    before = asyncio.all_tasks()
    async with aclosing(results_of(numbers(100), work, 4)) as results:
        assert await anext(results) == 0
    assert asyncio.all_tasks() == before
    assert len(cancelled) >= 3


async def test_closing_while_finished_results_wait_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with aclosing(results_of(numbers(100), double, 4)) as results:
        await anext(results)
        for _ in range(100):
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_cancelling_the_consumer_leaves_no_task() -> None:
    working = asyncio.Event()

    async def work(_: int) -> int:
        working.set()
        await asyncio.sleep(60)
        return 0

    async def consume() -> None:
        async with aclosing(results_of(numbers(100), work, 4)) as results:
            await anext(results)

    before = asyncio.all_tasks()
    consumer = asyncio.create_task(consume())
    await working.wait()
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert asyncio.all_tasks() == before


async def test_a_failure_of_the_work_ends_it_and_cancels_the_rest() -> None:
    async def work(number: int) -> int:
        if number == 3:
            raise LookupError("three")
        if number > 3:
            await asyncio.sleep(60)
        return number

    before = asyncio.all_tasks()
    results: list[int] = []
    with pytest.raises(LookupError, match="three"):
        await collect(results_of(numbers(100), work, 4), results)
    assert sorted(results) == [0, 1, 2]
    assert asyncio.all_tasks() == before


async def test_a_limit_begins_nothing_more_and_lets_what_is_in_work_end() -> None:
    begun: list[int] = []
    met = asyncio.Event()

    async def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            met.set()
            raise LimitReachedError("closed")
        await met.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        return number

    results: list[int] = []
    with pytest.raises(LimitReachedError):
        await collect(results_of(numbers(100), work, 4), results)
    assert sorted(results) == [0, 1, 2]
    assert begun == [0, 1, 2, 3]


async def test_a_failure_of_the_items_comes_after_the_results_before_it() -> None:
    async def failing() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        raise LookupError("no more")

    results: list[int] = []
    with pytest.raises(LookupError, match="no more"):
        await collect(results_of(failing(), double, 4), results)
    assert sorted(results) == [2 * number for number in range(10)]


async def test_work_that_fails_while_it_is_cancelled_does_not_hold_up_the_end() -> None:
    waiting = asyncio.Event()

    async def work(number: int) -> int:
        if number < 2:
            return number
        try:
            waiting.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LookupError("gone meanwhile") from None
        return number

    before = asyncio.all_tasks()
    async with asyncio.timeout(20), aclosing(results_of(numbers(100), work, 1)) as results:
        assert await anext(results) == 0
        await waiting.wait()
    assert asyncio.all_tasks() == before
