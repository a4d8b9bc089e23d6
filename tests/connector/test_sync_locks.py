"""What a sync does about collections that somebody else is writing."""

from __future__ import annotations

import pytest

from tests.connector.worlds import Crashing, assets, content
from vectorferry import SyncOptions
from vectorferry.connector.plugin import DestinationError
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync


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
