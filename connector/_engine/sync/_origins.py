"""Who reads a collection now, against who did when a destination was last complete: a key that sees less must not
delete what it does not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from vectorferry.connector._config._settings import DeleteGuard, RunGuard
from vectorferry.connector._engine.sync._lane import Lane, call_each
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Origin, Source

OriginChanges: TypeAlias = Mapping[str, Sequence[str]]
"""By destination, what has changed since it was last complete: ``namespace: default -> staging``."""

NO_CHANGES: Final[OriginChanges] = {}
MOST_PARTS: Final = 20
LONGEST_SHOWN: Final = 80


def origin_changes(recorded: Origin | None, current: Origin) -> tuple[str, ...]:
    """What is different now, in words; never what a key's hash is.

    A part that was not recorded is no change: an earlier version, or the service, did not tell it then.
    """
    return tuple(
        _change(part, before, current.get(part))
        for part, before in sorted((recorded or {}).items())
        if current.get(part) != before
    )


def guard_for(guard: DeleteGuard, changes: Sequence[str]) -> DeleteGuard:
    """The guard under which a collection may lose what is not listed: none at all after `changes`, unless deletes
    were allowed for this run."""
    if not changes or (isinstance(guard, RunGuard) and guard.allowed):
        return guard
    return RunGuard(mode=guard.mode, max_share=0, changes=tuple(changes))


def each_change(changes: OriginChanges) -> tuple[str, ...]:
    """What has changed for any destination, each change once."""
    return tuple(dict.fromkeys(change for of_one in changes.values() for change in of_one))


async def origin_of(source: Source, collection: str) -> Origin:
    """What the source says, made storable and bounded; of one that says nothing, its class."""
    parts = await source.identity(collection)
    texts = sorted((str(name), str(value)) for name, value in parts.items())
    return {safe_id(name): safe_id(value) for name, value in texts[:MOST_PARTS]}


async def since_recorded(
    lanes: Sequence[Lane], collection: str, current: Origin, is_empty: Callable[[Destination], bool] | None = None
) -> OriginChanges:
    """What has changed for each destination, where something has.

    One that `is_empty` (by default: that holds nothing of the collection) has nothing to lose: there it is recorded
    right away, because a run that is stopped leaves assets behind. One that holds assets and no record, of a version
    that kept none, has it recorded once it is complete.
    """
    empty = is_empty or partial(_holds_nothing, collection)
    recorded = await call_each(lanes, lambda each: _recorded(each, collection, current, empty), Capability.ORIGINS)
    changes = {lane.name: origin_changes(origin, current) for lane, origin in recorded.items()}
    return {name: each for name, each in changes.items() if each}


async def record_origin(lanes: Sequence[Lane], collection: str, origin: Origin | None) -> None:
    """Keep it in every destination that can; None: forget what is kept."""
    await call_each(lanes, lambda each: each.record_origin(collection, origin), Capability.ORIGINS)


def _recorded(
    destination: Destination, collection: str, current: Origin, is_empty: Callable[[Destination], bool]
) -> Origin | None:
    origin = destination.origin(collection)
    if origin == current or not is_empty(destination):
        return origin
    destination.record_origin(collection, current)
    return current


def _holds_nothing(collection: str, destination: Destination) -> bool:
    ids = iter(destination.asset_ids(collection))
    try:
        return next(ids, None) is None
    finally:
        if close := getattr(ids, "close", None):
            close()


def _change(part: str, before: str, now: str | None) -> str:
    if part == "key":
        return "another key" if now else "key: not told any more"
    return f"{_shown(part)}: {_shown(before)} -> {_shown(now) if now else 'not told any more'}"


def _shown(text: str) -> str:
    """On one line, in quotes where it could be read as something else."""
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return short if short.isprintable() and " -> " not in short and short.strip() else repr(short)
