"""One destination filled from another: what arrives, what is left alone, and what the summary says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.connector.worlds import Crashing, ReadOnly, Scripted, Unreliable, asset, assets, content, feature
from tests.examples import family
from tests.waiting import PATIENCE
from vectorferry import Progress, Summary, SyncOptions
from vectorferry.connector._engine._refill import PAGE
from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Asset,
    Batch,
    BatchLimits,
    ConfigurationError,
    Counts,
    DeleteGuard,
    Delivery,
    DestinationError,
    MappedAsset,
    Modality,
    Reason,
    Rejected,
    RetryableError,
    Visibility,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, refill, sync

VIDEO = frozenset({Modality.VIDEO})
SMALL = BatchLimits(rows=9)


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


Memory = TypeVar("Memory", bound=MemoryDestination)


async def filled(assets: dict[str, list[Asset]]) -> MemoryDestination:
    """A store that a sync has filled."""
    return await filled_with(assets, MemoryDestination("store"))


async def filled_with(assets: dict[str, list[Asset]], destination: Memory) -> Memory:
    """This very destination, after a sync."""
    await sync(MemorySource(assets), [destination], name="media")
    return destination


async def refilled(store: MemoryDestination, target: MemoryDestination, share: float = 0.2) -> Summary:
    return await refill(store, target, name="media", deletes=DeleteGuard(max_share=share))


async def test_an_empty_target_gets_everything_and_the_next_sync_nothing() -> None:
    source = Scripted({"c": assets(1_200), "d": assets(1)})
    store, target = MemoryDestination("store"), MemoryDestination("target")
    await sync(source, [store], name="media")
    summary = await refilled(store, target)
    assert (summary.exit_code, summary.sync) == (0, "media")
    assert content(target) == content(store)
    assert target.ledger == store.ledger
    told = summary.collections["c"]
    assert (told.listed, told.unchanged, told.pulled, told.complete) == (1_200, 0, 1_200, True)
    assert summary.destinations["target"].applied.assets == Counts(inserted=1_201)
    assert summary.usage.requests == 0
    assert summary.usage.bytes > 1_200 * 3 * 12
    source.pulled.clear()
    await sync(source, [store, target], name="media")
    assert source.pulled == []


async def test_a_refill_again_writes_nothing_and_counts_what_is_unchanged() -> None:
    store = await filled({"c": assets(700)})
    target = ReadOnly("target")
    target.assets, target.ledger = store.assets, store.ledger
    summary = await refilled(store, target)
    assert (summary.collections["c"].unchanged, summary.collections["c"].pulled) == (700, 0)
    applied = summary.destinations["target"].applied
    assert applied.assets == Counts(unchanged=700)
    assert applied.features[Modality.VIDEO] == Counts(unchanged=1_400)


async def test_only_what_the_target_lacks_is_read() -> None:
    class Watched(MemoryDestination):
        def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
            read.extend(asset_ids)
            return super().stored(collection, asset_ids)

    read: list[str] = []
    world = {"c": assets(5)}
    store = await filled_with(world, Watched("store"))
    target = await filled_with({"c": [*assets(4), asset("a0002", 2, [feature("old")])]}, MemoryDestination("target"))
    summary = await refilled(store, target)
    assert read == ["a0002", "a0004"]
    assert content(target) == content(store)
    assert summary.destinations["target"].applied.features[Modality.VIDEO].deleted == 1


async def test_a_modality_that_the_target_lacks_is_brought() -> None:
    source = MemorySource({"c": assets(3)})
    store, target = await filled({"c": assets(3)}), MemoryDestination("target")
    await sync(source, [target], SyncOptions(modalities=VIDEO), name="media")
    await refilled(store, target)
    assert content(target) == content(store)
    assert target.known("c", ["a0000"])["a0000"].modalities == frozenset(MODALITIES)


async def test_assets_that_the_store_has_only_in_part_are_left_alone_and_named() -> None:
    source = Scripted({"c": assets(3)})
    source.instead["a0001"] = Rejected("a0001", Reason.MALFORMED, "no text")
    store, target = MemoryDestination("store"), await filled_with({"c": assets(2)}, MemoryDestination("target"))
    await sync(source, [store], name="media")
    source.assets["c"]["a0002"] = asset("a0002", 2)
    await sync(source, [store], SyncOptions(modalities=VIDEO), name="media")
    before = content(target)
    summary = await refilled(store, target, share=0)
    assert summary.exit_code == 0
    assert content(target) == before
    assert summary.collections["c"].note == (
        "2 of 3 assets are not whole in store (set aside, or synced for some modalities only) and were left as they "
        "are here: a0001, a0002. `vectorferry sync` brings them."
    )


async def test_features_that_the_store_set_aside_are_set_aside_in_the_target() -> None:
    bad = feature("bad", vectors={"m": []})  # type: ignore[dict-item]
    store, target = await filled({"c": [asset("a", features=[feature("good"), bad])]}), MemoryDestination("target")
    summary = await refilled(store, target)
    assert summary.exit_code == 3
    assert target.quarantine == store.quarantine
    assert summary.destinations["target"].quarantined == 1


async def test_only_the_collections_asked_for_are_filled() -> None:
    store, target = await filled({"c": assets(1), "d": assets(1)}), MemoryDestination("target")
    await refill(store, target, name="media", collections=["d", "d"])
    assert set(target.assets) == {"d"}
    with pytest.raises(ConfigurationError, match="collection e: not in store, which holds: c, d"):
        await refill(store, target, name="media", collections=["d", "e"])


async def test_what_the_store_does_not_have_goes_under_the_guard() -> None:
    store = await filled({"c": assets(9)})
    target = await filled_with({"c": assets(10), "other": assets(1)}, MemoryDestination("target"))
    summary = await refilled(store, target)
    assert summary.destinations["target"].applied.assets == Counts(unchanged=9, deleted=1)
    assert set(target.assets["c"]) == set(store.assets["c"])
    assert len(target.assets["other"]) == 1


async def test_too_many_deletes_are_refused_and_everything_else_is_done() -> None:
    store = await filled({"c": [asset("new")], "d": assets(1)})
    target = await filled_with({"c": assets(10)}, MemoryDestination("target"))
    summary = await refilled(store, target)
    assert summary.exit_code == 4
    assert summary.collections["c"].refused
    assert "target: nothing was deleted: store listed 1 assets" in str(summary.collections["c"].note)
    assert set(target.assets["c"]) == {"new", *(f"a{number:04}" for number in range(10))}
    assert set(target.assets["d"]) == {"a0000"}
    assert (await refilled(store, target, share=1)).exit_code == 0
    assert set(target.assets["c"]) == {"new"}


async def test_what_a_sync_brings_to_both_meanwhile_is_not_deleted() -> None:
    class Syncing(MemoryDestination):
        """Gets one more asset, as the target does, after it was listed for the first time."""

        def asset_ids(self, collection: str) -> Iterable[str]:
            yield from super().asset_ids(collection)
            for each in (self, target) if "c" in target.assets.keys() & self.assets.keys() else ():
                each.assets["c"]["new"], each.ledger["c"]["new"] = one, known

    extra = await filled({"c": [asset("new")]})
    one, known = extra.assets["c"]["new"], extra.ledger["c"]["new"]
    target = await filled_with({"c": assets(2)}, MemoryDestination("target"))
    store = await filled_with({"c": assets(3)}, Syncing("store"))
    await refilled(store, target, share=1)
    assert "new" in target.assets["c"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("crash_at", range(5))
async def test_a_refill_that_broke_off_ends_where_an_undisturbed_one_does(crash_at: int, late: bool) -> None:
    store = await filled({"c": assets(12)})
    target = await filled_with({"c": [asset("gone"), *assets(4, version=2)]}, Crashing("target"))
    target.arm(crash_at, late=late)
    with pytest.raises(DestinationError, match="went away"):
        await refill(store, target, name="media", batch=SMALL)
    target.arm(None, late=False)
    assert (await refill(store, target, name="media", batch=SMALL, deletes=DeleteGuard(max_share=1))).exit_code == 0
    assert content(target) == content(store)
    assert target.ledger == store.ledger


class Hiccups(MemoryDestination):
    """Raises what it is told to, once, from the reading method of that name."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__("store")
        self.method = method
        self.error: Exception | None = error
        self.armed = False

    def _maybe(self, method: str) -> None:
        if self.armed and method == self.method and self.error:
            error, self.error = self.error, None
            raise error

    def stored_collections(self) -> Sequence[str]:
        self._maybe("stored_collections")
        return super().stored_collections()

    def asset_ids(self, collection: str) -> Iterable[str]:
        for number, asset_id in enumerate(super().asset_ids(collection)):
            if number == 600:
                self._maybe("asset_ids")
            yield asset_id

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
        for number, one in enumerate(super().stored(collection, asset_ids)):
            if number == 7:
                self._maybe("stored")
            yield one


@pytest.mark.parametrize("method", ["stored_collections", "stored"])
async def test_a_hiccup_while_reading_loses_nothing_and_doubles_nothing(method: str) -> None:
    store = await filled_with({"c": assets(900)}, Hiccups(method, RetryableError("a restart", after=0)))
    target, store.armed = MemoryDestination("target"), True
    summary = await refilled(store, target)
    assert store.error is None
    assert summary.destinations["target"].applied.assets == Counts(inserted=900)
    assert content(target) == content(store)


@pytest.mark.parametrize(
    ("method", "error", "words", "written"),
    family(
        [
            ("asset_ids", RetryableError("a restart", after=0), "store: a restart", 500),
            ("asset_ids", DestinationError("gone"), "gone", 500),
            ("stored", KeyError("column"), "store: unexpected KeyError: 'column'", 0),
        ]
    ),
)
@pytest.mark.long
async def test_a_store_that_breaks_off_deletes_nothing_and_what_was_read_is_written(
    method: str, error: Exception, words: str, written: int
) -> None:
    """A list of assets that broke off must never be taken for a complete one."""
    store = await filled_with({"c": assets(900)}, Hiccups(method, error))
    target, store.armed = await filled_with({"c": assets(1_000)[850:]}, MemoryDestination("target")), True
    with pytest.raises(DestinationError, match=words):
        await refilled(store, target, share=1)
    assert len(target.assets["c"]) == 150 + written
    await refilled(store, target, share=1)
    assert content(target) == content(store)


async def test_a_target_that_fails_raises_its_error_and_leaves_no_thread() -> None:
    store = await filled({"c": assets(100)})
    target = Unreliable("target", {"apply": [DestinationError("disk full")]})
    with pytest.raises(DestinationError, match="disk full"):
        await refill(store, target, name="media", batch=SMALL)
    target = Unreliable("target", {"prepare": [DestinationError("refused")]})
    with pytest.raises(DestinationError, match="refused"):
        await refill(store, target, name="media")


class Blocking(MemoryDestination):
    """Its first write says when it has begun and waits until it may go on."""

    def __init__(self) -> None:
        super().__init__("target")
        self.begun, self.go_on = threading.Event(), threading.Event()

    def apply(self, batch: Batch) -> Applied:
        self.begun.set()
        assert self.go_on.wait(30)
        return super().apply(batch)


@pytest.mark.long
async def test_what_is_read_but_not_written_is_bounded() -> None:
    class Counting(MemoryDestination):
        given = 0

        def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
            for one in super().stored(collection, asset_ids):
                self.given += 1
                yield one

    store, target = await filled_with({"c": assets(3_000)}, Counting("store")), Blocking()
    run = asyncio.create_task(refill(store, target, name="media", batch=SMALL))
    assert await asyncio.to_thread(target.begun.wait, 30)
    for _ in range(3_000):
        await asyncio.sleep(0)
    given = store.given
    target.go_on.set()
    assert (await run).exit_code == 0
    assert given <= 666  # one group of two thousand features
    assert len(target.assets["c"]) == 3_000


async def test_reading_and_writing_go_on_side_by_side_from_the_first_group_on() -> None:
    """No full batch is waited for, and an empty target is not asked, page by page, what it lacks."""
    writing, reading = threading.Event(), threading.Event()

    class Store(MemoryDestination):
        reads = 0

        def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
            self.reads += 1
            if self.reads == 2:
                assert writing.wait(PATIENCE)
            if self.reads == 3:
                reading.set()
            return super().stored(collection, asset_ids)

    class Target(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            writing.set()
            assert reading.wait(PATIENCE)
            return super().apply(batch)

    store, target = await filled_with({"c": assets(3 * PAGE)}, Store("store")), Target("target")
    assert (await refill(store, target, name="media")).exit_code == 0
    assert content(target) == content(store)


async def test_a_cancelled_refill_ends_after_the_write_that_was_under_way() -> None:
    store, target = await filled({"c": assets(100)}), Blocking()
    run = asyncio.create_task(refill(store, target, name="media", batch=SMALL))
    assert await asyncio.to_thread(target.begun.wait, 30)
    run.cancel()
    threading.Timer(0.05, target.go_on.set).start()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(target.assets["c"]) == 3
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_progress_ends_with_everything_done() -> None:
    store, target, moments = await filled({"c": assets(600)}), MemoryDestination("target"), list[Progress]()
    await refill(store, target, name="media", progress=moments.append)
    assert moments[-1] == Progress("c", 600, 600, to_pull=600, pulled=600, written=1_800, number=1, collections=1)
    assert moments[0].total is None


async def test_a_refill_can_wait_until_queries_see_it() -> None:
    class Lagging(MemoryDestination):
        def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
            return Delivery(requests=2, places=[Visibility("index/c", 3, 1)])

    store = await filled({"c": assets(1)})
    summary = await refill(store, Lagging("target"), name="media", wait_visible=0.1)
    assert summary.exit_code == 1
    assert "index/c (written 3, visible 1)" in str(summary.destinations["target"].error)


async def test_what_a_store_has_lost_is_not_taken_for_all_there_is() -> None:
    store, target = await filled({"c": assets(3)}), MemoryDestination("target")
    held = store.assets["c"]["a0001"]
    store.assets["c"]["a0001"] = replace(held, features=held.features[1:])
    summary = await refilled(store, target)
    assert sorted(target.assets["c"]) == ["a0000", "a0002"]
    assert "1 assets lack rows in store that its own ledger names" in str(summary.collections["c"].note)
    assert "a0001" in str(summary.collections["c"].note)


@pytest.mark.parametrize(("share", "exit_code", "features"), [(0.2, 4, 3), (1, 0, 0)])
async def test_what_a_store_never_had_goes_under_the_guard_only(share: float, exit_code: int, features: int) -> None:
    target = await filled_with({"c": assets(3)}, MemoryDestination("target"))
    store = await filled({"c": [asset(f"a{number:04}", 2, []) for number in range(3)]})
    summary = await refilled(store, target, share)
    assert (summary.exit_code, [len(each.features) for each in target.assets["c"].values()]) == (
        exit_code,
        [features] * 3,
    )
    assert ("store gave less of them twice" in str(summary.collections["c"].note)) == (exit_code == 4)
