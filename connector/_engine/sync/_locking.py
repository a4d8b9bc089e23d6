"""Keeps other syncs out of a collection while it is synced."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Final

from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector._model._errors import DestinationError, LockedError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination

__all__ = ["locked"]


LONGEST_CALL: Final = 2.0
"""A thread cannot be interrupted: this is how long Ctrl-C may have to wait for one that is waiting."""


_log = logging.getLogger("vectorferry")


@asynccontextmanager
async def locked(lanes: Sequence[Lane], collection: str, wait: float) -> AsyncIterator[str | None]:
    """Hold the collection in every destination that can be locked, after waiting `wait` seconds at most for all.

    A lane that did not get it sits this collection out; what it is told is yielded. Raises `DestinationError` when no
    lane is left. Everybody takes locks in the order of the names, so that no two runs wait for each other.
    """
    deadline = time.monotonic() + wait
    told: list[str] = []
    async with AsyncExitStack() as held:
        for lane in sorted(lanes, key=lambda lane: lane.name):
            try:
                await _hold(lane, collection, deadline, held)
            except LockedError as error:
                lane.sit_out()
                told.append(_waited(lane, error, wait))
        if told and not any(lane.alive for lane in lanes):
            raise DestinationError("; ".join(told))
        yield "; ".join(told) or None


async def _hold(lane: Lane, collection: str, deadline: float, held: AsyncExitStack) -> None:
    """Try until the deadline, then raise the last `LockedError`."""
    destination = lane.destination
    if Capability.LOCK not in destination.capabilities:
        return
    waiting = False
    while True:
        left = max(0.0, deadline - time.monotonic())
        seconds = min(left, LONGEST_CALL) if waiting else 0.0
        try:
            lock = await lane.call(partial(_entered, destination, collection, seconds))
        except LockedError as error:
            if not left:
                raise
            if not waiting:
                _log.warning("%s: waiting up to %.0f s: %s", lane.name, left, error)
            waiting = True
        else:
            if lock is not None:
                held.push_async_callback(lane.release, lock.close)
            return


def _entered(destination: Destination, collection: str, wait: float) -> ExitStack:
    with ExitStack() as entering:
        entering.enter_context(destination.lock(collection, wait))
        return entering.pop_all()


def _waited(lane: Lane, error: LockedError, wait: float) -> str:
    waited = f" Waited {wait:g} s." if wait else ""
    return f"{lane.name}: {error}{waited} Run again later; a sync waits longer with --lock-wait SECONDS."
