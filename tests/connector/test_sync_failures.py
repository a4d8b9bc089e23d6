"""Collections and destinations that fail: the others go on, hiccups are tried again, and nothing is left running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
from tenacity import AsyncRetrying, RetryCallState

from tests.connector.worlds import Crashing, Scripted, Unreliable, asset, assets, content
from tests.waiting import PATIENCE
from vectorferry.connector._engine._calls import _wait
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Asset,
    Batch,
    BatchLimits,
    ConfigurationError,
    Counts,
    CredentialsError,
    DestinationError,
    Listing,
    Reason,
    Rejected,
    RetryableError,
    SchemaMapping,
    SourceError,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

SMALL = BatchLimits(rows=9)


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


@pytest.mark.parametrize("method", ["prepare", "known", "apply", "build_indexes"])
async def test_one_failing_destination_leaves_the_other_complete(method: str) -> None:
    broken, sound = Unreliable("broken"), MemoryDestination("sound")
    await sync(MemorySource({"c": assets(1), "d": assets(1)}), [broken, sound], name="media")
    broken.errors = {method: [DestinationError("disk full")]}
    source = MemorySource({"c": assets(30), "d": assets(5)})
    summary = await sync(source, [broken, sound], name="media", batch=SMALL)
    assert summary.exit_code == 1
    assert summary.destinations["broken"].error == "disk full"
    assert summary.destinations["sound"].error is None
    alone = MemoryDestination()
    await sync(source, [alone], name="media")
    assert content(sound) == content(alone)
    assert (await sync(source, [broken, sound], name="media")).exit_code == 0
    assert content(broken) == content(alone)


class Poisoned(Scripted):
    """Fails in the collections that `poison` names, while it lists or while it reads them."""

    poison: Mapping[str, VectorferryError]
    where = "scan"

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        async for listing in super().scan(collection):
            yield listing
        self._maybe("scan", collection)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for item in super().pull(collection, listings):
            yield item
        self._maybe("pull", collection)

    def _maybe(self, where: str, collection: str) -> None:
        if where == self.where and collection in self.poison:
            raise self.poison[collection]


def poisoned(where: str, **poison: VectorferryError) -> Poisoned:
    """Three collections of four assets."""
    source = Poisoned({name: assets(4) for name in ("a", "b", "c")})
    source.where, source.poison = where, poison
    return source


@pytest.mark.parametrize("where", ["scan", "pull"])
@pytest.mark.parametrize("error", [SourceError("a page of HTML"), RetryableError("later")])
async def test_one_collection_that_cannot_be_read_leaves_the_others_complete(
    where: str, error: VectorferryError
) -> None:
    source, store = poisoned(where, a=error), MemoryDestination()
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 1
    assert [told.error for told in summary.collections.values()] == [str(error), None, None]
    assert {name: len(held) for name, held in store.assets.items()} == {"a": 4, "b": 4, "c": 4}
    assert f"a: {error}" in summary.to_dict()["notes"]


async def test_a_collection_whose_id_cannot_be_stored_leaves_the_others_complete() -> None:
    source, store = MemorySource({"c\0": assets(1), "d": assets(2)}), MemoryDestination()
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 1
    assert len(store.assets["d"]) == 2
    assert [bool(told.error) for told in summary.collections.values()] == [True, False]


@pytest.mark.parametrize("error", [CredentialsError("revoked"), ConfigurationError("no such namespace")])
async def test_a_refused_key_stops_the_run_at_once(error: VectorferryError) -> None:
    source, store = poisoned("pull", b=error), MemoryDestination()
    with pytest.raises(type(error)):
        await sync(source, [store], name="media")
    assert set(store.assets) == {"a", "b"}


async def test_a_source_that_fails_in_every_collection_is_one_error_the_first() -> None:
    source = poisoned("scan", a=SourceError("first"), b=SourceError("second"), c=SourceError("third"))
    with pytest.raises(SourceError, match="first"):
        await sync(source, [MemoryDestination()], name="media")


async def test_a_source_that_is_down_is_not_asked_for_every_collection() -> None:
    source = Poisoned({f"c{number}": [] for number in range(9)})
    source.where = "scan"
    source.poison = {f"c{number}": SourceError(f"down {number}") for number in range(1, 9)}
    with pytest.raises(SourceError, match="down 1"):
        await sync(source, [MemoryDestination()], name="media")
    assert source.usage.requests <= 4


async def test_a_failure_while_deleting_is_that_destinations_alone() -> None:
    source, broken, sound = Scripted({"c": assets(10)}), Crashing("broken"), MemoryDestination("sound")
    await sync(source, [broken, sound], name="media")
    del source.assets["c"]["a0001"]
    broken.arm(0, late=False)
    summary = await sync(source, [broken, sound], name="media")
    assert (summary.exit_code, summary.destinations["broken"].error) == (1, "the store went away")
    assert "a0001" not in sound.assets["c"]
    broken.arm(None, late=False)
    await sync(source, [broken, sound], name="media")
    assert content(broken) == content(sound)


async def test_nothing_more_is_read_once_every_destination_has_failed() -> None:
    source = Scripted({"c": assets(5_000)})
    broken = Unreliable(errors={"apply": [DestinationError("disk full")]})
    with pytest.raises(DestinationError, match="disk full"):
        await sync(source, [broken], name="media", batch=SMALL)
    assert len(source.pulled) < 100


@pytest.mark.parametrize("error", [ConfigurationError("no such role"), CredentialsError("wrong password")])
async def test_the_only_destinations_error_is_raised_as_it_is(error: VectorferryError) -> None:
    with pytest.raises(type(error), match=str(error)):
        await sync(MemorySource({"c": assets(1)}), [Unreliable(errors={"prepare": [error]})], name="media")


async def test_several_failures_are_told_together() -> None:
    stores = [Unreliable("one"), Unreliable("two")]
    await sync(MemorySource({"c": assets(1)}), stores, name="media")
    for store, method, words in zip(stores, ["known", "apply"], "xy", strict=True):
        store.errors = {method: [DestinationError(words)]}
    with pytest.raises(DestinationError, match=r"every destination failed\none: x\ntwo: y"):
        await sync(MemorySource({"c": assets(2)}), stores, name="media")


@pytest.mark.parametrize("method", ["prepare", "known", "apply", "build_indexes"])
async def test_a_hiccup_is_tried_again(method: str) -> None:
    store = Unreliable()
    await sync(MemorySource({"c": assets(1)}), [store], name="media")
    store.errors = {method: [RetryableError("deadlock detected", after=0.0)] * 4}
    summary = await sync(MemorySource({"c": assets(3)}), [store], name="media")
    assert summary.exit_code == 0
    assert len(store.assets["c"]) == 3


async def test_a_hiccup_that_asks_for_no_wait_gets_a_short_one() -> None:
    store = Unreliable(errors={"apply": [RetryableError("serialization failure")]})
    assert (await sync(MemorySource({"c": assets(3)}), [store], name="media")).exit_code == 0


async def test_a_hiccup_that_stays_is_a_failure() -> None:
    store = Unreliable(errors={"apply": [RetryableError("deadlock detected", after=0.0)] * 9})
    with pytest.raises(DestinationError, match="memory: still failing after 5 attempts: deadlock detected"):
        await sync(MemorySource({"c": assets(3)}), [store], name="media")
    assert len(store.errors["apply"]) == 4


def test_the_wait_is_the_one_asked_for_within_reason() -> None:
    def wait(error: Exception) -> float:
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.set_exception((type(error), error, None))
        return _wait(state)

    assert wait(RetryableError("busy", after=7)) == 7
    assert wait(RetryableError("busy", after=86_400)) == 30
    assert 0 <= wait(RetryableError("busy")) <= 0.2


async def test_a_run_that_waits_to_try_again_can_be_cancelled() -> None:
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Busy(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            loop.call_soon_threadsafe(failed.set)
            raise RetryableError(f"{batch.collection} is locked", after=3_600)

    class Hanging(Scripted):
        async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
            async for item in super().pull(collection, listings):
                yield item
            await asyncio.Event().wait()

    run = asyncio.create_task(sync(Hanging({"c": assets(4)}), [Busy()], name="media", batch=SMALL))
    await failed.wait()
    run.cancel()
    done, _ = await asyncio.wait([run], timeout=PATIENCE)
    assert done
    assert run.cancelled()


async def test_a_summary_does_not_grow_with_what_a_destination_refuses() -> None:
    class Refusing(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            applied = super().apply(batch)
            applied.rejected += [Rejected(each.asset_id, Reason.REFUSED, "no") for each in batch.assets]
            return applied

    summary = await sync(MemorySource({"c": assets(250)}), [Refusing()], name="media", batch=SMALL)
    told = summary.destinations["memory"]
    assert len(told.applied.rejected) == len(told.by_collection["c"].rejected) == 100


async def test_a_scan_ends_early_once_every_destination_has_failed() -> None:
    listed: list[Listing] = []

    class Source(MemorySource):
        async def scan(self, collection: str) -> AsyncIterator[Listing]:
            async for listing in super().scan(collection):
                listed.append(listing)
                yield listing

    broken = Unreliable()
    await sync(MemorySource({"c": assets(1)}), [broken], name="media")
    broken.errors = {"known": [DestinationError("gone")]}
    with pytest.raises(DestinationError):
        await sync(Source({"c": assets(5_000)}), [broken], name="media")
    assert len(listed) == 500


class Hesitant(MemoryDestination):
    """Takes the batch of a0001 at the fourth try only, and every other batch at once."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self.tries = 0

    def apply(self, batch: Batch) -> Applied:
        self.tries += batch.assets[0].asset_id == "a0001"
        if batch.assets[0].asset_id == "a0001" and self.tries < 4:
            raise RetryableError("locked", after=0)
        return super().apply(batch)


async def test_assets_put_at_the_same_time_are_all_written_when_flush_returns() -> None:
    store = Hesitant()
    mapper = Mapper(SchemaMapping(), frozenset(MODALITIES))
    lane = Lane(store, mapper.modalities, BatchLimits(rows=1), SchemaMapping())
    lane.begin("c")
    await asyncio.gather(*(lane.put(mapper.map(each)) for each in assets(20)))
    await lane.flush()
    assert len(store.assets["c"]) == 20
    await lane.close()


async def test_a_source_that_reads_ahead_in_a_task_of_its_own_loses_nothing() -> None:
    class Eager(Scripted):
        async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
            queue: asyncio.Queue[Asset | None] = asyncio.Queue(maxsize=5)

            async def read() -> None:
                async for listing in listings:
                    await queue.put(self.assets[collection][listing.asset_id])
                await queue.put(None)

            reading = asyncio.create_task(read())
            while found := await queue.get():
                yield found
            await reading

    source, store = Eager({"c": assets(600)}), MemoryDestination()
    source.listed_first = [Listing(f"bad\0{number}", "v1") for number in range(40)]
    source.listed_last = [Listing(f"bad\0{number}", "v1") for number in range(40, 80)]
    summary = await sync(source, [store], name="media", batch=BatchLimits(rows=4))
    assert (len(store.assets["c"]), store.quarantined("c"), summary.exit_code) == (600, 80, 3)
    assert summary.destinations["memory"].applied.assets == Counts(inserted=600, quarantined=80)


async def test_a_bug_in_a_destination_is_logged_and_stays_its_own(caplog: pytest.LogCaptureFixture) -> None:
    buggy, sound = Unreliable("buggy", {"apply": [KeyError("column")]}), MemoryDestination("sound")
    summary = await sync(MemorySource({"c": assets(3)}), [buggy, sound], name="media")
    assert summary.destinations["buggy"].error == "buggy: unexpected KeyError: 'column'"
    assert len(sound.assets["c"]) == 3
    assert "Traceback" in caplog.text


class Threaded(MemoryDestination):
    """Remembers which thread made each call, and fails when two calls overlap."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.threads: set[int] = set()
        self.calls = 0

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in {"prepare", "known", "apply", "asset_ids", "remove", "build_indexes", "quarantined"}:
            return self._watched(value)
        return value

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls += 1
            entered = self.calls
            self.threads.add(threading.get_ident())
            try:
                return method(*args)
            finally:
                assert self.calls == entered

        return call


async def test_each_destination_is_used_from_one_thread_of_its_own() -> None:
    source, stores = Scripted({"c": assets(1_500)}), [Threaded("one"), Threaded("two")]
    await sync(source, stores, name="media", batch=SMALL)
    for store in stores:
        assert len(store.threads) == 1
        assert threading.get_ident() not in store.threads
    assert stores[0].threads != stores[1].threads


class Blocking(MemoryDestination):
    """Its first write says when it has begun and waits until it may go on."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self.begun, self.go_on, self.done = threading.Event(), threading.Event(), threading.Event()

    def apply(self, batch: Batch) -> Applied:
        self.begun.set()
        assert self.go_on.wait(30)
        applied = super().apply(batch)
        self.done.set()
        return applied


async def test_a_cancelled_run_ends_after_the_write_that_was_under_way() -> None:
    source, store = MemorySource({"c": assets(100)}), Blocking()
    run = asyncio.create_task(sync(source, [store], name="media", batch=SMALL))
    assert await asyncio.to_thread(store.begun.wait, 30)
    run.cancel()
    threading.Timer(0.05, store.go_on.set).start()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert store.done.is_set()
    assert len(store.assets["c"]) == 3
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    undisturbed = MemoryDestination()
    await sync(source, [undisturbed], name="media")
    await sync(source, [store], name="media")
    assert content(store) == content(undisturbed)


async def test_what_is_read_but_not_written_is_bounded_by_batches_not_by_the_collection() -> None:
    source, store = Scripted({"c": assets(3_000)}), Blocking()
    run = asyncio.create_task(sync(source, [store], name="media", batch=SMALL))
    assert await asyncio.to_thread(store.begun.wait, 30)
    for _ in range(3_000):
        await asyncio.sleep(0)
    waiting = len(source.pulled)
    store.go_on.set()
    assert (await run).exit_code == 0
    # three assets are being written, three fill the next batch, one found it full
    assert waiting <= 7
    assert len(store.assets["c"]) == 3_000


async def test_a_slow_destination_and_a_quick_one_end_equal() -> None:
    source, slow, quick = Scripted({"c": assets(200)}), Blocking("slow"), MemoryDestination("quick")
    run = asyncio.create_task(sync(source, [slow, quick], name="media", batch=SMALL))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    for _ in range(500):
        await asyncio.sleep(0)
    slow.go_on.set()
    assert (await run).exit_code == 0
    assert content(slow) == content(quick)


async def test_an_error_in_the_callers_progress_function_reaches_the_caller() -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sync(MemorySource({"c": [asset("a")]}), [MemoryDestination()], name="media", progress=broken)
