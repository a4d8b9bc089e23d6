"""What becomes of assets that the source no longer has: removed, hidden or kept, and planned as it is done."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vectorferry import Plan, Summary
from vectorferry.connector.plugin import Capability, Counts, DeleteGuard, Destination
from vectorferry.connector.testing import MemoryDestination, plan, refill, sync, verify

from .worlds import Scripted, asset, assets, content

TOMBSTONE = DeleteGuard(mode="tombstone")
KEEP = DeleteGuard(mode="keep", max_share=0)


class Forgetful(MemoryDestination):
    """Has nothing that hides assets."""

    capabilities = MemoryDestination.capabilities - {Capability.TOMBSTONES}


class Counting(Scripted):
    """Counts its listings."""

    scans = 0

    async def scan(self, collection: str):  # type: ignore[no-untyped-def]
        self.scans += 1
        async for listing in super().scan(collection):
            yield listing


async def synced(*stores: Destination) -> Counting:
    """Ten assets, synced; the first of them has gone since."""
    source = Counting({"c": assets(10)})
    await sync(source, stores, name="media")
    del source.assets["c"]["a0000"]
    source.scans = 0
    return source


async def planned_and_done(source: Counting, store: Destination, guard: DeleteGuard) -> tuple[Plan, Summary]:
    """The plan, and the sync after it, which lists as often as the plan did."""
    source.scans = 0
    told = await plan(source, [store], name="media", deletes=guard)
    listed, source.scans = source.scans, 0
    done = await sync(source, [store], name="media", deletes=guard)
    assert source.scans == listed
    assert told.destinations["memory"].deleted == done.destinations["memory"].applied.assets.deleted
    assert told.destinations["memory"].new == done.destinations["memory"].applied.assets.inserted
    assert told.exit_code == done.exit_code
    return told, done


async def test_a_hidden_asset_comes_back_as_if_it_had_never_gone() -> None:
    store, undisturbed = MemoryDestination(), MemoryDestination()
    source = await synced(store)
    await sync(Scripted({"c": assets(10)}), [undisturbed], name="media")
    told, done = await planned_and_done(source, store, TOMBSTONE)
    assert done.destinations["memory"].applied.assets == Counts(unchanged=9, deleted=1)
    assert told.collections["c"].deletes["memory"].mode == "tombstone"
    assert "a0000" not in store.assets["c"]
    _, again = await planned_and_done(source, store, TOMBSTONE)
    assert again.destinations["memory"].applied.assets == Counts(unchanged=9)
    source.assets["c"]["a0000"] = asset("a0000")
    _, back = await planned_and_done(source, store, TOMBSTONE)
    assert {each.inserted for each in back.destinations["memory"].applied.vectors.values()} == {0}
    assert content(store) == content(undisturbed)


async def test_the_guard_stops_hiding_as_it_stops_removing() -> None:
    store = MemoryDestination()
    source = await synced(store)
    for number in range(1, 5):
        del source.assets["c"][f"a{number:04}"]
    told, done = await planned_and_done(source, store, TOMBSTONE)
    assert (told.exit_code, done.collections["c"].refused, len(store.assets["c"])) == (4, True, 10)


async def test_what_cannot_hide_removes() -> None:
    store = Forgetful()
    source = await synced(store)
    told = await plan(source, [store], name="media", deletes=TOMBSTONE)
    assert told.collections["c"].deletes["memory"].mode == "prune"


async def test_kept_assets_are_counted_and_neither_the_guard_nor_a_second_listing_is_asked() -> None:
    store = MemoryDestination()
    source = await synced(store)
    told, done = await planned_and_done(source, store, KEEP)
    assert source.scans == 1
    assert done.collections["c"].note == "memory: 1 asset that the source does not list stayed (deletes.mode: keep)"
    assert (done.collections["c"].kept, done.exit_code, len(store.assets["c"])) == ({"memory": 1}, 0, 10)
    deletes = told.collections["c"].deletes["memory"]
    assert (deletes.held, deletes.missing, deletes.mode, deletes.refusal) == (10, 1, "keep", None)


async def test_an_empty_listing_keeps_everything() -> None:
    store = MemoryDestination()
    source = await synced(store)
    source.assets["c"].clear()
    done = await sync(source, [store], name="media", deletes=KEEP)
    assert (done.collections["c"].kept, done.exit_code) == ({"memory": 10}, 0)


async def test_a_check_does_not_complain_of_what_is_kept_or_hidden() -> None:
    for guard in (KEEP, TOMBSTONE):
        store = MemoryDestination()
        source = await synced(store)
        await sync(source, [store], name="media", deletes=guard)
        found = await verify(source, [store], name="media", deletes=guard)
        assert found.in_step
        assert found.collections["c"].notes == (
            ["memory: 1 asset that the source does not list stayed (deletes.mode: keep)"] if guard is KEEP else []
        )


@pytest.mark.parametrize("guard", [KEEP, TOMBSTONE])
async def test_a_refill_does_with_what_the_store_lacks_as_a_sync_does(guard: DeleteGuard) -> None:
    store, target = MemoryDestination("store"), MemoryDestination("target")
    source = await synced(store, target)
    await sync(source, [store], name="media")
    done = await refill(store, target, name="media", deletes=guard)
    if guard is KEEP:
        assert done.collections["c"].note == "target: 1 asset that store does not list stayed (deletes.mode: keep)"
        assert len(target.assets["c"]) == 10
        return
    assert done.destinations["target"].applied.assets.deleted == 1
    source.assets["c"]["a0000"] = asset("a0000")
    back = await sync(source, [target], name="media")
    assert {each.inserted for each in back.destinations["target"].applied.vectors.values()} == {0}


def test_there_are_three_modes() -> None:
    assert DeleteGuard().mode == "prune"
    with pytest.raises(ValidationError, match="tombstone"):
        DeleteGuard.model_validate({"mode": "purge"})
