"""When the next request may go: what the service asks for, and how long one request may take."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final

from aiolimiter import AsyncLimiter

from vectorferry.connector._model._errors import LimitReachedError
from vectorferry.connector.http._errors import server_message
from vectorferry.connector.http._exchange import Answer

__all__ = [
    "LONGEST",
    "Pace",
    "TimeLimit",
    "asked_wait",
    "retry_after",
    "wait_when_spent",
]


LONGEST: Final = 31 * 86_400.0
"""Quotas are by the minute, the day or the month: a time further away is cut to this."""


NAMED_TIME: Final = re.compile(
    r"\b(?:after|until|at)\s+(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?)", re.ASCII
)


def asked_wait(answer: Answer) -> float | None:
    """Seconds, 31 days at most, that a 429 asks to wait; None when it does not say.

    ``Retry-After``, or else ``X-Ratelimit-Reset``; and never less than to the time that its message names.
    """
    header = retry_after(answer)
    known = [header if header is not None else _until_reset(answer), _until_named_time(answer)]
    waits = [wait for wait in known if wait is not None]
    return min(max(waits), LONGEST) if waits else None


def wait_when_spent(answer: Answer) -> float | None:
    """Seconds until there are requests again, when an answer says that it was the last one for now."""
    return _until_reset(answer) if answer.headers.get("x-ratelimit-remaining", "").strip() == "0" else None


def retry_after(answer: Answer) -> float | None:
    """Seconds the service asks to wait: a number, or a date compared with the service's own clock if it shows one."""
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return _until(_timestamp(value), answer)


def _until_reset(answer: Answer) -> float | None:
    """A reset beside requests that are left is that of another quota than the one that is used up."""
    if answer.headers.get("x-ratelimit-remaining", "0").strip() != "0":
        return None
    try:
        return _until(float(answer.headers.get("x-ratelimit-reset", "")), answer)
    except ValueError:
        return None


def _until_named_time(answer: Answer) -> float | None:
    named = NAMED_TIME.search(server_message(answer.body))
    try:
        moment = datetime.fromisoformat(named[1]) if named else None
    except ValueError:
        return None
    if moment is None:
        return None
    return _until((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), answer)


def _until(moment: float | None, answer: Answer) -> float | None:
    now = _timestamp(answer.headers.get("date", ""))
    return None if moment is None else max(0.0, moment - (time.time() if now is None else now))


def _timestamp(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


# When the next request may go, and how long one request may take.


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
    """Lets requests go evenly, all of them together and those of each kind, and can stop a kind for a while."""

    def __init__(self, requests_per_minute: int | None, kinds: Mapping[str, int]) -> None:
        self._overall = _Gate(requests_per_minute)
        self._kinds = {kind: _Gate(limit) for kind, limit in kinds.items()}

    def hold(self, kind: str, seconds: float) -> None:
        """Let none of this kind go for this long: the service said that there were too many."""
        self._gate(kind).hold(seconds)

    def shut(self, kind: str, seconds: float, reached: LimitReachedError) -> None:
        """Let none of this kind go for this long, nor any that waits already: each raises this instead."""
        self._gate(kind).shut(seconds, reached)

    async def turn(self, kind: str, limit: TimeLimit) -> None:
        """Return when a request of this kind may go; the waiting does not count against its time limit.

        Raises `LimitReachedError` while the kind is shut.
        """
        self._gate(kind).check()
        gates = [gate for gate in (self._gate(kind), self._overall) if not gate.open]
        if gates:
            with limit.paused():
                for gate in gates:
                    await gate.turn()
            self._gate(kind).check()  # it may have been shut meanwhile

    def _gate(self, kind: str) -> _Gate:
        return self._kinds.setdefault(kind, _Gate(None))


class _Gate:
    """Spaces requests evenly, so that no window of a minute holds more than allowed, and can be shut for a while."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._limiter = AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else None
        self._resume_at = 0.0
        self._shut_until = 0.0
        self._reached: LimitReachedError | None = None

    @property
    def open(self) -> bool:
        """Whether a request need not even ask."""
        return self._limiter is None and self._held() <= 0

    def hold(self, seconds: float) -> None:
        """Let nothing go for this long."""
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    def shut(self, seconds: float, reached: LimitReachedError) -> None:
        """Raise this for whatever asks to go within this time."""
        self._shut_until, self._reached = asyncio.get_running_loop().time() + seconds, reached

    def check(self) -> None:
        """Raise `LimitReachedError` while it is shut."""
        if self._reached and asyncio.get_running_loop().time() < self._shut_until:
            raise LimitReachedError(str(self._reached), until=self._reached.until)

    async def turn(self) -> None:
        """Return when a request may go."""
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
