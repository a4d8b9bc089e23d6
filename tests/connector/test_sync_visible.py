"""A run that waits until queries see what it wrote, and what it says when they don't."""

from __future__ import annotations

import pytest

from tests.connector.worlds import assets
from vectorferry import SyncOptions
from vectorferry.connector.plugin import Counts, Delivery, DestinationError, Visibility
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync


class Lagging(MemoryDestination):
    """Queries see one more of its writes each time it is asked; never more than `sees`."""

    def __init__(self, name: str = "memory", *, sees: int | None = 0) -> None:
        super().__init__(name)
        self.sees = sees
        self.waits: list[float] = []

    def delivered(self, wait: float = 0) -> Delivery:
        self.waits.append(wait)
        visible = None if self.sees is None else min(len(self.waits), self.sees)
        return Delivery(requests=7, write_units=70, places=[Visibility("index/c", 3, visible), Visibility("i/d", 1, 1)])


async def synced(store: MemoryDestination, wait: float = 0) -> tuple[int, Delivery, str | None]:
    summary = await sync(MemorySource({"c": assets(2)}), [store], SyncOptions(wait_visible=wait), name="media")
    told = summary.destinations[store.name]
    assert told.applied.assets == Counts(inserted=2)
    return summary.exit_code, told.delivery, told.error


async def test_a_run_that_does_not_wait_says_how_far_queries_see() -> None:
    exit_code, delivery, error = await synced(Lagging())
    assert (exit_code, error) == (0, None)
    assert (delivery.requests, delivery.write_units, delivery.places[0].visible) == (7, 70, 0)


async def test_waiting_ends_as_soon_as_queries_see_everything() -> None:
    store = Lagging(sees=3)
    exit_code, delivery, error = await synced(store, wait=3_600)
    assert (exit_code, error, len(store.waits)) == (0, None, 3)
    assert all(place.is_visible for place in delivery.places)


async def test_no_single_call_holds_the_thread_for_long() -> None:
    store = Lagging(sees=3)
    await synced(store, wait=3_600)
    assert max(store.waits) <= 5


@pytest.mark.parametrize(("sees", "visible"), [(1, "1"), (None, "unknown")])
async def test_waiting_in_vain_fails_the_run_and_says_what_is_missing(sees: int | None, visible: str) -> None:
    exit_code, _, error = await synced(Lagging(sees=sees), wait=0.1)
    assert exit_code == 1
    assert error == (
        "everything is written, but after 0.1 s queries do not see all of it yet in 1 of 2 places: "
        f"index/c (written 3, visible {visible}). Nothing is lost; they will, or wait longer next time."
    )


async def test_one_destination_that_lags_does_not_fail_the_other() -> None:
    lagging, sound = Lagging("lagging"), MemoryDestination("sound")
    summary = await sync(MemorySource({"c": assets(2)}), [lagging, sound], SyncOptions(wait_visible=0.1), name="media")
    assert summary.exit_code == 1
    assert summary.destinations["sound"].error is None
    assert summary.to_dict()["notes"] == [f"lagging: {summary.destinations['lagging'].error}"]


async def test_a_destination_that_cannot_tell_fails_like_any_other() -> None:
    class Mute(MemoryDestination):
        def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
            raise DestinationError("the index is gone")

    with pytest.raises(DestinationError, match="gone"):
        await sync(MemorySource({"c": assets(2)}), [Mute()], name="media")
