"""What of an index may be deleted in a second, shared by all processes that write to it.

A namespace's own limits need no sharing: all of its writers hold the collection's lock in the manifest, one after the
other, and space their requests evenly. Deletes are counted for the whole index, and so for all collections at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Final

from vectorferry.connector.http import PATIENCE, Borrower
from vectorferry.connector.plugin import Account, Allowance, Hold

DELETE: Final = "delete"
"""The kind of these requests."""

_NOT_COUNTED: Final = 0.1
"""Seconds' worth of deletes that nobody borrows for. A batch of changed assets has fewer as a rule."""


class SharedDeletes:
    """Borrows for one process, from any thread.

    Args:
        allowance: where it is borrowed.
        account: the index's address and a digest of the key; asked for when it is first needed, as it is slow to make.
        records: how many may be deleted in a second.
        longest_hold: most seconds that anybody waits because somebody else was told to.
    """

    def __init__(
        self, allowance: Allowance, account: Callable[[], Account], records: float, longest_hold: float
    ) -> None:
        self._allowance = allowance
        self._account = account
        self._records = records
        self._longest_hold = longest_hold
        self._borrower: Borrower | None = None
        self._hold = 0.0
        self._lock = Lock()
        """Of the borrower, which is for one event loop at a time."""

    def parts(self, ids: Iterable[str]) -> Iterator[list[str]]:
        """What is deleted within a second each, so that a killed process has borrowed no more."""
        rest = iter(ids)
        while some := list(islice(rest, max(1, int(self._records)))):
            yield some

    def wait(self, records: int) -> float:
        """Borrow so many, and return in how many seconds the first of them may be deleted; 0 where few are asked for,
        and where nothing can be borrowed: then this process keeps to the limit by itself."""
        if records < _NOT_COUNTED * self._records:
            return 0.0
        with self._lock:
            wait = asyncio.run(self._borrowed(records))
            hold, self._hold = self._hold, 0.0
        return max(wait, hold)

    def tell(self, seconds: float) -> None:
        """Have everybody wait so long, as the store has said."""
        if seconds > 0:
            with self._lock:
                asyncio.run(self._announce(seconds))

    async def _borrowed(self, records: int) -> float:
        borrower = self._lender()
        if borrower.rests:
            return 0.0
        return await borrower.borrow(DELETE, records, 1 / self._records) or 0.0

    async def _announce(self, seconds: float) -> None:
        borrower = self._lender()
        borrower.tell(DELETE, seconds)
        await borrower.settle()

    def _lender(self) -> Borrower:
        if self._borrower is None:
            self._borrower = Borrower(self._allowance, self._account(), self._heed, PATIENCE)
        return self._borrower

    def _heed(self, kind: str, hold: Hold) -> None:
        if kind == DELETE:
            self._hold = max(self._hold, min(hold.seconds, self._longest_hold))
