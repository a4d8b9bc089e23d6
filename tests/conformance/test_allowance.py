"""What an allowance must do that several processes borrow from, whichever destination keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from vectorferry.connector.plugin import Account, Allowance

from .conftest import Open, pinecone_is_long

pytestmark = pinecone_is_long

US = Account("https://api.example.com", "a1b2")
OTHERS = (Account("https://api.example.com", "c3d4"), Account("https://api.example.org", "a1b2"))
INTERVAL = 100.0
"""Seconds for one request: nothing that a test does takes as long."""


@pytest.fixture
def processes(prepared: Open) -> Callable[[], Allowance]:
    """The allowance as another process gets it."""
    return lambda: prepared().allowance()


async def test_what_is_borrowed_is_behind_what_others_have_borrowed(processes: Callable[[], Allowance]) -> None:
    waits = [(await processes().borrow(US, "", requests, INTERVAL)).wait for requests in (3, 1, 2)]
    assert [round(wait / INTERVAL, 1) for wait in waits] == [0, 3, 4]


async def test_each_account_and_each_kind_of_requests_has_its_own(processes: Callable[[], Allowance]) -> None:
    allowance = processes()
    await allowance.borrow(US, "", 5, INTERVAL)
    await allowance.hold(US, "search", 50)
    for account, kind in ((US, "read"), *((other, "") for other in OTHERS)):
        assert (await allowance.borrow(account, kind, 1, INTERVAL)).wait < INTERVAL
    assert [[*await allowance.holds(account)] for account in (US, *OTHERS)] == [["search"], [], []]


async def test_a_hold_is_told_to_everybody_until_it_ends(processes: Callable[[], Allowance]) -> None:
    await processes().hold(US, "read", 500)
    await processes().hold(US, "read", 100)  # ends before
    await processes().hold(US, "", 0.001)
    await asyncio.sleep(0.01)
    hold = (await processes().borrow(US, "", 1, INTERVAL)).holds
    assert hold.keys() == {"read"}
    assert 400 < hold["read"].seconds <= 500
    assert hold["read"].reason == ""


async def test_that_a_quota_is_used_up_is_told_in_the_services_words(processes: Callable[[], Allowance]) -> None:
    words = '429: it\'s all \\ 100% used up; "come back" {tomorrow}\0'
    await processes().hold(US, "", 86_400, words)
    await processes().hold(US, "", 60)
    (first,), (second,) = [[*(await processes().holds(US)).values()] for _ in range(2)]
    assert first.reason.replace("\0", "") == words.replace("\0", "")
    assert first.until == second.until  # by which it is known again
