"""After complete scans: remove the assets that a destination holds and no scan listed, under the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

from connector._destination import Destination
from connector._engine._guard import check_deletes
from connector._engine._lane import Lane
from connector._errors import GuardRefusedError
from connector._seen import SeenIds
from connector._settings import DeleteGuard

__all__ = ["anything_missing", "prune"]

LOOKED_UP_AT_ONCE: Final = 5_000
REMEMBERED: Final = 50_000  # ids held in memory; beyond that the destination is asked again
REMOVED_AT_ONCE: Final = 500


@dataclass(slots=True)
class Survey:
    """How many assets a destination holds, how many of them were not listed, and the first of those."""

    held: int = 0
    missing: int = 0
    first: list[str] = field(default_factory=list)


async def anything_missing(lanes: Sequence[Lane], collection: str, seen: SeenIds) -> bool:
    """Whether any destination holds an asset that was not listed."""
    return any(found and found.missing for found in await _surveys(lanes, collection, seen))


async def prune(
    lanes: Sequence[Lane], collection: str, seen: SeenIds, guard: DeleteGuard, lister: str = "the source"
) -> None:
    """Remove what `lister` did not list. Raises `GuardRefusedError`, with no delete in any destination."""
    surveys = await _surveys(lanes, collection, seen)
    for lane, found in zip(lanes, surveys, strict=True):
        if found is not None:
            _check(guard, lane.name, found, len(seen), lister)
    await asyncio.gather(
        *(_remove(lane, collection, seen, found) for lane, found in zip(lanes, surveys, strict=True) if found)
    )


async def _surveys(lanes: Sequence[Lane], collection: str, seen: SeenIds) -> Sequence[Survey | None]:
    """What each destination holds; None for one that failed."""
    return await asyncio.gather(*(lane.call(partial(_survey, lane.destination, collection, seen)) for lane in lanes))


def _check(guard: DeleteGuard, name: str, found: Survey, listed: int, lister: str) -> None:
    try:
        check_deletes(guard, found.held, found.missing, listed, lister)
    except GuardRefusedError as error:
        raise GuardRefusedError(f"{name}: {error}") from None


async def _remove(lane: Lane, collection: str, seen: SeenIds, found: Survey) -> None:
    left = found.missing
    ids: Sequence[str] = found.first
    while ids:
        for chunk in _chunks(ids, REMOVED_AT_ONCE):
            applied = await lane.call(partial(lane.destination.remove, collection, chunk))
            if applied is None:
                return
            lane.record(applied)
        left -= len(ids)
        again = await lane.call(partial(_survey, lane.destination, collection, seen)) if left > 0 else None
        ids = again.first if again else ()


def _survey(destination: Destination, collection: str, seen: SeenIds) -> Survey:
    found = Survey()
    for ids in _chunks(destination.asset_ids(collection), LOOKED_UP_AT_ONCE):
        missing = seen.missing(ids)
        found.held += len(ids)
        found.missing += len(missing)
        found.first.extend(missing[: REMEMBERED - len(found.first)])
    return found


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(ids)
    while chunk := list(islice(iterator, size)):
        yield chunk
