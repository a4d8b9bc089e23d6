"""When the next request may go, and how long one request may take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from aiolimiter import AsyncLimiter

__all__ = ["Pace", "TimeLimit"]


class TimeLimit:
    """Cancels its body with `TimeoutError` after some seconds, not counting those in which it is paused."""

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> TimeLimit:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    def remaining(self) -> float:
        """Seconds left."""
        deadline = self._timeout.when()
        return 0.0 if deadline is None else deadline - asyncio.get_running_loop().time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for a while."""
        remaining = self.remaining()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(asyncio.get_running_loop().time() + remaining)


class Pace:
    """Spaces requests evenly, so that no window of a minute holds more than allowed, and can stop all for a while."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._limiter = AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else None
        self._resume_at = 0.0

    def hold(self, seconds: float) -> None:
        """Let nothing go for this long: the service said that there were too many requests."""
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    async def turn(self, limit: TimeLimit) -> None:
        """Return when a request may go; the waiting does not count against its time limit."""
        if self._limiter is None and self._held() <= 0:
            return
        with limit.paused():
            await self._until_resumed()
            if self._limiter is not None:
                await self._limiter.acquire()

    async def _until_resumed(self) -> None:
        """Looks again after each wait: another answer may have asked for more time meanwhile."""
        wait = self._held()
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._held()

    def _held(self) -> float:
        return self._resume_at - asyncio.get_running_loop().time()
