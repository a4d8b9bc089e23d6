"""Limits of an organisation: requests per minute, and per day."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._settings import TwelveLabsDialect

__all__ = ["LimitedError", "Quota"]


class LimitedError(RefusedError):
    """Too many requests; `headers` go with the answer."""

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(429, message, kind="too_many_requests")
        self.headers = headers


class Quota:
    """What is left of every limit that there is."""

    def __init__(self, dialect: TwelveLabsDialect) -> None:
        self._shown = dialect.rate_headers
        limits = (
            (dialect.requests_per_minute, 60.0, "1minute"),
            (dialect.requests_per_day, dialect.day_seconds, "1day"),
        )
        self._windows = [_Window(limit, seconds, name) for limit, seconds, name in limits if limit is not None]

    def take(self) -> None:
        """Count one request; raises a `LimitedError` for one too many."""
        for window in self._windows:
            if not window.takes(time.time()):
                raise LimitedError(window.refusal(), self.headers())

    def headers(self) -> Mapping[str, str]:
        """The state of the limit that is nearest to its end."""
        if not self._windows or not self._shown:
            return {}
        return min(self._windows, key=lambda window: window.left).headers()


class _Window:
    def __init__(self, limit: int, seconds: float, name: str) -> None:
        self._limit = limit
        self._seconds = seconds
        self._name = name
        self._used = 0
        self._ends = 0.0

    @property
    def left(self) -> int:
        return self._limit - self._used

    def takes(self, now: float) -> bool:
        if now >= self._ends:
            self._used, self._ends = 0, now + self._seconds
        if not self.left:
            return False
        self._used += 1
        return True

    def refusal(self) -> str:
        until = datetime.fromtimestamp(self._ends, UTC)
        return (
            f"You have exceeded the rate limit ({self._limit}req/{self._name}). "
            f"Please try again later after {until:%Y-%m-%dT%H:%M:%SZ}."
        )

    def headers(self) -> Mapping[str, str]:
        return {
            "X-Ratelimit-Limit": str(self._limit),
            "X-Ratelimit-Remaining": str(self.left),
            "X-Ratelimit-Used": str(self._used),
            "X-Ratelimit-Reset": str(int(self._ends)),
        }
