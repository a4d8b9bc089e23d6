"""Work on a stream of items concurrently, a bounded number ahead of whoever takes the results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from vectorferry.connector._errors import LimitReachedError

__all__ = ["cancellable", "results_of"]

T = TypeVar("T")
R = TypeVar("R")


class _Mark(Enum):
    END = 0


END: Final = _Mark.END


async def results_of(items: AsyncIterable[T], work: Callable[[T], Awaitable[R]], width: int) -> AsyncGenerator[R, None]:
    """What `work` makes of each item, in the order of completion.

    At most `width` items are in work and as many results wait to be taken. An exception of `items` is raised after
    the results of everything before it; one of `work` cancels the rest and is raised after the results so far, but for
    `LimitReachedError`: it begins nothing more, and what is in work ends, since its requests have been counted.
    Closing the generator cancels everything that is under way.
    """
    results: asyncio.Queue[R | _Mark] = asyncio.Queue(maxsize=width)
    running = asyncio.create_task(_run(_Items(items), work, results, width))
    try:
        while (result := await results.get()) is not END:
            yield result
        await running
    finally:
        await _stopped(running)


async def cancellable(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to; cancelled as soon as this is, whatever `work` raises then.

    A task group raises only its tasks' failures when one of them fails while the group is being cancelled, and whoever
    awaits it would go on as if nobody had cancelled anything.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    finally:
        await _stopped(task)
    return task.result()


async def _run(
    items: _Items[T], work: Callable[[T], Awaitable[R]], results: asyncio.Queue[R | _Mark], width: int
) -> None:
    """All the work. The end is marked in the queue unless this is cancelled: nobody reads the queue then."""

    async def worker() -> None:
        while (item := await items.next()) is not END:
            try:
                result = await work(item)
            except LimitReachedError as error:
                items.stop(error)
                return
            await results.put(result)

    async def workers() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())

    try:
        await cancellable(workers())
    except BaseExceptionGroup as failures:
        items.failure = failures.exceptions[0]
    await results.put(END)
    if items.failure is not None:
        raise items.failure


class _Items(Generic[T]):
    """Hands out items one by one: an async generator takes one caller at a time."""

    def __init__(self, items: AsyncIterable[T]) -> None:
        self._items = aiter(items)
        self._turn = asyncio.Lock()
        self._ended = False
        self.failure: BaseException | None = None

    def stop(self, failure: BaseException) -> None:
        """Hand out no more."""
        self.failure = self.failure or failure
        self._ended = True

    async def next(self) -> T | _Mark:
        async with self._turn:
            if self._ended:
                return END
            try:
                item = await anext(self._items, END)
            except Exception as error:
                self.failure = self.failure or error
                item = END
            self._ended = self._ended or item is END
            return END if self._ended else item


async def _stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
