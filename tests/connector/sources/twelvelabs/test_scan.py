"""Listing indexes and their assets: what counts as changed, and when a list is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from vectorferry import Reread, SyncOptions
from vectorferry.connector.http import UnreadableError
from vectorferry.connector.plugin import AssetState, IncompleteScanError, SourceError
from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    Fault,
    GeneratedIndexes,
    Sandbox,
    SandboxSettings,
    SetField,
    ShiftRows,
    Stall,
    Status,
    TwelveLabsDialect,
)
from vectorferry.connector.testing import MemoryDestination, plan, sync, verify

from ....waiting import PATIENCE, happened
from .worlds import LIST, listed, reading, source_for

GENERATED = SandboxSettings(generate_twelvelabs=GeneratedIndexes(assets=120, segments_per_asset=0))
DAY = 86_400


async def fingerprints(settings: dict[str, Any] | None = None, **dialect: Any) -> dict[str, str]:
    """What the films are listed as."""
    async with reading(TwelveLabsDialect(**dialect), **settings or {}) as (source, sandbox):
        found = await listed(source, sandbox.twelvelabs.index_id("films"))
    return {name: listing.fingerprint for name, listing in found.items()}


@pytest.mark.parametrize(("page_size", "pages"), [(50, 3), (40, 3), (7, 18)])
async def test_one_request_for_each_page(page_size: int, pages: int) -> None:
    async with reading(GENERATED, page_size=page_size) as (source, sandbox):
        (index,) = await source.collections()
        assert sorted(await listed(source, index)) == sorted(sandbox.twelvelabs.asset_ids())
        assert sandbox.requests.counts() == {"twelvelabs.indexes.list": 1, LIST: pages}


async def test_what_comes_while_a_list_is_walked_over_is_at_its_end_and_makes_it_no_less_whole() -> None:
    """A run failed whenever somebody was uploading."""
    async with reading(GENERATED, concurrency=1) as (source, sandbox):
        (index,) = await source.collections()
        found = []
        async for listing in source.scan(index):
            found.append(listing.asset_id)
            if len(found) in (10, 60):
                sandbox.twelvelabs.put_asset(index, {})
        assert sorted(found) == sorted(sandbox.twelvelabs.asset_ids())
        assert len(found) == 122


async def test_what_goes_while_a_list_is_walked_over_makes_it_incomplete() -> None:
    async with reading(GENERATED) as (source, sandbox):
        (index,) = await source.collections()
        listings = source.scan(index)
        sandbox.twelvelabs.remove_asset((await anext(listings)).asset_id)
        with pytest.raises(IncompleteScanError, match="the total went from 119 to 120 meanwhile"):
            _ = [listing async for listing in listings]


async def test_several_pages_are_asked_for_at_once_and_come_in_their_order() -> None:
    """A hundred thousand assets took five minutes, a page at a time."""
    async with reading(GENERATED, page_size=10, concurrency=4) as (source, sandbox), slow_page(sandbox) as resume:
        (index,) = await source.collections()
        scan = asyncio.create_task(listed(source, index))
        await happened(lambda: sandbox.requests.counts().get(LIST) == 5)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not scan.done()
        resume()
        assert list(await scan) == sandbox.twelvelabs.asset_ids()
        assert sandbox.requests.counts()[LIST] == 12


@pytest.mark.parametrize("replaced", [False, True])
async def test_what_goes_between_pages_that_are_read_together_deletes_nothing_else(replaced: bool) -> None:
    """What came after it moves, past a page that was read before. With another in its place, no total tells of it."""
    async with reading(GENERATED, page_size=10, concurrency=4) as (source, sandbox):
        (index,) = await source.collections()
        store = MemoryDestination()
        await sync(source, [store], name="m")

        async def changed(work: Coroutine[Any, Any, Any]) -> Any:
            """What it comes to when the first asset goes while it waits for a page, and has read the ones behind."""
            sandbox.requests.reset()
            async with slow_page(sandbox) as resume:
                running = asyncio.create_task(work)
                await happened(lambda: sandbox.requests.counts().get(LIST) == 5 and sandbox.requests.open == 1)
                sandbox.twelvelabs.remove_asset(sandbox.twelvelabs.asset_ids()[0])
                if replaced:
                    sandbox.twelvelabs.put_asset(index, {})
                resume()
                return await running

        with pytest.raises(IncompleteScanError, match="so nothing is deleted"):
            await changed(listed(source, index))
        await changed(sync(source, [store], SyncOptions(full=True), name="m"))
        assert set(sandbox.twelvelabs.asset_ids()) <= store.assets[index].keys()
        await sync(source, [store], SyncOptions(full=True), name="m")
        assert store.assets[index].keys() == set(sandbox.twelvelabs.asset_ids())


async def test_a_page_that_never_comes_ends_the_list_after_those_before_it() -> None:
    async with reading(GENERATED, page_size=10, concurrency=4) as (source, sandbox):
        (index,) = await source.collections()
        sandbox.faults.add(Fault(route=LIST, do=Status(status=503), nth=4))
        found = []
        with pytest.raises(UnreadableError, match="gave no usable answer"):  # noqa: PT012 - what came before is kept
            async for listing in source.scan(index):
                found.append(listing.asset_id)  # noqa: PERF401
        assert found == sandbox.twelvelabs.asset_ids()[: len(found)]
        assert 10 <= len(found) <= 30


@asynccontextmanager
async def slow_page(sandbox: Sandbox) -> AsyncIterator[Callable[[], None]]:
    """The page after the first waits until what this yields is called."""
    sandbox.faults.add(Fault(route=LIST, do=Stall(seconds=PATIENCE), nth=2, until=2))
    yield sandbox.faults.clear


@pytest.mark.parametrize("null", [False, True])
async def test_an_empty_index_is_complete(null: bool) -> None:
    async with reading(TwelveLabsDialect(null_data=null)) as (source, sandbox):
        assert [listing async for listing in source.scan(sandbox.twelvelabs.put_index("empty"))] == []


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ready", AssetState.READY),
        ("failed", AssetState.FAILED),
        ("pending", AssetState.PENDING),
        ("queued", AssetState.PENDING),
        ("indexing", AssetState.PENDING),
        ("validating", AssetState.PENDING),
        ("some new state", AssetState.PENDING),
        (7, AssetState.PENDING),
        (None, AssetState.READY),
    ],
)
async def test_only_what_is_ready_is_ready(status: Any, state: AssetState) -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.put_index("one")
        name = sandbox.twelvelabs.put_asset(index, {})
        sandbox.twelvelabs.put_field(name, "status", status)
        assert [(found.asset_id, found.state) for found in (await listed(source, index)).values()] == [(name, state)]


async def test_legacy_videos_are_listed_where_there_are_no_indexed_assets() -> None:
    async with reading(TwelveLabsDialect(indexed_assets=False)) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        found = await listed(source, index)
        assert sorted(found) == sorted(sandbox.twelvelabs.asset_ids(index, status="ready"))
        assert {listing.state for listing in found.values()} == {AssetState.READY}


@pytest.mark.parametrize("dialect", [{"date_digits": 2}, {"system_metadata": "metadata"}, {"asset_ids": False}])
async def test_the_same_asset_told_in_another_way_has_not_changed(dialect: dict[str, Any]) -> None:
    if "date_digits" not in dialect:
        assert await fingerprints() == await fingerprints(**dialect)
    else:
        async with reading() as (source, sandbox):
            index = sandbox.twelvelabs.put_index("one")
            name = sandbox.twelvelabs.put_asset(index, {})
            seen = set()
            for spelled in ("2026-03-02T08:00:00.460Z", "2026-03-02T08:00:00.46Z", "2026-03-02T09:00:00.46+01:00"):
                sandbox.twelvelabs.put_field(name, "updated_at", spelled, touch=False)
                seen.add((await listed(source, index))[name].fingerprint)
        assert len(seen) == 1


async def test_an_asset_in_the_older_list_has_not_changed() -> None:
    older = await fingerprints(indexed_assets=False)
    assert older
    assert older.items() <= (await fingerprints()).items()


@pytest.mark.parametrize("field", ["models", "model_options"])
async def test_an_index_that_once_does_not_say_what_it_was_made_with_keeps_its_vectors(field: str) -> None:
    """Nothing was asked for then, and every vector of the index went."""
    async with reading() as (source, sandbox):
        index, store = sandbox.twelvelabs.index_id("archive"), MemoryDestination()
        await sync(source, [store], SyncOptions(collections=[index]), name="m")
        before = dict(store.assets[index])
        sandbox.faults.add(Fault(route="twelvelabs.indexes.*", do=DropField(field=field)))
        forgetful = source_for(sandbox)
        with pytest.raises(SourceError, match=r"does not say which embeddings .* set source\.options"):
            await sync(forgetful, [store], name="m")
        await forgetful.aclose()
    assert store.assets[index] == before


@pytest.mark.parametrize("settings", [{"options": ("visual",)}, {"transcriptions": "none"}])
async def test_asking_for_something_else_is_a_change(settings: dict[str, Any]) -> None:
    before, after = await fingerprints(), await fingerprints(settings)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


async def test_an_edit_that_moves_no_time_is_not_seen_at_once() -> None:
    async with reading(TwelveLabsDialect(edits_move_updated_at=False)) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        before = await listed(source, index)
        sandbox.twelvelabs.edit_metadata(next(iter(before)), {"author": "somebody"}, touch=False)
        assert await listed(source, index) == before


@pytest.mark.long
async def test_what_is_due_is_read_again_and_not_called_changed_before() -> None:
    """With turns that come and go faster than anything is asked."""
    reread = Reread(1e-9)
    async with reading(TwelveLabsDialect(edits_move_updated_at=False)) as (source, sandbox):
        index, store = sandbox.twelvelabs.index_id("films"), MemoryDestination()
        await sync(source, [store], SyncOptions(collections=[index], reread=reread), name="m")
        edited = next(iter(store.assets[index]))
        sandbox.twelvelabs.edit_metadata(edited, {"author": "somebody"}, touch=False)
        found = await verify(source, [store], name="m", collections=[index], reread=reread)
        assert (found.exit_code, found.collections[index].counts) == (0, {})
        held = len(store.assets[index])
        assert found.collections[index].notes == [
            f"{held} assets are due to be read again, in their turn; the next sync does it"
        ]
        planned = (await plan(source, [store], SyncOptions(collections=[index], reread=reread), name="m")).collections[
            index
        ]
        assert (planned.changed, planned.reread) == (held, held)
        summary = await sync(source, [store], SyncOptions(collections=[index], reread=reread), name="m")
        assert (summary.collections[index].reread, summary.destinations["memory"].applied.assets.updated) == (held, 1)
        assert store.assets[index][edited].metadata["author"] == "somebody"


def test_every_asset_has_its_turn_once_in_a_period_and_not_all_at_once() -> None:
    now = 20_000 * DAY
    names = [f"asset {number}" for number in range(700)]
    clocks = [partial(float, now + day * DAY) for day in range(8)]
    turns = [[int(Reread(7, clock=clock).turn(name)) for name in names] for clock in clocks]
    assert [last - first for first, last in zip(turns[0], turns[7], strict=True)] == [1] * 700
    for today, tomorrow in pairwise(turns):
        assert 50 < sum(one != other for one, other in zip(today, tomorrow, strict=True)) < 150
    assert {Reread(None).turn(name) for name in names} == {""}


@pytest.mark.parametrize(
    "action", [ShiftRows(rows=-1), SetField(field="_id", value="x"), SetField(field="_id", value=7)]
)
async def test_a_list_with_rows_missing_is_not_complete(action: Any) -> None:
    async with reading(GENERATED) as (source, sandbox):
        (index,) = await source.collections()
        sandbox.faults.add(Fault(route=LIST, do=action, nth=2, times=1))
        with pytest.raises(IncompleteScanError, match="not complete, so nothing is deleted"):
            _ = [listing async for listing in source.scan(index)]


async def test_rows_that_come_twice_are_listed_once() -> None:
    async with reading(GENERATED) as (source, sandbox):
        (index,) = await source.collections()
        sandbox.faults.add(Fault(route=LIST, do=DuplicateRows()))
        listings = [listing.asset_id async for listing in source.scan(index)]
        assert sorted(listings) == sorted(sandbox.twelvelabs.asset_ids())


async def test_all_indexes_are_collections_and_a_name_that_two_have_names_none() -> None:
    async with reading() as (source, sandbox):
        assert list(await source.collections()) == sorted(sandbox.twelvelabs.index_ids())
        twins = [sandbox.twelvelabs.put_index("twin", f"{number:024}") for number in (1, 2)]
        named = source_for(sandbox, collections=("films", "twin"))
        assert await named.collections() == [sandbox.twelvelabs.index_id("films")]
        assert f"2 collections are named twin; use one of their ids: {twins[0]}, {twins[1]}" in named.not_found["twin"]
        await named.aclose()


async def test_an_account_without_indexes_is_not_taken_for_one_where_all_is_deleted() -> None:
    async with reading() as (source, sandbox):
        for index in sandbox.twelvelabs.index_ids():
            sandbox.twelvelabs.remove_index(index)
        with pytest.raises(SourceError, match="lists no index; check that the key"):
            await source.collections()


@pytest.mark.parametrize("missing", ["declared", "400", "403", "404"])
async def test_an_index_that_is_gone_is_told_as_such(missing: Any) -> None:
    async with reading(TwelveLabsDialect(missing=missing)) as (source, _):
        with pytest.raises(SourceError, match=r"0{24}.*Check source\.collections"):
            _ = [listing async for listing in source.scan("0" * 24)]


async def test_indexes_are_asked_about_again_when_their_list_was_cut_short() -> None:
    async with reading() as (source, sandbox):
        sandbox.faults.add(Fault(route="twelvelabs.indexes.list", do=DropField(field="_id"), times=1))
        assert list(await source.collections()) == sorted(sandbox.twelvelabs.index_ids())
        sandbox.faults.add(Fault(route="twelvelabs.indexes.list", do=DropField(field="_id")))
        with pytest.raises(SourceError, match="did not list its collections completely: 3 rows without a usable _id"):
            await source.collections()


async def test_an_answer_about_another_index_is_not_taken() -> None:
    """The assets of that one would be listed, written, and deleted again in the collection of this one."""
    async with reading() as (source, sandbox):
        films, archive = map(sandbox.twelvelabs.index_id, ("films", "archive"))
        sandbox.faults.add(Fault(route="twelvelabs.indexes.get", do=SetField(field="_id", value=archive)))
        with pytest.raises(SourceError, match="another index"):
            await listed(source, films)


async def test_what_only_the_older_list_does_not_have_is_not_deleted() -> None:
    """Whether that list has what is not ready is not known; here it has not, and nothing else misses it."""
    async with reading() as (source, sandbox):
        index, store = sandbox.twelvelabs.index_id("films"), MemoryDestination()
        options = SyncOptions(collections=[index])
        await sync(source, [store], options, name="m")
        before = set(store.assets[index])
        sandbox.twelvelabs.set_status(min(before), "indexing")
        sandbox.faults.add(Fault(route="/.*/indexed-assets", do=Status(status=404)))
        other = source_for(sandbox)
        summary = await sync(other, [store], options, name="m")
        await other.aclose()
        assert (summary.exit_code, set(store.assets[index])) == (0, before)
        assert "older list of videos" in str(summary.collections[index].note)
