"""Jobs of one write, done on a pool that others use too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Generic, TypeVar

__all__ = ["Crew"]

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """Reads jobs only as fast as they are done: at most `most()` are under way, and one more is ready.

    What the pool has not begun when there is nothing else to do, the caller does itself. So nobody ever waits for a
    thread of the pool, and a caller that occupies the only one gets on as well.
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
        done, _ = wait(self._given, timeout=0)
        waiting = None if done else next((future for future in self._given if future.cancel()), None)
        if waiting is not None:
            self._work(self._given.pop(waiting))
            return
        done = done or wait(self._given, return_when=FIRST_COMPLETED).done
        for future in done:
            del self._given[future]
        for future in done:
            future.result()
