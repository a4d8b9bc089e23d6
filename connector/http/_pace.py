"""When a request may go: again after a failure, within its time, and evenly with all others."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aiolimiter import AsyncLimiter

from vectorferry.connector._model._errors import LimitReachedError, RetryableError
from vectorferry.connector.http._allowance import Borrower, Slots
from vectorferry.connector.http._settings import RetryPolicy

T = TypeVar("T")


class Timer:
    """One timer of the event loop for all time limits of a client, which begin and end by the thousand in a second.

    A limit of its own, made and cancelled for each answer and each piece of one, took more of a small answer's CPU than
    its vectors do.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()  # asking for it again is a call to the kernel each time
        self._limits: dict[TimeLimit, None] = {}
        self._handle: asyncio.Handle | None = None
        self._rings_at = math.inf

    def limit(self, seconds: float) -> TimeLimit:
        """A limit of so many seconds, for a `with` statement."""
        return TimeLimit(self, seconds)

    def add(self, limit: TimeLimit) -> None:
        """Look after this limit until it is removed."""
        self._limits[limit] = None
        if limit.deadline < self._rings_at:
            self.set(limit.deadline)

    def remove(self, limit: TimeLimit) -> None:
        """Forget this limit. What rings for it finds nothing to do."""
        self._limits.pop(limit, None)

    def set(self, moment: float) -> None:
        """Ring at this moment of the loop's, or earlier."""
        if moment < self._rings_at:
            self.stop()
            self._rings_at = moment
            self._handle = self.loop.call_at(moment, self._ring)

    def stop(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._rings_at = None, math.inf

    def _ring(self) -> None:
        # One turn of the loop later: what has come while nobody could look (a stopped process, a busy thread) is read
        # first, and was not late.
        self._handle = self.loop.call_soon(self._end_overdue)

    def _end_overdue(self) -> None:
        # The loop may call a moment early, by as much as its clock cannot tell apart.
        now = max(self._rings_at, self.loop.time())
        self._handle, self._rings_at = None, math.inf
        for limit in [limit for limit in self._limits if limit.deadline <= now]:
            self.remove(limit)
            limit.end()
        self.set(min((limit.deadline for limit in self._limits), default=math.inf))


class TimeLimit:
    """Cancels its block with `TimeoutError` after some seconds, not counting those in which it is paused."""

    __slots__ = ("_before", "_seconds", "_task", "_timer", "deadline", "has_ended")

    def __init__(self, timer: Timer, seconds: float) -> None:
        self._timer = timer
        self._seconds = seconds
        self._before = 0
        self._task: asyncio.Task[Any] | None = None
        self.deadline = math.inf
        self.has_ended = False

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task(self._timer.loop)
        if task is None:
            raise RuntimeError("a client belongs to the event loop that it was first used in, until `aclose`")
        self._before = task.cancelling()
        self.restart()
        self._timer.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.remove(self)
        # As `asyncio.timeout` does: whoever else has cancelled the task meanwhile is not to be passed over.
        if self.has_ended and self._task is not None:
            is_ours = self._task.uncancel() <= self._before
            if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def end(self) -> None:
        """Cancel the block, since its time is over."""
        assert self._task is not None
        self._task.cancel()
        self.has_ended = True

    def remaining(self) -> float:
        """Seconds left."""
        return self.deadline - self._timer.loop.time()

    def restart(self) -> None:
        """Give it all of its seconds again."""
        # Whoever looks after it rings at the earlier time, and looks again then.
        self.deadline = self._timer.loop.time() + self._seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for a while."""
        remaining = self.remaining()
        self.deadline = math.inf
        try:
            yield
        finally:
            self.deadline = self._timer.loop.time() + remaining
            self._timer.set(self.deadline)


@dataclass(slots=True)
class Tries:
    """What has been tried for one request so far, of how many attempts at most.

    `last` is why the last attempt failed. `unsure` says that it may have been received, and must not be repeated for
    that reason.
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

    async def run(self, attempt: Callable[[Tries], Awaitable[T]], tries: Tries) -> T:
        """The first attempt's result that comes; re-raises the last `RetryableError` when time or attempts are up."""
        while True:
            try:
                return await attempt(tries)
            except RetryableError as error:
                wait = self._wait(tries.count, error)
                if tries.count >= tries.attempts or wait >= tries.limit.remaining():
                    raise
            await asyncio.sleep(wait)

    @property
    def longest_hold(self) -> float:
        """Most seconds that one request may wait because there were too many."""
        return min(self._policy.longest_retry_after, self._policy.total_seconds)

    def asked(self, error: RetryableError) -> float:
        """The wait that the service asked for, cut to what the policy allows."""
        return min(error.after or 0.0, self._policy.longest_retry_after)

    def others_wait(self, error: RetryableError) -> float:
        """The wait that others are told of: where the service names none, that before a second attempt."""
        return max(self.asked(error), self._policy.first_wait)

    def _wait(self, count: int, error: RetryableError) -> float:
        """Never shorter than the back-off, so that ``Retry-After: 0`` does not spin; jitter spreads the herd."""
        first = self._policy.first_wait
        backoff = min(first * 2.0 ** (count - 1), self._policy.longest_wait) + random.uniform(0, first)
        return max(backoff, self.asked(error) + random.uniform(0, first)) if error.after else backoff


class Pace:
    """Lets requests go evenly, all of them together and those of each kind, and can stop a kind for a while."""

    def __init__(self, requests_per_minute: int | None, kinds: Mapping[str, int]) -> None:
        self._overall = _Gate(requests_per_minute)
        self._kinds = {kind: _Gate(limit) for kind, limit in kinds.items()}
        self._borrower: Borrower | None = None

    def share(self, borrower: Borrower) -> None:
        """From now on, keep to the limits together with all who borrow from the same allowance."""
        self._borrower = borrower
        for kind, gate in {"": self._overall, **self._kinds}.items():
            gate.share(borrower, kind)

    def tell(self, kind: str, seconds: float, reason: str = "") -> None:
        """Have those who share the allowance wait as well, or, with a reason, end."""
        if self._borrower is not None:
            self._borrower.tell(kind, seconds, reason)

    async def settle(self) -> None:
        """End what goes on in the background."""
        for gate in (self._overall, *self._kinds.values()):
            await gate.settle()
        if self._borrower is not None:
            await self._borrower.settle()

    def hold(self, kind: str, seconds: float) -> None:
        """Let none of this kind go for this long: the service said that there were too many."""
        self._gate(kind).hold(seconds)

    def shut(self, kind: str, seconds: float, reached: LimitReachedError) -> None:
        """Let none of this kind go for this long, nor any that waits already: each raises this instead."""
        self._gate(kind).shut(seconds, reached)

    def is_free(self, kind: str) -> bool:
        """Whether a request of this kind need not even ask: nothing holds it up, and nobody else is to be heard."""
        gate = self._gate(kind)
        return self._borrower is None and gate.open and not gate.shuts and self._overall.open

    async def admit(self, kind: str, limit: TimeLimit) -> None:
        """Return when a request of this kind may go; the waiting does not count against its time limit.

        Raises `LimitReachedError` while the kind is shut.
        """
        self._gate(kind).check()
        if self._borrower is not None:
            self._borrower.look()
        gates = [gate for gate in (self._gate(kind), self._overall) if not gate.open]
        if gates:
            with limit.paused():
                for gate in gates:
                    await gate.admit()
            self._gate(kind).check()  # it may have been shut meanwhile

    def _gate(self, kind: str) -> _Gate:
        if kind not in self._kinds:
            self._kinds[kind] = _Gate(None)
        return self._kinds[kind]


class _Gate:
    """Spaces requests evenly, so that no window of a minute holds more than allowed, and can be shut for a while."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._limiter = AsyncLimiter(1, self._interval) if requests_per_minute else None
        self._slots: Slots | None = None
        self._resume_at = 0.0
        self._shut_until = 0.0
        self._reached: LimitReachedError | None = None

    def share(self, borrower: Borrower, kind: str) -> None:
        """Borrow from now on, where there is a limit."""
        if self._limiter is not None:
            self._slots = Slots(borrower, kind, self._interval)

    async def settle(self) -> None:
        """End what goes on in the background."""
        if self._slots is not None:
            await self._slots.settle()

    @property
    def open(self) -> bool:
        """Whether a request need not even ask."""
        return self._limiter is None and (not self._resume_at or self._remaining() <= 0)

    @property
    def shuts(self) -> bool:
        """Whether it was ever shut: then it has to be looked at."""
        return self._reached is not None

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

    async def admit(self) -> None:
        """Return when a request may go."""
        await self._wait_for_hold()
        while self._slots is not None and await self._slots.take():
            if self._remaining() <= 0:
                return
            await self._wait_for_hold()  # which was told while this one waited for its time
        if self._limiter is not None:
            await self._limiter.acquire()

    async def _wait_for_hold(self) -> None:
        """Looks again after each wait: another answer may have asked for more time meanwhile."""
        wait = self._remaining()
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._remaining()

    def _remaining(self) -> float:
        return self._resume_at - asyncio.get_running_loop().time()
