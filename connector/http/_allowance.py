"""One client's part of an allowance that several processes share: borrowed ahead, and never worth waiting long for."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._allowance import Account, Allowance, Hold

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that requests wait for a loan that does not come; then they go at their own pace until it does."""

REST: Final = 10.0
"""Seconds without another try after the lender could not be asked."""

SHARE_SECONDS: Final = 1.0
"""How much is borrowed at a time, at most; how old a loan may grow; and how soon what others were told is heard of."""

_SECONDS_TO_TELL: Final = 5.0
_SAME: Final = 0.25
"""A hold that ends by no more than so many seconds later is the same one, of which several requests were told."""

_log = logging.getLogger("vectorferry")


class Borrower:
    """Asks the lender for one client. `heed` is called with every hold that somebody was told to keep.

    That a quota was used up before this client began is not heeded: it may have been raised, and the service says so.
    A lender that has not answered within `patience` seconds cannot be asked.
    """

    def __init__(
        self,
        allowance: Allowance,
        account: Account,
        heed: Callable[[str, Hold], None],
        patience: float | None = None,
    ) -> None:
        self._patience = patience
        self._allowance = allowance
        self._account = account
        self._heed = heed
        self._rests_until = 0.0
        self._heard_at = -math.inf
        self._earlier: Mapping[str, float] | None = None
        self._heeded: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._looking: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def rests(self) -> bool:
        """Whether the lender could not be asked just now."""
        return _now() < self._rests_until

    async def borrow(self, kind: str, requests: int, interval: float) -> float | None:
        """Seconds until the first of them may go; None where the lender cannot be asked."""
        loan = await self._answer(self._allowance.borrow(self._account, kind, requests, interval))
        if loan is None:
            return None
        self._hear(loan.holds)
        return loan.wait

    def look(self) -> None:
        """Hear in the background what others were told, unless that was done within a second."""
        is_due = _now() - self._heard_at >= SHARE_SECONDS and not self.rests
        if is_due and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    def tell(self, kind: str, seconds: float, reason: str = "") -> None:
        """Have everybody wait, or end, as the service said; in the background."""
        until = _now() + seconds
        if seconds <= 0 or until <= self._told.get(kind, 0.0) + _SAME:
            return
        self._told[kind] = until
        task = asyncio.create_task(self._answer(self._allowance.hold(self._account, kind, seconds, reason)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def settle(self) -> None:
        """End what goes on in the background; what others are to be told is told first."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=_SECONDS_TO_TELL)
        for task in (*self._telling, *([self._looking] if self._looking else [])):
            await ended(task)

    async def _look(self) -> None:
        holds = await self._answer(self._allowance.holds(self._account))
        if holds is not None:
            self._hear(holds)

    async def _answer(self, question: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(self._patience):
                return await question
        except Exception as error:  # whatever it is, it is not worth a sync
            self._rests_until = _now() + REST
            words = error if isinstance(error, VectorferryError) else type(error).__name__
            _log.warning("this process keeps to the limits by itself: %s", words)
            return None

    def _hear(self, holds: Mapping[str, Hold]) -> None:
        self._heard_at = _now()
        if self._earlier is None:
            self._earlier = {kind: hold.until for kind, hold in holds.items() if hold.reason}
        for kind, hold in holds.items():
            # Once each. Heard again, a hold would begin its wait anew: it is cut to what one request may wait, counted
            # from when it is heeded.
            if self._heeded.get(kind) == hold.until or (hold.reason and self._earlier.get(kind) == hold.until):
                continue
            self._heeded[kind] = hold.until
            self._heed(kind, hold)


class Slots:
    """The requests of one kind that may go, each at its time: those that were borrowed and have not lapsed."""

    def __init__(self, borrower: Borrower, kind: str, interval: float) -> None:
        self._borrower = borrower
        self._kind = kind
        self._interval = interval
        self._times: deque[float] = deque()
        self._went: deque[float] = deque()
        """When those of the last second went."""
        self._waiting = 0
        self._asked_at = 0.0
        self._latency = 0.0
        self._borrowing: asyncio.Task[None] | None = None

    async def take(self) -> bool:
        """Return when the next one may go; False, at once or soon, where none can be borrowed."""
        self._waiting += 1
        try:
            while not self._borrower.rests:
                if (time := self._next()) is not None:
                    if len(self._times) <= 2 * self._latency * self._rate():
                        self._ask()
                    await asyncio.sleep(max(0.0, time - _now()))
                    self._went.append(_now())
                    return True
                if not await self._lent():
                    return False
            return False
        finally:
            self._waiting -= 1

    async def settle(self) -> None:
        """End what goes on in the background."""
        if self._borrowing is not None:
            await ended(self._borrowing)

    def _next(self) -> float | None:
        lapsed = _now() - SHARE_SECONDS
        while self._times and self._times[0] < lapsed:
            self._times.popleft()
        return self._times.popleft() if self._times else None

    async def _lent(self) -> bool:
        """Whether there was an answer within our patience, which ends for all who wait at the same time."""
        task = self._ask()
        patience = self._asked_at + PATIENCE - _now()
        if patience <= 0:
            return False
        done, _ = await asyncio.wait({task}, timeout=patience)
        return bool(done)

    def _ask(self) -> asyncio.Task[None]:
        if self._borrowing is None or self._borrowing.done():
            self._asked_at = _now()
            self._borrowing = asyncio.create_task(self._borrow())
        return self._borrowing

    async def _borrow(self) -> None:
        await asyncio.sleep(0)  # whoever else begins to wait in this moment is counted
        requests = self._need()
        wait = await self._borrower.borrow(self._kind, requests, self._interval)
        self._latency = _now() - self._asked_at
        if wait is not None:
            first = _now() + max(0.0, wait)
            self._times.extend(first + number * self._interval for number in range(requests))

    def _need(self) -> int:
        """Between what waits now and what has gone within a second. The first alone would be a loan for every request
        of a process that is bound by something else; the second alone would keep shares as they once were, and these
        draw near to each other."""
        most = max(1, math.ceil(SHARE_SECONDS / self._interval))
        rate = self._rate() or self._waiting
        return min(most, max(1, math.ceil((self._waiting + rate) / 2)))

    def _rate(self) -> int:
        while self._went and self._went[0] < _now() - SHARE_SECONDS:
            self._went.popleft()
        return len(self._went)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and return when it has ended, whatever has become of it."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def _now() -> float:
    return asyncio.get_running_loop().time()
