"""What of a configuration does nothing, or not what it says: found out while a run goes on, and told at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from vectorferry.connector._destination import Advising, Placed
from vectorferry.connector._engine._lane import Lane
from vectorferry.connector._engine._mapping_use import MappingUse
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._summary import CollectionSummary

__all__ = ["advise", "check_apart", "unmatched"]


async def check_apart(lanes: Sequence[Lane]) -> None:
    """Raise `ConfigurationError` when two destinations are one place: each would take the other's rows for its own."""
    able = [(lane, lane.destination) for lane in lanes if isinstance(lane.destination, Placed)]
    places = await asyncio.gather(*(lane.call(destination.place) for lane, destination in able))
    first: dict[str, str] = {}
    for (lane, _), place in zip(able, places, strict=True):
        if place is not None and (other := first.setdefault(place, lane.name)) != lane.name:
            raise ConfigurationError(
                f"the destinations {other} and {lane.name} are one place ({place}), however they are spelled: "
                "give one of them another `schema`, or leave it out"
            )


async def advise(lane: Lane) -> None:
    """Let the destination say what it does not do as it was asked to."""
    if isinstance(lane.destination, Advising):
        lane.summary.notes.extend(await lane.call(lane.destination.advice) or ())


def unmatched(use: MappingUse, collections: Iterable[CollectionSummary]) -> Iterator[str]:
    """What of the mapping has met nothing, where every asset was read: a few of them may well lack it."""
    seen = list(collections)
    if all(each.complete and not each.unchanged and not each.error for each in seen):
        yield from use.unmatched()
