"""What every source must do; the one in memory is the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from vectorferry.connector.plugin import (
    Asset,
    ConfigurationError,
    IncompleteScanError,
    LimitReachedError,
    Listing,
    Reason,
    Rejected,
)
from vectorferry.connector.sandbox import DropField, Fault, SetField, Status

from ..connector.http.serving import client_tasks
from .source_worlds import ANOTHER_KEY, ASSETS, CONCURRENCY, PAGE, SERVICES, WORLDS, World, in_order, pulled, scanned


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each source in turn."""
    async with WORLDS[request.param]() as world:
        yield world


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each source that asks a service."""
    async with SERVICES[request.param]() as world:
        yield world


def numbers_of(asset: Asset | Rejected) -> dict[str, Any]:
    """Every vector of an asset, by feature and name."""
    assert isinstance(asset, Asset)
    return {f"{one.feature_id} {name}": vector for one in asset.features for name, vector in one.vectors.items()}


def same(one: Asset | Rejected, other: Asset | Rejected) -> bool:
    """Whether two assets have the same vectors under the same names."""
    left, right = numbers_of(one), numbers_of(other)
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


async def test_a_scan_lists_every_asset_once(world: World) -> None:
    assert sorted(await scanned(world.source, world.collection)) == sorted(world.edits.asset_ids())
    assert len(world.edits.asset_ids()) == ASSETS


async def test_who_reads_is_told_alike_each_time_and_without_the_key(world: World) -> None:
    told = await world.source.identity(world.collection)
    assert told["source"].replace("-", "") == world.source.__class__.__name__.removesuffix("Source").lower()
    assert await world.source.identity("") == told
    assert all(isinstance(text, str) and len(text) < 200 for pair in told.items() for text in pair)
    if world.sandbox is not None:
        assert world.sandbox.api_key not in repr(told)
        assert await world.another().identity(world.collection) == told
        changed = await world.another(api_key=SecretStr(ANOTHER_KEY)).identity(world.collection)
        assert {part for part in told if told[part] != changed.get(part)} == {"key"}


async def test_what_is_listed_is_the_same_while_nothing_changes(world: World) -> None:
    before = await scanned(world.source, world.collection)
    await pulled(world.source, world.collection, before.values())
    assert await scanned(world.source, world.collection) == before


async def test_a_change_is_seen_in_the_listing_of_that_asset_and_no_other(world: World) -> None:
    described, embedded, *_ = world.edits.asset_ids()
    before = await scanned(world.source, world.collection)
    old = await pulled(world.source, world.collection, before.values())
    world.edits.edit_metadata(described)
    world.edits.change_vectors(embedded)
    after = await scanned(world.source, world.collection)
    new = await pulled(world.source, world.collection, after.values())
    assert {name for name in before if before[name] != after[name]} == {described, embedded}
    assert {name for name in old if not same(old[name], new[name])} == {embedded}
    assert [getattr(found[described], "metadata", {}).get("author") == "somebody" for found in (old, new)] == [
        False,
        True,
    ]


async def test_exactly_the_listed_assets_are_pulled_with_all_their_vectors(world: World) -> None:
    listed = await scanned(world.source, world.collection)
    wanted = list(listed.values())[1::2]
    results = await pulled(world.source, world.collection, wanted)
    assert {name: asset.fingerprint for name, asset in results.items() if isinstance(asset, Asset)} == {
        listing.asset_id: listing.fingerprint for listing in wanted
    }
    numbers = [numbers_of(asset) for asset in results.values()]
    assert all(vector.dtype == np.float32 and len(vector) == 4 for each in numbers for vector in each.values())
    assert all(each for each in numbers)
    assert len({name for each in numbers for name in each}) == sum(map(len, numbers))


async def test_reading_again_gives_the_same_ids_and_numbers(world: World) -> None:
    listed = await scanned(world.source, world.collection)
    first, second = [await pulled(world.source, world.collection, listed.values()) for _ in range(2)]
    assert all(same(first[name], second[name]) for name in listed)


async def test_an_asset_that_goes_between_list_and_read_is_left_out(world: World) -> None:
    listed = await scanned(world.source, world.collection)
    gone, *others = listed
    world.edits.remove(gone)
    assert sorted(await pulled(world.source, world.collection, listed.values())) == sorted(others)
    assert sorted(await scanned(world.source, world.collection)) == sorted(others)


async def test_no_more_is_read_than_a_bounded_number_ahead(world: World) -> None:
    listed = list((await scanned(world.source, world.collection)).values())
    taken: list[str] = []
    async with aclosing(world.source.pull(world.collection, in_order(listed * 10, taken))) as results:  # type: ignore[type-var]
        await anext(results)
        await asyncio.sleep(0.1)  # whoever reads on without being asked would do so now
        assert 1 <= len(taken) <= 1 + 3 * CONCURRENCY


async def test_nothing_is_left_when_a_pull_is_given_up(world: World) -> None:
    listed = list((await scanned(world.source, world.collection)).values())
    before = client_tasks()
    async with aclosing(world.source.pull(world.collection, in_order(listed))) as results:  # type: ignore[type-var]
        await anext(results)
    assert client_tasks() <= before
    assert len(await pulled(world.source, world.collection, listed)) == ASSETS


async def test_a_cancelled_pull_ends_and_leaves_nothing(world: World) -> None:
    listed = list((await scanned(world.source, world.collection)).values())
    before = client_tasks()
    running = asyncio.Event()

    async def stuck() -> AsyncIterator[Listing]:
        yield listed[0]
        running.set()
        await asyncio.Event().wait()

    async def pull() -> None:
        async for _ in world.source.pull(world.collection, stuck()):
            pass

    task = asyncio.create_task(pull())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client_tasks() - {task} <= before
    assert len(await pulled(world.source, world.collection, listed)) == ASSETS


async def test_an_error_of_the_listings_comes_through_after_what_was_listed_before(world: World) -> None:
    listed = list((await scanned(world.source, world.collection)).values())

    async def failing() -> AsyncIterator[Listing]:
        yield listed[0]
        raise LookupError("no more")

    results = world.source.pull(world.collection, failing())
    assert (await anext(results)).asset_id == listed[0].asset_id
    with pytest.raises(LookupError, match="no more"):
        await anext(results)


async def test_it_says_how_many_requests_reading_takes_and_counts_them(world: World) -> None:
    listed = await scanned(world.source, world.collection)
    before = world.source.usage.requests
    results = await pulled(world.source, world.collection, listed.values())
    features = sum(len(asset.features) for asset in results.values() if isinstance(asset, Asset))
    assert world.source.usage.requests - before == world.source.requests_to_read(ASSETS, features)


async def test_it_can_be_closed_twice(world: World) -> None:
    await world.source.aclose()
    await world.source.aclose()


async def test_a_service_counts_what_the_source_says_it_asked(service: World) -> None:
    service.served.requests.reset()
    listed = await scanned(service.another(), service.collection)
    source = service.another()
    before = service.served.requests.total
    await pulled(source, service.collection, listed.values())
    assert source.usage.requests == service.served.requests.total - before
    assert source.usage.bytes > 0


async def test_a_list_takes_one_request_for_each_page(service: World) -> None:
    await scanned(service.source, service.collection)
    assert service.served.requests.counts()[service.listing] == -(-ASSETS // PAGE)


async def test_no_more_is_asked_at_once_than_allowed(service: World) -> None:
    listed = await scanned(service.source, service.collection)
    service.served.requests.reset()
    await pulled(service.source, service.collection, listed.values())
    assert 1 < service.served.requests.peak <= CONCURRENCY


async def test_an_asset_that_cannot_be_read_harms_no_other(service: World) -> None:
    listed = await scanned(service.source, service.collection)
    broken = next(iter(listed))
    service.break_asset(broken)
    results = await pulled(service.source, service.collection, listed.values())
    assert sorted(results) == sorted(listed)
    (rejected,) = [result for result in results.values() if isinstance(result, Rejected)]
    assert (rejected.asset_id, rejected.reason, rejected.feature_id) == (broken, Reason.UNREADABLE, "")


async def test_a_quota_that_is_used_up_comes_through_with_the_time_to_come_back(service: World) -> None:
    listed = await scanned(service.source, service.collection)
    used_up = Status(status=429, retry_after=7_200)
    service.served.faults.add(Fault(route=service.read, do=used_up, nth=ASSETS // 2))
    service.served.faults.add(Fault(route=service.listing, do=used_up))
    read: list[str] = []

    async def read_all() -> None:
        async for item in service.source.pull(service.collection, in_order(listed.values())):
            read.append(item.asset_id)  # noqa: PERF401 - what came before the failure has to be kept

    with pytest.raises(LimitReachedError) as caught:
        await read_all()
    assert 0 < len(read) < ASSETS // 2
    assert caught.value.until is not None
    assert timedelta(hours=1) < caught.value.until - datetime.now(UTC) < timedelta(hours=3)
    with pytest.raises(LimitReachedError):
        await scanned(service.source, service.collection)


@pytest.mark.parametrize("total", [ASSETS - 1, ASSETS + 1])
async def test_a_list_that_disagrees_with_its_total_is_not_complete(service: World, total: int) -> None:
    service.served.faults.add(Fault(route=service.listing, do=SetField(field=service.total, value=total)))
    with pytest.raises(IncompleteScanError) as raised:
        await scanned(service.source, service.collection)
    assert not raised.value.unknowable


async def test_a_list_without_totals_is_never_known_to_be_complete(service: World) -> None:
    service.served.faults.add(Fault(route=service.listing, do=DropField(field=service.total)))
    listings = service.source.scan(service.collection)
    listed = {(await anext(listings)).asset_id for _ in range(ASSETS)}
    with pytest.raises(IncompleteScanError) as raised:
        await anext(listings)
    assert raised.value.unknowable
    assert listed == set(service.edits.asset_ids())


async def test_collections_are_named_by_id_or_name_or_not_at_all(service: World) -> None:
    everything = await service.another().collections()
    assert list(everything) == sorted(everything)
    assert len(everything) == 2
    assert service.collection in everything
    for given in (service.name, service.collection):
        assert list(await service.another(collections=(given, given)).collections()) == [service.collection]
    with pytest.raises(ConfigurationError, match=r"there is no collection missing; there are: .*first"):
        await service.another(collections=("missing",)).collections()
