"""Waiting for something that another process, thread or task does, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["PATIENCE", "happened", "wait_until"]

PATIENCE: Final = 300
"""Seconds after which something hangs: no machine is so slow, or so busy, that it needs them."""


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Return as soon as the condition is true; fail when it never is."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


async def happened(condition: Callable[[], Any]) -> None:
    """The same for what other tasks of this event loop do."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)
