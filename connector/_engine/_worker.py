"""A thread for blocking code that must be called from one thread, one call at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from connector._errors import DestinationError, RetryableError, VectorferryError

__all__ = ["Worker"]

T = TypeVar("T")

ATTEMPTS: Final = 5
LONGEST_WAIT: Final = 30.0

_log = logging.getLogger("vectorferry")
_backoff = wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT)


class Worker:
    """Makes the calls of one destination, and lets nothing but our own errors out."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"vectorferry-{name}")

    async def run(self, work: Callable[[], T], attempts: int = ATTEMPTS) -> T:
        """The answer of `work`.

        `RetryableError` is tried again a few times, after the wait it asks for or a growing, random one; then it
        becomes a `DestinationError`, and so does whatever is no error of ours.
        """
        try:
            return await self._retrying(work, attempts)
        except RetryableError as error:
            tried = f"still failing after {attempts} attempts: " if attempts > 1 else ""
            raise DestinationError(f"{self._name}: {tried}{error}") from error
        except VectorferryError:
            raise
        except Exception as error:
            _log.exception("unexpected error from destination %s", self._name)
            raise DestinationError(f"{self._name}: unexpected {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Take nothing more, and wait for the call that is running: a thread cannot be interrupted."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _retrying(self, work: Callable[[], T], attempts: int) -> T:
        async def attempt() -> T:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

        return await AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), stop=stop_after_attempt(attempts), wait=_wait, reraise=True
        )(attempt)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, RetryableError) else None
    return _backoff(state) if asked is None else min(asked, LONGEST_WAIT)
