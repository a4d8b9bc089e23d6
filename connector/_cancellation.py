"""Ending what is under way: an event loop when a signal comes, a blocking call in a thread when nobody waits for it.

Python runs a signal's handler in the main thread, at whatever instruction that is at. What the handler raises would
come out of the event loop's own code or of any task, where it can be lost; and a thread hears of it only by asking.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

GLANCE_SECONDS: Final = 0.1

STOP_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class CallCancelledError(BaseException):
    """Nobody waits for the answer of this call any more. No `Exception`: nothing should take it for a failure."""


class CancellableCall(Generic[T]):
    """A blocking call that another thread may cancel; what it calls finds out by `check_cancelled` or `pause`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._cancelled = threading.Event()

    def __call__(self) -> T:
        """Make the call. Raises `CallCancelledError` when it ended because it was cancelled."""
        _running.call = self
        try:
            check_cancelled()
            return self._work()
        finally:
            _running.call = None

    def cancel(self) -> None:
        """Ask it to end. Safe from any thread."""
        self._cancelled.set()

    def cancelled_within(self, seconds: float) -> bool:
        """Whether it has been cancelled, after waiting so long for that."""
        return self._cancelled.wait(seconds)


class _Running(threading.local):
    call: CancellableCall[Any] | None = None


_running = _Running()


def is_cancelled() -> bool:
    """Whether the call that this thread is making has been cancelled."""
    return _running.call is not None and _running.call.cancelled_within(0)


def check_cancelled() -> None:
    """Raise `CallCancelledError` when the call that this thread is making has been cancelled."""
    if is_cancelled():
        raise CallCancelledError


def pause(seconds: float) -> None:
    """Sleep; raise `CallCancelledError` as soon as the call that this thread is making is cancelled."""
    if _running.call is None:
        time.sleep(seconds)
    elif _running.call.cancelled_within(seconds):
        raise CallCancelledError


def abandonable(work: Callable[[], T]) -> T:
    """The answer of a blocking call that nothing can end, and that does no harm when it goes on by itself.

    It is made on a thread of its own, which is left behind when the call that this thread is making is cancelled.
    """
    if _running.call is None:
        return work()
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, name="abandonable", daemon=True).start()
    while wait([answer], timeout=GLANCE_SECONDS).not_done:
        check_cancelled()
    return answer.result()


def run_cancellable(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, but a signal whose handler raises cancels `main`, and is raised when everything has ended.

    So `main` can undo what it has begun, whether it is the command line, Dagster or a notebook that handles the signal.
    A second signal is raised where it comes. Outside of the main thread, which alone gets signals, it is `asyncio.run`.
    """
    interrupt = _Interrupt()

    async def begin() -> T:
        try:
            with interrupt.cancelling(asyncio.current_task()):
                return await main
        finally:
            main.close()

    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    with interrupt.kept():
        return asyncio.run(begin())


class _Interrupt:
    """What the first signal's handler has raised."""

    def __init__(self) -> None:
        self._raised: BaseException | None = None
        self._cancel: Callable[[], object] = lambda: None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what the handlers of signals raise until the block ends, and raise it then in place of anything else."""
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        try:
            for number, handler in before.items():
                if callable(handler):
                    signal.signal(number, self._handler(handler))
            yield
        finally:
            for number, handler in before.items():
                if callable(handler):
                    signal.signal(number, handler)
            if self._raised is not None:
                raise self._raised from None

    @contextmanager
    def cancelling(self, task: asyncio.Task[Any] | None) -> Iterator[None]:
        """Cancel this task, which is the running one, when a signal comes."""
        if self._raised is not None:
            raise asyncio.CancelledError
        if task is not None:
            loop = task.get_loop()
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            yield
        finally:
            self._cancel = lambda: None

    def _handler(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def keep(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as raised:
                if self._raised is not None:
                    raise
                self._raised = raised
                self._cancel()

        return keep
