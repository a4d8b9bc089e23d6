"""Whether it is the service that has failed, or single assets that cannot be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from connector._errors import SourceError
from connector._records import Asset, Reason, Rejected
from connector.http import one_line

__all__ = ["Failures"]

MOST_IN_A_ROW: Final = 10
"""After so many unreadable assets without a readable one between, the service itself may be at fault: it is asked."""

ENOUGH_TO_JUDGE: Final = 50
"""From this many assets on, more unreadable than readable ones mean that it is."""


class Failures:
    """Tells a service that has failed from assets that are unreadable one by one.

    `check` asks the service a small question, and raises `SourceError` when it does not answer even that.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], collection: str) -> None:
        self._check = check
        self._collection = collection
        self._read = 0
        self._unreadable = 0
        self._in_a_row = 0

    async def note(self, result: Asset | Rejected) -> None:
        """Count a result. Raises `SourceError` when it is the service that has failed."""
        if not isinstance(result, Rejected) or result.reason is not Reason.UNREADABLE:
            self._read += 1
            self._in_a_row = 0
            return
        self._unreadable += 1
        self._in_a_row += 1
        if self._unreadable > self._read and self._unreadable + self._read >= ENOUGH_TO_JUDGE:
            raise SourceError(self._message(f"{self._unreadable} of {self._unreadable + self._read} assets", result))
        if self._in_a_row > MOST_IN_A_ROW:
            await self._check_service(result)

    async def _check_service(self, last: Rejected) -> None:
        """The few assets that no run can read are all that is asked for when nothing else changes, one after the other;
        stopping there would keep the collection from being synced for ever."""
        try:
            await self._check()
        except SourceError:
            message = self._message(f"More than {MOST_IN_A_ROW} assets in a row", last)
        else:
            self._in_a_row = 0
            return
        raise SourceError(message)

    def _message(self, many: str, last: Rejected) -> str:
        return f"{many} of collection {one_line(self._collection)} cannot be read; the last: {last.detail}"
