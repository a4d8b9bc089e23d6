"""A source whose quota is used up: the run ends cleanly, and the following ones finish the work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from math import ceil

import pytest

from tests.connector.worlds import Scripted, assets, content
from vectorferry import Summary
from vectorferry.connector.plugin import Asset, LimitReachedError, Listing, Rejected, SourceError
from vectorferry.connector.sources._reading import results_of
from vectorferry.connector.testing import MemoryDestination, plan, sync, verify

UNTIL = datetime(2026, 11, 22, 0, 2, 50, tzinfo=UTC)
SPENT = "media.example takes no more requests until 2026-11-22 00:02:50 UTC; run again after that."


class Metered(Scripted):
    """Answers so many requests, then none until `refill`. Reads side by side, and late ones come last."""

    left = 0

    def __init__(self, content: dict[str, list[Asset]]) -> None:
        super().__init__(content)
        self.read: Counter[str] = Counter()

    def refill(self, requests: int) -> None:
        self.left = requests

    def _spend(self) -> None:
        if not self.left:
            raise LimitReachedError(SPENT, until=UNTIL)
        self.left -= 1

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        async for listing in super().scan(collection):
            if int(listing.asset_id[-4:]) % 50 == 0:
                self._spend()
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        async def read(listing: Listing) -> Asset:
            self._spend()
            self.read[listing.asset_id] += 1
            for _ in range(self.left % 7):
                await asyncio.sleep(0)
            return self.assets[collection][listing.asset_id]

        async with aclosing(results_of(listings, read, 8)) as results:
            async for result in results:
                yield result


async def test_runs_under_a_cap_go_on_where_the_last_one_stopped_until_all_is_there() -> None:
    source, destination = Metered({"c": assets(200)}), MemoryDestination()
    cap, listing = 44, 200 // 50
    codes: list[int] = []
    while 0 not in codes:
        source.refill(cap)
        codes.append((await sync(source, [destination], name="media")).exit_code)
    assert codes == [5] * (ceil(200 / (cap - listing)) - 1) + [0]
    assert source.read == Counter({f"a{number:04}": 1 for number in range(200)})
    undisturbed = MemoryDestination()
    await sync(Scripted({"c": assets(200)}), [undisturbed], name="media")
    assert content(destination) == content(undisturbed)


async def stopped_at(requests: int) -> tuple[Summary, Metered, MemoryDestination]:
    source, destination = Metered({"c": assets(20), "d": assets(20), "e": assets(20)}), MemoryDestination()
    source.refill(requests)
    return await sync(source, [destination], name="media"), source, destination


async def test_the_summary_says_when_to_come_back_and_no_further_collection_is_tried() -> None:
    summary, _, destination = await stopped_at(25)
    assert summary.exit_code == 5
    assert list(summary.collections) == ["c", "d"]
    assert [summary.collections[name].error for name in "cd"] == [None, None]
    assert len(destination.assets["d"]) == 3
    told = summary.to_dict()
    assert told["source"]["limited"] == SPENT
    assert told["source"]["limited_until"] == "2026-11-22T00:02:50+00:00"
    assert told["notes"] == [SPENT]


async def test_without_a_limit_the_summary_says_so() -> None:
    summary, _, _ = await stopped_at(100)
    assert summary.exit_code == 0
    assert summary.to_dict()["source"] == {
        "requests": 3,
        "retries": 0,
        "bytes": 0,
        "limited": None,
        "limited_until": None,
    }


async def test_nothing_is_deleted_by_a_run_that_could_not_list_to_the_end() -> None:
    source, destination = Metered({"c": assets(120)}), MemoryDestination()
    source.refill(1_000)
    await sync(source, [destination], name="media")
    del source.assets["c"]["a0110"]
    source.refill(2)
    assert (await sync(source, [destination], name="media")).exit_code == 5
    assert len(destination.assets["c"]) == 120


async def test_a_limit_in_the_second_listing_deletes_nothing_either() -> None:
    source, destination = Metered({"c": assets(10)}), MemoryDestination()
    source.refill(1_000)
    await sync(source, [destination], name="media")
    del source.assets["c"]["a0005"]
    source.refill(1)
    assert (await sync(source, [destination], name="media")).exit_code == 5
    assert len(destination.assets["c"]) == 10


async def test_a_collection_that_failed_before_the_limit_makes_it_a_failure_that_names_both() -> None:
    class OneBroken(Metered):
        async def scan(self, collection: str) -> AsyncIterator[Listing]:
            if collection == "b":
                raise SourceError("503 for an hour")
            async for listing in super().scan(collection):
                yield listing

    summary = await sync(OneBroken({"b": [], "c": assets(3)}), [MemoryDestination()], name="media")
    assert summary.exit_code == 1
    assert summary.to_dict()["notes"] == ["b: 503 for an hour", SPENT]


async def test_a_plan_and_a_check_meet_it_with_the_same_message_and_code() -> None:
    source, destination = Metered({"c": assets(3)}), MemoryDestination()
    for met in (plan(source, [destination], name="media"), verify(source, [destination], name="media")):
        with pytest.raises(LimitReachedError) as caught:
            await met
        assert (str(caught.value), caught.value.until, caught.value.exit_code) == (SPENT, UNTIL, 5)
