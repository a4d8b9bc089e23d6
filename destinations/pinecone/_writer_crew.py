"""Jobs of one write, done on a pool that others use too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Final, Generic, TypeVar

from vectorferry.connector import check_cancelled

__all__ = ["Crew"]

_GLANCE_SECONDS: Final = 0.1

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """Reads jobs only as fast as they are done: at most `most()` are under way, and one more is ready.

    When the pool has begun none of them, the caller does one itself. So nobody ever waits for a thread of the pool, and
    a caller that occupies the only one gets on as well.
    """

    def __init__(self, pool: Executor, work: Callable[[Job], None], most: Callable[[], int]) -> None:
        self._pool = pool
        self._work = work
        self._most = most
        self._given: dict[Future[None], Job] = {}

    def do(self, jobs: Iterable[Job], give_up: Callable[[], None]) -> None:
        """Do all of them. Raises the first failure, once `give_up` was called and everything under way has ended."""
        try:
            for job in jobs:
                self._given[self._pool.submit(self._work, job)] = job
                while len(self._given) > self._most():
                    self._see_one_done()
            while self._given:
                self._see_one_done()
        except BaseException:
            give_up()
            wait([future for future in self._given if not future.cancel()])
            raise

    def _see_one_done(self) -> None:
        """Not by the caller while others are at it: it would not hand out the next job then."""
        if not any(future.running() or future.done() for future in self._given):
            self._do_one()
            return
        check_cancelled()
        for future in wait(self._given, timeout=_GLANCE_SECONDS, return_when=FIRST_COMPLETED).done:
            del self._given[future]
            future.result()

    def _do_one(self) -> None:
        """Take back a job that nobody has begun, if there still is one, and do it here."""
        future = next((future for future in self._given if future.cancel()), None)
        if future is not None:
            self._work(self._given.pop(future))
