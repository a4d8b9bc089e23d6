"""The first statements of a transaction, which a pooler answers when it has a connection to the server to give away."""

from __future__ import annotations

import logging
import selectors
import time
from typing import Final

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from vectorferry.connector import DestinationError, check_cancelled

__all__ = ["NEEDED", "execute_first"]

_TOLD_AFTER = 5.0
_TOLD_EVERY: Final = 30.0
_PATIENCE = 60.0
"""While this process keeps a connection itself, waiting for one more may be waiting for itself."""

_LOOKS_EVERY: Final = 0.1
"""Whether the call on this thread has been cancelled."""

NEEDED: Final = (
    "A sync needs 2 connections at a time for pgvector, and 3 for a Pinecone manifest. "
    "Give the pool more of them (PgBouncer: default_pool_size), or use the address of Postgres itself."
)

_log = logging.getLogger("vectorferry")
_Driver = psycopg.Connection[tuple[object, ...]]


def execute_first(driver: _Driver, statements: str, location: str, kept: int) -> None:
    """Execute statements that answer with no rows, and tell every now and then that nothing has answered yet.

    `kept` is how many other connections this process keeps there meanwhile, each in a transaction. Raises
    `DestinationError`, with the connection closed, when it has waited for a minute and keeps some; and what psycopg
    raises for an error of Postgres.
    """
    driver.pgconn.send_query(statements.encode())
    wait, error = _Wait(driver, location, kept), None
    while (result := wait.next_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR and error is None:
            error = errors.error_from_result(result)
    if error is not None:
        raise error


class _Wait:
    """For the results of what has been sent."""

    def __init__(self, driver: _Driver, location: str, kept: int) -> None:
        self._driver = driver
        self._location = location
        self._kept = kept
        self._began = time.monotonic()
        self._tell_at = _TOLD_AFTER

    def next_result(self) -> PGresult | None:
        """The next one; None behind the last."""
        pgconn = self._driver.pgconn
        while pgconn.flush():
            self._select(selectors.EVENT_READ | selectors.EVENT_WRITE)
            pgconn.consume_input()
        while pgconn.is_busy():
            self._select(selectors.EVENT_READ)
            pgconn.consume_input()
        return pgconn.get_result()

    def _select(self, events: int) -> None:
        """Return when something has happened on the connection; raise when the call has been cancelled."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._driver.pgconn.socket, events)
            while not selector.select(min(_LOOKS_EVERY, self._seconds_left())):
                check_cancelled()
                self._tell()

    def _seconds_left(self) -> float:
        ends = min(self._tell_at, _PATIENCE) if self._kept else self._tell_at
        return max(0.0, self._began + ends - time.monotonic())

    def _tell(self) -> None:
        waited = time.monotonic() - self._began
        if self._kept and waited >= _PATIENCE:
            self._driver.close()
            raise DestinationError(
                f"Postgres at {self._location} gave no further connection for {waited:.0f} s, while this process keeps "
                f"{self._kept}: the pool in between is too small.\n{NEEDED}"
            )
        if waited >= self._tell_at:
            keeps = f" beside the {self._kept} that this process keeps" if self._kept else ""
            _log.warning(
                "waiting for Postgres at %s for %.0f s now: a pool in between has no connection to give%s, "
                "or the server is overloaded",
                self._location,
                waited,
                keeps,
            )
            self._tell_at = waited + _TOLD_EVERY
