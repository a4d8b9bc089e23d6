"""The end of a run: index work, what queries see, the quarantine's size, and the exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from vectorferry.connector._destination import Delivery, Visibility
from vectorferry.connector._engine._dimensions import dimension_notes
from vectorferry.connector._engine._lane import Lane
from vectorferry.connector._errors import DestinationError
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._summary import CollectionSummary, RelatedSummary, Summary
from vectorferry.connector._vector_tables import VectorCounts

__all__ = ["exit_code", "finish", "raise_when_all_failed"]

LONGEST_CALL: Final = 2.0
"""A thread cannot be interrupted: this is how long Ctrl-C may have to wait for one that is waiting."""

PAUSE: Final = 0.05
PLACES_NAMED: Final = 5


async def finish(lane: Lane, collections: Sequence[str], wait_visible: float, mapping: SchemaMapping) -> None:
    """Build the indexes that are due, name odd dimensions, count the quarantine, and wait until queries see what was
    written."""
    if built := await lane.call(lane.destination.build_indexes):
        lane.summary.indexes.extend(built)
    if lane.dimensions and isinstance(lane.destination, VectorCounts):
        names = {name for _, name, _ in lane.dimensions}
        counts = await lane.call(partial(lane.destination.vector_counts, names))
        lane.summary.notes.extend(dimension_notes(counts or (), mapping, lane.dimensions))
    for collection in collections:
        lane.summary.quarantined += await lane.call(partial(lane.destination.quarantined, collection)) or 0
    await _deliver(lane, wait_visible)


def raise_when_all_failed(lanes: Sequence[Lane]) -> None:
    """Raise the error of the only destination, or a `DestinationError` that tells all of them."""
    errors = {lane.name: lane.error for lane in lanes if lane.error}
    if not lanes or len(errors) < len(lanes):
        return
    first = next(iter(errors.values()))
    if len(errors) == 1:
        raise first
    told = "\n".join(f"{name}: {error}" for name, error in errors.items())
    raise DestinationError(f"every destination failed\n{told}") from first


def exit_code(summary: Summary) -> int:
    """What the summary amounts to: 0 done, 1 failed, 3 records in quarantine, 4 a guard refused, 5 a limit reached."""
    read: list[CollectionSummary | RelatedSummary] = [*summary.collections.values(), *summary.related.values()]
    if any(each.error for each in summary.destinations.values()) or any(each.error for each in read):
        return 1
    if summary.limit:
        return summary.limit.exit_code
    if any(each.refused for each in read):
        return 4
    return 3 if any(each.quarantined for each in summary.destinations.values()) else 0


async def _deliver(lane: Lane, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        left = max(0.0, deadline - time.monotonic())
        delivery = await lane.call(partial(lane.destination.delivered, min(left, LONGEST_CALL)))
        if delivery is None:
            return
        lane.summary.delivery = delivery
        hidden = [place for place in delivery.places if not place.is_visible]
        if not hidden or not left:
            break
        await asyncio.sleep(PAUSE)
    if hidden and wait:
        lane.summary.error = _not_visible(hidden, delivery, wait)


def _not_visible(hidden: Sequence[Visibility], delivery: Delivery, wait: float) -> str:
    named = ", ".join(map(_named, hidden[:PLACES_NAMED]))
    more = f" and {len(hidden) - PLACES_NAMED:,} more" if len(hidden) > PLACES_NAMED else ""
    return (
        f"everything is written, but after {wait:g} s queries do not see all of it yet in {len(hidden):,} of "
        f"{len(delivery.places):,} places: {named}{more}. Nothing is lost; they will, or wait longer next time."
    )


def _named(place: Visibility) -> str:
    visible = "unknown" if place.visible is None else place.visible
    return f"{place.place} (written {place.written}, visible {visible})"
