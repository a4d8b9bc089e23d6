"""A plan announces what the next sync does, number for number, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.connector.test_sync_model import edit, edits
from tests.connector.worlds import ReadOnly, Scripted, asset, assets, incomplete, settings_for
from tests.examples import examples
from vectorferry import SyncOptions
from vectorferry.connector._engine import run_plan
from vectorferry.connector._engine.plan._plan import Rate
from vectorferry.connector._engine.sync import _prune as prune
from vectorferry.connector.plugin import (
    AssetState,
    Capability,
    CollectionPlan,
    CollectionSummary,
    ConfigurationError,
    DeleteGuard,
    DestinationError,
    Planned,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, plan, sync


def scripted(*names: str, **collections: int) -> Scripted:
    return Scripted({name: assets(count) for name, count in collections.items()} | {name: [] for name in names})


async def synced(source: MemorySource, *stores: MemoryDestination) -> None:
    await sync(source, stores, name="m", deletes=DeleteGuard(max_share=1))


COUNTS = ("listed", "unchanged", "reread", "pending_count", "failed_count", "complete", "refused", "note", "error")


def counted(seen: CollectionPlan | CollectionSummary) -> list[object]:
    """What a plan and a summary call by the same name; only a sync tells in a note that the guard refused."""
    return [getattr(seen, name) for name in COUNTS if not (seen.refused and name == "note")]


async def replay(history: list[Any], late: list[Any], share: float) -> None:
    """Two destinations, of which one lacks the latest edits. What has become less within an asset no plan can tell: it
    reads none."""
    source, store, other = MemorySource({"c": []}), MemoryDestination("one"), MemoryDestination("two")
    for step in history:
        edit(source, *step)
    await synced(source, store)
    for step in late:
        edit(source, *step)
    await synced(source, other)
    guard = DeleteGuard(max_share=share)
    told = await plan(source, [store, other], name="m", deletes=guard)
    again = await plan(source, [store, other], name="m", deletes=guard)
    summary = await sync(source, [store, other], name="m", deletes=guard)
    assume(not summary.collections["c"].second_looks)
    assert (again.collections, again.destinations) == (told.collections, told.destinations)
    assert counted(told.collections["c"]) == counted(summary.collections["c"])
    assert told.collections["c"].to_pull == summary.collections["c"].pulled
    assert summary.usage.requests == told.reads.listing + (told.reads.reading or 0)
    assert told.exit_code == summary.exit_code
    for name, each in told.destinations.items():
        assets = summary.destinations[name].applied.assets
        assert (each.new, each.deleted) == (assets.inserted, assets.deleted)
        assert each.changed + each.unchanged == assets.updated + assets.unchanged


@settings(max_examples=examples(10, 500), deadline=None)
@given(st.lists(edits, max_size=12), st.lists(edits, max_size=8), st.sampled_from([0, 0.2, 0.5, 1]))
def test_what_a_plan_announces_the_next_sync_does(history: list[Any], late: list[Any], share: float) -> None:
    asyncio.run(replay(history, late, share))


async def test_nothing_is_read_and_nothing_written() -> None:
    source, store = scripted(ads=4), ReadOnly()
    told = await plan(source, [store], name="m")
    assert source.pulled == []
    assert (store.assets, store.ledger, store.quarantine) == ({}, {}, {})
    assert (told.collections["ads"].to_pull, told.collections["ads"].new) == (4, 4)


async def test_new_and_changed_assets_are_told_apart_per_destination() -> None:
    source, old, empty = scripted(ads=3), MemoryDestination("old"), MemoryDestination("empty")
    await synced(source, old)
    source.assets["ads"]["a0000"] = asset("a0000", 2)
    source.assets["ads"]["a0009"] = asset("a0009")
    told = await plan(source, [old, empty], name="m")
    assert [(each.new, each.changed, each.unchanged) for each in told.destinations.values()] == [(1, 1, 2), (4, 0, 0)]
    collection = told.collections["ads"]
    assert (collection.to_pull, collection.new, collection.changed, collection.unchanged) == (4, 1, 3, 0)


async def test_the_guard_is_told_with_its_numbers_and_the_way_out() -> None:
    source, store = scripted(ads=5), MemoryDestination()
    await synced(source, store)
    for name in ("a0000", "a0001", "a0002"):
        del source.assets["ads"][name]
    told = await plan(source, [store], name="m")
    deletes = told.collections["ads"].deletes["memory"]
    assert (deletes.held, deletes.missing, told.exit_code, told.destinations["memory"].deleted) == (5, 3, 4, 0)
    assert "3 of 5 assets would go, and at most 20%" in (deletes.refusal or "")
    assert "--allow-deletes 0.6" in (deletes.refusal or "")
    allowed = await plan(source, [store], name="m", deletes=DeleteGuard(max_share=0.6))
    assert (allowed.exit_code, allowed.destinations["memory"].deleted) == (0, 3)


async def test_more_missing_assets_than_are_remembered_at_once_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prune, "REMEMBERED", 3)
    source, store = scripted(ads=10), MemoryDestination()
    await synced(source, store)
    source.assets["ads"].clear()
    told = await plan(source, [store], name="m", deletes=DeleteGuard(max_share=1))
    assert (told.collections["ads"].deletes["memory"].missing, told.destinations["memory"].deleted) == (10, 10)


@pytest.mark.parametrize(("unknowable", "exit_code"), [(False, 1), (True, 0)])
async def test_an_incomplete_listing_plans_no_delete(unknowable: bool, exit_code: int) -> None:
    source, store = scripted(ads=3), MemoryDestination()
    await synced(source, store)
    del source.assets["ads"]["a0000"]
    source.scan_error = incomplete(unknowable=unknowable)
    told = await plan(source, [store], name="m")
    collection = told.collections["ads"]
    assert (collection.complete, collection.deletes, told.exit_code) == (False, {}, exit_code)
    assert "nothing is deleted" in (collection.error or collection.note or "")
    assert (await sync(source, [store], name="m")).exit_code == exit_code


async def test_a_destination_that_cannot_be_asked_is_named_and_others_are_planned() -> None:
    class Down(MemoryDestination):
        def planned(self, mapping: SchemaMapping) -> Planned:  # noqa: ARG002
            raise DestinationError("it is down")

    told = await plan(scripted(ads=2), [Down("down"), MemoryDestination("up")], name="m")
    assert told.destinations["down"].error == "it is down"
    assert (told.destinations["up"].new, told.exit_code) == (2, 1)


async def test_a_source_that_cannot_be_listed_fails_as_in_a_sync() -> None:
    source = scripted(ads=2)
    source.scan_error = SourceError("503 for an hour")
    with pytest.raises(SourceError, match="503 for an hour"):
        await plan(source, [MemoryDestination()], name="m")


async def test_a_destination_that_cannot_plan_is_bad_usage() -> None:
    class Blind(MemoryDestination):
        capabilities = MemoryDestination.capabilities - {Capability.PLAN}

    with pytest.raises(ConfigurationError, match="blind: this destination cannot say beforehand"):
        await plan(scripted(ads=2), [Blind("blind")], name="m")


class Priced(Scripted):
    """An API like Mixpeek's: an asset and each of its features are a request."""

    def requests_to_read(self, assets: int, features: int) -> int:
        return assets + features


async def test_estimates_come_from_what_is_stored_and_are_missing_where_nothing_is() -> None:
    source, store = Priced({"ads": assets(4)}), MemoryDestination()
    blind = await plan(source, [store], name="m")
    assert (blind.reads.listing, blind.reads.reading, blind.reads.features, blind.reads.seconds) == (
        1,
        None,
        None,
        None,
    )
    assert (blind.destinations["memory"].writes.features, blind.destinations["memory"].writes.bytes) == (None, None)
    await synced(source, store)
    source.assets["ads"]["a0000"] = asset("a0000", 2)
    source.assets["ads"]["a0009"] = asset("a0009")
    told = await plan(source, [store], name="m", rate=Rate(requests_per_minute=60))
    assert (told.reads.listing, told.reads.reading, told.reads.features, told.reads.seconds) == (1, 8, 6, 9.0)
    writes = told.destinations["memory"].writes
    assert (writes.features, writes.rows, writes.bytes) == (6, 12, 6 * 12)


async def test_what_one_collection_holds_is_not_taken_for_what_another_of_the_same_ids_does() -> None:
    source, store = Scripted({"ads": assets(4)}), MemoryDestination()
    await synced(source, store)
    told = await plan(Scripted({"ads": assets(4, version=2), "films": assets(4)}), [store], name="m")
    seen = {name: (each.new, each.changed) for name, each in told.collections.items()}
    assert seen == {"ads": (0, 4), "films": (4, 0)}


def test_more_requests_at_a_time_are_faster_until_the_limit_of_the_plan() -> None:
    assert Rate(concurrency=1).seconds(listing=2, listing_seconds=4, reading=8) == 20
    assert Rate(concurrency=8).seconds(listing=2, listing_seconds=4, reading=8) == 6
    assert Rate(60, 8).seconds(listing=2, listing_seconds=4, reading=8) == 10
    assert Rate(60, 8, {"read": 20, "index": 1}).seconds(listing=2, listing_seconds=4, reading=8) == 24
    assert Rate(None, 8, {"list": 10}).seconds(listing=2, listing_seconds=4, reading=8) == 12


def test_settings_are_enough_and_everything_is_closed() -> None:
    source, store, opened = scripted(ads=2, films=3), MemoryDestination(), list[str]()
    configured = settings_for(source, store, opened=opened)
    told = run_plan(configured, SyncOptions(collections=["films"]))
    assert {name: each.to_pull for name, each in told.collections.items()} == {"films": 3}
    assert opened == ["memory for media", "none"]


def test_json_is_plain() -> None:
    source = scripted(ads=3)
    source.states["a0000"] = AssetState.PENDING
    told = run_plan(settings_for(source, MemoryDestination())).to_dict()
    ads = told["collections"]["ads"]
    assert ads["pending"] == {"count": 1, "first": ["a0000"]}
    assert ads["failed"] == {"count": 0, "first": []}
    assert ads["deletes"] == {"memory": {"held": 2, "missing": 0, "mode": "prune", "refusal": None}}
    assert told["reads"]["listing"] == 1
