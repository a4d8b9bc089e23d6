"""The calls of a destination, which is blocking code: on a thread of its own, tried again, cancelled with their run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vectorferry.connector._cancellation import CancellableCall
from vectorferry.connector._model._errors import DestinationError, RetryableError, VectorferryError

T = TypeVar("T")
_log = logging.getLogger("vectorferry")

ATTEMPTS: Final = 5
LONGEST_WAIT: Final = 30.0
_backoff = wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT)

LONGEST_CALL: Final = 2.0
"""A thread cannot be interrupted: this is how long Ctrl-C may have to wait for one that is waiting."""


class CallThread:
    """The thread that makes the calls of one destination, one at a time, and lets nothing but our own errors out."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"vectorferry-{name}")

    async def run(self, work: Callable[[], T], attempts: int = ATTEMPTS) -> T:
        """The answer of `work`.

        `RetryableError` is tried again a few times, after the wait it asks for or a growing, random one; then it
        becomes a `DestinationError`, and so does whatever is no error of ours. When this is cancelled, so is `work`,
        and it has ended before `CancelledError` comes out.
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
        """Take nothing more, and wait for the call that is running."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _retrying(self, work: Callable[[], T], attempts: int) -> T:
        async def attempt() -> T:
            return await self._call(work)

        return await AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), stop=stop_after_attempt(attempts), wait=_wait, reraise=True
        )(attempt)

    async def _call(self, work: Callable[[], T]) -> T:
        call = CancellableCall(work)
        running = self._thread.submit(copy_context().run, call)  # what is logged there is of the same run
        answer = asyncio.wrap_future(running)
        try:
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            if not running.cancel():
                call.cancel()
                await _end(answer)
            raise
        return answer.result()


async def _end(answer: asyncio.Future[Any]) -> None:
    """Wait until there is an answer that nobody wants, however often this is cancelled."""
    while not answer.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([answer])
    if not answer.cancelled():
        answer.exception()  # or asyncio logs that nobody has asked for it


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, RetryableError) else None
    return _backoff(state) if after is None else min(after, LONGEST_WAIT)
