"""What a sync does about collections that somebody else is writing."""

from __future__ import annotations

import pytest

from tests.connector.worlds import Crashing, assets, content
from vectorferry import SyncOptions
from vectorferry.connector._engine.sync._collection import LOCKS
from vectorferry.connector.plugin import Applied, Batch, DestinationError, LockLostError
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
