"""Several pages of a list at a time: what comes out is what one after the other gave, or is known not to be whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector.plugin import IncompleteScanError
from vectorferry.connector.sources._pages import Page, Tally, identities_by, walk

PAGE = 3
WIDTH = 4


class Service:
    """Numbers its rows in the order in which they come; each page is read after so many turns of the loop, and then
    `meanwhile` happens."""

    def __init__(self, rows: int, turns: list[int], meanwhile: Callable[[Service], object]) -> None:
        self.rows = list(range(rows))
        self.created = rows
        self.asked: list[int] = []
        self.running = self.most = 0
        self._turns = turns
        self._meanwhile = meanwhile

    async def fetch(self, number: int) -> Page:
        self.asked.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(self._turns[number % len(self._turns)]):
            await asyncio.sleep(0)
        rows = [{"id": f"{row}"} for row in self.rows[(number - 1) * PAGE : number * PAGE]]
        page = Page(rows, len(self.rows), -(-len(self.rows) // PAGE))
        self._meanwhile(self)
        self.running -= 1
        return page

    def add(self) -> None:
        self.rows.append(self.created)
        self.created += 1


async def listed(service: Service, width: int) -> tuple[list[int], bool]:
    """The rows as they come, and whether they are all."""
    tally, found = Tally("rows", "id", grows=True), list[int]()
    async with aclosing(walk(service.fetch, identities_by("id"), width)) as pages:
        async for page in pages:
            found += [int(row["id"]) for row in tally.fresh(page)]
    try:
        tally.check()
    except IncompleteScanError:
        return found, False
    return found, True


@given(rows=st.integers(0, 40), turns=st.lists(st.integers(0, 9), min_size=1, max_size=9), width=st.integers(1, 9))
async def test_they_come_in_their_order_whichever_is_read_first(rows: int, turns: list[int], width: int) -> None:
    service, serial = Service(rows, turns, lambda _: None), Service(rows, [0], lambda _: None)
    assert await listed(service, width) == await listed(serial, 1) == (list(range(rows)), True)
    assert sorted(service.asked) == serial.asked
    assert service.most <= width


@given(
    rows=st.integers(0, 40),
    turns=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    places=st.lists(st.none() | st.integers(0, 39), max_size=15),
    grows=st.booleans(),
)
async def test_what_stays_is_listed_or_the_list_is_known_not_to_be_whole(
    rows: int, turns: list[int], places: list[int | None], grows: bool
) -> None:
    """Whatever goes, or whatever comes, and between which two pages."""
    waiting = list(places)

    def change(service: Service) -> None:
        place = waiting.pop() if waiting else None
        if place is not None and grows:
            service.add()
        elif place is not None and service.rows:
            del service.rows[place % len(service.rows)]

    service = Service(rows, turns, change)
    found, is_whole = await listed(service, WIDTH)
    assert len(found) == len(set(found))
    if is_whole:
        assert set(found) >= {row for row in service.rows if row < rows}
    else:
        assert not grows


async def test_no_more_are_asked_for_than_are_wanted_soon() -> None:
    service = Service(30, [1], lambda _: None)
    async with aclosing(walk(service.fetch, identities_by("id"), WIDTH)) as pages:
        await anext(pages)
        for _ in range(50):
            await asyncio.sleep(0)
        assert service.asked == [1]
        await anext(pages)
        for _ in range(50):
            await asyncio.sleep(0)
        assert service.asked == [1, 2, 3, 4, 5]


async def test_a_failure_comes_after_the_pages_before_it_and_ends_the_others() -> None:
    service = Service(30, [1], lambda _: None)

    async def fetch(number: int) -> Page:
        if number == 4:
            raise LookupError("four")
        if number > 4:
            await asyncio.Event().wait()
        return await service.fetch(number)

    before, found = asyncio.all_tasks(), list[Any]()
    with pytest.raises(LookupError, match="four"):  # noqa: PT012 - what came before the failure has to be kept
        async for page in walk(fetch, identities_by("id"), WIDTH):
            found += page.rows
    assert found == [{"id": f"{row}"} for row in range(9)]
    assert asyncio.all_tasks() == before


async def test_a_list_without_a_count_is_read_page_by_page() -> None:
    service = Service(7, [0], lambda _: None)

    async def fetch(number: int) -> Page:
        page = await service.fetch(number)
        return Page(page.rows, page.total, None)

    assert [len(page.rows) async for page in walk(fetch, identities_by("id"), WIDTH)] == [3, 3, 1]
    assert service.asked == [1, 2, 3]
