"""Trying again: how long to wait, and when to give up. The loop itself is tenacity's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from vectorferry.connector._errors import RetryableError
from vectorferry.connector.http._pace import TimeLimit
from vectorferry.connector.http._settings import RetryPolicy

__all__ = ["Retries", "Tries"]

T = TypeVar("T")


@dataclass(slots=True)
class Tries:
    """What has been tried for one request so far, of how many attempts at most.

    `unsure` says that the last attempt may have been received, and must not be repeated for that reason.
    """

    limit: TimeLimit
    attempts: int
    count: int = 0
    last: str = ""
    unsure: bool = False

    def missed(self, why: str) -> None:
        """The last attempt came to nothing for certain."""
        self.last = why
        self.unsure = False


class Retries:
    """Runs one attempt after the other under a `RetryPolicy`."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._backoff = wait_exponential(policy.first_wait, policy.longest_wait) + wait_random(0, policy.first_wait)
        self._template = AsyncRetrying(
            sleep=asyncio.sleep,
            wait=self._wait,
            retry=retry_if_exception_type(RetryableError),
            reraise=True,
        )

    async def run(self, attempt: Callable[[Tries], Awaitable[T]], tries: Tries) -> T:
        """The first attempt's result that comes; re-raises the last `RetryableError` when time or attempts are up.

        Nearly every request succeeds at once, so tenacity (a twentieth of a request's cost) is asked only when not.
        """
        try:
            return await attempt(tries)
        except RetryableError as error:
            failed = [error]

        async def once_more(tries: Tries) -> T:
            if failed:
                raise failed.pop()
            return await attempt(tries)

        def give_up(state: RetryCallState) -> bool:
            return tries.count >= tries.attempts or state.upcoming_sleep >= tries.limit.remaining()

        return await self._template.copy(stop=give_up)(once_more, tries)

    @property
    def longest_hold(self) -> float:
        """Most seconds that one request may wait because there were too many."""
        return min(self._policy.longest_retry_after, self._policy.total_seconds)

    def asked(self, error: RetryableError) -> float:
        """The wait that the service asked for, cut to what the policy allows."""
        return min(error.after or 0.0, self._policy.longest_retry_after)

    def _wait(self, state: RetryCallState) -> float:
        """Never shorter than the back-off, so that ``Retry-After: 0`` does not spin; jitter spreads the herd."""
        backoff = self._backoff(state)
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, RetryableError) or not error.after:
            return backoff
        return max(backoff, self.asked(error) + random.uniform(0, self._policy.first_wait))
