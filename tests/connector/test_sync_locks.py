"""What a sync does about collections that somebody else is writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from tests.connector.changing import Changing
from tests.connector.worlds import Crashing, Scripted, asset, assets, content, feature, incomplete
from vectorferry import Progress, Reread, Summary, SyncOptions
from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine.sync._collection import LOCKS
from vectorferry.connector.plugin import (
    Applied,
    Batch,
    DestinationError,
    LockedError,
    LockLostError,
    Origin,
    Reason,
    Rejected,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync


class Losing(MemoryDestination):
    """Has lost its lock on one collection, so many times, when it is to write there."""

    def __init__(self, name: str, times: int) -> None:
        super().__init__(name)
        self.left = times

    def apply(self, batch: Batch) -> Applied:
        if batch.collection == "ads" and self.left:
            self.left -= 1
            raise LockLostError("ads: the lock is gone")
        return super().apply(batch)


class LosingLate(MemoryDestination):
    """Has lost its lock on a collection when all is written there; something happens `meanwhile`. Once."""

    def __init__(self, name: str = "losing", meanwhile: Callable[[], object] = list) -> None:
        super().__init__(name)
        self.left = 1
        self.meanwhile = meanwhile

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        if self.left and self.assets.get(collection):
            self.left = 0
            self.meanwhile()
            raise LockLostError("ads: the lock is gone")
        super().record_origin(collection, origin)


def counts_of(summary: Summary, name: str = "losing") -> dict[str, int]:
    """What is counted of the assets of a destination, but for what is not there; each must be of the whole run too."""
    destination = summary.destinations[name]
    assert destination.applied == destination.by_collection["ads"]
    every = (destination.applied.assets, *destination.applied.features.values())
    assert min(number for counts in every for number in asdict(counts).values()) >= 0
    return {kind: number for kind, number in asdict(destination.applied.assets).items() if number}


async def test_a_destination_that_has_lost_its_lock_gets_the_rest_when_it_has_it_again() -> None:
    source = MemorySource({"ads": assets(3), "films": assets(2)})
    losing, other = Losing("losing", LOCKS - 1), MemoryDestination("other")
    summary = await sync(source, [losing, other], name="media")
    assert (summary.exit_code, summary.collections["ads"].error) == (0, None)
    assert content(losing) == content(other)
    scan = summary.collections["ads"]
    assert (scan.listed, scan.complete) == (3, True)
    counts = [each.by_collection["ads"].assets for each in summary.destinations.values()]
    assert [(each.inserted, each.updated, each.unchanged) for each in counts] == [(3, 0, 0)] * 2


async def test_where_every_lock_is_lost_the_collection_fails_and_the_others_go_on() -> None:
    source = MemorySource({"ads": assets(3), "films": assets(2)})
    losing, other = Losing("losing", LOCKS), MemoryDestination("other")
    summary = await sync(source, [losing, other], name="media")
    assert (summary.exit_code, summary.collections["ads"].error) == (1, "losing: ads: the lock is gone")
    assert isinstance(summary.collections["ads"].cause, LockLostError)
    assert ("ads" in losing.assets, len(losing.assets["films"]), len(other.assets["ads"])) == (False, 2, 3)
    assert (await sync(source, [losing, other], name="media")).exit_code == 0
    assert content(losing) == content(other)


def change_all(source: MemorySource) -> None:
    source.assets["ads"] = {each.asset_id: each for each in assets(3, version=2)}


def lose_one(source: MemorySource) -> None:
    del source.assets["ads"]["a0001"]


@pytest.mark.parametrize(
    ("meanwhile", "reread", "counts", "read"),
    [
        (list, False, {"inserted": 3}, (3, 0, 3)),
        (list, True, {"inserted": 3}, (3, 0, 6)),
        (change_all, False, {"inserted": 3, "updated": 3}, (3, 0, 6)),
        (lose_one, False, {"inserted": 3, "deleted": 1}, (2, 0, 3)),
    ],
)
async def test_what_was_written_before_the_lock_was_lost_is_counted_once(
    meanwhile: Callable[..., object], reread: bool, counts: Mapping[str, int], read: tuple[int, ...]
) -> None:
    """Whatever becomes of it until it is listed again; and what was gone by then does not stay."""
    source = MemorySource({"ads": assets(3)})
    losing = LosingLate(meanwhile=lambda: meanwhile(*[source] * (meanwhile is not list)))
    moments: list[Progress] = []
    options = SyncOptions(reread=Reread(everything=reread))
    guard = DeleteGuard(max_share=0.5)
    summary = await sync(source, [losing], options, name="media", deletes=guard, progress=moments.append)
    scan = summary.collections["ads"]
    assert (losing.left, summary.exit_code, counts_of(summary)) == (0, 0, counts)
    assert (scan.listed, scan.unchanged, scan.pulled) == read
    assert losing.assets["ads"].keys() == source.assets["ads"].keys()
    assert all(moment.pulled <= moment.to_pull and moment.done <= moment.listed for moment in moments)


async def test_counts_stand_where_somebody_else_has_the_lock_by_then() -> None:
    class Beaten(LosingLate):
        @contextmanager
        def lock(self, collection: str, wait: float = 0) -> Iterator[None]:
            if not self.left:
                raise LockedError("another sync is writing ads.")
            with super().lock(collection, wait):
                yield

    source, losing = MemorySource({"ads": assets(3)}), Beaten()
    summary = await sync(source, [losing, MemoryDestination("other")], SyncOptions(lock_wait=0), name="media")
    scan = summary.collections["ads"]
    assert (scan.unchanged, counts_of(summary), counts_of(summary, "other")) == (0, {"inserted": 3}, {"inserted": 3})
    assert "losing: another sync" in str(scan.error)


async def test_what_is_set_aside_again_is_counted_once() -> None:
    source, losing = Scripted({"ads": assets(3)}), LosingLate()
    source.instead["a0001"] = Rejected("a0001", Reason.MALFORMED, "no object")
    strange = Rejected("a0002", Reason.MALFORMED, "of no modality", "f", "smell")
    bad_vector = Rejected("a0002", Reason.MALFORMED, "no numbers", "s0", "video", "multimodal-v1")
    source.instead["a0002"] = replace(asset("a0002"), rejected=(strange, bad_vector))
    summary = await sync(source, [losing], name="media")
    assert (losing.left, counts_of(summary)) == (0, {"inserted": 2, "quarantined": 2})
    assert sorted(record.asset_id for record in summary.destinations["losing"].applied.rejected) == [
        "a0001",
        "a0002",
        "a0002",
    ]


async def test_how_the_first_attempt_ended_is_not_told_where_the_next_ends_otherwise() -> None:
    """In Dagster the cause would fail the step."""
    source = Scripted({"ads": assets(3)})
    source.scan_error = incomplete()

    class Mending(Losing):
        def apply(self, batch: Batch) -> Applied:
            if not self.left:
                source.scan_error = None
            return super().apply(batch)

    losing = Mending("losing", 1)
    summary = await sync(source, [losing, MemoryDestination("other")], name="media")
    scan = summary.collections["ads"]
    assert (losing.left, summary.exit_code, scan.complete) == (0, 0, True)
    assert (scan.error, scan.cause, scan.note) == (None, None, None)


async def test_how_each_attempt_ended_is_told_once() -> None:
    source = MemorySource({"ads": [asset("a"), asset("b"), asset("c")]})
    losing, other = Losing("losing", 0), MemoryDestination("other")
    await sync(source, [losing, other], name="media")
    source.assets["ads"] = {"a": asset("a", 2), "b": asset("b", 2, [feature("s0")])}
    losing.left = 1
    summary = await sync(source, [losing, other], name="media", deletes=DeleteGuard(mode="keep"))
    scan = summary.collections["ads"]
    assert (losing.left, scan.second_looks) == (0, 1)
    assert scan.held_back == scan.kept == {"losing": 1, "other": 1}
    assert str(scan.note).count("other: 1 asset that the source does not list stayed") == 1
    assert str(scan.note).count("other: 1 asset was left as stored") == 1


async def test_the_next_run_follows_the_changes_since_the_last_attempt() -> None:
    source, losing = Changing({"ads": assets(3)}), LosingLate()
    await sync(source, [losing], name="media")
    assert (losing.left, source.scans) == (0, [None, None])
    source.put("ads", asset("a0001", 2))
    await sync(source, [losing], name="media")
    assert None not in source.scans[2:]
    assert losing.assets["ads"]["a0001"].metadata["version"] == 2


async def test_a_destination_that_is_locked_sits_this_collection_out() -> None:
    source = MemorySource({"ads": assets(3), "films": assets(2)})
    locked, free = MemoryDestination("locked"), MemoryDestination("free")
    with locked.lock("ads"):
        summary = await sync(source, [locked, free], SyncOptions(lock_wait=0), name="media")
    assert summary.exit_code == 1
    assert summary.collections["ads"].error is not None
    assert "locked: another sync" in summary.collections["ads"].error
    assert summary.collections["films"].error is None
    assert (len(locked.assets.get("ads", {})), len(locked.assets["films"])) == (0, 2)
    assert (len(free.assets["ads"]), len(free.assets["films"])) == (3, 2)
    assert [each.error for each in summary.destinations.values()] == [None, None]
    assert (await sync(source, [locked, free], name="media")).exit_code == 0
    assert content(locked) == content(free)


async def test_a_sync_that_is_locked_out_of_everything_fails_without_asking_the_source() -> None:
    source, destination = MemorySource({"ads": assets(3)}), MemoryDestination()
    with destination.lock("ads"), pytest.raises(DestinationError, match=r"memory: another sync .*--lock-wait"):
        await sync(source, [destination], SyncOptions(lock_wait=0.01), name="media")
    assert source.usage.requests == 0
    assert destination.assets == {}


async def test_many_locked_collections_do_not_look_like_a_source_that_is_down() -> None:
    names = ["a", "b", "c", "d"]
    source, destination = MemorySource({name: assets(1) for name in [*names, "free"]}), MemoryDestination()
    with destination.lock("a"), destination.lock("b"), destination.lock("c"), destination.lock("d"):
        summary = await sync(source, [destination], SyncOptions(lock_wait=0), name="media")
    assert list(destination.assets) == ["free"]
    assert [bool(summary.collections[name].error) for name in [*names, "free"]] == [True] * 4 + [False]


async def test_the_lock_is_free_after_a_destination_has_failed() -> None:
    destination = Crashing()
    destination.arm(0, late=False)
    with pytest.raises(DestinationError, match="went away"):
        await sync(MemorySource({"ads": assets(3)}), [destination], name="media")
    with destination.lock("ads"):
        pass
