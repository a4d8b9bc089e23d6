"""An event loop in which time passes only while everybody waits for it: nothing depends on the machine's speed."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeAlias, TypeVar, TypeVarTuple

__all__ = ["LoopFactories", "WaitingLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LoopFactories: TypeAlias = dict[str, Callable[[], asyncio.AbstractEventLoop]]
"""What pytest-asyncio asks a `conftest.py` for."""

_GLANCE: Final = 0.005
"""Seconds in which the kernel hands over what one socket of this process has sent to another."""

_TICK: Final = 1e-8
"""Seconds between two looks at the clock: some code waits again and again until what is left has been rounded away."""


class WaitingLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while anything happens; when all tasks wait, it jumps to the first of their deadlines.

    A timeout therefore fires when nothing else can happen any more, however slow the machine is, and no wait takes any
    time. What a test talks to must run in this loop too: of another thread it sees only what `run_in_executor` began,
    and to that it gives all the time it takes.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._working = 0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the loop was made, waits only."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    @property
    def works_elsewhere(self) -> bool:
        """Whether a thread does something for this loop."""
        return self._working > 0

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As everywhere; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._working += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _future: asyncio.Future[T]) -> None:
        self._working -= 1


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting for some seconds without an event, tells the loop that they have passed."""

    def __init__(self, loop: WaitingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.jump(_TICK)
        if timeout is None or self._loop.works_elsewhere:
            return super().select(timeout if timeout == 0 else None)
        ready = super().select(min(timeout, _GLANCE))
        if not ready:
            self._loop.jump(timeout)
        return ready
