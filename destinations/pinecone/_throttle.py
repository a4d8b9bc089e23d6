"""How many requests one namespace gets at once: fewer when it pushes back, more while all goes well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

__all__ = ["Throttle", "Turn"]


class Turn:
    """Leave to send one request. Whoever has it says how the request ended, if it ended in an answer."""

    def __init__(self, throttle: Throttle, burst: int) -> None:
        self._throttle = throttle
        self._burst = burst

    def went_well(self) -> None:
        """The request was answered as it should be."""
        self._throttle._grow(self._burst)

    def pushed_back(self, after: float | None = None) -> None:
        """The store is overloaded, and asks for `after` seconds of peace if it says so."""
        self._throttle._shrink(self._burst, after)


class Throttle:
    """Concurrency by additive increase and multiplicative decrease. Safe from any thread.

    It grows by one request per round of answers, up to `ceiling`, and is halved when the store pushes back: once for
    all the requests that were in flight together, as they suffer from the same overload.
    """

    def __init__(
        self, ceiling: int, *, clock: Callable[[], float] = time.monotonic, changed: Condition | None = None
    ) -> None:
        self._ceiling = ceiling
        self._clock = clock
        self._changed = changed or Condition()
        self._limit = float(ceiling)
        self._open = 0
        self._burst = 0
        self._held_until = clock()

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    @contextmanager
    def turn(self, given_up: Callable[[], bool] = lambda: False) -> Iterator[Turn | None]:
        """Wait for leave to send a request, and keep it until the block ends; None once `given_up()` is true."""
        with self._changed:
            admitted = self._wait(given_up)
            self._open += admitted
            turn = Turn(self, self._burst) if admitted else None
        try:
            yield turn
        finally:
            with self._changed:
                self._open -= admitted
                self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody who waits see whether they have given up."""
        with self._changed:
            self._changed.notify_all()

    def _wait(self, given_up: Callable[[], bool]) -> bool:
        while not given_up():
            hold = self._held_until - self._clock()
            if hold <= 0 and self._open < self.limit:
                return True
            self._changed.wait(hold if hold > 0 else None)
        return False

    def _grow(self, burst: int) -> None:
        with self._changed:
            if burst == self._burst and self._limit < self._ceiling:
                self._limit = min(self._ceiling, self._limit + 1 / self._limit)
                self._changed.notify_all()

    def _shrink(self, burst: int, after: float | None) -> None:
        with self._changed:
            if burst == self._burst:
                self._burst += 1
                self._limit = max(1.0, self._limit / 2)
            if after:
                self._held_until = max(self._held_until, self._clock() + after)
