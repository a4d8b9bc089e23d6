"""Statements that end when the call that makes them is cancelled: here at once, and on the server too.

A statement that waits for a lock waits for ever, and a server notices only when it answers that its client is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from vectorferry.connector import check_cancelled

__all__ = ["CancellableConnection"]

T = TypeVar("T")

_SECONDS_TO_CANCEL: Final = 2.0
"""For a server that can be reached. One that cannot is left, and finds out by itself."""


class CancellableConnection(psycopg.Connection[tuple[Any, ...]]):
    """Looks ten times a second, while it waits for the server, whether the call on this thread has been cancelled.

    Any other exception that says to stop (Dagster's is no `KeyboardInterrupt`) ends the statement as well.
    """

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """The answer. Ends the statement on the server too when the call is cancelled."""
        try:
            return super().wait(_watched(gen, check_cancelled), *args, **options)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise  # psycopg itself ends the statement for the last two
        except BaseException:
            self._end_statement(gen)
            raise

    def _end_statement(self, gen: Generator[Any, Any, Any]) -> None:
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        try:
            self.cancel_safe(timeout=_SECONDS_TO_CANCEL)
            super().wait(_watched(gen, _Deadline(_SECONDS_TO_CANCEL)))
        except psycopg.errors.QueryCanceled:
            pass
        except psycopg.Error:
            self.close()


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self) -> None:
        if time.monotonic() > self._end:
            raise psycopg.OperationalError("the server does not end the statement")


def _watched(gen: Generator[Any, Any, T], look: Callable[[], None]) -> Generator[Any, Any, T]:
    """What psycopg drives, with a look each time that it has waited in vain (a tenth of a second, its own interval)."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:
                look()
            state = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
