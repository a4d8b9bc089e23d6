"""Collections that destinations hold and the source no longer has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from vectorferry import Summary, SyncOptions
from vectorferry.connector.plugin import (
    DeleteGuard,
    Difference,
    LimitReachedError,
    Reason,
    Rejected,
    SourceError,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination, plan, sync, verify

from .worlds import Scripted, asset, assets

EVERYTHING = DeleteGuard(max_share=1)


class Renamed(Scripted):
    """Names another list of its collections each time it is asked, as far as `lists` says."""

    lists: Sequence[Sequence[str] | VectorferryError] = ()

    async def collections(self) -> Sequence[str]:
        if not self.lists:
            return await super().collections()
        now, *self.lists = self.lists
        if isinstance(now, VectorferryError):
            raise now
        return now


async def synced(*stores: MemoryDestination) -> Renamed:
    """Two collections, synced; films has gone since."""
    source = Renamed({"ads": assets(4), "films": assets(3)})
    await sync(source, stores, name="media")
    del source.assets["films"]
    return source


async def planned_and_done(source: Renamed, store: MemoryDestination, guard: DeleteGuard) -> Summary:
    told = await plan(source, [store], name="media", deletes=guard)
    done = await sync(source, [store], name="media", deletes=guard)
    assert told.collections.keys() == done.collections.keys()
    for name, each in told.collections.items():
        assert (each.refused, each.gone) == (done.collections[name].refused, done.collections[name].gone)
    assert told.destinations["memory"].deleted == done.destinations["memory"].applied.assets.deleted
    assert told.exit_code == done.exit_code
    assert told.reads.listing == done.usage.requests
    return done


async def test_it_is_not_removed_unless_everything_may_go() -> None:
    store = MemoryDestination()
    source = await synced(store)
    done = await planned_and_done(source, store, DeleteGuard())
    assert (done.exit_code, done.collections["films"].refused, done.collections["ads"].refused) == (4, True, False)
    assert done.collections["films"].note == (
        "memory: nothing was deleted: the source no longer has the collection films, so 3 of 3 assets would go, and at "
        "most 20% may, which is less than one of 3. If they are really gone, allow it once with "
        "--allow-deletes-of films, or set deletes.max_share."
    )
    assert len(store.assets["films"]) == 3


async def test_it_goes_with_all_that_it_has_when_that_is_allowed() -> None:
    store = MemoryDestination()
    source = await synced(store)
    done = await planned_and_done(source, store, EVERYTHING)
    assert (done.exit_code, done.collections["films"].note) == (0, "the source no longer has this collection")
    assert done.destinations["memory"].by_collection["films"].assets.deleted == 3
    assert (store.assets["films"], len(store.assets["ads"])) == ({}, 4)
    assert "films" not in (await planned_and_done(source, store, DeleteGuard())).collections


async def test_it_is_hidden_or_kept_where_that_is_the_mode() -> None:
    store = MemoryDestination()
    source = await synced(store)
    kept = await planned_and_done(source, store, DeleteGuard(mode="keep"))
    assert (kept.exit_code, kept.collections["films"].kept, len(store.assets["films"])) == (0, {"memory": 3}, 3)
    hidden = await planned_and_done(source, store, DeleteGuard(mode="tombstone", max_share=1))
    assert (hidden.exit_code, store.assets["films"]) == (0, {})
    source.assets["films"] = {f"a{n:04}": asset(f"a{n:04}") for n in range(3)}
    back = await planned_and_done(source, store, DeleteGuard())
    assert {each.inserted for each in back.destinations["memory"].by_collection["films"].vectors.values()} == {0}


async def test_a_run_of_named_collections_touches_no_other() -> None:
    store = MemoryDestination()
    source = await synced(store)
    done = await sync(source, [store], SyncOptions(collections=["ads"]), name="media", deletes=EVERYTHING)
    assert (list(done.collections), len(store.assets["films"])) == (["ads"], 3)


class Configured(Renamed):
    """Was told which collections to read."""

    def is_gone(self, collection: str) -> bool:  # noqa: ARG002
        return False


async def test_what_the_settings_leave_out_is_left_alone() -> None:
    store = MemoryDestination()
    await synced(store)
    done = await sync(Configured({"ads": assets(4)}), [store], name="media", deletes=EVERYTHING)
    assert (list(done.collections), len(store.assets["films"])) == (["ads"], 3)


async def test_one_that_is_back_in_a_second_list_of_collections_was_never_gone() -> None:
    store = MemoryDestination()
    source = await synced(store)
    source.lists = [["ads"], ["ads", "films"]]
    done = await sync(source, [store], name="media", deletes=EVERYTHING)
    assert (list(done.collections), len(store.assets["films"])) == (["ads"], 3)


async def test_without_a_second_list_nothing_goes_and_the_run_fails() -> None:
    store = MemoryDestination()
    source = await synced(store)
    source.lists = [["ads"], SourceError("503")]
    done = await sync(source, [store], name="media", deletes=EVERYTHING)
    assert (done.exit_code, done.collections["films"].error, len(store.assets["films"])) == (1, "503", 3)
    source.lists = [["ads"], LimitReachedError("the quota is used up", until=None)]
    limited = await sync(source, [store], name="media", deletes=EVERYTHING)
    assert (limited.exit_code, len(store.assets["films"])) == (5, 3)


async def test_one_of_several_can_be_allowed_to_go_alone() -> None:
    """`--allow-deletes 1` held for every collection."""
    store = MemoryDestination()
    source = Renamed({"ads": assets(4), "films": assets(3), "clips": assets(2)})
    await sync(source, [store], name="media")
    del source.assets["films"], source.assets["clips"]
    for name in ("a0000", "a0001"):
        del source.assets["ads"][name]
    done = await planned_and_done(source, store, DeleteGuard(unguarded=("films",)))
    assert done.exit_code == 4
    assert {name for name, told in done.collections.items() if told.refused} == {"ads", "clips"}
    assert store.stored_collections() == ["ads", "clips"]
    done = await planned_and_done(source, store, DeleteGuard(unguarded=("ads", "clips")))
    assert (done.exit_code, store.stored_collections(), len(store.assets["ads"])) == (0, ["ads"], 2)


class Naming(Renamed):
    """Its settings name ads and films."""

    @property
    def not_found(self) -> Mapping[str, str]:
        return {name: f"there is no collection {name}" for name in ("ads", "films") if name not in self.assets}

    def is_gone(self, collection: str) -> bool:
        return collection in self.not_found


async def test_one_that_the_settings_name_stays_until_it_is_allowed_to_go() -> None:
    store = MemoryDestination()
    source = Naming({"ads": assets(4), "films": assets(3)})
    await sync(source, [store], name="media")
    del source.assets["films"]
    for _ in range(2):
        done = await planned_and_done(source, store, EVERYTHING)
        assert (done.exit_code, done.collections["films"].error) == (1, "there is no collection films")
        assert len(store.assets["films"]) == 3
    checked = await verify(source, [store], name="media", repair=True, deletes=EVERYTHING)
    assert (checked.exit_code, checked.repair, len(store.assets["films"])) == (1, None, 3)
    done = await planned_and_done(source, store, DeleteGuard(unguarded=("films",)))
    assert (done.exit_code, done.collections["films"].gone, store.stored_collections()) == (0, True, ["ads"])


async def test_of_one_that_never_could_be_read_the_quarantine_is_cleared() -> None:
    store = MemoryDestination()
    source = Renamed({"ads": assets(4), "films": [asset("broken")]})
    source.instead = {"broken": Rejected("broken", Reason.MALFORMED, "no text")}
    assert (await sync(source, [store], name="media")).exit_code == 3
    del source.assets["films"]
    assert (await planned_and_done(source, store, DeleteGuard())).collections["films"].refused
    done = await planned_and_done(source, store, EVERYTHING)
    assert (done.exit_code, store.quarantined("films")) == (0, 0)


async def test_each_destination_is_rid_of_what_it_has() -> None:
    one, other = MemoryDestination("one"), MemoryDestination("other")
    source = await synced(one)
    await sync(Scripted({"ads": assets(4), "old": assets(2)}), [other], name="media")
    done = await sync(source, [one, other], name="media", deletes=EVERYTHING)
    assert list(done.collections) == ["ads", "films", "old"]
    assert (one.stored_collections(), other.stored_collections()) == (["ads"], ["ads"])


async def test_where_another_sync_is_at_work_it_waits_for_the_next_run() -> None:
    store = MemoryDestination()
    source = await synced(store)
    with store.lock("films"):
        done = await sync(source, [store], SyncOptions(lock_wait=0), name="media", deletes=EVERYTHING)
    assert (done.exit_code, len(store.assets["films"])) == (1, 3)
    assert "another sync" in str(done.collections["films"].error)


@pytest.mark.parametrize("source", [Scripted({})])
def test_the_one_in_memory_says_what_is_gone(source: Scripted) -> None:
    assert source.is_gone("films")


async def test_a_check_finds_what_is_left_and_a_repair_takes_it_away_where_that_is_allowed() -> None:
    store = MemoryDestination()
    source = await synced(store)
    found = await verify(source, [store], name="media")
    left = found.collections["films"]
    assert (found.exit_code, left.assets, left.counts) == (1, 0, {("memory", "source", Difference.EXTRA): 3})
    assert left.notes == ["the source no longer has this collection"]
    refused = await verify(source, [store], name="media", repair=True)
    assert (refused.exit_code, len(store.assets["films"])) == (4, 3)
    repaired = await verify(source, [store], name="media", repair=True, deletes=EVERYTHING)
    assert (repaired.exit_code, store.stored_collections()) == (0, ["ads"])
    assert list((await verify(source, [store], name="media")).collections) == ["ads"]


async def test_a_check_finds_nothing_where_it_stays_is_back_or_was_not_meant() -> None:
    store = MemoryDestination()
    source = await synced(store)
    kept = await verify(source, [store], name="media", deletes=DeleteGuard(mode="keep"))
    assert kept.in_step
    assert kept.collections["films"].notes[1] == (
        "memory: 3 assets that the source does not list stayed (deletes.mode: keep)"
    )
    assert list((await verify(source, [store], name="media", collections=["ads"])).collections) == ["ads"]
    assert (await verify(Configured({"ads": assets(4)}), [store], name="media")).in_step
    source.lists = [["ads"], ["ads", "films"]]
    assert (await verify(source, [store], name="media")).in_step
