"""After complete scans: the assets that a destination holds and no scan listed go, under the guard, or are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine.sync._guard import check_deletes
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._engine.sync._origins import NO_CHANGES, OriginChanges, guard_for
from vectorferry.connector._model._batch import Applied
from vectorferry.connector._model._errors import GuardRefusedError
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination

LOOKED_UP_AT_ONCE: Final = 5_000
REMEMBERED: Final = 50_000  # ids held in memory; beyond that the destination is asked again
REMOVED_AT_ONCE: Final = 500


@dataclass(slots=True)
class Survey:
    """How many assets a destination holds, how many of them were not listed, and the first of those."""

    stored: int = 0
    missing: int = 0
    first: list[str] = field(default_factory=list)


async def anything_missing(lanes: Sequence[Lane], collection: str, listed_ids: SeenIds) -> bool:
    """Whether any destination holds an asset that was not listed."""
    return any(survey.missing for survey in (await _surveys(lanes, collection, listed_ids)).values())


async def kept_assets(lanes: Sequence[Lane], collection: str, listed_ids: SeenIds) -> dict[str, int]:
    """How many assets that were not listed each destination holds, where there are any."""
    surveys = await _surveys(lanes, collection, listed_ids)
    return {lane.name: survey.missing for lane, survey in surveys.items() if survey.missing}


async def prune(
    lanes: Sequence[Lane],
    collection: str,
    listed_ids: SeenIds,
    guard: DeleteGuard,
    lister: str = "the source",
    gone: str = "",
    changes: OriginChanges = NO_CHANGES,
) -> None:
    """Remove what `lister` did not list, or hide it where that is wanted and possible; `gone` is the collection, where
    it is no longer there at all, and `changes` what is different about who lists.

    Raises `GuardRefusedError`, with no delete in any destination.
    """
    surveys = await _surveys(lanes, collection, listed_ids)
    for lane, survey in surveys.items():
        strict = guard_for(guard, changes.get(lane.name, ()))
        _check(_share_left(strict, lane), lane.name, survey, len(listed_ids), lister, gone)
    await asyncio.gather(*(_remove(lane, collection, listed_ids, survey, guard) for lane, survey in surveys.items()))


async def _surveys(lanes: Sequence[Lane], collection: str, listed_ids: SeenIds) -> dict[Lane, Survey]:
    """What each destination holds, but for those that failed."""
    surveys = await call_each(lanes, lambda each: _survey(each, collection, listed_ids))
    return {lane: survey for lane, survey in surveys.items() if survey is not None}


def _share_left(guard: DeleteGuard, lane: Lane) -> DeleteGuard:
    """What has gone from within assets counts too: both together are what the source has less of."""
    share_gone = float(lane.held_back.share_gone)
    if not share_gone or guard.max_share == 1:
        return guard
    return guard.model_copy(update={"max_share": max(0.0, guard.max_share - share_gone)})


def _check(guard: DeleteGuard, name: str, survey: Survey, listed: int, lister: str, gone: str) -> None:
    try:
        check_deletes(guard, survey.stored, survey.missing, listed, lister, gone)
    except GuardRefusedError as error:
        raise GuardRefusedError(f"{name}: {error}") from None


async def _remove(lane: Lane, collection: str, listed_ids: SeenIds, survey: Survey, guard: DeleteGuard) -> None:
    remove = _removal(lane.destination, guard)
    remaining = survey.missing
    ids: Sequence[str] = survey.first
    while ids:
        for chunk in _chunks(ids, REMOVED_AT_ONCE):
            applied = await lane.call(partial(remove, collection, chunk))
            if applied is None:
                return
            lane.record(applied)
        remaining -= len(ids)
        again = await lane.call(partial(_survey, lane.destination, collection, listed_ids)) if remaining > 0 else None
        ids = again.first if again else ()


def _removal(destination: Destination, guard: DeleteGuard) -> Callable[[str, Sequence[str]], Applied]:
    if guard.mode == "tombstone" and Capability.TOMBSTONES in destination.capabilities:
        return destination.tombstone
    return destination.remove


def _survey(destination: Destination, collection: str, listed_ids: SeenIds) -> Survey:
    survey = Survey()
    for ids in _chunks(destination.asset_ids(collection), LOOKED_UP_AT_ONCE):
        missing = listed_ids.missing(ids)
        survey.stored += len(ids)
        survey.missing += len(missing)
        survey.first.extend(missing[: REMEMBERED - len(survey.first)])
    return survey


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(ids)
    while chunk := list(islice(iterator, size)):
        yield chunk
